// When a transaction was written: the time of its block, found by going from block header to block header. Nothing
// is checked, so this is for people, not for decisions.
import { KiB } from '../limits.ts'
import { isUnreadable, type Disk } from '../platform/disk.ts'
import { Advance } from './advance.ts'
import { BlockView, blockHeaderBytes, blockMagic } from './block.ts'
import { segmentHeaderBytes } from './segment.ts'

const readBytes = 256 * KiB

/** Wall-clock milliseconds; null when the segment does not hold the transaction, or is damaged. Throws ERR_DISK. */
export async function timeOfTransaction(
  disk: Disk,
  path: string,
  txn: number,
): Promise<number | null> {
  const file = await disk.open(path, 'read')
  try {
    const bytes = Buffer.allocUnsafe(readBytes)
    const block = new BlockView()
    let base = 0
    let count = 0
    const advance = new Advance(path, 'byte')
    for (let offset = segmentHeaderBytes; ;) {
      advance.to(offset)
      if (offset + blockHeaderBytes > base + count) {
        base = offset
        count = await file.read(bytes, 0, readBytes, offset)
        if (count < blockHeaderBytes) return null
      }
      block.reset(bytes, offset - base)
      if (block.magic !== blockMagic || block.impossibleLength) return null
      if (block.firstTxn <= txn && txn <= block.lastTxn) return block.time
      offset += block.length
    }
  } catch (error) {
    if (isUnreadable(error)) return null
    throw error
  } finally {
    await file.close()
  }
}
