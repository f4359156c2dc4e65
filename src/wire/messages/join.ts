// JOIN, the first message of a connection that an old master makes to the port of the new one: it wants to become its
// slave. The answer is HISTORY, or REFUSE.
//
//    0  flags        u16       bit 0: take it as a slave; without it, only tell
//    2  port         u16       where the sender will listen
//    4  name length  u8        1 to 32
//    5  host length  u8        0 to 255; none: the address from which the connection comes
//    6  version      u16       of the protocol: 1
//    8  server id    16 bytes  of the sender
//   24  database id  16 bytes
//   40  name         UTF-8
//    …  host         UTF-8
import type { Codec } from '../codec.ts'
import { askVersion } from '../protocol.ts'

export interface Join {
  readonly name: 'join'
  readonly register: boolean
  readonly serverName: string
  readonly serverId: Uint8Array
  readonly databaseId: Uint8Array
  /** Empty: the address from which the connection comes. */
  readonly host: string
  readonly port: number
}

const fixedBytes = 40
const nameBytesMax = 32
const hostBytesMax = 255

export const joinCodec: Codec<Join> = {
  name: 'join',
  bytesMin: fixedBytes + 1,
  bytesMax: fixedBytes + nameBytesMax + hostBytesMax,

  write(fields, join) {
    const name = Buffer.from(join.serverName)
    const host = Buffer.from(join.host)
    fields.u16(join.register ? 1 : 0)
    fields.u16(join.port)
    fields.u8(name.length)
    fields.u8(host.length)
    fields.u16(askVersion)
    fields.identity(join.serverId)
    fields.identity(join.databaseId)
    fields.raw(name)
    fields.raw(host)
  },

  read(fields) {
    const flags = fields.u16()
    const port = fields.u16()
    const nameLength = fields.u8()
    const hostLength = fields.u8()
    const version = fields.u16()
    if (version !== askVersion) throw fields.fail(`protocol version ${version}`)
    if (flags > 1) throw fields.fail(`the flags ${flags}`)
    if (nameLength < 1 || nameLength > nameBytesMax) {
      throw fields.fail(`a name of ${nameLength} bytes`)
    }
    const serverId = fields.identity()
    const databaseId = fields.identity()
    const serverName = fields.text(nameLength)
    const host = fields.text(hostLength)
    fields.finish()
    return { name: 'join', register: flags === 1, serverName, serverId, databaseId, host, port }
  },
}
