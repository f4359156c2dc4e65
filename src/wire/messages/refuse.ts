// REFUSE, either way, the last message of a connection: why its sender will not go on, in words for the operator.
//
//    0  code          u16  see refusalCodes
//    2  text length   u16  at most 1,024
//    4  reserved      u32  0
//    8  sender txn    u64  last transaction in the sender's log
//   16  sender chain  u32
//   20  peer chain    u32
//   24  peer txn      u64  last transaction in the receiver's log as its sender knows it; 0 when it does not
//   32  text          UTF-8
import { HotBackupError, type ErrorCode } from '../../errors.ts'
import { refusalBytesMax } from '../../limits.ts'
import { historyStart, type LogPosition } from '../../log/chain.ts'
import type { Codec } from '../codec.ts'

export interface Refuse {
  readonly name: 'refuse'
  readonly code: ErrorCode
  readonly text: string
  /** Where the log of the sender of this message ends. */
  readonly sender: LogPosition
  readonly peer: LogPosition
}

/** The numbers of the codes on the wire. They never change; a number that is not here is read as ERR_LINK_REFUSED. */
const refusalCodes: readonly (readonly [number, ErrorCode])[] = [
  [1, 'ERR_LINK_REFUSED'],
  [2, 'ERR_WIRE'],
  [3, 'ERR_LINK_FOREIGN'],
  [4, 'ERR_LINK_DIVERGED'],
  [5, 'ERR_LINK_SEED'],
  [6, 'ERR_LINK_LOOP'],
  [7, 'ERR_LOG_CORRUPT'],
  [8, 'ERR_STOPPED'],
  [9, 'ERR_WRONG_TYPE'],
  [10, 'ERR_DISK_FULL'],
  [11, 'ERR_LOG_VERSION'],
  [12, 'ERR_FENCED'],
  [13, 'ERR_LINK_NAME'],
]
const numberOf = new Map(refusalCodes.map(([number, code]) => [code, number]))
const codeOf = new Map(refusalCodes)

const fixedBytes = 32

export const refuseCodec: Codec<Refuse> = {
  name: 'refuse',
  bytesMin: fixedBytes,
  bytesMax: fixedBytes + refusalBytesMax,

  write(fields, refuse) {
    const text = shortened(refuse.text)
    fields.u16(numberOf.get(refuse.code) ?? 1)
    fields.u16(text.length)
    fields.u32(0)
    fields.u64(refuse.sender.txn)
    fields.u32(refuse.sender.chain)
    fields.u32(refuse.peer.chain)
    fields.u64(refuse.peer.txn)
    fields.raw(text)
  },

  read(fields) {
    const code = codeOf.get(fields.u16()) ?? 'ERR_LINK_REFUSED'
    const length = fields.u16()
    fields.skip(4)
    const sender = fields.position()
    const peerChain = fields.u32()
    const peer = { txn: fields.u64(), chain: peerChain }
    const text = fields.text(length)
    fields.finish()
    return { name: 'refuse', code, text, sender, peer }
  },
}

/** The message that tells the peer of an error of this side. */
export function refusalOf(
  error: HotBackupError,
  sender: LogPosition,
  peer: LogPosition | null,
): Refuse {
  return {
    name: 'refuse',
    code: error.code,
    text: error.message,
    sender,
    peer: peer ?? historyStart,
  }
}

/** At most 1,024 bytes, without half a character at the end. */
function shortened(text: string): Buffer {
  const bytes = Buffer.from(text)
  if (bytes.length <= refusalBytesMax) return bytes
  let end = refusalBytesMax
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.subarray(0, end)
}
