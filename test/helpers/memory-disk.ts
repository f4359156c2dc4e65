// A disk in memory that forgets what was not synced, so that a test can crash a machine and look at what a
// real one may leave behind. As strict as POSIX: a new or renamed file is durable only after its directory's
// sync, and what a failed sync should have written is lost even when a later sync succeeds.
import { dirname } from 'node:path'
import { HotBackupError } from '../../src/errors.ts'
import {
  type Access,
  type DirectoryEntry,
  type Disk,
  type DiskFile,
  type OpenMode,
} from '../../src/platform/disk.ts'

/** What can be made to fail; a synchronous call counts as its asynchronous sister. */
export type DiskOperation =
  | 'open'
  | 'exists'
  | 'list'
  | 'makeDirectory'
  | 'rename'
  | 'remove'
  | 'syncDirectory'
  | 'read'
  | 'write'
  | 'sync'
  | 'truncate'

const sectorBytes = 512

/** One file's content, as programs see it and as it would be after a crash. */
class Content {
  bytes: Buffer = Buffer.alloc(0)
  size = 0
  durable: Buffer = Buffer.alloc(0)
  durableSize = 0
  /** Ranges that differ, from and to, since the last sync. */
  dirty: [number, number][] = []
  /** Sectors that cannot be read. */
  readonly bad = new Set<number>()

  write(source: Uint8Array, offset: number): void {
    const end = offset + source.length
    for (const sector of this.bad) {
      const start = sector * sectorBytes
      if (start < end && offset < start + sectorBytes) this.bad.delete(sector)
    }
    this.bytes = withRoom(this.bytes, end)
    this.bytes.set(source, offset)
    // Bytes between the old end and a write beyond it are zero, and are new as well.
    this.dirty.push([Math.min(offset, this.size), end])
    this.size = Math.max(this.size, end)
  }

  truncate(length: number): void {
    this.bytes = withRoom(this.bytes, length)
    this.bytes.fill(0, Math.min(length, this.size))
    this.dirty.push([Math.min(length, this.size), Math.max(length, this.size)])
    this.size = length
  }

  sync(): void {
    for (const [from, to] of this.dirty) this.#harden(from, to)
    this.dirty = []
    this.durableSize = this.size
  }

  /** Back to what was synced, but for the unsynced sectors that `keep` says had been written already. */
  crash(keep: () => boolean): void {
    for (const [from, to] of this.dirty) {
      for (let at = from - (from % sectorBytes); at < to; at += sectorBytes) {
        const [start, end] = [Math.max(at, from), Math.min(at + sectorBytes, to, this.size)]
        if (start >= end || !keep()) continue
        this.#harden(start, end)
        this.durableSize = Math.max(this.durableSize, end)
      }
    }
    this.dirty = []
    this.size = this.durableSize
    this.bytes = Buffer.alloc(this.size)
    this.durable.copy(this.bytes, 0, 0, this.size)
  }

  #harden(from: number, to: number): void {
    this.durable = withRoom(this.durable, to)
    this.bytes.copy(this.durable, from, from, to)
  }
}

const ownAccess: Access = { user: null, ours: true, mode: 0o600 }

export class MemoryDisk implements Disk {
  /** Called before each operation; it may throw, or crash the disk. */
  before: ((operation: DiskOperation, path: string) => void) | null = null
  /** Writes beyond it fail with ERR_DISK_FULL. */
  capacityBytes = Number.MAX_SAFE_INTEGER
  #names = new Map<string, Content>()
  #durableNames = new Map<string, Content>()
  readonly #directories = new Set<string>(['/'])
  readonly #failures: { operation: DiskOperation; error: Error; path: string | null }[] = []
  #crashes = 0

  /** The next such operation (on `path`, if given) fails: with `error`, or as for a system code like ENOSPC. */
  failNext(
    operation: DiskOperation,
    error: Error | string = 'EIO',
    path: string | null = null,
  ): void {
    const thrown = typeof error === 'string' ? systemError(error, operation, path ?? '?') : error
    this.#failures.push({ operation, error: thrown, path })
  }

