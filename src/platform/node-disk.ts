// Disks by node:fs. The hot calls wrap the callback functions: a FileHandle of fs.promises costs twice as much
// per call. A file that is closed has no descriptor left, so that a late call can never hit another file's.
import * as fs from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { diskError } from './disk-error.ts'
import {
  systemErrorOf,
  type Access,
  type DirectoryEntry,
  type Disk,
  type DiskFile,
  type OpenMode,
} from './disk.ts'

/** Only its user can read what a server writes: items are private data, and hb.key is a secret. */
const fileMode = 0o600
const directoryMode = 0o700
/** Where Linux cuts a single read or write (2 GiB less a page) is above every length that is asked for here. */
const transferBytesMax = 1024 * 1024 * 1024

/** Windows has no such flag, and no such links for everybody. */
const noLink = fs.constants.O_NOFOLLOW ?? 0
/** A pipe in the place of a file would be waited for. */
const noWait = fs.constants.O_NONBLOCK ?? 0
const openFlags: Readonly<Record<OpenMode, number>> = {
  read: fs.constants.O_RDONLY | noLink | noWait,
  write: fs.constants.O_RDWR | noLink | noWait,
  create: fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL,
}

class NodeDiskFile implements DiskFile {
  readonly path: string
  #descriptor: number

  constructor(path: string, descriptor: number) {
    this.path = path
    this.#descriptor = descriptor
  }

  size(): number {
    return this.#checked('look at', () => fs.fstatSync(this.#open()).size)
  }

  access(): Access {
    return this.#checked('look at', () => accessOf(fs.fstatSync(this.#open())))
  }

  read(buffer: Uint8Array, start: number, length: number, offset: number): Promise<number> {
    const descriptor = this.#open()
    return new Promise((resolve, reject) => {
      let done = 0
      const step = () => {
        const wanted = Math.min(length - done, transferBytesMax)
        fs.read(descriptor, buffer, start + done, wanted, offset + done, (error, count) => {
          if (error !== null) return reject(diskError(error, 'read', this.path))
          done += count
          if (count === 0 || done === length) return resolve(done)
          step()
        })
      }
      step()
    })
  }

  readSync(buffer: Uint8Array, start: number, length: number, offset: number): number {
    const descriptor = this.#open()
    let done = 0
    try {
      while (done < length) {
        const wanted = Math.min(length - done, transferBytesMax)
        const count = fs.readSync(descriptor, buffer, start + done, wanted, offset + done)
        if (count === 0) break
        done += count
      }
    } catch (error) {
      throw diskError(error, 'read', this.path)
    }
    return done
  }

  write(buffer: Uint8Array, start: number, length: number, offset: number): Promise<void> {
    const descriptor = this.#open()
    return new Promise((resolve, reject) => {
      let done = 0
      const step = () => {
        const wanted = Math.min(length - done, transferBytesMax)
        fs.write(descriptor, buffer, start + done, wanted, offset + done, (error, count) => {
          if (error !== null) return reject(diskError(error, 'write', this.path))
          if (count === 0 && done < length) return reject(nothingWritten(this.path))
          done += count
          if (done === length) return resolve()
          step()
        })
      }
      step()
    })
  }

  writeSync(buffer: Uint8Array, start: number, length: number, offset: number): void {
    const descriptor = this.#open()
    try {
      for (let done = 0; done < length;) {
        const wanted = Math.min(length - done, transferBytesMax)
        const count = fs.writeSync(descriptor, buffer, start + done, wanted, offset + done)
        if (count === 0) throw nothingWritten(this.path)
        done += count
      }
    } catch (error) {
      throw diskError(error, 'write', this.path)
    }
  }

  sync(): Promise<void> {
    const descriptor = this.#open()
    return new Promise((resolve, reject) => {
      fs.fdatasync(descriptor, error => {
        if (error === null) resolve()
        else reject(diskError(error, 'sync', this.path))
      })
    })
  }

  syncSync(): void {
    this.#checked('sync', () => fs.fdatasyncSync(this.#open()))
  }

  truncate(length: number): Promise<void> {
    const descriptor = this.#open()
    return called('truncate', this.path, done => fs.ftruncate(descriptor, length, done))
  }

  close(): Promise<void> {
    const descriptor = this.#open()
    this.#descriptor = -1
    return called('close', this.path, done => fs.close(descriptor, done))
  }

  closeSync(): void {
    const descriptor = this.#open()
    this.#descriptor = -1
    this.#checked('close', () => fs.closeSync(descriptor))
  }

  #open(): number {
    if (this.#descriptor < 0) throw new TypeError(`${this.path} is used after it was closed`)
    return this.#descriptor
  }

  #checked<T>(operation: string, call: () => T): T {
    try {
      return call()
    } catch (error) {
      throw diskError(error, operation, this.path)
    }
  }
}

/** Without a system error: it is about the file, and not the disk. */
function pipeError(path: string): HotBackupError {
  const message = `${path} is a pipe, and not a file`
  const hint = 'Move away what is there.'
  return new HotBackupError('ERR_DISK', message, { path }, undefined, hint)
}

