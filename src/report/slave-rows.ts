// The rows of "hb status" about a server's slaves: as the process that has the links open reports them, or, where none
// answers, by the ack files.
import type { SegmentInfo } from '../log/segments.ts'
import type { Platform } from '../platform/platform.ts'
import { readAck } from '../ship/ack-file.ts'
import { confirmedAck } from '../ship/confirmed.ts'
import { readDropped } from '../ship/dropped.ts'
import { secondsSince } from '../ship/lag.ts'
import { bytesAfter } from '../ship/queue.ts'
import { positionsOf, type ShipStatus } from '../ship/status.ts'
import { nextStep, type StatusWord } from '../wire/status-words.ts'
import { addressText } from '../config/address.ts'
import type { Config, SlaveAddress } from '../config/config.ts'
import { ackSourceOf, type Layout } from '../config/layout.ts'

export type SlaveRow = Pick<
  ShipStatus,
  | 'name'
  | 'address'
  | 'sentTxn'
  | 'receivedTxn'
  | 'durableTxn'
  | 'appliedTxn'
  | 'lastKnown'
  | 'applying'
  | 'lagTxns'
  | 'lagSeconds'
  | 'seed'
  | 'lastError'
> & {
  readonly state: StatusWord
  /** What to do about it; null where the server goes on by itself. */
  readonly nextStep: string | null
  /** Bytes of this server's log that, by the slave's last word, are not applied there. */
  readonly lagBytes: number
  /** It was dropped from the queue and needs a new copy of the database. */
  readonly dropped: boolean
}

type RowsPlatform = Pick<Platform, 'disk' | 'clock' | 'locks'>

/**
 * `reported`: by the process that has the links open; null when none answers, which may be `alive` all the same.
 * `durableTxn`: of this server's log.
 */
export async function slaveRows(
  platform: RowsPlatform,
  layout: Layout,
  config: Config,
  durableTxn: number,
  segments: readonly SegmentInfo[],
  reported: readonly ShipStatus[] | null,
  alive: boolean,
): Promise<SlaveRow[]> {
  // Entered for the time when it is a master again.
  if (!config.ships) return []
  const rows = new Map((reported ?? []).map(row => [row.name, row]))
  const state = reported !== null || !alive ? 'Stopped' : 'Not answering'
  return Promise.all(
    config.slaves.map(async slave => {
      const row =
        rows.get(slave.name) ??
        (await rowFromAck(platform, layout, config, slave, durableTxn, state))
      const dropped = await readDropped(platform.disk, layout.slaves, slave.name)
      const appliedTxn = row.lastKnown?.appliedTxn ?? 0
      return {
        ...row,
        nextStep: nextStep(row.state),
        lagBytes: bytesAfter(segments, appliedTxn, durableTxn),
        dropped: dropped !== null,
      }
    }),
  )
}

async function rowFromAck(
  platform: RowsPlatform,
  layout: Layout,
  { type }: Config,
  { name, address }: SlaveAddress,
  durableTxn: number,
  state: StatusWord,
): Promise<Omit<SlaveRow, 'dropped' | 'nextStep' | 'lagBytes'>> {
  const ack = await readAck(platform.disk, layout.slaves, name)
  const confirmed = await confirmedAck(platform, ackSourceOf(layout, type), name)
  const positions = positionsOf(confirmed ?? ack, confirmed !== null, durableTxn)
  return {
    name,
    address: addressText(address),
    state,
    sentTxn: ack?.receivedTxn ?? 0,
    ...positions,
    applying: null,
    lagSeconds: positions.lagTxns === 0 ? 0 : secondsWithout(ack?.time, platform.clock.now()),
    lastError: null,
  }
}

/** By its last word the slave held everything up to then at least. */
function secondsWithout(time: number | undefined, now: number): number | null {
  return time === undefined ? null : secondsSince(time, now)
}
