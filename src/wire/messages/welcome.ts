// WELCOME, slave to master, the answer to HELLO: who the slave is, what it holds and how far it is.
//
//    0  version         u16       protocol version that the slave has chosen
//    2  name length     u8        1 to 64
//    3  reserved        u8        0
//    4  timeline        u32       of the slave's last segment; 0 when its log is empty
//    8  server id       16 bytes  of the slave
//   24  database id     16 bytes  zeros when its log is empty
//   40  lineage id      16 bytes  of the slave's last segment; zeros when its log is empty
//   56  received txn    u64       last transaction in the slave's log: the stream goes on behind it
//   64  received chain  u32       CRC-32 of the block that ends with it
//   68  reserved        u32       0
//   72  progress        40 bytes  as in ACK
//  112  name            UTF-8
//
// What lies behind the name is of a newer version, and is not looked at.
import { nameBytesMax } from '../../limits.ts'
import type { LogPosition } from '../../log/chain.ts'
import type { Codec } from '../codec.ts'
import { protocolVersionMax, protocolVersionMin } from '../protocol.ts'
import { progressBytes, readProgress, writeProgress, type Progress } from './ack.ts'

export interface Welcome {
  readonly name: 'welcome'
  readonly version: number
  readonly serverName: string
  readonly serverId: Uint8Array
  readonly databaseId: Uint8Array
  readonly lineageId: Uint8Array
  readonly timeline: number
  /** Where the slave's log ends. */
  readonly position: LogPosition
  readonly progress: Progress
}

const fixedBytes = 72 + progressBytes
/** Room for what newer versions append. */
const spareBytes = 256

export const welcomeCodec: Codec<Welcome> = {
  name: 'welcome',
  bytesMin: fixedBytes + 1,
  bytesMax: fixedBytes + nameBytesMax + spareBytes,

  write(fields, welcome) {
    const name = Buffer.from(welcome.serverName)
    fields.u16(welcome.version)
    fields.u8(name.length)
    fields.u8(0)
    fields.u32(welcome.timeline)
    fields.identity(welcome.serverId)
    fields.identity(welcome.databaseId)
    fields.identity(welcome.lineageId)
    fields.u64(welcome.position.txn)
    fields.u32(welcome.position.chain)
    fields.u32(0)
    writeProgress(fields, welcome.progress)
    fields.raw(name)
  },

  read(fields) {
    const version = fields.u16()
    if (version < protocolVersionMin || version > protocolVersionMax) {
      throw fields.fail(`protocol version ${version}`)
    }
    const nameLength = fields.u8()
    fields.skip(1)
    if (nameLength < 1 || nameLength > nameBytesMax) {
      throw fields.fail(`a name of ${nameLength} bytes`)
    }
    const timeline = fields.u32()
    const serverId = fields.identity()
    const databaseId = fields.identity()
    const lineageId = fields.identity()
    const position = fields.position()
    fields.skip(4)
    const progress = readProgress(fields)
    if (progress.receivedTxn !== position.txn) throw fields.fail('two ends of one log')
    const serverName = fields.text(nameLength)
    return {
      name: 'welcome',
      version,
      serverName,
      serverId,
      databaseId,
      lineageId,
      timeline,
      position,
      progress,
    }
  },
}
