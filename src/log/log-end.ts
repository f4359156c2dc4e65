// Where a log ends that no process has open: behind the last valid block. After a crash that can be further than
// log/durable says. Only looks.
import { BlockChain } from './chain.ts'
import { readDurableMark, type DurableMark } from './durable.ts'
import { SegmentScan } from './scan.ts'
import { segmentFiles } from './segments.ts'
import type { Disk } from '../platform/disk.ts'

/** Null when the log holds nothing. Throws ERR_LOG_CORRUPT for a segment without a valid header, ERR_DISK. */
export async function logEnd(disk: Disk, directory: string): Promise<DurableMark | null> {
  let end = await readDurableMark(disk, directory)
  let chain = end === null ? null : new BlockChain(end)
  for (const file of await segmentFiles(disk, directory)) {
    const { firstTxn } = file
    const marked = end?.segmentFirstTxn === firstTxn
    if (!marked && chain !== null && firstTxn !== chain.txn + 1) continue
    const scan = await SegmentScan.openListed(disk, directory, file, { reuse: true })
    try {
      // Without a mark from the beginning, wherever that is by now.
      chain ??= new BlockChain({ txn: firstTxn - 1, chain: scan.header.chain })
      if (marked && end !== null) {
        chain.resumeSegment(scan.header, end, end.offset)
        scan.resume(chain)
      } else {
        scan.enter(chain)
      }
      while (await scan.next()) {
        end = {
          ...chain.position,
          segmentFirstTxn: firstTxn,
          offset: chain.offset,
          time: scan.time,
        }
      }
    } finally {
      await scan.close()
    }
  }
  return end
}
