// Looks at what lies behind the last valid block of a segment: is it nothing, and does a later block promise
// that what should be here was durable? Shared by recovery and verification.
import { MiB } from '../limits.ts'
import type { DiskFile } from '../platform/disk.ts'
import { BlockSeed, BlockView, blockAlignment, blockHeaderBytes, blockMagic } from './block.ts'
import { hex, type BlockFault, type LogPosition } from './chain.ts'
import { crc32 } from './crc.ts'
import type { TailFault } from './recovery-table.ts'
import { formatVersion, type SegmentHeader } from './segment.ts'
import { readSegment } from './segment-read.ts'

const windowBytes = 1 * MiB
const zeros = Buffer.alloc(windowBytes)

const magicBytes = Buffer.alloc(4)
magicBytes.writeUInt32LE(blockMagic)

/**
 * Bytes of later blocks whose CRC is computed before the search is given up; then a promise is assumed, since
 * refusing loses nothing. Only an item full of made-up block headers gets there.
 */
const searchBytesMax = 512 * MiB

/** Offset behind the last byte from `offset` on that is not zero; `offset` when there is none. */
export async function writtenEnd(file: DiskFile, offset: number): Promise<number> {
  const buffer = Buffer.allocUnsafe(windowBytes)
  let end = offset
  for (let at = offset; ;) {
    const count = await readSegment(file, buffer, 0, windowBytes, at)
    if (count === 0) return end
    if (buffer.compare(zeros, 0, count, 0, count) !== 0) {
      let last = count - 1
      while (buffer[last] === 0) last--
      end = at + last + 1
    }
    at += count
  }
}

/** What a fault of `block` means for recovery. `empty`: only zeros follow. */
export function tailFault(fault: BlockFault, empty: boolean, block: BlockView): TailFault {
  switch (fault) {
    case 'end':
      return empty ? 'nothing' : 'torn'
    case 'short':
    case 'magic':
    case 'length':
    case 'crc':
      return 'torn'
    case 'version':
      return block.version > formatVersion ? 'newer' : 'foreign'
    case 'chain':
    case 'number':
    case 'database':
    case 'timeline':
      return 'foreign'
  }
}

/** What a fault means, for people. */
export function describeFault(fault: BlockFault, block: BlockView): string {
  switch (fault) {
    case 'end':
      return 'there are only zeros where a block should start'
    case 'short':
      return 'the block is incomplete'
    case 'magic':
      return 'no block starts here'
    case 'length':
      return `a block cannot have the length ${block.length}`
    case 'crc':
      return `the block does not have the CRC ${hex(block.crc)} that its header says`
    case 'version':
      return `the block has format version ${block.version} and flags ${block.flags}`
    case 'chain':
      return `the block continues another one (chain ${hex(block.chain)})`
    case 'number':
      return `the block starts with transaction ${block.firstTxn}`
    case 'database':
      return 'the block belongs to another database'
    case 'timeline':
      return `the block belongs to timeline ${block.timeline}`
  }
}

/**
 * True when a valid block behind `offset` says that transaction `txn` was durable when it was written. Blocks
 * start at multiples of 8, and a CRC is that of one place only, so bytes inside an item are never taken for one.
 */
export async function laterPromise(
  file: DiskFile,
  header: SegmentHeader,
  offset: number,
  txn: number,
): Promise<boolean> {
  const promises = ({ promise, firstTxn }: BlockView) => promise >= txn && promise < firstTxn
  return (await findLoneBlock(file, header, offset, promises)) !== null
}

/** A valid block by itself: what leads to it is not known. */
export interface LoneBlock {
  /** Null: the search was given up, after too many bytes. */
  readonly offset: number | null
  /** The position that it continues. */
  readonly before: LogPosition
}

/** The first valid block of the segment behind `offset` for which `wanted` says so; null when there is none. */
export async function findLoneBlock(
  file: DiskFile,
  header: SegmentHeader,
  offset: number,
  wanted: (block: BlockView) => boolean,
): Promise<LoneBlock | null> {
  const buffer = Buffer.allocUnsafe(windowBytes + blockHeaderBytes)
  const size = file.size()
  const search = new Search(file, header, size, wanted)
  // Windows overlap by a header, so that none is cut in two.
  for (let at = align(offset + 1); at + blockHeaderBytes <= size; at += windowBytes) {
    const count = await readSegment(file, buffer, 0, buffer.length, at)
    const found = buffer.subarray(0, count)
    for (let i = found.indexOf(magicBytes); i >= 0; i = found.indexOf(magicBytes, i + 4)) {
      if (i % blockAlignment !== 0 || i >= windowBytes) continue
      if (i + blockHeaderBytes > count) break
      const block = await search.at(found, i, at + i)
      if (block !== null) return block
    }
  }
  return null
}

class Search {
  readonly #file: DiskFile
  readonly #header: SegmentHeader
  readonly #seed: BlockSeed
  readonly #block = new BlockView()
  readonly #piece = Buffer.allocUnsafe(windowBytes)
  readonly #size: number
  readonly #wanted: (block: BlockView) => boolean
  #bytesLeft = searchBytesMax

  constructor(
    file: DiskFile,
    header: SegmentHeader,
    size: number,
    wanted: (block: BlockView) => boolean,
  ) {
    this.#file = file
    this.#header = header
    this.#seed = new BlockSeed(header.lineageId, header.firstTxn)
    this.#size = size
    this.#wanted = wanted
  }

  /** The header at `bytes[start]` lies at `offset` in the file. Cheap tests first: a CRC costs a read. */
  async at(bytes: Buffer, start: number, offset: number): Promise<LoneBlock | null> {
    const block = this.#block.reset(bytes, start)
    const { length } = block
    if (!this.#wanted(block)) return null
    if (block.impossibleLength || offset + length > this.#size) return null
    if (block.timeline !== this.#header.timeline) return null
    if (!block.hasDatabaseId(this.#header.databaseId)) return null
    const before = { txn: block.firstTxn - 1, chain: block.chain }
    const { crc } = block
    this.#bytesLeft -= length
    if (this.#bytesLeft < 0) return { offset: null, before }
    return (await this.#crc(offset, length)) === crc ? { offset, before } : null
  }

  async #crc(offset: number, length: number): Promise<number> {
    let crc = this.#seed.at(offset)
    for (let at = 8; at < length;) {
      const wanted = Math.min(windowBytes, length - at)
      const count = await readSegment(this.#file, this.#piece, 0, wanted, offset + at)
      if (count < wanted) return -1
      crc = crc32(this.#piece, 0, count, crc)
      at += count
    }
    return crc
  }
}

function align(offset: number): number {
  return Math.ceil(offset / blockAlignment) * blockAlignment
}
