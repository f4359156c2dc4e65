// ASK-LOG: what bytes lie at this place of your log? A server whose own are damaged asks, and checks what comes. From
// protocol version 3 on; slave to master any time after HELLO, and as the first message of a connection that a master
// makes to a slave's port.
//
//    0  token        u64       anything
//    8  database id  16 bytes
//   24  segment      u64       its first transaction
//   32  offset       u64       in the segment
//   40  length       u32       1 to 65,536
//   44  reserved     u32       0
//
// LOG-PIECE: the answer.
//
//    0  token        u64       that of the ASK-LOG
//    8  held         u8        1: the sender has that segment, 0: it has not
//    9  reserved     3 bytes   0
//   12  length       u32       of the data, 0 to 65,536: less than was asked for where the durable blocks end
//   16  data
import { pieceBytesMax } from '../../log/repair.ts'
import type { PieceQuestion } from '../../log/pieces.ts'
import { identityBytes } from '../../log/segment.ts'
import type { Codec } from '../codec.ts'

export interface AskLog extends PieceQuestion {
  readonly name: 'ask-log'
  readonly token: number
}

export interface LogPiece {
  readonly name: 'log-piece'
  readonly token: number
  /** Null: the sender does not hold the segment. */
  readonly data: Uint8Array | null
}

const askBytes = 32 + identityBytes
const fixedBytes = 16

export const askLogCodec: Codec<AskLog> = {
  name: 'ask-log',
  bytesMin: askBytes,
  bytesMax: askBytes,

  write(fields, { token, databaseId, segmentFirstTxn, offset, length }) {
    fields.u64(token)
    fields.identity(databaseId)
    fields.u64(segmentFirstTxn)
    fields.u64(offset)
    fields.u32(length)
    fields.u32(0)
  },

  read(fields) {
    const token = fields.u64()
    const databaseId = fields.identity()
    const segmentFirstTxn = fields.u64()
    const offset = fields.u64()
    const length = fields.u32()
    fields.skip(4)
    if (length < 1 || length > pieceBytesMax) throw fields.fail(`a piece of ${length} bytes`)
    return { name: 'ask-log', token, databaseId, segmentFirstTxn, offset, length }
  },
}

export const logPieceCodec: Codec<LogPiece> = {
  name: 'log-piece',
  bytesMin: fixedBytes,
  bytesMax: fixedBytes + pieceBytesMax,

  write(fields, { token, data }) {
    fields.u64(token)
    fields.u8(data === null ? 0 : 1)
    fields.u8(0)
    fields.u16(0)
    fields.u32(data?.length ?? 0)
    if (data !== null) fields.raw(data)
  },

  read(fields) {
    const token = fields.u64()
    const held = fields.u8()
    fields.skip(3)
    const length = fields.u32()
    if (held > 1 || (held === 0 && length > 0)) throw fields.fail('an impossible answer')
    const data = fields.raw(length)
    fields.finish()
    return { name: 'log-piece', token, data: held === 1 ? data : null }
  },
}
