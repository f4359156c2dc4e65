// PROMOTE, the first message of a connection that a master makes to its slave: take over. The slave answers with
// WELCOME when it holds exactly this and has applied it, hangs up, and becomes a master; or with REFUSE.
//
//    0  version      u16       of the protocol: 1
//    2  name length  u8        1 to 32
//    3  reserved     u8        0
//    4  chain        u32       CRC-32 of the block that ends with txn
//    8  server id    16 bytes  of the sender
//   24  database id  16 bytes
//   40  txn          u64       the last transaction of the sender, which takes no more
//   48  name         UTF-8     of the sender
import type { LogPosition } from '../../log/chain.ts'
import type { Codec } from '../codec.ts'
import { askVersion } from '../protocol.ts'

export interface Promote {
  readonly name: 'promote'
  readonly serverName: string
  readonly serverId: Uint8Array
  readonly databaseId: Uint8Array
  /** Where the log of the sender ends, for good. */
  readonly end: LogPosition
}

const fixedBytes = 48
const nameBytesMax = 32

export const promoteCodec: Codec<Promote> = {
  name: 'promote',
  bytesMin: fixedBytes + 1,
  bytesMax: fixedBytes + nameBytesMax,

  write(fields, promote) {
    const name = Buffer.from(promote.serverName)
    fields.u16(askVersion)
    fields.u8(name.length)
    fields.u8(0)
    fields.u32(promote.end.chain)
    fields.identity(promote.serverId)
    fields.identity(promote.databaseId)
    fields.u64(promote.end.txn)
    fields.raw(name)
  },

  read(fields) {
    const version = fields.u16()
    if (version !== askVersion) throw fields.fail(`protocol version ${version}`)
    const nameLength = fields.u8()
    fields.skip(1)
    if (nameLength < 1) throw fields.fail('no name')
    const chain = fields.u32()
    const serverId = fields.identity()
    const databaseId = fields.identity()
    const txn = fields.u64()
    const serverName = fields.text(nameLength)
    fields.finish()
    return { name: 'promote', serverName, serverId, databaseId, end: { txn, chain } }
  },
}
