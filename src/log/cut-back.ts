// Takes a log back to a position that it holds: what lies behind it is deleted. The caller has saved that elsewhere,
// and remembers the place durably before he begins: interrupted, cutting again at the same place completes it.
import { join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import type { Disk } from '../platform/disk.ts'
import { BlockView } from './block.ts'
import { BlockChain, hex, type LogPosition } from './chain.ts'
import { durableName } from './durable.ts'
import { SegmentScan } from './scan.ts'
import { segmentHeaderBytes, segmentName } from './segment.ts'
import { segmentFiles } from './segments.ts'

/** Where a position lies: behind it, the segment is cut. */
export interface LogPlace extends LogPosition {
  readonly segmentFirstTxn: number
  readonly offset: number
}

/**
 * Throws ERR_LOG_REMOVED when the log begins later, ERR_LOG_FOREIGN (with both values) when it has another chain value
 * there, ERR_LOG_GAP when no block of it ends there, ERR_LOG_CORRUPT when what leads there is damaged.
 */
export async function placeOf(
  disk: Disk,
  directory: string,
  position: LogPosition,
): Promise<LogPlace> {
  const files = await segmentFiles(disk, directory)
  const holding =
    files.findLast(file => file.firstTxn <= position.txn) ??
    files.find(file => file.firstTxn === position.txn + 1)
  if (holding === undefined) {
    const message = `${directory} starts with transaction ${files[0]?.firstTxn ?? 0}; ${position.txn} has been removed`
    throw new HotBackupError('ERR_LOG_REMOVED', message, { path: directory, txn: position.txn })
  }
  const scan = await SegmentScan.openListed(disk, directory, holding, { reuse: true })
  try {
    const { header } = scan
    const chain = new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
    scan.enter(chain)
    const block = new BlockView()
    let at = { txn: header.firstTxn - 1, chain: header.chain }
    let offset = segmentHeaderBytes
    while (at.txn < position.txn && (await scan.next())) {
      for (let start = scan.start; start < scan.end && at.txn < position.txn;) {
        block.reset(scan.bytes, start)
        at = { txn: block.lastTxn, chain: block.crc }
        start += block.length
        offset += block.length
      }
    }
    scan.checkReached(position.txn)
    checkSame(holding.path, position, at)
    return { ...position, segmentFirstTxn: header.firstTxn, offset }
  } finally {
    await scan.close()
  }
}

function checkSame(path: string, wanted: LogPosition, found: LogPosition): void {
  const place = { path, txn: wanted.txn }
  if (found.txn !== wanted.txn) {
    const message = `${path} has no block that ends with transaction ${wanted.txn}`
    throw new HotBackupError('ERR_LOG_GAP', message, place)
  }
  if (found.chain === wanted.chain) return
  const message = `${path}: transaction ${wanted.txn} has the chain value ${hex(found.chain)} here, and ${hex(wanted.chain)} there`
  throw new HotBackupError('ERR_LOG_FOREIGN', message, place)
}

/**
 * Cuts the log behind `place`, durably. Nobody has it open. Without log/durable the next recovery looks at all of it,
 * and finds no fault in what is missing.
 */
export async function cutBack(disk: Disk, directory: string, place: LogPlace): Promise<void> {
  await disk.remove(join(directory, durableName))
  await disk.syncDirectory(directory)
  const later = (await segmentFiles(disk, directory)).filter(
    file => file.firstTxn > place.segmentFirstTxn,
  )
  // From the end, so that there is no hole in between.
  for (const { path } of later.reverse()) {
    await disk.remove(path)
    await disk.syncDirectory(directory)
  }
  const file = await disk.open(join(directory, segmentName(place.segmentFirstTxn)), 'write')
  try {
    if (file.size() > place.offset) await file.truncate(place.offset)
    await file.sync()
  } finally {
    await file.close()
  }
}
