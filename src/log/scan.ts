// Reads one segment from front to back in large pieces and gives out its blocks in runs of whole, valid ones.
// Recovery, reader, verification and dump all read through here.
import { HotBackupError } from '../errors.ts'
import { readBytesTarget } from '../limits.ts'
import { isNotFound, type Disk, type DiskFile } from '../platform/disk.ts'
import { Advance } from './advance.ts'
import { BlockView, blockHeaderBytes } from './block.ts'
import type { BlockChain, BlockFault } from './chain.ts'
import { encodeSegmentHeader, segmentHeaderBytes, type SegmentHeader } from './segment.ts'
import { readSegment } from './segment-read.ts'
import { checkName, readSegmentHeader, wasRemoved, type SegmentFile } from './segments.ts'
import { describeFault } from './tail.ts'

export interface ScanOptions {
  /** Bytes of one read; a block that is larger is read whole all the same. Default 1 MiB. */
  readonly readBytes?: number
  /** True: a run is valid until the next call, and its buffer is used again. */
  readonly reuse?: boolean
}

const readBytesMin = 4096

/**
 * A segment that is being read. `next` moves to the next run, which lies in `bytes` from `start` to `end`; when
 * it answers false, `fault` says why. A single file can be read alone: see `enter`.
 */
export class SegmentScan {
  readonly header: SegmentHeader
  readonly headerBytes: Buffer
  /** The run. */
  bytes: Buffer = Buffer.alloc(0)
  start = 0
  end = 0
  blocks = 0
  firstTxn = 0
  /** Wall-clock time of its last block. */
  time = 0
  /** Where it starts in the segment. */
  segmentOffset = 0
  /** Why there is no further run: `end` is the end of what was written, or of the bytes up to the limit. */
  fault: BlockFault | null = null
  readonly #file: DiskFile
  readonly #readBytes: number
  readonly #reuse: boolean
  #chain: BlockChain | null = null
  /** Set anew where the reading starts. */
  #advance: Advance
  /** Offset in the segment of the first byte of `bytes`. */
  #base = 0
  /** How many bytes of `bytes` have been read. */
  #filled = 0
  readonly #peek = new BlockView()

  private constructor(file: DiskFile, header: SegmentHeader, bytes: Buffer, options: ScanOptions) {
    this.#file = file
    this.#advance = new Advance(file.path, 'byte')
    this.header = header
    this.headerBytes = bytes
    this.#readBytes = Math.max(options.readBytes ?? readBytesTarget, readBytesMin)
    this.#reuse = options.reuse ?? false
  }

