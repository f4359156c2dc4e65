// A block is one group commit: whole transactions, one CRC over all of it.
//
// BLOCK HEADER, 72 bytes, little-endian; a block starts at a multiple of 8 in its segment
//
//    0  magic           u32       "HBBK" = 0x4b424248
//    4  CRC-32          u32       of bytes 8 to the end of the block, seeded (see below)
//    8  length          u32       of the block: header, body and padding; a multiple of 8
//   12  format version  u16       1
//   14  flags           u16       0
//   16  chain           u32       CRC-32 field of the block before, in this segment or the last one
//   20  count           u32       transactions, at least 1
//   24  first txn       u64
//   32  time            u64       wall clock of the writer, milliseconds since 1970
//   40  promise         u64       the last transaction that was known to be durable when the block was written
//   48  database id     16 bytes
//   64  timeline        u32
//   68  body length     u32       of the records, without the padding of 0 to 7 zero bytes
//   72  records         …         see record.ts
//
// The CRC starts from the CRC-32 of these 32 bytes, so that a block is never believed in another place:
//
//    0  lineage id      16 bytes
//   16  first txn of the segment  u64
//   24  offset of the block in the segment  u64
//
// A block is valid if and only if (1) its length is possible and fits, (2) its CRC matches, and (3) version,
// chain, first txn, database id and timeline are those that the blocks before it lead to (chain.ts checks).
// Any change here is a new format version: man/hb-segment.5 says so too.
import { blockBytesMax } from '../limits.ts'
import { crc32 } from './crc.ts'
import { formatVersion, identityBytes } from './segment.ts'

export const blockMagic = 0x4b424248
export const blockHeaderBytes = 72
export const blockAlignment = 8

/** Reads the fields of a block header in place. Nothing is believed yet: see `impossibleLength`, then the CRC. */
export class BlockView {
  #view: DataView = new DataView(new ArrayBuffer(0))
  #bytes: Uint8Array = new Uint8Array()
  start = 0

  reset(bytes: Uint8Array, start: number): this {
    if (this.#bytes !== bytes) {
      this.#bytes = bytes
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    }
    this.start = start
    return this
  }
  get magic(): number {
    return this.#view.getUint32(this.start, true)
  }
  get crc(): number {
    return this.#view.getUint32(this.start + 4, true)
  }
  get length(): number {
    return this.#view.getUint32(this.start + 8, true)
  }
  get version(): number {
    return this.#view.getUint16(this.start + 12, true)
  }
  get flags(): number {
    return this.#view.getUint16(this.start + 14, true)
  }
  get chain(): number {
    return this.#view.getUint32(this.start + 16, true)
  }
  get count(): number {
    return this.#view.getUint32(this.start + 20, true)
  }
  get firstTxn(): number {
    return this.#u64(24)
  }
  get lastTxn(): number {
    return this.firstTxn + this.count - 1
  }
  get time(): number {
    return this.#u64(32)
  }
  get promise(): number {
    return this.#u64(40)
  }
  get timeline(): number {
    return this.#view.getUint32(this.start + 64, true)
  }
  get bodyStart(): number {
    return this.start + blockHeaderBytes
  }
  get bodyEnd(): number {
    return this.start + blockHeaderBytes + this.#view.getUint32(this.start + 68, true)
  }
  hasDatabaseId(id: Uint8Array): boolean {
    for (let i = 0; i < identityBytes; i++) {
      if (this.#bytes[this.start + 48 + i] !== id[i]) return false
    }
    return true
  }
  /** True when no block can have this length and body length, whatever the CRC says. */
  get impossibleLength(): boolean {
    const length = this.length
    const body = this.#view.getUint32(this.start + 68, true)
    return (
      length < blockHeaderBytes ||
      length > blockBytesMax ||
      length % blockAlignment !== 0 ||
      body > length - blockHeaderBytes ||
      length - blockHeaderBytes - body >= blockAlignment
    )
  }
  #u64(offset: number): number {
    const at = this.start + offset
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32
  }
}

/** The CRC seeds of the blocks of one segment. */
export class BlockSeed {
  readonly #bytes = new Uint8Array(identityBytes + 16)
  readonly #view = new DataView(this.#bytes.buffer)

  constructor(lineageId: Uint8Array, segmentFirstTxn: number) {
    this.#bytes.set(lineageId)
    this.#view.setBigUint64(identityBytes, BigInt(segmentFirstTxn), true)
  }

  at(offset: number): number {
    this.#view.setUint32(identityBytes + 8, offset >>> 0, true)
    this.#view.setUint32(identityBytes + 12, Math.floor(offset / 2 ** 32), true)
    return crc32(this.#bytes, 0, this.#bytes.length)
  }
}

export interface BlockFields {
  readonly chain: number
  readonly count: number
  readonly firstTxn: number
  /** Wall-clock milliseconds. */
  readonly time: number
  readonly promise: number
  readonly databaseId: Uint8Array
  readonly timeline: number
}

/**
 * Completes a block whose records lie in `bytes` from offset 72 to `bodyEnd`: adds padding, header and CRC.
 * The buffer must have 7 bytes of room behind the body. Returns the block's length; its CRC lies in bytes 4 to 7.
 */
export function sealBlock(
  bytes: Buffer,
  bodyEnd: number,
  fields: BlockFields,
  seed: number,
): number {
  const length = Math.ceil(bodyEnd / blockAlignment) * blockAlignment
  bytes.fill(0, bodyEnd, length)
  const view = new DataView(bytes.buffer, bytes.byteOffset, blockHeaderBytes)
  view.setUint32(0, blockMagic, true)
  view.setUint32(8, length, true)
  view.setUint32(12, formatVersion, true) // version, and no flags
  view.setUint32(16, fields.chain, true)
  view.setUint32(20, fields.count, true)
  setUint64(view, 24, fields.firstTxn)
  setUint64(view, 32, fields.time)
  setUint64(view, 40, fields.promise)
  bytes.set(fields.databaseId, 48)
  view.setUint32(64, fields.timeline, true)
  view.setUint32(68, bodyEnd - blockHeaderBytes, true)
  view.setUint32(4, crc32(bytes, 8, length, seed), true)
  return length
}

/** The CRC that a block should have. */
export function blockCrc(bytes: Uint8Array, start: number, length: number, seed: number): number {
  return crc32(bytes, start + 8, start + length, seed)
}

function setUint64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value >>> 0, true)
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true)
}
