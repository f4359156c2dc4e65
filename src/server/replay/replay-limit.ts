// Finds the last transaction of a log that was written at a time or before, without applying anything.
import { BlockView } from '../../log/block.ts'
import type { LogPosition } from '../../log/chain.ts'
import type { DurableMark } from '../../log/durable.ts'
import { LogReader } from '../../log/reader.ts'
import type { Disk } from '../../platform/disk.ts'

/**
 * The last transaction behind `from` before the first block that is later than `time`; the last durable one when
 * there is no such block. Throws what LogReader throws.
 */
export async function lastInTime(
  disk: Disk,
  directory: string,
  from: LogPosition,
  mark: DurableMark | null,
  time: number,
): Promise<number> {
  if (mark === null || mark.txn <= from.txn) return from.txn
  const block = new BlockView()
  const reader = await LogReader.open(disk, directory, from, { reuse: true })
  try {
    for (;;) {
      const run = await reader.next(mark)
      if (run === null) return mark.txn
      for (let at = run.start; at < run.end; at += block.length) {
        block.reset(run.bytes, at)
        if (block.time > time) return block.firstTxn - 1
      }
    }
  } finally {
    await reader.close()
  }
}
