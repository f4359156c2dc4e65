// The transaction log queue: the part of the log that some slave has not stored yet. Its size is estimated from the
// segments' sizes; within a segment, transactions count as equally large.
import type { SegmentInfo } from '../log/segments.ts'
import type { Disk } from '../platform/disk.ts'
import { readAck } from './ack-file.ts'
import { readDropped } from './dropped.ts'

export interface Queue {
  readonly bytes: number
  /** The slave for which the oldest part is kept; null when the queue is empty. */
  readonly slave: string | null
  /** The last transaction that this slave has stored. */
  readonly durableTxn: number
}

/** Slaves that were dropped from the queue do not count. Throws ERR_DISK. */
export async function measureQueue(
  disk: Disk,
  acksDirectory: string,
  slaves: readonly string[],
  segments: readonly SegmentInfo[],
  lastTxn: number,
): Promise<Queue> {
  let slave: string | null = null
  let durableTxn = lastTxn
  for (const name of slaves) {
    if ((await readDropped(disk, acksDirectory, name)) !== null) continue
    const stored = (await readAck(disk, acksDirectory, name))?.durableTxn ?? 0
    if (stored >= durableTxn) continue
    durableTxn = stored
    slave = name
  }
  return { bytes: bytesAfter(segments, durableTxn, lastTxn), slave, durableTxn }
}

/** Bytes of the transactions behind `txn`, up to `lastTxn`, where the log ends. */
export function bytesAfter(segments: readonly SegmentInfo[], txn: number, lastTxn: number): number {
  let sum = 0
  for (const segment of segments) {
    const end = segment.lastTxn ?? lastTxn
    const count = end - segment.firstTxn + 1
    const after = Math.min(count, end - txn)
    if (after > 0) sum += (segment.bytes * after) / count
  }
  return Math.round(sum)
}
