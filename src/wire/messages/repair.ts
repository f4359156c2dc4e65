// ASK-REPAIR, slave to master, while it streams: a group of mine is damaged; write its items into the log again. From
// protocol version 5 on.
//
//    0  token        u64  anything
//    8  file number  u32
//   12  from         u32  first hash of the items
//   16  to           u32  first hash behind them; 0 is 2^32
//   20  reserved     u32  0
//
// REPAIRED, master to slave: the answer.
//
//    0  token        u64  that of the ASK-REPAIR
//    8  txn          u64  transaction in which all of it is in the log; 0 when it could not be done
//   16  text length  u16  at most 1,024
//   18  reserved     u16  0
//   20  text         why not, UTF-8
import { refusalBytesMax } from '../../limits.ts'
import type { Codec } from '../codec.ts'
import type { FieldReader, FieldWriter } from '../fields.ts'

/** Items of a file with hashes from one up to another, excluded. */
export interface GroupRange {
  readonly fileNumber: number
  readonly from: number
  readonly to: number
}

export interface AskRepair extends GroupRange {
  readonly name: 'ask-repair'
  readonly token: number
}

export interface Repaired {
  readonly name: 'repaired'
  readonly token: number
  /** 0: not done. */
  readonly txn: number
  readonly text: string
}

const askBytes = 24
const fixedBytes = 20

export const askRepairCodec: Codec<AskRepair> = {
  name: 'ask-repair',
  bytesMin: askBytes,
  bytesMax: askBytes,
  write(fields, { token, ...range }) {
    fields.u64(token)
    writeRange(fields, range)
    fields.u32(0)
  },
  read(fields) {
    const token = fields.u64()
    const range = readRange(fields)
    fields.skip(4)
    return { name: 'ask-repair', token, ...range }
  },
}

export const repairedCodec: Codec<Repaired> = {
  name: 'repaired',
  bytesMin: fixedBytes,
  bytesMax: fixedBytes + refusalBytesMax,
  write(fields, { token, txn, text }) {
    const bytes = Buffer.from(text).subarray(0, refusalBytesMax)
    fields.u64(token)
    fields.u64(txn)
    fields.u16(bytes.length)
    fields.u16(0)
    fields.raw(bytes)
  },
  read(fields) {
    const token = fields.u64()
    const txn = fields.u64()
    const length = fields.u16()
    fields.skip(2)
    const text = fields.text(length)
    fields.finish()
    return { name: 'repaired', token, txn, text }
  },
}

export function writeRange(fields: FieldWriter, { fileNumber, from, to }: GroupRange): void {
  fields.u32(fileNumber)
  fields.u32(from)
  fields.u32(to === 2 ** 32 ? 0 : to)
}

export function readRange(fields: FieldReader): GroupRange {
  const fileNumber = fields.u32()
  const from = fields.u32()
  const to = fields.u32() || 2 ** 32
  if (from >= to) throw fields.fail(`hashes from ${from} to ${to}`)
  return { fileNumber, from, to }
}
