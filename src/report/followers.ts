// Who follows whom: the slaves of a server, by its shipper; and a slave itself, by its receiver and replayer.
import type { SlaveStatus } from '../control/server-status.ts'
import type { ShipStatus } from '../ship/status.ts'
import type { Config } from '../config/config.ts'
import { linkTrouble, type Follower } from './follow-watch.ts'

export function slavesAsFollowers(rows: readonly ShipStatus[]): Follower[] {
  return rows.map(row => ({
    who: `slave ${row.name}`,
    trouble: troubleOf(row),
    busyAt: busyAt(row),
    help: row.seed === null || row.seed === undefined ? null : helpOf(row.seed.step),
  }))
}

function troubleOf({ heardMs, lastError, applying, appliedTxn }: ShipStatus): Follower['trouble'] {
  if (heardMs === null) return linkTrouble(lastError, 'it is not connected')
  if (applying !== 'failed') return null
  const message = `it stands still at transaction ${appliedTxn}; "hb status" on the slave says why`
  return { code: null, message }
}

/** What was sent must be acknowledged, and applied unless that is to wait. */
function busyAt({ sentTxn, durableTxn, appliedTxn, applying }: ShipStatus): number | null {
  if (durableTxn === null || sentTxn > durableTxn) return durableTxn ?? 0
  return applying === 'on' && appliedTxn !== null && durableTxn > appliedTxn ? appliedTxn : null
}

function helpOf(step: NonNullable<ShipStatus['seed']>['step']): Follower['help'] {
  return step === 'asking' ? 'offered' : 'coming'
}

export function slaveAsFollower(
  { name, slave }: { readonly name: string; readonly slave: Pick<Config['slave'], 'autoSeed'> },
  { receiver, failure, apply }: SlaveStatus,
): Follower {
  const due = apply.on && apply.delaySeconds === 0 && receiver.durableTxn > apply.appliedTxn
  const { lastError } = receiver
  // The master's next call brings it.
  const offered = slave.autoSeed && lastError?.code === 'ERR_LINK_SEED'
  return {
    who: name,
    trouble:
      failure !== null
        ? { code: 'failure', message: failure }
        : receiver.master === null
          ? linkTrouble(lastError, 'no master has called')
          : null,
    busyAt: due ? apply.appliedTxn : null,
    help: receiver.seeding ? 'coming' : offered ? 'offered' : null,
  }
}
