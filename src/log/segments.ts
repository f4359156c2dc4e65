// Which segments a log directory holds. Only names and headers are looked at: verify.ts looks at all of it.
import { join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { isNotFound, type Disk, type DiskFile } from '../platform/disk.ts'
import { readDurableMark, type DurableMark } from './durable.ts'
import {
  decodeSegmentHeader,
  parseSegmentName,
  segmentHeaderBytes,
  type SegmentHeader,
} from './segment.ts'
import { readSegment } from './segment-read.ts'

/** A segment by its name alone. */
export interface SegmentFile {
  readonly path: string
  readonly firstTxn: number
}

export interface SegmentInfo extends SegmentFile {
  /** The last transaction in it; firstTxn - 1 when there is none, null when only a scan could tell. */
  readonly lastTxn: number | null
  /** Of the blocks with the header; a segment that is being written takes more on the disk. */
  readonly bytes: number
  /** Nothing is added any more. */
  readonly sealed: boolean
  /** Wall-clock milliseconds; 0 when the header is damaged. */
  readonly created: number
  /** 0 when the header is damaged. */
  readonly timeline: number
}

/** The segments of a log by their names, oldest first. Every other file is left alone. */
export async function segmentFiles(disk: Disk, directory: string): Promise<SegmentFile[]> {
  const found: SegmentFile[] = []
  for (const entry of await disk.list(directory)) {
    const firstTxn = entry.directory ? null : parseSegmentName(entry.name)
    if (firstTxn !== null) found.push({ path: join(directory, entry.name), firstTxn })
  }
  // The names sort like their numbers; a disk that lists in another order is sorted here all the same.
  return found.sort((a, b) => a.firstTxn - b.firstTxn)
}

/**
 * Reads and checks the header; the answer's bytes are what a slave is sent first. Throws ERR_LOG_CORRUPT, also for what
 * the disk does not give, ERR_LOG_VERSION, ERR_DISK.
 */
export async function readSegmentHeader(
  file: DiskFile,
): Promise<{ readonly header: SegmentHeader; readonly bytes: Buffer }> {
  const bytes = Buffer.alloc(segmentHeaderBytes)
  const count = await readSegment(file, bytes, 0, segmentHeaderBytes, 0)
  return { header: decodeSegmentHeader(bytes.subarray(0, count), file.path), bytes }
}

/**
 * The segments of a log, oldest first, also while its server runs. Throws ERR_LOG_CORRUPT for a header that is not
 * valid or not that of its name, unless `damaged` takes it, and ERR_LOG_VERSION, ERR_DISK.
 */
export async function listSegments(
  disk: Disk,
  directory: string,
  damaged: (error: HotBackupError) => void = error => {
    throw error
  },
): Promise<SegmentInfo[]> {
  const mark = await readDurableMark(disk, directory)
  const files = await segmentFiles(disk, directory)
  const infos: SegmentInfo[] = []
  for (const [index, { path, firstTxn }] of files.entries()) {
    let file
    try {
      file = await disk.open(path, 'read')
    } catch (error) {
      if (isNotFound(error)) continue // Removed since the listing.
      throw error
    }
    try {
      const header = await checkedHeader(file, firstTxn, damaged)
      const next = files[index + 1]
      const marked = mark?.segmentFirstTxn === firstTxn ? mark : null
      infos.push({
        path,
        firstTxn,
        lastTxn: next === undefined ? (marked?.txn ?? null) : next.firstTxn - 1,
        bytes: next === undefined ? (marked?.offset ?? file.size()) : file.size(),
        sealed: next !== undefined,
        created: header?.created ?? 0,
        timeline: header?.timeline ?? 0,
      })
    } finally {
      await file.close()
    }
  }
  return infos
}

async function checkedHeader(
  file: DiskFile,
  firstTxn: number,
  damaged: (error: HotBackupError) => void,
): Promise<SegmentHeader | null> {
  try {
    const { header } = await readSegmentHeader(file)
    checkName(file.path, firstTxn, header)
    return header
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_LOG_CORRUPT')) throw error
    damaged(error)
    return null
  }
}

/** False when the segment that the mark names is missing. It may have been removed when the log begins behind it. */
export function holdsMark(files: readonly SegmentFile[], mark: DurableMark): boolean {
  const [first] = files
  if (first !== undefined && first.firstTxn > mark.txn) return true
  return files.some(({ firstTxn }) => firstTxn === mark.segmentFirstTxn)
}

/** A segment that is not there was removed, and is not missing: the log begins later now. */
export async function wasRemoved(
  disk: Disk,
  directory: string,
  { firstTxn }: Pick<SegmentFile, 'firstTxn'>,
): Promise<boolean> {
  const first = (await segmentFiles(disk, directory))[0]
  return first !== undefined && first.firstTxn > firstTxn
}

export function checkName(path: string, firstTxn: number, header: SegmentHeader): void {
  if (header.firstTxn === firstTxn) return
  const message = `${path} starts with transaction ${header.firstTxn}: it is not the segment that its name says`
  throw new HotBackupError('ERR_LOG_CORRUPT', message, { path, offset: 0, txn: firstTxn })
}
