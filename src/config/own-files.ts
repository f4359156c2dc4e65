// Which files in database/ and log/ are the server's own. The directories may be mount points or symbolic links to
// other disks, and may hold what is none of the server's, such as the lost+found of a file system: that stays.
import path from 'node:path'
import { catalogName, journalName } from '../database/checkpoint.ts'
import { isDataFileName } from '../database/data-file-name.ts'
import { durableName } from '../log/durable.ts'
import { nextName } from '../log/preallocate.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'

export type IsOwn = (name: string) => boolean

const databaseFiles = new Set([catalogName, journalName, 'try', 'tried'])
const logFiles = new Set([durableName, nextName, 'try', 'tried'])

/** With what is being written: a name that ends in .tmp. */
export function isDatabaseFile(name: string): boolean {
  const plain = name.replace(/\.tmp$/, '')
  return databaseFiles.has(plain) || isDataFileName(plain)
}

/** Segments, with the copies that belong to them, and the rest. */
export function isLogFile(name: string): boolean {
  return (
    logFiles.has(name) ||
    logFiles.has(name.replace(/\.tmp$/, '')) ||
    /^\d{16}\.log(\.|$)/.test(name)
  )
}

/** Removes the server's own files, but for those that are kept, durably. The directory need not be there. */
export async function removeOwn(
  disk: Disk,
  directory: string,
  isOwn: IsOwn,
  kept: ReadonlySet<string> = new Set(),
): Promise<void> {
  for (const { name, directory: inner } of await disk.list(directory)) {
    if (!inner && isOwn(name) && !kept.has(name)) await disk.remove(path.join(directory, name))
  }
  try {
    await disk.syncDirectory(directory)
  } catch (error) {
    if (!isNotFound(error)) throw error
  }
}

/** Files that cannot be opened count as empty. */
export async function sizeOfOwn(disk: Disk, directory: string, isOwn: IsOwn): Promise<number> {
  let bytes = 0
  for (const { name, directory: inner } of await disk.list(directory)) {
    if (inner || !isOwn(name)) continue
    const file = await disk.open(path.join(directory, name), 'read').catch(() => null)
    bytes += file?.size() ?? 0
    await file?.close()
  }
  return bytes
}
