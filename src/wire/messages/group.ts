// ASK-GROUP, master to slave, as the first message of a connection and after it: what items do you hold of this group,
// which is damaged here? From protocol version 5 on.
//
//    0  token        u64       anything
//    8  database id  16 bytes
//   24  lineage id   16 bytes  of the master's log at its end
//   40  txn          u64       the slave must have applied it
//   48  file number  u32
//   52  from         u32       first hash of the items
//   56  to           u32       first hash behind them; 0 is 2^32
//   60  reserved     u32       0
//   64  offset       u64       in the bytes of all the items
//
// GROUP-PIECE: the answer, a piece of the items in the order of their item-ids, each of them: u16 length of the
// item-id, u32 length of the value, item-id, value. They are the same all the while: the master takes no updates of
// them.
//
//    0  token        u64       that of the ASK-GROUP
//    8  total        u64       bytes of all the items
//   16  digest       32 bytes  SHA-256 of all of them
//   48  length       u32       of the data, 0 to 65,536
//   52  data
import { pieceBytesMax } from '../../log/repair.ts'
import { identityBytes } from '../../log/segment.ts'
import type { Codec } from '../codec.ts'
import { readRange, writeRange, type GroupRange } from './repair.ts'

export interface GroupQuestion extends GroupRange {
  readonly databaseId: Uint8Array
  readonly lineageId: Uint8Array
  readonly txn: number
}

export interface AskGroup extends GroupQuestion {
  readonly name: 'ask-group'
  readonly token: number
  readonly offset: number
}

export interface GroupPiece {
  readonly name: 'group-piece'
  readonly token: number
  readonly total: number
  readonly digest: Uint8Array
  readonly data: Uint8Array
}

const askBytes = 40 + 2 * identityBytes
const digestBytes = 32
const fixedBytes = 20 + digestBytes

export const askGroupCodec: Codec<AskGroup> = {
  name: 'ask-group',
  bytesMin: askBytes,
  bytesMax: askBytes,
  write(fields, question) {
    fields.u64(question.token)
    fields.identity(question.databaseId)
    fields.identity(question.lineageId)
    fields.u64(question.txn)
    writeRange(fields, question)
    fields.u32(0)
    fields.u64(question.offset)
  },
  read(fields) {
    const token = fields.u64()
    const databaseId = fields.identity()
    const lineageId = fields.identity()
    const txn = fields.u64()
    const range = readRange(fields)
    fields.skip(4)
    const offset = fields.u64()
    return { name: 'ask-group', token, databaseId, lineageId, txn, ...range, offset }
  },
}

export const groupPieceCodec: Codec<GroupPiece> = {
  name: 'group-piece',
  bytesMin: fixedBytes,
  bytesMax: fixedBytes + pieceBytesMax,
  write(fields, { token, total, digest, data }) {
    fields.u64(token)
    fields.u64(total)
    fields.raw(digest)
    fields.u32(data.length)
    fields.raw(data)
  },
  read(fields) {
    const token = fields.u64()
    const total = fields.u64()
    const digest = fields.raw(digestBytes)
    const data = fields.raw(fields.u32())
    fields.finish()
    return { name: 'group-piece', token, total, digest, data }
  },
}
