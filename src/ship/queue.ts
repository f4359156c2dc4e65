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

/** What a slave has stored by its last word, confirmed at this moment or not: what follows is kept for it. */
export interface Stored {
  readonly slave: string
  readonly durableTxn: number
}

/** Slaves that were dropped from the queue are left out. Throws ERR_DISK. */
export async function readStored(
  disk: Disk,
  acksDirectory: string,
  slaves: readonly string[],
): Promise<Stored[]> {
  const found: Stored[] = []
  for (const slave of slaves) {
    if ((await readDropped(disk, acksDirectory, slave)) !== null) continue
    const ack = await readAck(disk, acksDirectory, slave)
    found.push({ slave, durableTxn: ack?.durableTxn ?? 0 })
  }
  return found
}

/** `lastTxn`: where the log ends. */
export function queueFor(
  stored: readonly Stored[],
  segments: readonly SegmentInfo[],
  lastTxn: number,
): Queue {
  let slave: string | null = null
  let durableTxn = lastTxn
  for (const one of stored) if (one.durableTxn < durableTxn) ({ slave, durableTxn } = one)
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
