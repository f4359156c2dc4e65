// Small files that are read and replaced as a whole: after a crash there is the old one or the new one.
import { dirname, join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import {
  isLink,
  isNotFound,
  isUnreadable,
  systemErrorOf,
  type Access,
  type Disk,
  type DiskFile,
} from './disk.ts'

/**
 * Replaces the file at `path`, durably. One writer at a time: the new bytes lie in `path`.tmp meanwhile, and
 * what a crash left there is written over. Throws ERR_DISK_FULL or ERR_DISK; the old file is then as it was,
 * unless the directory's sync failed.
 */
export async function writeFileAtomic(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.tmp`
  await disk.remove(temporary)
  try {
    const file = await disk.open(temporary, 'create')
    try {
      await file.write(bytes, 0, bytes.length, 0)
      await file.sync()
    } finally {
      await file.close()
    }
    await replaceFile(disk, temporary, path)
  } catch (error) {
    // The space may be what the next attempt needs. The first error is the one to tell.
    await disk.remove(temporary).catch(() => {})
    throw error
  }
  await disk.syncDirectory(dirname(path))
}

/** A rename, also to where something has put a directory. Durable after a sync of the parent. */
export async function replaceFile(disk: Disk, from: string, path: string): Promise<void> {
  try {
    await disk.rename(from, path)
  } catch (error) {
    if (!isDirectoryError(error)) throw error
    await removeDirectory(disk, path)
    await disk.rename(from, path)
  }
}

/**
 * Something has put a directory, or a symbolic link, where a file belongs. A directory that holds something is moved
 * aside, to PATH.aside.
 */
export async function removeDirectory(disk: Disk, path: string): Promise<void> {
  await disk.remove(path).catch(() => disk.rename(path, `${path}.aside`))
}

/**
 * A server's own small file, to be written in place; made, not durably, where there is none, or none that can be one.
 * Throws ERR_DISK, ERR_DISK_FULL.
 */
export async function openState(
  disk: Disk,
  path: string,
): Promise<{ readonly file: DiskFile; readonly made: boolean }> {
  try {
    return { file: await disk.open(path, 'write'), made: false }
  } catch (error) {
    if (isWrongFile(error)) await removeDirectory(disk, path)
    else if (!isNotFound(error)) throw error
  }
  return { file: await disk.open(path, 'create'), made: true }
}

/** Removes a server's own small file, also when a directory has its place. Durable after a sync of the parent. */
export async function removeState(disk: Disk, path: string): Promise<void> {
  try {
    await disk.remove(path)
  } catch (error) {
    if (systemErrorOf(error)?.code !== 'ENOTEMPTY') throw error
    await removeDirectory(disk, path)
  }
}

/**
 * Whether files can be made, stored, renamed and removed in a directory: tried with an empty file of a name that
 * nothing else has. Throws ERR_DISK_FULL or ERR_DISK.
 */
export async function tryDirectory(disk: Disk, directory: string): Promise<void> {
  const [made, renamed] = [join(directory, 'try.tmp'), join(directory, 'tried.tmp')]
  await disk.remove(made)
  const file = await disk.open(made, 'create')
  try {
    await file.write(Buffer.of(0), 0, 1, 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(made, renamed)
  await disk.remove(renamed)
  await disk.syncDirectory(directory)
}

/**
 * A server's own small file, whose reader decides what wrong content means: what is too long, no plain file, or lies
 * in a bad sector of the disk has no content. Null when there is nothing. Throws ERR_DISK for what may not be read.
 */
export async function readState(
  disk: Disk,
  path: string,
  bytesMax: number,
): Promise<Buffer | null> {
  try {
    return await readFile(disk, path, bytesMax)
  } catch (error) {
    if (isWrongFile(error) || isUnreadable(error)) return Buffer.alloc(0)
    throw error
  }
}

/** True for an error of `readFile` that is about the file, and not the disk: it is too long, or no plain file. */
export function isWrongFile(error: unknown): error is HotBackupError {
  if (!isHotBackupError(error, 'ERR_DISK')) return false
  if (systemErrorOf(error) === null || isDirectoryError(error) || isLink(error)) return true
  // A socket.
  return systemErrorOf(error)?.code === 'ENXIO'
}

function isDirectoryError(error: unknown): boolean {
  return systemErrorOf(error)?.code === 'EISDIR'
}

/**
 * The whole file; null when there is none. `seen` hears who may do what with it, before it is read. Throws ERR_DISK,
 * also when it has more than `bytesMax` bytes.
 */
export async function readFile(
  disk: Disk,
  path: string,
  bytesMax: number,
  seen: (access: Access) => void = () => {},
): Promise<Buffer | null> {
  let file
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (isNotFound(error)) return null
    throw error
  }
  try {
    seen(file.access())
    const size = file.size()
    if (size > bytesMax) {
      const message = `${path} has ${size} bytes; at most ${bytesMax} are expected`
      const hint = 'Check that it is the right file.'
      throw new HotBackupError('ERR_DISK', message, { path }, undefined, hint)
    }
    const bytes = Buffer.alloc(size)
    const count = await file.read(bytes, 0, size, 0)
    return bytes.subarray(0, count)
  } finally {
    await file.close()
  }
}
