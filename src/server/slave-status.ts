// What a slave says of itself, when it is asked on its control socket.
import type { HoldSummary } from '../database/long-work.ts'
import type { HelperStatus } from '../helpers/helpers.ts'
import type { ShipStatus } from '../ship/status.ts'
import type { DifferencesStatus } from '../wire/messages/differences.ts'
import type { ReceiverStatus } from '../slave/receiver.ts'

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
  /** Why the slave applies or stores no more, for now or for good; null while it does. */
  readonly failure: string | null
}
