// Which files are a server's own, by their names. Its directories may be mount points or symbolic links to other disks,
// and may hold what is none of the server's: the lost+found of a file system, what network storage, desktops and
// editors leave, an operator's notes. All of that stays, is not copied, and need not even be readable.
import path from 'node:path'
import { catalogName, journalName } from '../database/checkpoint.ts'
import { isDataFileName } from '../database/data-file-name.ts'
import { durableName } from '../log/durable.ts'
import { isKeptCopy } from '../log/kept-copies.ts'
import { isUnfinishedSegment } from '../log/segment-repair.ts'
import { nextName } from '../log/preallocate.ts'
import { parseSegmentName } from '../log/segment.ts'
import { isNotFound, systemErrorOf, type Disk } from '../platform/disk.ts'
import { isServerName } from '../wire/server-name.ts'

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
  const plain = name.replace(/\.tmp$/, '')
  if (logFiles.has(name) || logFiles.has(plain)) return true
  return parseSegmentName(plain) !== null || isKeptCopy(plain) || isUnfinishedSegment(plain)
}

/** Of slaves/: its ack, how long the log is held for its copy, and that it was dropped from the queue. */
export function isSlaveFile(name: string): boolean {
  const [, slave = ''] = /^(.*)\.(?:ack|seed|dropped)(?:\.tmp)?$/.exec(name) ?? []
  return isServerName(slave)
}

/** Of a copy, by its path in there: database and log. */
export function isImageFile(name: string): boolean {
  const [directory, base] = [path.dirname(name), path.basename(name)]
  return directory === 'log' ? isLogFile(base) : directory === 'database' && isDatabaseFile(base)
}

/** Found in any directory, and not data of a server: hidden files, and those of file systems, storage and desktops. */
const leftover =
  /^([.@#$].*|.*~|lost\+found|Thumbs\.db|desktop\.ini|System Volume Information|Icon\r)$/i

/**
 * The files below a directory by their paths from there, sorted; none when there is no such directory. Left out is what
 * the system and other programs leave anywhere, and what lies in directories that cannot be read. Throws ERR_DISK.
 */
export async function filesBelow(disk: Disk, directory: string, prefix = ''): Promise<string[]> {
  const found: string[] = []
  const entries = await disk.list(path.resolve(directory, prefix)).catch((error: unknown) => {
    const { code } = systemErrorOf(error) ?? {}
    if (prefix === '' || (code !== 'EACCES' && code !== 'EPERM')) throw error
    return []
  })
  for (const { name, directory: inner } of entries) {
    if (leftover.test(name)) continue
    if (inner) found.push(...(await filesBelow(disk, directory, `${prefix}${name}/`)))
    else found.push(`${prefix}${name}`)
  }
  return found
}

/** Of them, the server's own. */
export async function ownBelow(disk: Disk, directory: string, isOwn: IsOwn): Promise<string[]> {
  return (await filesBelow(disk, directory)).filter(name => isOwn(name))
}

/** Removes the server's own files below a directory, which need not be there; durable but for those further down. */
export async function removeOwnBelow(disk: Disk, directory: string, isOwn: IsOwn): Promise<void> {
  for (const name of await ownBelow(disk, directory, isOwn)) {
    await disk.remove(path.join(directory, name))
  }
  await syncIfThere(disk, directory)
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
  await syncIfThere(disk, directory)
}

async function syncIfThere(disk: Disk, directory: string): Promise<void> {
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
