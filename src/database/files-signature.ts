// What can be told of a database's files without a lock: up to which transaction they hold, and whether they changed.
import path from 'node:path'
import { crc32 } from '../log/crc.ts'
import { isWrongFile, readState } from '../platform/atomic-file.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { catalogBytesMax, decodeCatalog } from './catalog.ts'
import { catalogName, journalName } from './checkpoint.ts'

/** Changes before the first data file is changed, and is not the same again afterwards. */
export async function filesSignature(disk: Disk, directory: string): Promise<string> {
  const catalog = await readState(disk, path.join(directory, catalogName), catalogBytesMax)
  const journal = await sizeOf(disk, path.join(directory, journalName))
  const crc = catalog === null ? 0 : crc32(catalog, 0, catalog.length)
  return `${catalog?.length ?? 0} ${crc} ${journal}`
}

async function sizeOf(disk: Disk, file: string): Promise<number> {
  let opened
  try {
    opened = await disk.open(file, 'read')
  } catch (error) {
    if (isNotFound(error) || isWrongFile(error)) return -1
    throw error
  }
  try {
    return opened.size()
  } finally {
    await opened.close()
  }
}

/** The transaction up to which the files hold; 0 without a database. Throws ERR_DATABASE_CORRUPT, ERR_DISK. */
export async function readCheckpointTxn(disk: Disk, directory: string): Promise<number> {
  const file = path.join(directory, catalogName)
  const bytes = await readState(disk, file, catalogBytesMax)
  return bytes === null ? 0 : decodeCatalog(bytes, file).stamp.txn
}
