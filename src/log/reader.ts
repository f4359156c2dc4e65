// Follows a log from a position on, while another process writes it: whole blocks, all verified, in order, up to
// what is durable. Shippers, replay and hb-replay read through here; it never writes, and holds nothing up.
import { join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'
import { isNotFound, type Disk, type DiskFile } from '../platform/disk.ts'
import { Advance } from './advance.ts'
import { BlockView, blockHeaderBytes, blockMagic } from './block.ts'
import { BlockChain, hex, type LogPosition } from './chain.ts'
import { readDurableMark, type DurableMark } from './durable.ts'
import { SegmentScan, type ScanOptions } from './scan.ts'
import { segmentHeaderBytes, segmentName, type SegmentHeader } from './segment.ts'
import { readSegment } from './segment-read.ts'
import { segmentFiles, type SegmentFile } from './segments.ts'

/** Whole blocks of one segment, verified. */
export interface BlockRun {
  readonly bytes: Buffer
  /** The blocks lie in `bytes` from `start` to `end`. */
  readonly start: number
  readonly end: number
  readonly firstTxn: number
  /** Behind the last block. */
  readonly position: LogPosition
  /** Wall-clock time of the last block, milliseconds. */
  readonly time: number
  readonly segment: SegmentHeader
  /** Not null when the run starts a segment: a caller that stores it needs these bytes first. */
  readonly segmentHeaderBytes: Buffer | null
  readonly blocks: number
  /** Where the run starts in its segment. */
  readonly segmentOffset: number
}

export class LogReader {
  readonly #disk: Disk
  readonly #directory: string
  readonly #options: ScanOptions
  readonly #chain: BlockChain
  #scan: SegmentScan | null
  /** Each segment begins behind the one before. */
  readonly #advance: Advance
  /** Where the blocks of the segment before ended; null at the start. */
  #left: { readonly path: string; readonly offset: number } | null = null

  private constructor(
    disk: Disk,
    directory: string,
    options: ScanOptions,
    chain: BlockChain,
    scan: SegmentScan | null,
  ) {
    this.#disk = disk
    this.#directory = directory
    this.#options = options
    this.#chain = chain
    this.#scan = scan
    this.#advance = new Advance(directory, 'transaction', scan?.header.firstTxn)
  }

  /**
   * Starts behind `from`. When `from.txn` lies in the middle of a block, the first run starts with that block and the
   * caller skips. Throws ERR_LOG_REMOVED (the log starts later), ERR_LOG_GAP (it ends before), ERR_LOG_FOREIGN
   * (another chain value there: the message has both), ERR_LOG_CORRUPT, ERR_DISK.
   */
  static async open(
    disk: Disk,
    directory: string,
    from: LogPosition,
    options: ScanOptions = {},
  ): Promise<LogReader> {
    const mark = await readDurableMark(disk, directory)
    const files = await segmentFiles(disk, directory)
    checkWithin(directory, files, mark, from)
    const holding = files.findLast(file => file.firstTxn <= from.txn)
    if (holding === undefined) {
      // At the start of the first segment: its header says what it continues, and `next` checks that.
      return new LogReader(disk, directory, options, new BlockChain(from), null)
    }
    const scan = await openScan(disk, directory, holding, null, options)
    try {
      const chain = new BlockChain(from)
      const place = await findBlock(scan, mark, from)
      chain.resumeSegment(scan.header, place.position, place.offset)
      scan.resume(chain)
      return new LogReader(disk, directory, options, chain, scan)
    } catch (error) {
      await scan.close()
      throw error
    }
  }

  /** Behind the last run. */
  get position(): LogPosition {
    return this.#chain.position
  }

  /**
   * The next run of blocks up to `limit` and nothing behind it, of one segment; null at the limit. It has at most
   * `readBytes` bytes, unless one block has more. Throws ERR_LOG_CORRUPT with path, offset and transaction,
   * ERR_LOG_REMOVED, ERR_LOG_FOREIGN, ERR_DISK.
   */
  async next(limit: DurableMark): Promise<BlockRun | null> {
    const chain = this.#chain
    while (chain.txn < limit.txn) {
      const scan = this.#scan ?? (await this.#enterNext())
      this.#scan = scan
      const last = scan.header.firstTxn === limit.segmentFirstTxn
      if (await scan.next(last ? limit.offset : Infinity)) return this.#run(scan)
      // A segment without a block leads to itself: the loop would never end.
      const empty = chain.txn < scan.header.firstTxn
      if (last || empty || scan.fault !== 'end') throw scan.damage()
      this.#left = { path: scan.path, offset: chain.offset }
      await this.close()
    }
    return null
  }

  async close(): Promise<void> {
    await this.#scan?.close()
    this.#scan = null
  }

  #run(scan: SegmentScan): BlockRun {
    return {
      bytes: scan.bytes,
      start: scan.start,
      end: scan.end,
      firstTxn: scan.firstTxn,
      position: this.#chain.position,
      time: scan.time,
      segment: scan.header,
      segmentHeaderBytes: scan.segmentOffset === segmentHeaderBytes ? scan.headerBytes : null,
      blocks: scan.blocks,
      segmentOffset: scan.segmentOffset,
    }
  }

  async #enterNext(): Promise<SegmentScan> {
    const firstTxn = this.#chain.txn + 1
    this.#advance.to(firstTxn)
    const file = { path: join(this.#directory, segmentName(firstTxn)), firstTxn }
    const scan = await openScan(this.#disk, this.#directory, file, this.#left, this.#options)
    try {
      scan.enter(this.#chain)
      return scan
    } catch (error) {
      await scan.close()
      throw error
    }
  }
}

function checkWithin(
  directory: string,
  files: readonly SegmentFile[],
  mark: DurableMark | null,
  from: LogPosition,
): void {
  const first = files[0]?.firstTxn
  if (first !== undefined && first > from.txn + 1) throw removed(directory, from.txn + 1, first)
  const end = mark?.txn ?? (first === undefined ? 0 : Infinity)
  if (from.txn <= end) return
  const message = `${directory} ends with transaction ${end}; ${from.txn} is asked for`
  throw new HotBackupError('ERR_LOG_GAP', message, { path: directory, txn: from.txn })
}

function removed(directory: string, txn: number, first: number): HotBackupError {
  const message = `${directory} starts with transaction ${first}; ${txn} has been removed`
  return new HotBackupError('ERR_LOG_REMOVED', message, { path: directory, txn })
}

/**
 * A segment that is missing looks the same as blocks that are missing at the end of the one before (`left`): that is
 * the one that is named.
 */
async function openScan(
  disk: Disk,
  directory: string,
  file: SegmentFile,
  left: { readonly path: string; readonly offset: number } | null,
  options: ScanOptions,
): Promise<SegmentScan> {
  try {
    return await SegmentScan.openListed(disk, directory, file, options)
  } catch (error) {
    const missing = isHotBackupError(error, 'ERR_LOG_CORRUPT') && isNotFound(error.cause)
    if (left === null || !missing) throw error
    const { path, firstTxn: txn } = file
    const message = `${left.path}, byte ${left.offset}, transaction ${txn}: the blocks end, and there is no ${path}`
    throw new HotBackupError('ERR_LOG_CORRUPT', message, { ...left, txn }, error)
  }
}

/** Where reading starts: the position before the first block to read, and its offset. */
interface Place {
  readonly position: LogPosition
  readonly offset: number
}

async function findBlock(
  scan: SegmentScan,
  mark: DurableMark | null,
  from: LogPosition,
): Promise<Place> {
  // The usual case, a peer that has everything: found without a look at the blocks.
  if (mark?.txn === from.txn) {
    checkChain(scan.path, from, mark.chain)
    if (mark.segmentFirstTxn === scan.header.firstTxn)
      return { position: from, offset: mark.offset }
  }
  try {
    return await new BlockSearch(scan).find(from, mark)
  } catch (error) {
    if (isHotBackupError(error, 'ERR_LOG_FOREIGN')) await checkUpTo(scan, from.txn)
    throw error
  }
}

/** The search does not check the blocks: damage must not pass for another history. Throws ERR_LOG_CORRUPT. */
async function checkUpTo(scan: SegmentScan, txn: number): Promise<void> {
  const { header } = scan
  const chain = new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
  scan.enter(chain)
  while (chain.txn < txn && (await scan.next()));
  scan.checkReached(txn)
}

const searchBytes = 256 * KiB

/** Goes from block header to block header. Nothing else is read of a large block. */
class BlockSearch {
  readonly #file: DiskFile
  readonly #header: SegmentHeader
  readonly #block = new BlockView()
  readonly #bytes = Buffer.allocUnsafe(searchBytes)
  #base = 0
  #count = 0

  constructor(scan: SegmentScan) {
    this.#file = scan.file
    this.#header = scan.header
  }

  async find(from: LogPosition, mark: DurableMark | null): Promise<Place> {
    const header = this.#header
    let position: LogPosition = { txn: header.firstTxn - 1, chain: header.chain }
    const advance = new Advance(this.#file.path, 'byte')
    for (let offset = segmentHeaderBytes; ;) {
      advance.to(offset)
      const block = await this.#at(offset, position.txn)
      if (block === null || block.firstTxn !== position.txn + 1 || block.chain !== position.chain) {
        throw this.#notFound(from, mark, position, offset)
      }
      const behind = { txn: block.lastTxn, chain: block.crc }
      const next = offset + block.length
      if (behind.txn >= from.txn) {
        checkChain(this.#file.path, from, behind.chain)
        return behind.txn === from.txn ? { position: behind, offset: next } : { position, offset }
      }
      position = behind
      offset = next
    }
  }

  async #at(offset: number, txn: number): Promise<BlockView | null> {
    if (offset < this.#base || offset + blockHeaderBytes > this.#base + this.#count) {
      this.#count = await readSegment(this.#file, this.#bytes, 0, searchBytes, offset, txn + 1)
      this.#base = offset
      if (this.#count < blockHeaderBytes) return null
    }
    const block = this.#block.reset(this.#bytes, offset - this.#base)
    return block.magic !== blockMagic || block.impossibleLength ? null : block
  }

  /** With a mark the transaction must be there. Without one (segments alone) the log may well end here. */
  #notFound(
    from: LogPosition,
    mark: DurableMark | null,
    position: LogPosition,
    offset: number,
  ): HotBackupError {
    const { path } = this.#file
    const place = { path, offset, txn: position.txn + 1 }
    if (mark === null) {
      const message = `${path} ends with transaction ${position.txn}; ${from.txn} is asked for`
      return new HotBackupError('ERR_LOG_GAP', message, place)
    }
    const message = `${path}, byte ${offset}: transaction ${position.txn + 1} should be here`
    return new HotBackupError('ERR_LOG_CORRUPT', message, place)
  }
}

function checkChain(path: string, from: LogPosition, chain: number): void {
  if (from.chain === chain) return
  const message = `${path}: transaction ${from.txn} has the chain value ${hex(chain)} here, and ${hex(from.chain)} there`
  throw new HotBackupError('ERR_LOG_FOREIGN', message, { path, txn: from.txn })
}