  /**
   * The machine stops and starts again: unsynced bytes and names are gone, open files fail from now on. Sectors of
   * 512 unsynced bytes for which `keep` is true had reached the disk all the same; so a crash can tear a write.
   */
  crash(keep: () => boolean = () => false): void {
    this.#crashes++
    const contents = new Set([...this.#names.values(), ...this.#durableNames.values()])
    for (const content of contents) content.crash(keep)
    this.#names = new Map(this.#durableNames)
    this.#failures.length = 0
  }

  /** A copy of what programs see in the file at `path`. */
  contents(path: string): Buffer {
    const content = this.#content(path, 'open')
    return Buffer.from(content.bytes.subarray(0, content.size))
  }

  /** Changes bytes behind everybody's back, durably: a bad sector, a cosmic ray, a careless operator. */
  overwrite(path: string, offset: number, bytes: Uint8Array): void {
    const content = this.#content(path, 'open')
    content.write(bytes, offset)
    content.dirty.pop()
    content.durable = withRoom(content.durable, offset + bytes.length)
    content.durable.set(bytes, offset)
    content.durableSize = Math.max(content.durableSize, offset + bytes.length)
  }

  /** A sector that the device cannot read any more: EIO, until something is written there. */
  spoil(path: string, offset: number): void {
    this.#content(path, 'open').bad.add(Math.floor(offset / sectorBytes))
  }

  /** The device can read all of the file's sectors again. */
  repair(path: string): void {
    this.#content(path, 'open').bad.clear()
  }

  /** Somebody else removes the file, durably. */
  vanish(path: string): void {
    this.#names.delete(path)
    this.#durableNames.delete(path)
  }

  get usedBytes(): number {
    let bytes = 0
    for (const content of this.#names.values()) bytes += content.size
    return bytes
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    return this.openSync(path, mode)
  }

  openSync(path: string, mode: OpenMode): DiskFile {
    this.#enter('open', path)
    if (mode === 'create') {
      if (this.#names.has(path)) throw systemError('EEXIST', 'open', path)
      this.#parent(path, 'open')
      this.#names.set(path, new Content())
    }
    return this.#file(path, this.#content(path, 'open'), mode !== 'read')
  }

  async access(path: string): Promise<Access | null> {
    return (await this.exists(path)) ? ownAccess : null
  }

  async exists(path: string): Promise<boolean> {
    this.#enter('exists', path)
    return this.#names.has(path) || this.#directories.has(path)
  }

  async realPath(path: string): Promise<string> {
    return path
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    this.#enter('list', path)
    return this.#entries(path)
  }

  #entries(path: string): DirectoryEntry[] {
    const within = (name: string) => name !== '/' && dirname(name) === path
    const entry = (name: string, directory: boolean) => ({
      name: name.slice(name.lastIndexOf('/') + 1),
      directory,
    })
    return [
      ...[...this.#names.keys()].filter(within).map(name => entry(name, false)),
      ...[...this.#directories].filter(within).map(name => entry(name, true)),
    ].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async makeDirectory(path: string): Promise<void> {
    this.#enter('makeDirectory', path)
    for (let made = path; !this.#directories.has(made); made = dirname(made)) {
      if (this.#names.has(made)) throw systemError('EEXIST', 'mkdir', made)
      this.#directories.add(made)
    }
  }

  async rename(from: string, to: string): Promise<void> {
    this.#enter('rename', from)
    const content = this.#content(from, 'rename')
    this.#parent(to, 'rename')
    this.#names.delete(from)
    this.#names.set(to, content)
  }

  async remove(path: string): Promise<void> {
    this.#enter('remove', path)
    if (this.#entries(path).length > 0) throw systemError('ENOTEMPTY', 'rmdir', path)
    this.#names.delete(path)
    this.#directories.delete(path)
  }

  async syncDirectory(path: string): Promise<void> {
    this.#enter('syncDirectory', path)
    if (!this.#directories.has(path)) throw systemError('ENOENT', 'fsync', path)
    for (const name of this.#durableNames.keys()) {
      if (dirname(name) === path) this.#durableNames.delete(name)
    }
    for (const [name, content] of this.#names) {
      if (dirname(name) === path) this.#durableNames.set(name, content)
    }
  }

  async freeBytes(): Promise<number> {
    return Math.max(0, this.capacityBytes - this.usedBytes)
  }

  #enter(operation: DiskOperation, path: string): void {
    this.before?.(operation, path)
    const index = this.#failures.findIndex(
      failure => failure.operation === operation && (failure.path ?? path) === path,
    )
    const [failure] = index < 0 ? [] : this.#failures.splice(index, 1)
    if (failure !== undefined) throw failure.error
  }

  #content(path: string, call: string): Content {
    const content = this.#names.get(path)
    if (content === undefined) throw systemError('ENOENT', call, path)
    return content
  }

  #parent(path: string, call: string): void {
    if (!this.#directories.has(dirname(path))) throw systemError('ENOENT', call, path)
  }

  #file(path: string, content: Content, writable: boolean): DiskFile {
    const opened = this.#crashes
    let closed = false
    const enter = (operation: DiskOperation) => {
      if (closed) throw new TypeError(`${path} is used after it was closed`)
      const usable = () => opened === this.#crashes
      if (usable()) this.#enter(operation, path)
      // `before` may have crashed the disk.
      if (!usable()) throw systemError('ENODEV', operation, path)
    }
    const writableOnly = (operation: DiskOperation) => {
      if (!writable) throw systemError('EBADF', operation, path)
    }
    const readSync: DiskFile['readSync'] = (buffer, start, length, offset) => {
      enter('read')
      if (start + length > buffer.length) throw new RangeError('the buffer is too short')
      const end = Math.min(offset + length, content.size)
      if (end <= offset) return 0
      for (const sector of content.bad) {
        const from = sector * sectorBytes
        if (from < end && offset < from + sectorBytes) throw systemError('EIO', 'read', path)
      }
      buffer.set(content.bytes.subarray(offset, end), start)
      return end - offset
    }
    const writeSync: DiskFile['writeSync'] = (buffer, start, length, offset) => {
      enter('write')
      writableOnly('write')
      if (start + length > buffer.length) throw new RangeError('the buffer is too short')
      const growth = Math.max(0, offset + length - content.size)
      const room = this.capacityBytes - this.usedBytes
      // A full disk takes what fits: the caller must cope with half a write.
      const taken = growth > room ? Math.max(0, length - (growth - room)) : length
      if (taken > 0) content.write(buffer.subarray(start, start + taken), offset)
      if (taken < length) throw systemError('ENOSPC', 'write', path)
    }
    const syncSync = () => {
      try {
        enter('sync')
      } catch (error) {
        // As on Linux: the pages count as clean now, though they never reached the disk.
        content.dirty = []
        throw error
      }
      content.sync()
    }
    const closeSync = () => {
      if (closed) throw new TypeError(`${path} is used after it was closed`)
      closed = true
    }
    return {
      path,
      size: () => content.size,
      access: () => ownAccess,
      readSync,
      read: async (...where) => readSync(...where),
      writeSync,
      write: async (...where) => writeSync(...where),
      syncSync,
      sync: async () => syncSync(),
      truncate: async length => {
        enter('truncate')
        writableOnly('truncate')
        content.truncate(length)
      },
      closeSync,
      close: async () => closeSync(),
    }
  }
}

/** At least `length` bytes; zero where nothing was written. */
function withRoom(bytes: Buffer, length: number): Buffer {
  if (length <= bytes.length) return bytes
  const grown = Buffer.alloc(Math.max(length, bytes.length * 2))
  bytes.copy(grown)
  return grown
}

function systemError(code: string, syscall: string, path: string): HotBackupError {
  const cause = Object.assign(new Error(`${code}: ${syscall} '${path}'`), { code, syscall, path })
  const full = (code === 'ENOSPC' || code === 'EDQUOT') && syscall !== 'sync'
  const message = `cannot ${syscall} ${path}: ${code}`
  return new HotBackupError(full ? 'ERR_DISK_FULL' : 'ERR_DISK', message, { path }, cause)
}