  /** Opens the file and checks its header: ERR_LOG_CORRUPT, ERR_LOG_VERSION, ERR_DISK. */
  static async open(disk: Disk, path: string, options: ScanOptions = {}): Promise<SegmentScan> {
    const file = await disk.open(path, 'read')
    try {
      const { header, bytes } = await readSegmentHeader(file)
      return new SegmentScan(file, header, bytes, options)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /**
   * Opens a segment by its place in a log. Throws also ERR_LOG_REMOVED for one that is not there since the log begins
   * later now, and ERR_LOG_CORRUPT for one that is missing, or is not the one that its name says.
   */
  static async openListed(
    disk: Disk,
    directory: string,
    { path, firstTxn: txn }: SegmentFile,
    options: ScanOptions = {},
  ): Promise<SegmentScan> {
    let scan
    try {
      scan = await SegmentScan.open(disk, path, options)
      checkName(path, txn, scan.header)
      return scan
    } catch (error) {
      await scan?.close()
      if (!isNotFound(error)) throw error
      const place = { path, offset: 0, txn }
      if (await wasRemoved(disk, directory, { firstTxn: txn })) {
        const message = `${path} has been removed; the log starts later now`
        throw new HotBackupError('ERR_LOG_REMOVED', message, place, error)
      }
      const message = `${path}, byte 0, transaction ${txn}: the segment is missing`
      throw new HotBackupError('ERR_LOG_CORRUPT', message, place, error)
    }
  }

  /** With another header than the one in the file, which is damaged. */
  static async openAs(
    disk: Disk,
    path: string,
    header: SegmentHeader,
    options: ScanOptions = {},
  ): Promise<SegmentScan> {
    const file = await disk.open(path, 'read')
    return new SegmentScan(file, header, encodeSegmentHeader(header), options)
  }

  get path(): string {
    return this.#file.path
  }

  get file(): DiskFile {
    return this.#file
  }

  /**
   * Reads from the first block on, as what `chain` leads to. For a file alone that is
   * `new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })`. Throws what `enterSegment` throws.
   */
  enter(chain: BlockChain): void {
    chain.enterSegment(this.header, this.path)
    this.resume(chain)
  }

  /** Reads from where `chain` stands in this segment. */
  resume(chain: BlockChain): void {
    this.#chain = chain
    this.#advance = new Advance(this.path, 'byte', chain.offset)
    this.#base = chain.offset
    this.#filled = 0
  }

  /** Where the next block is looked for. */
  get offset(): number {
    return this.#chain?.offset ?? segmentHeaderBytes
  }

  /**
   * Moves to the next run of blocks that end at or before the offset `limit`. Throws ERR_LOG_CORRUPT for what the disk
   * does not give, and ERR_DISK.
   */
  async next(limit = Infinity): Promise<boolean> {
    const chain = this.#chain
    if (chain === null) throw new TypeError('enter the segment first')
    const end = limit === Infinity ? this.#file.size() : limit
    let wanted = this.#readBytes
    for (;;) {
      const complete = await this.#fill(chain.offset, end, wanted)
      this.#take(chain)
      if (this.blocks > 0) return true
      if (this.fault !== 'short' || complete) return false
      // The block is larger than what was read: its length has been found possible, so it is read whole.
      const seen = this.#base + this.#filled - chain.offset
      const length = this.#peek.reset(this.bytes, chain.offset - this.#base).length
      wanted = Math.max(length, seen + 1)
    }
  }

  /** Accepts the blocks that are at hand. */
  #take(chain: BlockChain): void {
    this.segmentOffset = chain.offset
    this.start = chain.offset - this.#base
    this.firstTxn = chain.txn + 1
    this.blocks = 0
    for (;;) {
      this.end = chain.offset - this.#base
      this.fault = chain.accept(this.bytes, this.end, this.#filled)
      if (this.fault !== null) return
      this.#advance.to(chain.offset)
      this.blocks++
      this.time = chain.block.time
    }
  }

  /** Has at least `wanted` bytes from `offset` on at hand, or all up to `end`; then the answer is true. */
  async #fill(offset: number, end: number, wanted: number): Promise<boolean> {
    const size = Math.max(0, Math.min(wanted, end - offset))
    const left = Math.max(0, this.#base + this.#filled - offset)
    const from = offset - this.#base
    if (left < size) {
      const buffer = this.#fits(size) ? this.bytes : newBuffer(Math.max(size, blockHeaderBytes))
      if (left > 0) this.bytes.copy(buffer, 0, from, from + left)
      const count = await this.#read(buffer, left, size - left, offset + left)
      this.bytes = buffer
      this.#base = offset
      this.#filled = left + count
      if (count < size - left) return true // The file ends before `end`.
    }
    return this.#base + this.#filled >= end
  }

  #read(buffer: Buffer, start: number, length: number, offset: number): Promise<number> {
    return readSegment(this.#file, buffer, start, length, offset, this.#chain!.txn + 1)
  }

  /** The buffer is used again, unless one huge block has made it huge. */
  #fits(size: number): boolean {
    const length = this.bytes.length
    return this.#reuse && length >= size && length <= 4 * Math.max(size, this.#readBytes)
  }

  /** The error for the block that is missing, or not valid, where the run ended: below what is durable, damage. */
  damage(): HotBackupError {
    const { block, offset, txn } = this.#chain!
    const what = describeFault(this.fault ?? 'end', block)
    const message = `${this.path}, byte ${offset}, transaction ${txn + 1}: ${what}`
    return new HotBackupError('ERR_LOG_CORRUPT', message, { path: this.path, offset, txn: txn + 1 })
  }

  /** Throws ERR_LOG_CORRUPT when the blocks ended before transaction `txn`, which belongs to this segment. */
  checkReached(txn: number): void {
    if (this.#chain!.txn < txn) throw this.damage()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

/** A buffer of its own when it is large: one small run must not keep Node's shared pool alive, nor clutter it. */
function newBuffer(size: number): Buffer {
  return size < readBytesMin ? Buffer.alloc(size) : Buffer.allocUnsafeSlow(size)
}
