// Where a replay by hand would end, found without applying anything: the last transaction before a time, and what the
// transactions on both sides of the end do.
import { BlockView } from '../log/block.ts'
import type { DurableMark } from '../log/durable.ts'
import { LogReader } from '../log/reader.ts'
import { segmentFiles } from '../log/segments.ts'
import type { Database } from '../database/database.ts'
import type { Disk } from '../platform/disk.ts'
import type { BroughtSegment } from '../slave/brought-segments.ts'
import type { ReplayEnds } from './replay-operations.ts'
import { outlineTransaction } from './transaction-outline.ts'

/**
 * The last transaction before the first block that is not applied yet and later than `time`; the last durable one when
 * there is no such block. Throws what LogReader throws.
 */
export async function lastInTime(
  disk: Disk,
  directory: string,
  { stamp, appliedTxn }: Pick<Database, 'stamp' | 'appliedTxn'>,
  mark: DurableMark | null,
  time: number,
): Promise<number> {
  if (mark === null || mark.txn <= stamp.txn) return appliedTxn
  const block = new BlockView()
  const reader = await LogReader.open(disk, directory, stamp, { reuse: true })
  try {
    for (;;) {
      const run = await reader.next(mark)
      if (run === null) return mark.txn
      for (let at = run.start; at < run.end; at += block.length) {
        block.reset(run.bytes, at)
        if (block.lastTxn <= appliedTxn || block.time <= time) continue
        return Math.max(appliedTxn, block.firstTxn - 1)
      }
    }
  } finally {
    await reader.close()
  }
}

/**
 * `lastTxn` and `nextTxn` lie in the log, which ends with `durableTxn`, or behind that in the segments that are
 * brought; 0 for none. Throws ERR_LOG_CORRUPT.
 */
export async function replayEnds(
  disk: Disk,
  directory: string,
  durableTxn: number,
  brought: readonly BroughtSegment[],
  { lastTxn, nextTxn }: { readonly lastTxn: number; readonly nextTxn: number },
): Promise<ReplayEnds> {
  const own = await segmentFiles(disk, directory)
  const outline = (txn: number) => {
    if (txn === 0) return Promise.resolve(null)
    const path =
      txn <= durableTxn
        ? own.findLast(({ firstTxn }) => firstTxn <= txn)?.path
        : brought.findLast(({ header }) => header.firstTxn <= txn)?.path
    return path === undefined ? Promise.resolve(null) : outlineTransaction(disk, path, txn)
  }
  return { last: await outline(lastTxn), next: await outline(nextTxn) }
}
