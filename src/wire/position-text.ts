// A position as both sides print it: the same words in logs, refusals and status, so that two reports can be compared.
import { hex, type LogPosition } from '../log/chain.ts'

export function positionText(position: LogPosition): string {
  return position.txn === 0
    ? 'nothing'
    : `transaction ${position.txn} (chain ${hex(position.chain)})`
}

/** What comes behind a position. */
export function followingText(position: LogPosition): string {
  return position.txn === 0
    ? 'everything from the first transaction'
    : `what follows ${positionText(position)}`
}
