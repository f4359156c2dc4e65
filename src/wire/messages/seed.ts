// The messages of a seed: a full copy of the master's database, over a connection of its own.
//
// SEED, master to slave, the first message: it would give the slave a copy.
//
//    0  version       u16       of these messages: 1
//    2  flags         u8        bit 0: an operator has ordered it
//    3  name length   u8        1 to 64
//    4  timeline      u32       of the last durable transaction
//    8  server id     16 bytes  of the master
//   24  database id   16 bytes
//   40  lineage id    16 bytes  of the timeline
//   56  first txn     u64       first transaction that the log still holds
//   64  durable txn   u64       last one that is durable
//   72  slave name    u8        length, 1 to 64
//   73  reserved      u8        0
//   74  reserved      u16       0
//   76  name          UTF-8     of the master
//    …  slave name    UTF-8     as the master's hb.toml calls the slave
//
// SEED-STATE, slave to master: the answer, and then how far the slave has made the copy durable. When all of it is, it
// has been checked, and the slave begins anew with it.
//
//    0  image id      16 bytes  zeros: the slave has nothing of a copy
//   16  offset        u64
//
// SEED-IMAGE, master to slave: what comes, and from where on.
//
//    0  image id      16 bytes  random; the same bytes have the same id
//   16  total bytes   u64       manifest, then the files in its order, one behind the other
//   24  offset        u64       of the first SEED-DATA
//   32  manifest      u32       length of the manifest
//   36  reserved      u32       0
//
// SEED-DATA, master to slave: a piece of the copy.
//
//    0  offset        u64
//    8  length        u32       1 to 65,536
//   12  reserved      u32       0
//   16  data
import { KiB, nameBytesMax } from '../../limits.ts'
import { identityBytes } from '../../log/segment.ts'
import type { Codec } from '../codec.ts'

export const seedVersion = 1
export const seedDataBytesMax = 64 * KiB
const seedFixedBytes = 76

export interface Seed {
  readonly name: 'seed'
  /** An operator has ordered it. */
  readonly ordered: boolean
  readonly serverName: string
  readonly serverId: Uint8Array
  /** As the master's hb.toml calls the slave. */
  readonly slaveName: string
  readonly databaseId: Uint8Array
  readonly lineageId: Uint8Array
  readonly timeline: number
  readonly firstTxn: number
  readonly durableTxn: number
}

export const seedCodec: Codec<Seed> = {
  name: 'seed',
  bytesMin: seedFixedBytes + 2,
  bytesMax: seedFixedBytes + 2 * nameBytesMax,

  write(fields, seed) {
    const name = Buffer.from(seed.serverName)
    const slaveName = Buffer.from(seed.slaveName)
    fields.u16(seedVersion)
    fields.u8(seed.ordered ? 1 : 0)
    fields.u8(name.length)
    fields.u32(seed.timeline)
    fields.identity(seed.serverId)
    fields.identity(seed.databaseId)
    fields.identity(seed.lineageId)
    fields.u64(seed.firstTxn)
    fields.u64(seed.durableTxn)
    fields.u8(slaveName.length)
    fields.u8(0)
    fields.u16(0)
    fields.raw(name)
    fields.raw(slaveName)
  },

  read(fields) {
    const version = fields.u16()
    if (version !== seedVersion) throw fields.fail(`version ${version}`)
    const flags = fields.u8()
    if (flags > 1) throw fields.fail(`the flags ${flags}`)
    const nameLength = fields.u8()
    const timeline = fields.u32()
    const serverId = fields.identity()
    const databaseId = fields.identity()
    const lineageId = fields.identity()
    const firstTxn = fields.u64()
    const durableTxn = fields.u64()
    const slaveNameLength = fields.u8()
    fields.skip(3)
    for (const length of [nameLength, slaveNameLength]) {
      if (length < 1 || length > nameBytesMax) throw fields.fail(`a name of ${length} bytes`)
    }
    const serverName = fields.text(nameLength)
    const slaveName = fields.text(slaveNameLength)
    fields.finish()
    const ids = { serverId, databaseId, lineageId }
    return {
      name: 'seed',
      ordered: flags === 1,
      serverName,
      slaveName,
      ...ids,
      timeline,
      firstTxn,
      durableTxn,
    }
  },
}

export interface SeedState {
  readonly name: 'seed-state'
  readonly imageId: Uint8Array
  readonly offset: number
}

export const seedStateCodec: Codec<SeedState> = {
  name: 'seed-state',
  bytesMin: identityBytes + 8,
  bytesMax: identityBytes + 8,
  write(fields, { imageId, offset }) {
    fields.identity(imageId)
    fields.u64(offset)
  },
  read(fields) {
    return { name: 'seed-state', imageId: fields.identity(), offset: fields.u64() }
  },
}

export interface SeedImage {
  readonly name: 'seed-image'
  readonly imageId: Uint8Array
  readonly totalBytes: number
  readonly offset: number
  readonly manifestBytes: number
}

export const seedImageCodec: Codec<SeedImage> = {
  name: 'seed-image',
  bytesMin: identityBytes + 24,
  bytesMax: identityBytes + 24,
  write(fields, image) {
    fields.identity(image.imageId)
    fields.u64(image.totalBytes)
    fields.u64(image.offset)
    fields.u32(image.manifestBytes)
    fields.u32(0)
  },
  read(fields) {
    const imageId = fields.identity()
    const totalBytes = fields.u64()
    const offset = fields.u64()
    const manifestBytes = fields.u32()
    fields.skip(4)
    if (manifestBytes > totalBytes || offset > totalBytes) throw fields.fail('impossible lengths')
    return { name: 'seed-image', imageId, totalBytes, offset, manifestBytes }
  },
}

export interface SeedData {
  readonly name: 'seed-data'
  readonly offset: number
  readonly data: Uint8Array
}

export const seedDataCodec: Codec<SeedData> = {
  name: 'seed-data',
  bytesMin: 17,
  bytesMax: 16 + seedDataBytesMax,
  write(fields, { offset, data }) {
    fields.u64(offset)
    fields.u32(data.length)
    fields.u32(0)
    fields.raw(data)
  },
  read(fields) {
    const offset = fields.u64()
    const length = fields.u32()
    fields.skip(4)
    const data = fields.raw(length)
    fields.finish()
    return { name: 'seed-data', offset, data }
  },
}
