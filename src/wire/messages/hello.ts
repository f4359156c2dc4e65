// HELLO, master to slave, the first message: who calls, with which database, and what its log holds.
//
//    0  version min     u16       oldest protocol version that the master speaks
//    2  version max     u16       newest one
//    4  timeline        u32       of the last durable transaction
//    8  server id       16 bytes  of the master
//   24  database id     16 bytes
//   40  lineage id      16 bytes  of the timeline
//   56  first txn       u64       first transaction that the log still holds
//   64  durable txn     u64       last transaction that the master will ship
//   72  durable chain   u32
//   76  path count      u8        servers upstream of the master, at most 16
//   77  name length     u8        1 to 64
//   78  slave name len  u8        1 to 64
//   79  reserved        u8        0
//   80  path            16 bytes each, the nearest server last
//    …  name            UTF-8
//    …  slave name      UTF-8     as the master's hb.toml calls the slave
//
// What lies behind the names is of a newer version, and is not looked at.
import { cascadeServersMax, nameBytesMax } from '../../limits.ts'
import type { LogPosition } from '../../log/chain.ts'
import { identityBytes } from '../../log/segment.ts'
import type { Codec } from '../codec.ts'
import { chooseVersion, protocolVersionMax, protocolVersionMin } from '../protocol.ts'

export interface Hello {
  readonly name: 'hello'
  /** The newest version that both sides speak; set by reading. What is written is the range of this program. */
  readonly version?: number
  readonly serverName: string
  readonly serverId: Uint8Array
  /** As the master's hb.toml calls the slave. */
  readonly slaveName: string
  readonly databaseId: Uint8Array
  readonly lineageId: Uint8Array
  readonly timeline: number
  readonly firstTxn: number
  readonly durable: LogPosition
  /** Ids of the servers upstream of the master: a slave that finds itself here would close a loop. */
  readonly path: readonly Uint8Array[]
}

const fixedBytes = 80
/** Room for what newer versions append. */
const spareBytes = 256

export const helloCodec: Codec<Hello> = {
  name: 'hello',
  bytesMin: 4,
  bytesMax: fixedBytes + cascadeServersMax * identityBytes + 2 * nameBytesMax + spareBytes,

  write(fields, hello) {
    const name = Buffer.from(hello.serverName)
    const slaveName = Buffer.from(hello.slaveName)
    fields.u16(protocolVersionMin)
    fields.u16(protocolVersionMax)
    fields.u32(hello.timeline)
    fields.identity(hello.serverId)
    fields.identity(hello.databaseId)
    fields.identity(hello.lineageId)
    fields.u64(hello.firstTxn)
    fields.u64(hello.durable.txn)
    fields.u32(hello.durable.chain)
    fields.u8(hello.path.length)
    fields.u8(name.length)
    fields.u8(slaveName.length)
    fields.u8(0)
    for (const id of hello.path) fields.identity(id)
    fields.raw(name)
    fields.raw(slaveName)
  },

  read(fields) {
    // Before anything else: the layout behind these two fields may be one that this program does not know.
    const version = chooseVersion({ versionMin: fields.u16(), versionMax: fields.u16() })
    const timeline = fields.u32()
    const serverId = fields.identity()
    const databaseId = fields.identity()
    const lineageId = fields.identity()
    const firstTxn = fields.u64()
    const durable = fields.position()
    const pathCount = fields.u8()
    const nameLength = fields.u8()
    const slaveNameLength = fields.u8()
    fields.skip(1)
    if (pathCount > cascadeServersMax) throw fields.fail(`a path of ${pathCount} servers`)
    for (const length of [nameLength, slaveNameLength]) {
      if (length < 1 || length > nameBytesMax) throw fields.fail(`a name of ${length} bytes`)
    }
    const path = Array.from({ length: pathCount }, () => fields.identity())
    const serverName = fields.text(nameLength)
    const slaveName = fields.text(slaveNameLength)
    return {
      name: 'hello',
      version,
      serverName,
      serverId,
      slaveName,
      databaseId,
      lineageId,
      timeline,
      firstTxn,
      durable,
      path,
    }
  },
}
