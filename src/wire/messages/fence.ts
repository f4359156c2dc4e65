// FENCE, slave to master, before the REFUSE of a master of an earlier timeline: there is a later one, so the master is
// over and must take no more updates.
//
//    0  timeline     u32       that the sender follows, or has begun
//    4  name length  u8        1 to 64
//    5  reserved     u8        0
//    6  reserved     u16       0
//    8  database id  16 bytes
//   24  lineage id   16 bytes  of the timeline
//   40  name         UTF-8     of the sender
import { nameBytesMax } from '../../limits.ts'
import { sameIdentity } from '../../log/chain.ts'
import type { Codec } from '../codec.ts'
import type { Hello } from './hello.ts'

export interface Fence {
  readonly name: 'fence'
  readonly timeline: number
  readonly serverName: string
  readonly databaseId: Uint8Array
  readonly lineageId: Uint8Array
}

const fixedBytes = 40

export const fenceCodec: Codec<Fence> = {
  name: 'fence',
  bytesMin: fixedBytes + 1,
  bytesMax: fixedBytes + nameBytesMax,

  write(fields, fence) {
    const name = Buffer.from(fence.serverName)
    fields.u32(fence.timeline)
    fields.u8(name.length)
    fields.u8(0)
    fields.u16(0)
    fields.identity(fence.databaseId)
    fields.identity(fence.lineageId)
    fields.raw(name)
  },

  read(fields) {
    const timeline = fields.u32()
    const nameLength = fields.u8()
    fields.skip(3)
    if (nameLength < 1) throw fields.fail('no name')
    const databaseId = fields.identity()
    const lineageId = fields.identity()
    const serverName = fields.text(nameLength)
    fields.finish()
    return { name: 'fence', timeline, serverName, databaseId, lineageId }
  },
}

/** True when it tells the master that has said HELLO of a later timeline of the same database. */
export function isLater(fence: Fence, hello: Hello | null): boolean {
  if (hello === null || !sameIdentity(fence.databaseId, hello.databaseId)) return false
  return fence.timeline > hello.timeline
}
