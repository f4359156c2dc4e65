// Segments of the master's log that come by hand, on a stick, and not over the link. All of them are checked before
// the first byte is stored; then they are appended through the same check as what a master sends (receiver-intake.ts).
//
// Taken is what lies behind the end of this log, if and only if
//   - it belongs to this database, and leads here: the block that holds the last transaction of this log has the same
//     CRC there, or the first new segment continues it;
//   - nothing is missing between the segments;
//   - it was durable on the master: all of a segment that another one follows, and of the last one what log/durable
//     beside it says, or a block's promise. A slave that took more could be ahead of its master after a power failure.
import { dirname, join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { BlockView } from '../log/block.ts'
import { BlockChain, hex, sameIdentity, type LogPosition } from '../log/chain.ts'
import { readDurableMark, type DurableMark } from '../log/durable.ts'
import { SegmentScan } from '../log/scan.ts'
import type { SegmentHeader } from '../log/segment.ts'
import { segmentFiles } from '../log/segments.ts'
import { describeFault, writtenEnd } from '../log/tail.ts'
import type { Blocks } from '../log/transactions.ts'
import type { LogWriter } from '../log/writer.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { Intake } from './receiver-intake.ts'

type TakingLog = Pick<
  LogWriter,
  'chainAtEnd' | 'appendSegment' | 'appendBlocks' | 'identity' | 'position' | 'durable' | 'drained'
>

/** What has been found in the segments, when all is well. */
export interface BroughtSegments {
  /** Files of segments with something new, in order. */
  readonly segments: readonly BroughtSegment[]
  /** The first and the last new transaction; both 0 when there is none. */
  readonly firstTxn: number
  readonly lastTxn: number
  /** Transactions that this log holds already. */
  readonly known: number
  /** Behind `lastTxn` there are more that may not have been durable on the master: the last of them, or 0. */
  readonly unproven: number
  /** Why the last file ends with something that is no block; null when it does not. */
  readonly torn: string | null
}

export interface BroughtSegment {
  readonly path: string
  readonly header: SegmentHeader
  /** Behind the last block to take. */
  readonly limit: number
  readonly lastTxn: number
}

/**
 * Checks the segments at `paths`, files and directories that hold them, against the end of `log`; nothing is stored.
 * `seen` gets the runs of blocks with anything new. Throws ERR_LOG_GAP, ERR_LOG_FOREIGN, ERR_LOG_CORRUPT,
 * ERR_LOG_VERSION, ERR_USAGE for a path without segments, ERR_DISK.
 */
export async function checkBrought(
  disk: Disk,
  paths: readonly string[],
  log: Pick<TakingLog, 'identity' | 'position'>,
  seen: (run: Blocks, header: SegmentHeader) => void = () => {},
): Promise<BroughtSegments> {
  const files = await sortedSegments(disk, paths)
  const check = new Check(disk, log.position, log.identity, seen)
  for (const [index, file] of files.entries()) await check.file(file, files[index + 1] ?? null)
  return check.result
}

/** Appends what `checkBrought` has found; durable when it resolves. Nobody else appends meanwhile. */
export async function takeBrought(
  disk: Disk,
  { segments }: BroughtSegments,
  log: TakingLog,
  progress: (txn: number) => void = () => {},
  signal?: AbortSignal,
): Promise<void> {
  const intake = new Intake(log)
  const ended = () => signal?.aborted === true
  for (const { path, header, limit } of segments) {
    if (ended()) break
    // Buffers are the writer's own from here on: they are not used again.
    const scan = await SegmentScan.open(disk, path)
    try {
      taken(intake.segment(scan.headerBytes), path)
      scan.enter(new BlockChain({ txn: header.firstTxn - 1, chain: header.chain }))
      while (!ended() && (await scan.next(limit))) {
        const run = scan.bytes.subarray(scan.start, scan.end)
        const { segmentOffset: offset } = scan
        const { firstTxn: segmentFirstTxn } = header
        taken(intake.blocks({ name: 'blocks', segmentFirstTxn, offset, durableTxn: 0, run }), path)
        await log.drained()
        progress(log.position.txn)
      }
    } finally {
      await scan.close()
    }
  }
  await log.durable()
}

function taken(verdict: ReturnType<Intake['blocks']>, path: string): void {
  if (verdict === 'appended' || verdict === 'duplicate') return
  const message = `${path} has changed while it was read`
  throw new HotBackupError('ERR_LOG_CORRUPT', message, { path })
}

interface SortedSegment {
  readonly path: string
  readonly header: SegmentHeader
}

async function sortedSegments(disk: Disk, paths: readonly string[]): Promise<SortedSegment[]> {
  const files = new Set<string>()
  for (const path of paths) {
    const inside = await segmentFiles(disk, path)
    const below = inside.length > 0 ? inside : await segmentFiles(disk, join(path, 'log'))
    for (const file of below) files.add(file.path)
    if (below.length > 0) continue
    if ((await disk.list(path)).length > 0) {
      const hint = 'Name segments, or a directory that has them, such as log/ of the master.'
      throw new HotBackupError('ERR_USAGE', `${path} holds no segments`, { path }, undefined, hint)
    }
    files.add(path)
  }
  /** By first transaction; of two copies of a segment the longer one. */
  const found = new Map<number, SortedSegment & { readonly bytes: number }>()
  for (const path of files) {
    let scan
    try {
      scan = await SegmentScan.open(disk, path)
    } catch (error) {
      if (!isNotFound(error)) throw error
      throw new HotBackupError(
        'ERR_USAGE',
        `there is no ${path}`,
        { path },
        error,
        'Check the path.',
      )
    }
    const { header } = scan
    const bytes = scan.file.size()
    await scan.close()
    if (bytes > (found.get(header.firstTxn)?.bytes ?? 0)) {
      found.set(header.firstTxn, { path, header, bytes })
    }
  }
  return [...found.values()].sort((a, b) => a.header.firstTxn - b.header.firstTxn)
}

class Check {
  readonly #disk: Disk
  readonly #end: LogPosition
  readonly #identity: LogWriter['identity']
  readonly #seen: (run: Blocks, header: SegmentHeader) => void
  readonly #segments: BroughtSegment[] = []
  #firstTxn = 0
  #lastTxn = 0
  #known = 0
  #unproven = 0
  #torn: string | null = null
  /** Stands behind the last file that was read; null before the first. */
  #chain: BlockChain | null = null

  constructor(
    disk: Disk,
    end: LogPosition,
    identity: LogWriter['identity'],
    seen: (run: Blocks, header: SegmentHeader) => void,
  ) {
    this.#disk = disk
    this.#end = end
    this.#identity = identity
    this.#seen = seen
  }

  get result(): BroughtSegments {
    return {
      segments: this.#segments,
      firstTxn: this.#firstTxn,
      lastTxn: this.#lastTxn,
      known: this.#known,
      unproven: this.#unproven,
      torn: this.#torn,
    }
  }

  async file({ path, header }: SortedSegment, next: SortedSegment | null): Promise<void> {
    this.#checkIdentity(path, header)
    const end = this.#end
    if (header.firstTxn > end.txn + 1 && this.#chain === null) {
      const message = `${path} starts with transaction ${header.firstTxn}; this log ends with ${end.txn}: the segments between are missing`
      throw new HotBackupError('ERR_LOG_GAP', message, { path, txn: end.txn + 1 })
    }
    // All of it is known, and the next one says whether it leads here.
    if (next !== null && next.header.firstTxn <= end.txn + 1) {
      this.#known += Math.max(0, next.header.firstTxn - header.firstTxn)
      return
    }
    const chain = this.#enter(path, header)
    const scan = await SegmentScan.open(this.#disk, path, { reuse: true })
    try {
      scan.enter(chain)
      const mark = next === null ? await readDurableMark(this.#disk, dirname(path)) : null
      const durable = next === null ? durableIn(mark, header) : Infinity
      await this.#blocks(scan, chain, durable)
      await this.#checkEnd(scan, chain, next)
      if (mark?.segmentFirstTxn === header.firstTxn && chain.txn < mark.txn) {
        this.#torn ??= `${path} ends with transaction ${chain.txn}; log/durable beside it names ${mark.txn}`
      }
    } finally {
      await scan.close()
    }
  }

  #checkIdentity(path: string, header: SegmentHeader): void {
    const own = this.#identity
    if (own === null) return
    const place = { path, txn: header.firstTxn }
    if (!sameIdentity(own.databaseId, header.databaseId)) {
      const message = `${path} belongs to another database (${hexOf(header.databaseId)}; this one is ${hexOf(own.databaseId)})`
      throw new HotBackupError('ERR_LOG_FOREIGN', message, place)
    }
    const other = own.timeline === header.timeline
    if (other && !sameIdentity(own.lineageId, header.lineageId)) {
      const message = `${path} is of another history of timeline ${own.timeline}: another server was promoted to it`
      throw new HotBackupError('ERR_LOG_FOREIGN', message, place)
    }
  }

  /** A chain for the file: behind the one before, or from its own start when it holds the end of this log. */
  #enter(path: string, header: SegmentHeader): BlockChain {
    const { txn, chain } = this.#end
    if (this.#chain !== null) return this.#chain
    if (header.firstTxn === txn + 1 && header.chain !== chain) {
      throw otherHistory(path, txn, header.chain, chain)
    }
    this.#chain = new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
    return this.#chain
  }

  async #blocks(scan: SegmentScan, chain: BlockChain, durable: number): Promise<void> {
    const block = new BlockView()
    const { path, header } = scan
    let promised = durable
    let limit = chain.offset
    /** Ends of blocks that no promise covers yet. */
    const open: { readonly txn: number; readonly offset: number }[] = []
    while (await scan.next()) {
      let fresh = false
      let offset = scan.segmentOffset
      for (let at = scan.start; at < scan.end; at += block.length) {
        block.reset(scan.bytes, at)
        offset += block.length
        this.#compare(path, block)
        promised = Math.max(promised, block.promise)
        open.push({ txn: block.lastTxn, offset })
        if (block.lastTxn > this.#end.txn) fresh = true
        else this.#known += block.count
      }
      for (let first = open[0]; first !== undefined && first.txn <= promised; first = open[0]) {
        limit = first.offset
        if (first.txn > this.#end.txn) this.#lastTxn = first.txn
        open.shift()
      }
      if (fresh) this.#seen(scan, header)
    }
    this.#unproven = open.at(-1)?.txn ?? 0
    if (this.#lastTxn < header.firstTxn || this.#lastTxn <= this.#end.txn) return
    if (this.#firstTxn === 0) this.#firstTxn = this.#end.txn + 1
    this.#segments.push({ path, header, limit, lastTxn: this.#lastTxn })
  }

  /** The block that holds the last transaction of this log must be the same there. */
  #compare(path: string, block: BlockView): void {
    const { txn, chain } = this.#end
    if (block.firstTxn > txn || block.lastTxn < txn) return
    if (block.lastTxn === txn && block.crc === chain) return
    throw otherHistory(path, txn, block.crc, chain)
  }

  async #checkEnd(scan: SegmentScan, chain: BlockChain, next: SortedSegment | null): Promise<void> {
    const { path, fault } = scan
    const faulty = (await writtenEnd(scan.file, chain.offset)) > chain.offset
    if (next !== null && (faulty || next.header.firstTxn !== chain.txn + 1)) {
      const txn = chain.txn + 1
      if (!faulty) {
        const message = `${path} ends with transaction ${chain.txn}, and ${next.path} starts with ${next.header.firstTxn}`
        throw new HotBackupError('ERR_LOG_GAP', message, { path, txn })
      }
      const message = `${path}, byte ${chain.offset}, transaction ${txn}: ${describeFault(fault ?? 'end', chain.block)}`
      throw new HotBackupError('ERR_LOG_CORRUPT', message, { path, offset: chain.offset, txn })
    }
    if (faulty) this.#torn = `${path}: ${describeFault(fault ?? 'end', chain.block)}`
  }
}

/** The last transaction of the segment that log/durable beside it says is durable; 0 when it says nothing of it. */
function durableIn(mark: DurableMark | null, header: SegmentHeader): number {
  if (mark === null || mark.segmentFirstTxn < header.firstTxn) return 0
  return mark.txn
}

function otherHistory(path: string, txn: number, there: number, here: number): HotBackupError {
  const message = `${path} is of another history: transaction ${txn} has the chain value ${hex(there)} there, and ${hex(here)} here`
  return new HotBackupError('ERR_LOG_FOREIGN', message, { path, txn })
}

function hexOf(id: Uint8Array): string {
  return Buffer.from(id).toString('hex')
}
