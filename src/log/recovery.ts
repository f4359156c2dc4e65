// Makes a log fit to be written again after any end of the process before: checks what the last fsync may have
// left in doubt, decides by the table (recovery-table.ts), cuts off a torn tail, and makes durable what it found.
//
// The order is what makes it safe to be interrupted anywhere:
//
//   1. examine   only reads. From the segment of log/durable on every block is checked; what lies before was
//                durable, whole, when that segment was made, and is checked by whoever reads it.
//   2. cut       the torn bytes are copied to SEGMENT.torn, synced; then the segment is truncated, synced. Then
//                examine again. Interrupted, the next recovery cuts again, into another copy.
//   3. harden    what lies behind log/durable is written again and synced. Written again, because after an fsync
//                that failed the system may take pages for clean that never reached the disk.
//   4. publish   log/durable says so (writer.ts): no reader has seen those transactions before.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { isUnreadable, type Disk, type DiskFile } from '../platform/disk.ts'
import { BlockChain, historyStart, type LogPosition } from './chain.ts'
import { markMismatch, readDurableState, type DurableMark } from './durable.ts'
import { freeCopyPath } from './kept-copies.ts'
import { decide, type RecoveryRow, type TailFault } from './recovery-table.ts'
import { SegmentScan } from './scan.ts'
import { segmentHeaderBytes, type SegmentHeader } from './segment.ts'
import { checkName, readSegmentHeader, segmentFiles, type SegmentFile } from './segments.ts'
import { describeFault, laterPromise, tailFault, writtenEnd } from './tail.ts'

/** What others know of this log. */
export interface RecoveryBounds {
  /** Transactions that were durable elsewhere: the database's stamp, slaves' acknowledgements. */
  readonly knownDurableTxn: number
  /** False on a slave: the promises in its blocks are its master's. */
  readonly ownPromises: boolean
}

/** What recovery found and did. */
export interface RecoveryReport {
  readonly lastTxn: number
  /** Transactions that were found behind log/durable, and are durable now. */
  readonly foundTxns: number
  /** What log/durable said; null when there was none. */
  readonly publishedTxn: number | null
  /** log/durable was there and could not be read: all of the log was checked instead. */
  readonly publishedDamaged: boolean
  /** Torn bytes that were cut off, 0 usually. */
  readonly cutBytes: number
  /** Where a copy of them lies. */
  readonly tornPaths: readonly string[]
}

/** A segment as recovery leaves it. */
export interface RecoveredSegment extends SegmentFile {
  /** Null where it is damaged, of a segment that was durable long ago: its readers say so. */
  readonly header: SegmentHeader | null
  readonly bytes: number
}

export interface RecoveredLog {
  /** Oldest first. `bytes` of the last one is where its blocks end. */
  readonly segments: readonly RecoveredSegment[]
  readonly position: LogPosition
  /** Wall-clock time of the last block, or of the segment's creation. */
  readonly time: number
  readonly report: RecoveryReport
}

/** Where the valid blocks end, and what the table says about it. */
interface Examined {
  readonly segments: readonly RecoveredSegment[]
  readonly position: LogPosition
  readonly time: number
  readonly path: string
  readonly offset: number
  readonly mark: DurableMark | null
  readonly markDamaged: boolean
  readonly row: RecoveryRow
}

/**
 * Recovers the log in `directory`. Throws ERR_LOG_CORRUPT (with path, offset and transaction) when something that was
 * durable is missing or damaged, ERR_LOG_VERSION, ERR_DISK. Afterwards everything in the log is durable.
 */
export async function recoverLog(
  disk: Disk,
  directory: string,
  bounds: RecoveryBounds,
): Promise<RecoveredLog> {
  const tornPaths: string[] = []
  const places = new Set<string>()
  let cutBytes = 0
  for (;;) {
    const found = await examine(disk, directory, bounds)
    if (found.row.decision !== 'cut') {
      await harden(disk, directory, found)
      const { segments, position, time, mark } = found
      const foundTxns = Math.max(0, position.txn - (mark?.txn ?? 0))
      return {
        segments,
        position,
        time,
        report: {
          lastTxn: position.txn,
          foundTxns: segments.length === 0 ? 0 : foundTxns,
          publishedTxn: mark?.txn ?? null,
          publishedDamaged: found.markDamaged,
          cutBytes,
          tornPaths,
        },
      }
    }
    const cut = await cutOff(disk, directory, found.path, found.offset)
    // Each cut takes away bytes that are not zero, so the next look finds other ones, or none.
    const place = `${found.path} ${found.offset}`
    if (places.has(place)) throw notCut(found)
    places.add(place)
    cutBytes += cut.bytes
    tornPaths.push(cut.tornPath)
  }
}

