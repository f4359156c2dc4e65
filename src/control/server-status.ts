// What a running process says of itself when it is asked for its status, by what it is.
import type { DamagedGroup } from '../database/damaged-groups.ts'
import type { HoldSummary } from '../database/long-work.ts'
import type { HelperStatus } from '../helpers/helpers.ts'
import type { ShipStatus } from '../ship/status.ts'
import type { ReceiverStatus } from '../slave/receiver.ts'
import type { DifferencesStatus } from '../wire/messages/differences.ts'
import type { CommitLevel } from '../config/policies.ts'

/** Of the process that has a master open. */
export interface MasterStatus {
  readonly lastTxn: number
  readonly durableTxn: number
  /** The last transaction that the database files hold. */
  readonly checkpointTxn: number
  /** Why the master takes no more updates; null while it does. */
  readonly failure: string | null
  readonly commit: CommitStatus
  readonly queue: QueueStatus
  readonly helpers: readonly HelperStatus[]
  readonly holds: readonly HoldSummary[]
  readonly verify: VerificationStatus
  readonly damaged: readonly DamagedGroup[]
}

export interface CommitStatus {
  readonly level: CommitLevel
  /** "waiting": updates have waited for longer than the time-out. */
  readonly state: 'in step' | 'waiting' | 'alone'
  /** Since when, milliseconds since 1970; null while in step. */
  readonly since: number | null
}

export interface QueueStatus {
  readonly bytes: number
  readonly limitBytes: number
  readonly state: 'open' | 'pacing' | 'refusing'
  /** At the present rate; null when the queue does not grow. */
  readonly secondsToLimit: number | null
}

export interface VerificationStatus {
  /** Null: off. */
  readonly intervalMs: number | null
  /** The last whole pass over the database; null before the first. */
  readonly last: VerifyPass | null
  /** Null between two passes. */
  readonly running: { readonly begun: number; readonly filesLeft: number } | null
}

export interface VerifyPass {
  /** Wall-clock milliseconds. */
  readonly begun: number
  readonly ended: number
  readonly firstTxn: number
  readonly lastTxn: number
}

/** Of a slave's server. */
export interface SlaveStatus {
  readonly pid: number
  readonly receiver: ReceiverStatus
  readonly slaves: readonly ShipStatus[]
  readonly apply: {
    readonly on: boolean
    readonly delaySeconds: number
    readonly appliedTxn: number
    readonly checkpointTxn: number
  }
  readonly helpers: readonly HelperStatus[]
  readonly holds: readonly HoldSummary[]
  readonly differences: DifferencesStatus
  readonly damaged: readonly DamagedGroup[]
  /** Why the slave applies or stores no more, for now or for good; null while it does. */
  readonly failure: string | null
}

/** Of the process that ships a master's log. */
export interface ShipperStatus {
  readonly pid: number
  readonly slaves: readonly ShipStatus[]
}
