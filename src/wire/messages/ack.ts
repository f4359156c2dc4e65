// ACK, slave to master: how far the slave is. Each ack replaces the one before it.
//
//    0  received txn   u64  last transaction in the slave's log, on disk or not
//    8  durable txn    u64  last one that a power failure would leave
//   16  applied txn    u64  last one whose effect readers see
//   24  applied time   u64  the master's wall clock in the block of that transaction, ms since 1970; 0 for none
//   32  durable chain  u32  CRC-32 of the block that ends with the durable transaction
//   36  applying       u32  0: it applies what it stores; 1: not, by order; 2: later, by order; 3: it cannot
import type { LogPosition } from '../../log/chain.ts'
import type { Codec } from '../codec.ts'
import type { FieldReader, FieldWriter } from '../fields.ts'

/** Whether a slave applies what it stores: by order not at all, or later; or it cannot. By their numbers in an ACK. */
export const applyingWords = ['on', 'off', 'later', 'failed'] as const
export type Applying = (typeof applyingWords)[number]

/** The three positions of a slave. */
export interface Progress {
  readonly receivedTxn: number
  readonly durable: LogPosition
  readonly appliedTxn: number
  /** Milliseconds since 1970 by the master's clock: its own echo, so no two clocks are ever compared. */
  readonly appliedTime: number
  readonly applying: Applying
}

export interface Ack {
  readonly name: 'ack'
  readonly progress: Progress
}

export const progressBytes = 40

export function writeProgress(fields: FieldWriter, progress: Progress): void {
  fields.u64(progress.receivedTxn)
  fields.u64(progress.durable.txn)
  fields.u64(progress.appliedTxn)
  fields.u64(progress.appliedTime)
  fields.u32(progress.durable.chain)
  fields.u32(applyingWords.indexOf(progress.applying))
}

export function readProgress(fields: FieldReader): Progress {
  const receivedTxn = fields.u64()
  const durableTxn = fields.u64()
  const appliedTxn = fields.u64()
  const appliedTime = fields.u64()
  const chain = fields.u32()
  const number = fields.u32()
  const applying = applyingWords[number]
  if (applying === undefined) throw fields.fail(`applying ${number}`)
  // What is not on disk cannot be durable. Applied may be ahead of durable: replay follows what was received.
  if (durableTxn > receivedTxn) throw fields.fail(`durable ${durableTxn}, received ${receivedTxn}`)
  return { receivedTxn, durable: { txn: durableTxn, chain }, appliedTxn, appliedTime, applying }
}

export const ackCodec: Codec<Ack> = {
  name: 'ack',
  bytesMin: progressBytes,
  bytesMax: progressBytes,
  write(fields, ack) {
    writeProgress(fields, ack.progress)
  },
  read(fields) {
    return { name: 'ack', progress: readProgress(fields) }
  },
}