function notCut({ path, offset }: Examined): HotBackupError {
  const message = `${path}, byte ${offset}: what was torn has been cut off, and is there still`
  return new HotBackupError('ERR_LOG_CORRUPT', message, { path, offset })
}

async function examine(disk: Disk, directory: string, bounds: RecoveryBounds): Promise<Examined> {
  const { mark, damaged } = await readDurableState(disk, directory)
  const files = await segmentFiles(disk, directory)
  const examination = new Examination(disk, bounds, mark)
  if (files.length === 0) {
    const row = examination.decide('nothing', true, false, 1, directory, 0, 'there is no segment')
    const at = { path: directory, offset: 0, mark, markDamaged: damaged, row }
    return { segments: [], position: historyStart, time: 0, ...at }
  }
  const start = startIndex(files, mark)
  const segments = await readHeaders(disk, files.slice(0, start))
  for (const [index, file] of files.entries()) {
    if (index < start) continue
    const end = await examination.segment(file, index === files.length - 1)
    if (end.segment !== null) segments.push(end.segment)
    if (end.row.decision === 'next') continue
    const { position, time } = examination
    const at = { path: file.path, offset: end.offset, mark, markDamaged: damaged, row: end.row }
    return { segments, position, time, ...at }
  }
  throw new TypeError('the last segment leads to no other')
}

/** The segment that log/durable names, or the first one when that is gone or nothing is named. */
function startIndex(files: readonly SegmentFile[], mark: DurableMark | null): number {
  if (mark === null) return 0
  return Math.max(
    0,
    files.findLastIndex(file => file.firstTxn <= mark.segmentFirstTxn),
  )
}

async function readHeaders(disk: Disk, files: readonly SegmentFile[]): Promise<RecoveredSegment[]> {
  const segments: RecoveredSegment[] = []
  for (const { path, firstTxn } of files) {
    const file = await disk.open(path, 'read')
    try {
      const header = await soundHeader(file, firstTxn)
      segments.push({ path, firstTxn, header, bytes: file.size() })
    } finally {
      await file.close()
    }
  }
  return segments
}

async function soundHeader(file: DiskFile, firstTxn: number): Promise<SegmentHeader | null> {
  try {
    const { header } = await readSegmentHeader(file)
    checkName(file.path, firstTxn, header)
    return header
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_LOG_CORRUPT')) throw error
    return null
  }
}

/** Goes from segment to segment. */
class Examination {
  readonly #disk: Disk
  readonly #bounds: RecoveryBounds
  readonly #mark: DurableMark | null
  #chain: BlockChain | null = null
  time = 0

  constructor(disk: Disk, bounds: RecoveryBounds, mark: DurableMark | null) {
    this.#disk = disk
    this.#bounds = bounds
    this.#mark = mark
  }

  get position(): LogPosition {
    return this.#chain?.position ?? historyStart
  }

  /** Checks one segment up to where its valid blocks end. `segment` is null when its header is torn. */
  async segment(
    file: SegmentFile,
    last: boolean,
  ): Promise<{ segment: RecoveredSegment | null; offset: number; row: RecoveryRow }> {
    const scan = await this.#open(file, last)
    if (scan === null) return { segment: null, offset: 0, row: await this.#tornHeader(file) }
    try {
      checkName(file.path, file.firstTxn, scan.header)
      const chain = this.#enter(scan)
      await this.#toMark(scan, chain)
      while (await scan.next()) this.time = scan.time
      const row = await this.#end(scan, chain, last)
      const segment = { ...file, header: scan.header, bytes: chain.offset }
      return { segment, offset: chain.offset, row }
    } finally {
      await scan.close()
    }
  }

  /** Null when the header is not valid and a crash may explain it. */
  async #open(file: SegmentFile, last: boolean): Promise<SegmentScan | null> {
    try {
      return await SegmentScan.open(this.#disk, file.path, { reuse: true })
    } catch (error) {
      const torn = last && isHotBackupError(error, 'ERR_LOG_CORRUPT') && !isUnreadable(error)
      if (torn) return null
      throw error
    }
  }

  #enter(scan: SegmentScan): BlockChain {
    const { header } = scan
    this.#chain ??= new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
    try {
      scan.enter(this.#chain)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_LOG_GAP', 'ERR_LOG_FOREIGN')) throw error
      throw new HotBackupError('ERR_LOG_CORRUPT', error.message, error.place, error)
    }
    this.time = header.created
    return this.#chain
  }

  /** The block that log/durable names must be there, where it says. */
  async #toMark(scan: SegmentScan, chain: BlockChain): Promise<void> {
    const mark = this.#mark
    if (mark === null || mark.segmentFirstTxn !== scan.header.firstTxn) return
    while (await scan.next(mark.offset)) this.time = scan.time
    const problem = markMismatch(mark, chain)
    if (problem === null) return
    throw new HotBackupError('ERR_LOG_CORRUPT', `${scan.path}: ${problem}`, {
      path: scan.path,
      offset: chain.offset,
      txn: chain.txn,
    })
  }

