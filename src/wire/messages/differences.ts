// ASK-DIFFERENCES, master to slave, while it streams: where does the slave know itself to be different? From protocol
// version 4 on. The answer has some of the rows; the others are asked for in the same way.
//
//    0  token       u64  anything
//    8  start       u32  first row that is wanted, from 0
//   12  reserved    u32  0
//
// DIFFERENCES, slave to master: the answer.
//
//    0  token       u64  that of the ASK-DIFFERENCES
//    8  compared    u64  the last transaction at which something was compared
//   16  pass first  u64  transactions with which the last whole pass began …
//   24  pass last   u64  … and ended; 0 when there was none
//   32  pass time   u64  when it ended, milliseconds since 1970, by the slave's clock
//   40  known       u32  rows that there are
//   44  more        u32  differences that found no room
//   48  start       u32  first row that follows
//   52  count       u16  of the rows that follow, at most 16
//   54  reserved    u16  0
//   56  rows             for each:
//
//        0  kind            u8   1 groups, 2 changed, 3 missing, 4 extra, 5 unreadable, 6 structure
//        1  account length  u8   at most 64
//        2  file length     u8   at most 64
//        3  reserved        u8   0
//        4  id length       u16  at most 1,024
//        6  text length     u16  at most 256
//        8  modulo          u32
//       12  from            u32  first hash of the range
//       16  to              u32  first hash behind the range; 0 is 2^32
//       20  txn             u64  when the servers were compared
//       28  account, file, item-id, text
//
// Missing and extra are meant from the slave's side.
import { itemIdBytesMax, moduloMax, nameBytesMax } from '../../limits.ts'
import type { HashRange } from '../../log/verify-record.ts'
import type { Codec } from '../codec.ts'
import type { FieldReader, FieldWriter } from '../fields.ts'

export const differenceKinds = [
  'groups',
  'changed',
  'missing',
  'extra',
  'unreadable',
  'structure',
] as const
export type DifferenceKind = (typeof differenceKinds)[number]

/** One line of what differs. */
export interface Difference extends HashRange {
  readonly kind: DifferenceKind
  readonly account: string
  /** Empty for an account. */
  readonly file: string
  /** When the servers were compared. */
  readonly txn: number
  /** Of an item, otherwise empty. */
  readonly id: Buffer
  /** For people: why it could not be read, or what is different. */
  readonly text: string
}

/** A pass over all of the master's database that has been compared as a whole. */
export interface ComparedPass {
  readonly firstTxn: number
  readonly lastTxn: number
  /** Wall-clock milliseconds, by the slave's clock. */
  readonly time: number
}

export interface DifferencesStatus {
  /** The last transaction at which something was compared; 0 before the first. */
  readonly comparedTxn: number
  readonly pass: ComparedPass | null
  /** Lines that are kept. */
  readonly known: number
  /** Differences that found no room. */
  readonly more: number
}

export interface AskDifferences {
  readonly name: 'ask-differences'
  readonly token: number
  readonly start: number
}

/** What a slave knows, with some of its lines. */
export interface DifferencesPage {
  readonly status: DifferencesStatus
  readonly start: number
  readonly rows: readonly Difference[]
}

export interface DifferencesMessage {
  readonly name: 'differences'
  readonly token: number
  readonly page: DifferencesPage
}

export const differencesRowsMax = 16
const fixedBytes = 56
const rowBytes = 28
export const differenceTextBytesMax = 256
const hashEnd = 2 ** 32

export const askDifferencesCodec: Codec<AskDifferences> = {
  name: 'ask-differences',
  bytesMin: 16,
  bytesMax: 16,
  write(fields, { token, start }) {
    fields.u64(token)
    fields.u32(start)
    fields.u32(0)
  },
  read(fields) {
    const token = fields.u64()
    const start = fields.u32()
    fields.skip(4)
    return { name: 'ask-differences', token, start }
  },
}

export const differencesCodec: Codec<DifferencesMessage> = {
  name: 'differences',
  bytesMin: fixedBytes,
  bytesMax:
    fixedBytes +
    differencesRowsMax * (rowBytes + 2 * nameBytesMax + itemIdBytesMax + differenceTextBytesMax),

  write(fields, { token, page }) {
    const { status, start, rows } = page
    fields.u64(token)
    fields.u64(status.comparedTxn)
    fields.u64(status.pass?.firstTxn ?? 0)
    fields.u64(status.pass?.lastTxn ?? 0)
    fields.u64(Math.floor(status.pass?.time ?? 0))
    fields.u32(status.known)
    fields.u32(status.more)
    fields.u32(start)
    fields.u16(rows.length)
    fields.u16(0)
    for (const row of rows) writeRow(fields, row)
  },

  read(fields) {
    const token = fields.u64()
    const comparedTxn = fields.u64()
    const firstTxn = fields.u64()
    const lastTxn = fields.u64()
    const time = fields.u64()
    const known = fields.u32()
    const more = fields.u32()
    const start = fields.u32()
    const count = fields.u16()
    fields.skip(2)
    if (count > differencesRowsMax) throw fields.fail(`${count} rows`)
    const rows = Array.from({ length: count }, () => readRow(fields))
    fields.finish()
    const pass = lastTxn === 0 ? null : { firstTxn, lastTxn, time }
    const status = { comparedTxn, pass, known, more }
    return { name: 'differences', token, page: { status, start, rows } }
  },
}

function writeRow(fields: FieldWriter, row: Difference): void {
  const account = Buffer.from(row.account)
  const file = Buffer.from(row.file)
  const text = shortened(Buffer.from(row.text))
  fields.u8(differenceKinds.indexOf(row.kind) + 1)
  fields.u8(account.length)
  fields.u8(file.length)
  fields.u8(0)
  fields.u16(row.id.length)
  fields.u16(text.length)
  fields.u32(row.modulo)
  fields.u32(row.from)
  fields.u32(row.to % hashEnd)
  fields.u64(row.txn)
  for (const bytes of [account, file, row.id, text]) fields.raw(bytes)
}

/** At the end of a character. */
function shortened(text: Buffer): Buffer {
  let end = Math.min(text.length, differenceTextBytesMax)
  while (end < text.length && (text[end]! & 0xc0) === 0x80) end--
  return text.subarray(0, end)
}

function readRow(fields: FieldReader): Difference {
  const kind = differenceKinds[fields.u8() - 1]
  const accountLength = fields.u8()
  const fileLength = fields.u8()
  fields.skip(1)
  const idLength = fields.u16()
  const textLength = fields.u16()
  const modulo = fields.u32()
  const from = fields.u32()
  const behind = fields.u32()
  const to = behind === 0 ? hashEnd : behind
  const txn = fields.u64()
  if (kind === undefined) throw fields.fail('an unknown kind')
  if (accountLength > nameBytesMax || fileLength > nameBytesMax) throw fields.fail('a long name')
  if (idLength > itemIdBytesMax || textLength > differenceTextBytesMax) {
    throw fields.fail('a long text')
  }
  if (modulo < 1 || modulo > moduloMax || to <= from) throw fields.fail('an impossible range')
  const account = fields.text(accountLength)
  const file = fields.text(fileLength)
  const id = Buffer.from(fields.raw(idLength))
  return { kind, account, file, modulo, from, to, txn, id, text: fields.text(textLength) }
}
