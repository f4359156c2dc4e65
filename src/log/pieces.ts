// Pieces of segments for a peer whose own copy is damaged: the bytes as they lie here, as far as they are durable. What
// they are worth is the peer's to check (repair.ts): this side may be damaged, too.
import { join } from 'node:path'
import { isHotBackupError } from '../errors.ts'
import { isNotFound, isUnreadable, type Disk } from '../platform/disk.ts'
import { sameIdentity } from './chain.ts'
import { readDurableMark } from './durable.ts'
import { decodeSegmentHeader, segmentHeaderBytes, segmentName } from './segment.ts'

export interface PieceQuestion {
  readonly databaseId: Uint8Array
  readonly segmentFirstTxn: number
  readonly offset: number
  readonly length: number
}

/**
 * At most `length` bytes from `offset` on, fewer where what is durable ends; null when this log does not hold the
 * segment, or holds one of another database. Throws ERR_DISK.
 */
export async function readPiece(
  disk: Disk,
  directory: string,
  { databaseId, segmentFirstTxn, offset, length }: PieceQuestion,
): Promise<Uint8Array | null> {
  const mark = await readDurableMark(disk, directory)
  if (mark === null || segmentFirstTxn > mark.segmentFirstTxn) return null
  const path = join(directory, segmentName(segmentFirstTxn))
  let file
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (isNotFound(error)) return null
    throw error
  }
  try {
    const header = Buffer.alloc(segmentHeaderBytes)
    const count = await file.read(header, 0, segmentHeaderBytes, 0)
    if (!isOf(databaseId, header.subarray(0, count), path)) return null
    const end = segmentFirstTxn === mark.segmentFirstTxn ? mark.offset : file.size()
    const bytes = Buffer.allocUnsafe(Math.max(0, Math.min(length, end - offset)))
    return bytes.subarray(0, await file.read(bytes, 0, bytes.length, offset))
  } catch (error) {
    // Not to be had here: another peer may have it.
    if (isUnreadable(error)) return null
    throw error
  } finally {
    await file.close()
  }
}

function isOf(databaseId: Uint8Array, header: Buffer, path: string): boolean {
  try {
    return sameIdentity(decodeSegmentHeader(header, path).databaseId, databaseId)
  } catch (error) {
    if (isHotBackupError(error, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION')) return false
    throw error
  }
}
