// How much a slave has stored and not applied, and how long its disk takes more at the present rate. Estimated from
// the files of the log, whether the server runs or not.
import type { DurableMark } from '../log/durable.ts'
import { timeOfTransaction } from '../log/locate.ts'
import type { SegmentInfo } from '../log/segments.ts'
import { isNotFound } from '../platform/disk.ts'
import type { Platform } from '../platform/platform.ts'
import { bytesAfter } from '../ship/queue.ts'

export interface Backlog {
  readonly transactions: number
  readonly bytes: number
  /** From its first block to its last one, by the master's clock. */
  readonly seconds: number
  /** Until the disk is full of log at the present rate; null when nothing grows. */
  readonly secondsToDiskFull: number | null
}

/** The rate is that of this time, or since the last segment was begun. */
const rateWindowMs = 3_600_000

export async function measureBacklog(
  { disk, clock }: Pick<Platform, 'disk' | 'clock'>,
  directory: string,
  segments: readonly SegmentInfo[],
  mark: DurableMark | null,
  appliedTxn: number,
): Promise<Backlog> {
  const lastTxn = mark?.txn ?? 0
  const transactions = Math.max(0, lastTxn - appliedTxn)
  let seconds = 0
  const first = segments.findLast(segment => segment.firstTxn <= appliedTxn + 1)
  if (mark !== null && transactions > 0 && first !== undefined) {
    try {
      const time = await timeOfTransaction(disk, first.path, appliedTxn + 1)
      seconds = time === null ? 0 : Math.max(0, mark.time - time) / 1000
    } catch (error) {
      // Applied and removed meanwhile.
      if (!isNotFound(error)) throw error
    }
  }
  const rate = growth(segments, clock.now())
  const free = rate === 0 ? 0 : await disk.freeBytes(directory)
  return {
    transactions,
    bytes: bytesAfter(segments, appliedTxn, lastTxn),
    seconds,
    secondsToDiskFull: rate === 0 ? null : Math.round(free / rate),
  }
}

/** Bytes a second. */
function growth(segments: readonly SegmentInfo[], now: number): number {
  const last = segments.at(-1)
  if (last === undefined) return 0
  const recent = segments.filter(segment => segment.created >= now - rateWindowMs)
  const counted = recent.length > 0 ? recent : [last]
  const bytes = counted.reduce((sum, segment) => sum + segment.bytes, 0)
  const seconds = (now - Math.min(...counted.map(segment => segment.created))) / 1000
  return seconds < 1 ? 0 : bytes / seconds
}