  async #end(scan: SegmentScan, chain: BlockChain, last: boolean): Promise<RecoveryRow> {
    const { fault, file, header, path } = scan
    if (fault === null) throw new TypeError('a scan ends with a fault')
    const empty = fault === 'end' && (await writtenEnd(file, chain.offset)) === chain.offset
    const kind = tailFault(fault, empty, chain.block)
    const expected = chain.txn + 1
    const search = kind === 'torn' && last && this.#bounds.ownPromises
    const promised = search && (await laterPromise(file, header, chain.offset, expected))
    const what = empty ? 'the log ends' : describeFault(fault, chain.block)
    return this.decide(kind, last, promised, expected, path, chain.offset, what)
  }

  /**
   * A header is synced before the segment gets its name, and blocks come later: a segment with blocks, or any bytes
   * where they lie, had a durable header.
   */
  async #tornHeader({ path, firstTxn }: SegmentFile): Promise<RecoveryRow> {
    const file = await this.#disk.open(path, 'read')
    try {
      const promised = (await writtenEnd(file, segmentHeaderBytes)) > segmentHeaderBytes
      return this.decide('torn', true, promised, firstTxn, path, 0, 'the header is not valid')
    } finally {
      await file.close()
    }
  }

  /** The row of the table; throws when it refuses. */
  decide(
    fault: TailFault,
    last: boolean,
    promised: boolean,
    expected: number,
    path: string,
    offset: number,
    what: string,
  ): RecoveryRow {
    const published = this.#mark !== null && expected <= this.#mark.txn
    const known = expected <= this.#bounds.knownDurableTxn
    const row = decide({ fault, last, promised, published, known })
    const place = { path, offset, txn: expected }
    const message = `${path}, byte ${offset}, transaction ${expected}: ${what}; ${row.reason}`
    if (row.decision === 'newer') throw new HotBackupError('ERR_LOG_VERSION', message, place)
    if (row.decision === 'corrupt') throw new HotBackupError('ERR_LOG_CORRUPT', message, place)
    return row
  }
}

/** Copies what lies behind `offset` to SEGMENT.torn and cuts it off. Offset 0: all of a segment without header. */
async function cutOff(
  disk: Disk,
  directory: string,
  path: string,
  offset: number,
): Promise<{ bytes: number; tornPath: string }> {
  const tornPath = await freeCopyPath(disk, path, 'torn')
  const file = await disk.open(path, 'write')
  try {
    const bytes = (await writtenEnd(file, offset)) - offset
    if (offset === 0) {
      await disk.rename(path, tornPath)
      await disk.syncDirectory(directory)
      return { bytes, tornPath }
    }
    const copy = await disk.open(tornPath, 'create')
    try {
      await copyRange(file, offset, offset + bytes, (piece, count, at) =>
        copy.write(piece, 0, count, at - offset),
      )
      await copy.sync()
    } finally {
      await copy.close()
    }
    await disk.syncDirectory(directory)
    await file.truncate(offset)
    await file.sync()
    return { bytes, tornPath }
  } finally {
    await file.close()
  }
}

async function harden(disk: Disk, directory: string, found: Examined): Promise<void> {
  const last = found.segments.at(-1)
  if (last === undefined) return
  const marked = found.mark?.segmentFirstTxn === last.firstTxn ? found.mark.offset : 0
  const from = Math.max(marked, segmentHeaderBytes)
  if (from < last.bytes) {
    const file = await disk.open(last.path, 'write')
    try {
      await copyRange(file, from, last.bytes, (piece, count, at) => file.write(piece, 0, count, at))
      await file.sync()
    } finally {
      await file.close()
    }
  }
  // The segment's name may be as new as its blocks.
  await disk.syncDirectory(directory)
}

async function copyRange(
  file: { read(buffer: Buffer, start: number, length: number, offset: number): Promise<number> },
  from: number,
  to: number,
  write: (piece: Buffer, count: number, at: number) => Promise<void>,
): Promise<void> {
  const piece = Buffer.allocUnsafe(Math.min(1 * MiB, to - from))
  for (let at = from; at < to;) {
    const count = await file.read(piece, 0, Math.min(piece.length, to - at), at)
    if (count === 0) return
    await write(piece, count, at)
    at += count
  }
}

/** What log/durable says of a log as recovery leaves it; null for one without a segment. */
export function markAtEnd({ segments, position, time }: RecoveredLog): DurableMark | null {
  const last = segments.at(-1)
  if (last === undefined) return null
  return { ...position, segmentFirstTxn: last.firstTxn, offset: last.bytes, time }
}
