// The port to disks. Everything durable goes through it, so that a simulated disk can lose, tear, refuse
// or delay any of it. Paths are absolute. A symbolic link is followed where a directory belongs, and where `access`,
// `exists` and `realPath` look; a link in place of a file is not opened. Failures are HotBackupErrors: ERR_DISK_FULL
// for ENOSPC and EDQUOT, ERR_DISK for the rest, with the path in `place` and the system's error as `cause`. A sync that
// fails, for want of room as well, is ERR_DISK: whoever waits for room never takes it for a thing to try again.

import { HotBackupError } from '../errors.ts'

export type OpenMode =
  | 'read' // must exist
  | 'write' // must exist; reads too
  | 'create' // must not exist; reads too

/** To whom a file or directory belongs, and who else may do something with it. */
export interface Access {
  /** The number of the user who owns it; null where the system has no such users. */
  readonly user: number | null
  /** It is root's, or that of the user of this process. */
  readonly ours: boolean
  /** The permission bits, with the sticky bit; of the owner alone where the system has none. */
  readonly mode: number
}

/** An open file. Offsets and lengths are bytes. One owner closes it. */
export interface DiskFile {
  readonly path: string
  size(): number
  access(): Access
  /** Reads up to `length` bytes; fewer only at the end of the file. Loops over short reads. Returns the count. */
  read(buffer: Uint8Array, start: number, length: number, offset: number): Promise<number>
  readSync(buffer: Uint8Array, start: number, length: number, offset: number): number
  /** Writes everything or throws; loops over short writes. */
  write(buffer: Uint8Array, start: number, length: number, offset: number): Promise<void>
  writeSync(buffer: Uint8Array, start: number, length: number, offset: number): void
  /** fdatasync. A failure is final: the caller must never try again and believe the second answer. */
  sync(): Promise<void>
  /** The same, without the thread-pool's detour (about 80 µs): for one small write that a caller waits for. */
  syncSync(): void
  truncate(length: number): Promise<void>
  close(): Promise<void>
  closeSync(): void
}

export interface DirectoryEntry {
  readonly name: string
  readonly directory: boolean
}

export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>
  openSync(path: string, mode: OpenMode): DiskFile
  exists(path: string): Promise<boolean>
  /** Null when there is nothing. */
  access(path: string): Promise<Access | null>
  /** The path without symbolic links, as far as it exists; the rest stays as it is. */
  realPath(path: string): Promise<string>
  /** Names in the directory, sorted; an empty list when it does not exist. */
  list(path: string): Promise<DirectoryEntry[]>
  /** Creates the directory and its parents; it is no error when it exists. Durable when it resolves. */
  makeDirectory(path: string): Promise<void>
  /** Replaces `to`. Durable only after syncDirectory of the parent. */
  rename(from: string, to: string): Promise<void>
  /** It is no error when it does not exist. Durable only after syncDirectory of the parent. */
  remove(path: string): Promise<void>
  syncDirectory(path: string): Promise<void>
  /** Bytes that this process may still write on the file system of `path`. */
  freeBytes(path: string): Promise<number>
}

/** True for an error of the port that says that there is no such file or directory. */
export function isNotFound(error: unknown): error is HotBackupError {
  return systemErrorOf(error)?.code === 'ENOENT'
}

/** True for an error of the port that says that a symbolic link is in the place of a file. */
export function isLink(error: unknown): error is HotBackupError {
  const cause = systemErrorOf(error)
  return cause?.code === 'ELOOP' && cause.syscall === 'open'
}

/**
 * True for an error of a read that says that the device, or a file system with checks of its own, cannot give the
 * bytes: damage at rest that is told instead of shown. Also when it has become another error on its way.
 */
export function isUnreadable(error: unknown): error is HotBackupError {
  if (error instanceof HotBackupError && error.cause instanceof HotBackupError) {
    return isUnreadable(error.cause)
  }
  const cause = systemErrorOf(error)
  return cause?.code === 'EIO' && cause.syscall === 'read'
}

/** What the system has said; null for errors of our own. */
export function systemErrorOf(error: unknown): NodeJS.ErrnoException | null {
  if (!(error instanceof HotBackupError)) return null
  return error.cause instanceof Error ? error.cause : null
}
