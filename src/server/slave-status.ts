// What a slave says of itself, when it is asked on its control socket.
import type { SlaveStatus } from '../control/server-status.ts'
import type { Helpers } from '../helpers/helpers.ts'
import type { ShipStatus } from '../ship/status.ts'
import type { Receiver } from '../slave/receiver.ts'
import type { Replayer } from '../slave/replayer.ts'
import type { Applying } from '../wire/messages/ack.ts'
import { damagedGroups } from '../database/damaged-groups.ts'
import type { SlaveData } from '../replay/slave-parts.ts'

/** What the master hears of it. */
export function applyingOf({ on, delayMs, failure }: Replayer): Applying {
  if (failure !== null) return 'failed'
  if (!on) return 'off'
  return delayMs > 0 ? 'later' : 'on'
}

export type SlaveStatusParts = Omit<SlaveData, 'lostAndFound'> & {
  readonly pid: number
  readonly receiver: Receiver
  readonly slaves: readonly ShipStatus[]
  readonly helpers: Helpers | null
  readonly replayer: Replayer
}

export function slaveStatus(parts: SlaveStatusParts): SlaveStatus {
  const { pid, receiver, slaves, helpers, replayer, database, log, differences } = parts
  const lack = log.diskRoom.lack ?? replayer.diskLack
  return {
    pid,
    receiver: receiver.status(),
    slaves,
    apply: {
      on: replayer.on,
      delaySeconds: replayer.delayMs / 1000,
      appliedTxn: replayer.appliedTxn,
      checkpointTxn: database.stamp.txn,
    },
    helpers: helpers?.status() ?? [],
    holds: database.work.holds(),
    differences: differences.status,
    damaged: damagedGroups(database),
    failure: (log.failed ?? replayer.failure ?? lack)?.message ?? null,
  }
}
