// Goes over everything in a log that can still be read, oldest first, and over what is damaged, each at its place: for
// looking at a log, also while its server writes it and removes its oldest segments. Nothing is locked or changed.
//
// Behind damage it looks for the next block that is valid by itself: its CRC is that of its place in this segment, so
// no other bytes are taken for one. Only what log/durable names is read; without a valid mark, as far as there are
// blocks.
import { join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { Advance } from './advance.ts'
import { BlockChain } from './chain.ts'
import { durableName, readDurableState, type DurableMark } from './durable.ts'
import { readingAround } from './reading-around.ts'
import { SegmentScan } from './scan.ts'
import type { LogDamage } from './scrub.ts'
import { segmentHeaderBytes, type SegmentHeader } from './segment.ts'
import { checkName, holdsMark, segmentFiles, wasRemoved, type SegmentFile } from './segments.ts'
import { describeFault, findLoneBlock, writtenEnd } from './tail.ts'
import type { Blocks } from './transactions.ts'

/** The log begins with this transaction, now that the reader is there. */
export interface LogStart {
  readonly firstTxn: number
}

/** Whole, valid blocks, in the bytes until the next step. Null: what is not there, or not valid, is `damage`. */
export type SoundPart =
  | { readonly start: LogStart; readonly blocks?: never; readonly damage?: never }
  | { readonly blocks: Blocks; readonly start?: never; readonly damage?: never }
  | { readonly damage: LogDamage; readonly start?: never; readonly blocks?: never }

/** Throws ERR_DISK. */
export async function* soundBlocks(disk: Disk, directory: string): AsyncGenerator<SoundPart> {
  // The mark first: a segment that comes later lies behind it.
  const { mark, damaged } = await readDurableState(disk, directory)
  yield* new SoundBlocks(readingAround(disk), directory, mark).all()
  if (!damaged) return
  const message = 'it is not valid; the next start repairs it'
  yield { damage: { path: join(directory, durableName), offset: 0, txn: null, message } }
}

class SoundBlocks {
  readonly #disk: Disk
  readonly #directory: string
  readonly #mark: DurableMark | null
  /** Where the blocks so far end; null where that is not known. */
  #chain: BlockChain | null = null
  /** The header that was read last. */
  #header: SegmentHeader | null = null
  /** The transaction that comes next; 0 before the first segment. */
  #nextTxn = 0

  constructor(disk: Disk, directory: string, mark: DurableMark | null) {
    this.#disk = disk
    this.#directory = directory
    this.#mark = mark
  }

  async *all(): AsyncGenerator<SoundPart> {
    const mark = this.#mark
    const files = await segmentFiles(this.#disk, this.#directory)
    let started = false
    for (const [index, file] of files.entries()) {
      if (mark !== null && file.firstTxn > mark.segmentFirstTxn) break
      const next = files[index + 1] ?? null
      let scan
      try {
        scan = await this.#open(file, files.slice(index + 1))
      } catch (error) {
        if (!isNotFound(error)) throw error
        if (await wasRemoved(this.#disk, this.#directory, file)) {
          started = false
          this.#leave(null)
          continue
        }
        yield {
          damage: { path: file.path, offset: 0, txn: file.firstTxn, message: 'it is missing' },
        }
        this.#leave(next)
        continue
      }
      try {
        if (!started) yield { start: { firstTxn: file.firstTxn } }
        started = true
        yield* this.#segment(scan, file, next)
      } finally {
        await scan.scan?.close()
      }
    }
    const [first] = files
    // All but a segment without blocks has been removed.
    if (!started && first !== undefined) yield { start: { firstTxn: first.firstTxn } }
    if (mark !== null && !holdsMark(files, mark)) {
      // Blocks may be missing at the end of the segment before as well.
      const txn = Math.min(this.#nextTxn === 0 ? Infinity : this.#nextTxn, mark.segmentFirstTxn)
      const message = 'the last segment is missing'
      yield { damage: { path: this.#directory, offset: 0, txn, message } }
    }
  }

  /**
   * With a header that is not valid, what a neighbour's says of the history is right for this segment as well, mostly;
   * where it is not, no block fits.
   */
  async #open(file: SegmentFile, later: readonly SegmentFile[]): Promise<OpenSegment> {
    try {
      const scan = await SegmentScan.open(this.#disk, file.path, { reuse: true })
      try {
        checkName(file.path, file.firstTxn, scan.header)
      } catch (error) {
        await scan.close()
        throw error
      }
      this.#header = scan.header
      return { scan, fault: null }
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION')) throw error
      const like = this.#header ?? (await this.#headerOf(later))
      const { firstTxn } = file
      const scan =
        like === null
          ? null
          : await SegmentScan.openAs(this.#disk, file.path, { ...like, firstTxn }, { reuse: true })
      return { scan, fault: error }
    }
  }

  async #headerOf(files: readonly SegmentFile[]): Promise<SegmentHeader | null> {
    for (const { path } of files) {
      try {
        const scan = await SegmentScan.open(this.#disk, path)
        await scan.close()
        return scan.header
      } catch (error) {
        const other =
          isNotFound(error) || isHotBackupError(error, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION')
        if (!other) throw error
      }
    }
    return null
  }

  async *#segment(
    { scan, fault }: OpenSegment,
    { path, firstTxn }: SegmentFile,
    next: SegmentFile | null,
  ): AsyncGenerator<SoundPart> {
    if (this.#nextTxn !== 0 && this.#nextTxn !== firstTxn) {
      const message = `transactions ${this.#nextTxn} to ${firstTxn - 1} are missing before it`
      yield { damage: { path, offset: 0, txn: this.#nextTxn, message } }
      this.#chain = null
    }
    if (fault !== null) yield { damage: { path, offset: 0, txn: firstTxn, message: fault.message } }
    if (scan === null) return this.#leave(next)
    const { header } = scan
    let chain = this.#chain
    chain ??= new BlockChain({ txn: firstTxn - 1, chain: header.chain })
    if (fault === null) {
      const misfit = entered(scan, chain)
      if (misfit !== null) {
        yield { damage: { path, offset: 0, txn: firstTxn, message: misfit } }
        // Another history's: nothing of it belongs here.
        return this.#leave(next)
      }
    } else {
      chain = new BlockChain({ txn: firstTxn - 1, chain: 0 })
      if (!(await this.#resync(scan, chain, segmentHeaderBytes - 1))) return this.#leave(next)
    }
    yield* this.#blocks(scan, chain, next)
  }

  /** What comes behind a segment that cannot be read to its end. */
  #leave(next: SegmentFile | null): void {
    this.#chain = null
    this.#nextTxn = next?.firstTxn ?? 0
  }

  async *#blocks(
    scan: SegmentScan,
    chain: BlockChain,
    next: SegmentFile | null,
  ): AsyncGenerator<SoundPart> {
    const { header, path } = scan
    const mark = this.#mark?.segmentFirstTxn === header.firstTxn ? this.#mark : null
    const limit = mark?.offset ?? Infinity
    const advance = new Advance(path, 'byte')
    for (;;) {
      while (await scan.next(limit)) yield { blocks: scan }
      advance.to(chain.offset)
      if (await this.#ended(scan, chain, mark, next)) break
      const { offset } = chain
      const message = describeFault(scan.fault ?? 'end', chain.block)
      const damage = { path, offset, txn: chain.txn + 1, message }
      const later = await this.#resync(scan, chain, offset)
      // Without a mark the end of the last segment may be torn.
      if (later || next !== null || mark !== null) yield { damage }
      if (!later) return this.#leave(next)
    }
    this.#chain = chain
    this.#nextTxn = chain.txn + 1
  }

  /** The segment may end there. */
  async #ended(
    { fault, file }: SegmentScan,
    { offset, txn, position }: BlockChain,
    mark: DurableMark | null,
    next: SegmentFile | null,
  ): Promise<boolean> {
    if (mark !== null) return offset === mark.offset && position.chain === mark.chain
    if (fault !== 'end' || (next !== null && next.firstTxn <= txn)) return false
    return (await writtenEnd(file, offset)) === offset
  }

  /** Goes on with the next valid block behind `offset`; false when there is none up to the end. */
  async #resync(scan: SegmentScan, chain: BlockChain, offset: number): Promise<boolean> {
    const { file, header } = scan
    const { txn } = chain
    const limit = this.#mark?.segmentFirstTxn === header.firstTxn ? this.#mark.txn : Infinity
    const found = await findLoneBlock(file, header, offset, ({ firstTxn, lastTxn, count }) => {
      return firstTxn > txn && count > 0 && lastTxn <= limit
    })
    if (found === null || found.offset === null) return false
    chain.resumeSegment(header, found.before, found.offset)
    scan.resume(chain)
    return true
  }
}

interface OpenSegment {
  /** Null when nothing can be read of it. */
  readonly scan: SegmentScan | null
  /** What is wrong with its header. */
  readonly fault: HotBackupError | null
}

/** Why it does not continue what comes before it; null when it does. */
function entered(scan: SegmentScan, chain: BlockChain): string | null {
  try {
    scan.enter(chain)
    return null
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_LOG_GAP', 'ERR_LOG_FOREIGN')) throw error
    return error.message
  }
}