export const nodeDisk: Disk = {
  open(path, mode) {
    return new Promise((resolve, reject) => {
      fs.open(path, openFlags[mode], fileMode, (error, descriptor) => {
        if (error !== null) {
          reject(diskError(error, mode === 'create' ? 'create' : 'open', path))
          return
        }
        fs.fstat(descriptor, (failed, found) => {
          if (failed === null && !found.isFIFO()) return resolve(new NodeDiskFile(path, descriptor))
          const why = failed === null ? pipeError(path) : diskError(failed, 'look at', path)
          fs.close(descriptor, () => reject(why))
        })
      })
    })
  },

  openSync(path, mode) {
    let descriptor
    try {
      descriptor = fs.openSync(path, openFlags[mode], fileMode)
    } catch (error) {
      throw diskError(error, mode === 'create' ? 'create' : 'open', path)
    }
    if (!fs.fstatSync(descriptor).isFIFO()) return new NodeDiskFile(path, descriptor)
    fs.closeSync(descriptor)
    throw pipeError(path)
  },

  exists(path) {
    return new Promise((resolve, reject) => {
      fs.stat(path, error => {
        if (error === null) resolve(true)
        else if (isMissing(error)) resolve(false)
        else reject(diskError(error, 'look at', path))
      })
    })
  },

  access(path) {
    return new Promise((resolve, reject) => {
      fs.stat(path, (error, found) => {
        if (error === null) resolve(accessOf(found))
        else if (isMissing(error)) resolve(null)
        else reject(diskError(error, 'look at', path))
      })
    })
  },

  realPath,

  list(path) {
    return new Promise((resolve, reject) => {
      fs.readdir(path, { withFileTypes: true }, (error, found) => {
        if (error !== null) {
          if (isMissing(error)) resolve([])
          else reject(diskError(error, 'list', path))
          return
        }
        const entries = found.map((entry): DirectoryEntry => ({
          name: entry.name,
          directory: entry.isDirectory(),
        }))
        // By code unit, not by the language of the machine: the same order on every host.
        resolve(entries.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)))
      })
    })
  },

  makeDirectory,

  rename(from, to) {
    return called('rename', from, done => fs.rename(from, to, done))
  },

  /** Removes a file, or an empty directory. */
  remove(path) {
    return new Promise((resolve, reject) => {
      const done: Done = error => {
        if (error === null || error === undefined || error.code === 'ENOENT') resolve()
        else reject(diskError(error, 'remove', path))
      }
      // Linux answers EISDIR for a directory, POSIX says EPERM.
      fs.unlink(path, error => {
        if (error?.code === 'EISDIR' || error?.code === 'EPERM') fs.rmdir(path, done)
        else done(error)
      })
    })
  },

  syncDirectory,

  freeBytes(path) {
    return new Promise((resolve, reject) => {
      fs.statfs(path, (error, found) => {
        if (error === null) resolve(found.bavail * found.bsize)
        else reject(diskError(error, 'look at', path))
      })
    })
  },
}

/**
 * Durable when it resolves. From the top down, each one synced into its parent before anything is made in it: so of
 * those that are there already only the last can be one that its maker, killed, has not synced.
 */
async function makeDirectory(path: string): Promise<void> {
  const parent = dirname(path)
  if (await isDirectory(path)) {
    // Who may not read the parent has hardly made anything there.
    await syncDirectory(parent).catch((error: unknown) => {
      if (!isForbidden(error)) throw error
    })
    return
  }
  await makeDirectory(parent)
  try {
    await called('create', path, done => fs.mkdir(path, directoryMode, done))
  } catch (error) {
    // Somebody else was faster, or something else has that name.
    if (!(await isDirectory(path))) throw error
  }
  await syncDirectory(parent)
}

/** Windows has neither owners nor such bits; Node makes them up there. */
function accessOf({ uid, mode }: fs.Stats): Access {
  if (process.platform === 'win32') return { user: null, ours: true, mode: fileMode }
  return { user: uid, ours: uid === 0 || uid === process.geteuid?.(), mode: mode & 0o1777 }
}

async function realPath(path: string): Promise<string> {
  const found = await new Promise<string | null>((resolve, reject) => {
    fs.realpath(path, (error, real) => {
      if (error === null) resolve(real)
      else if (isMissing(error)) resolve(null)
      else reject(diskError(error, 'look at', path))
    })
  })
  return found ?? join(await realPath(dirname(path)), basename(path))
}

function isDirectory(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    fs.stat(path, (error, found) => {
      if (error === null) resolve(found.isDirectory())
      else if (isMissing(error)) resolve(false)
      else reject(diskError(error, 'look at', path))
    })
  })
}

/** A rename or a new file is durable only when the directory that names it is. */
async function syncDirectory(path: string): Promise<void> {
  const descriptor = await new Promise<number>((resolve, reject) => {
    fs.open(path, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY, (error, opened) => {
      if (error === null) resolve(opened)
      else reject(diskError(error, 'open', path))
    })
  })
  try {
    await called('sync', path, done => fs.fsync(descriptor, done))
  } finally {
    fs.closeSync(descriptor)
  }
}

type Done = (error: NodeJS.ErrnoException | null | undefined) => void

function called(operation: string, path: string, call: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    call(error => {
      if (error === null || error === undefined) resolve()
      else reject(diskError(error, operation, path))
    })
  })
}

function isMissing(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ENOENT' || error.code === 'ENOTDIR'
}

/** Trying again could go on for ever. */
function nothingWritten(path: string): HotBackupError {
  return new HotBackupError('ERR_DISK', `cannot write ${path}: the system takes no byte`, { path })
}

function isForbidden(error: unknown): boolean {
  return systemErrorOf(error)?.code === 'EACCES'
}
