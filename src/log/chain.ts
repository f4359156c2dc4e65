// Walks a history block by block and says of the next bytes whether they continue it. Whoever reads blocks
// (recovery, reader, receiver, verify) asks here, so that "valid" has one meaning.
import { HotBackupError } from '../errors.ts'
import { BlockSeed, BlockView, blockCrc, blockHeaderBytes, blockMagic } from './block.ts'
import { formatVersion, identityBytes, segmentHeaderBytes, type SegmentHeader } from './segment.ts'

/** A place in a history: the last transaction before it, and the CRC of the block that holds that one. */
export interface LogPosition {
  readonly txn: number
  readonly chain: number
}

export const historyStart: LogPosition = { txn: 0, chain: 0 }

/**
 * Why the bytes do not continue the history.
 * `end`: only zeros, nothing was written. `short`: more bytes are needed. The others: not a valid block.
 */
export type BlockFault =
  | 'end'
  | 'short'
  | 'magic'
  | 'length'
  | 'crc'
  | 'version'
  | 'chain'
  | 'number'
  | 'database'
  | 'timeline'

export class BlockChain {
  /** The block that `accept` has accepted last. */
  readonly block = new BlockView()
  #segment: SegmentHeader | null = null
  #seed: BlockSeed | null = null
  #offset = 0
  #txn: number
  #crc: number
  #databaseId: Uint8Array | null

  /** Starts behind `position`. A null `databaseId` is taken from the first segment. */
  constructor(position: LogPosition, databaseId: Uint8Array | null = null) {
    this.#txn = position.txn
    this.#crc = position.chain
    this.#databaseId = databaseId
  }

  get position(): LogPosition {
    return { txn: this.#txn, chain: this.#crc }
  }
  get txn(): number {
    return this.#txn
  }
  get segment(): SegmentHeader | null {
    return this.#segment
  }
  /** Offset in the segment of the next block. */
  get offset(): number {
    return this.#offset
  }

  /** Enters a segment at its start. Throws ERR_LOG_GAP or ERR_LOG_FOREIGN when it does not continue the history. */
  enterSegment(header: SegmentHeader, path: string): void {
    const place = { path, offset: 0, txn: header.firstTxn }
    if (this.#databaseId !== null && !sameIdentity(header.databaseId, this.#databaseId)) {
      throw new HotBackupError('ERR_LOG_FOREIGN', `${path} belongs to another database`, place)
    }
    if (header.firstTxn !== this.#txn + 1) {
      const message = `${path} starts with transaction ${header.firstTxn}, expected ${this.#txn + 1}`
      throw new HotBackupError('ERR_LOG_GAP', message, place)
    }
    if (header.chain !== this.#crc) {
      const message = `${path} continues another history (chain ${hex(header.chain)}, expected ${hex(this.#crc)})`
      throw new HotBackupError('ERR_LOG_FOREIGN', message, place)
    }
    const before = this.#segment
    if (before !== null && !sameOrLaterTimeline(before, header)) {
      const message = `${path} is of timeline ${header.timeline}, which cannot follow ${before.timeline}`
      throw new HotBackupError('ERR_LOG_FOREIGN', message, place)
    }
    this.#resume(header, segmentHeaderBytes)
  }

  /** Enters a segment in the middle: `offset` is where the block behind `position` starts. */
  resumeSegment(header: SegmentHeader, position: LogPosition, offset: number): void {
    this.#txn = position.txn
    this.#crc = position.chain
    this.#resume(header, offset)
  }

  #resume(header: SegmentHeader, offset: number): void {
    this.#segment = header
    this.#databaseId = header.databaseId
    this.#seed = new BlockSeed(header.lineageId, header.firstTxn)
    this.#offset = offset
  }

  /**
   * Checks the block that starts at `start`, with the bytes up to `end` at hand. When it continues the history
   * the chain moves behind it, `block` shows it, and the answer is null; otherwise the answer is why not.
   */
  accept(bytes: Uint8Array, start: number, end: number): BlockFault | null {
    const fault = this.#check(bytes, start, end)
    if (fault === null) {
      this.#txn = this.block.lastTxn
      this.#crc = this.block.crc
      this.#offset += this.block.length
    }
    return fault
  }

  #check(bytes: Uint8Array, start: number, end: number): BlockFault | null {
    const segment = this.#segment
    const seed = this.#seed
    if (segment === null || seed === null) throw new TypeError('enter a segment first')
    if (end - start < blockHeaderBytes) return allZero(bytes, start, end) ? 'end' : 'short'
    const block = this.block.reset(bytes, start)
    if (block.magic !== blockMagic) {
      return block.magic === 0 && allZero(bytes, start, start + blockHeaderBytes) ? 'end' : 'magic'
    }
    if (block.impossibleLength) return 'length'
    if (block.length > end - start) return 'short'
    if (blockCrc(bytes, start, block.length, seed.at(this.#offset)) !== block.crc) return 'crc'
    if (block.version !== formatVersion || block.flags !== 0) return 'version'
    if (block.chain !== this.#crc) return 'chain'
    if (block.firstTxn !== this.#txn + 1 || block.count === 0) return 'number'
    if (!Number.isSafeInteger(block.lastTxn)) return 'number'
    if (!block.hasDatabaseId(segment.databaseId)) return 'database'
    if (block.timeline !== segment.timeline) return 'timeline'
    return null
  }
}

/** A timeline has one lineage, and a promotion starts a later one. */
function sameOrLaterTimeline(before: SegmentHeader, next: SegmentHeader): boolean {
  if (next.timeline !== before.timeline) return next.timeline > before.timeline
  return sameIdentity(next.lineageId, before.lineageId)
}

export function sameIdentity(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < identityBytes; i++) if (a[i] !== b[i]) return false
  return true
}

/** A CRC as people see it everywhere: eight hexadecimal digits. */
export function hex(crc: number): string {
  return crc.toString(16).padStart(8, '0')
}

function allZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i] !== 0) return false
  return true
}
