// Reads of segments. What the disk does not give (EIO: a bad sector) is damage like any other, and never a torn end.
import { HotBackupError } from '../errors.ts'
import { isUnreadable, type DiskFile } from '../platform/disk.ts'

/**
 * Reads up to `length` bytes from `offset` on into `buffer` from `start` on; fewer only at the end of the file.
 * Transaction `txn`, when it is known, is expected there. Throws ERR_LOG_CORRUPT for what cannot be read, ERR_DISK.
 */
export async function readSegment(
  file: DiskFile,
  buffer: Uint8Array,
  start: number,
  length: number,
  offset: number,
  txn?: number,
): Promise<number> {
  try {
    return await file.read(buffer, start, length, offset)
  } catch (error) {
    if (!isUnreadable(error)) throw error
    const { path } = file
    const expected = txn === undefined ? '' : `, transaction ${txn}`
    const message = `${path}, byte ${offset} or later${expected}: cannot be read (EIO)`
    const place = txn === undefined ? { path, offset } : { path, offset, txn }
    throw new HotBackupError('ERR_LOG_CORRUPT', message, place, error)
  }
}
