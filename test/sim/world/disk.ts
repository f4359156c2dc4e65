// The disk of one machine: a tree of files that forgets at a power failure what was not synced.
//
//   a write        changes what programs see at once; each of its sectors of 512 bytes may reach the disk or not,
//                  in any order, until the file is synced: by a sync that is called behind the write
//   a name         created, renamed or removed, is durable when its directory was synced; until then each such change
//                  may be kept or forgotten
//   a failed sync  leaves what it should have written neither on the disk nor to be written by a later one, as on Linux
//   no room        what makes a file longer is taken as far as there is room, then fails
//
// Directories themselves are durable at once, as they are behind the real port.
import { HotBackupError } from '../../../src/errors.ts'
import type { DirectoryEntry } from '../../../src/platform/disk.ts'
import type { SeededRandom } from './random.ts'

const sectorBytes = 512
/** The system writes the oldest back by itself. */
const unsyncedMax = 48

interface Unsynced {
  /** Counts the changes of the file. */
  readonly number: number
  readonly offset: number
  /** Null: the file was cut, or made longer, to `offset`. */
  readonly bytes: Buffer | null
}

/** How much of what was not synced reaches the disk when the power fails. */
export type Loss = 'all' | 'none' | 'some'

export class SimFile {
  bytes: Buffer = Buffer.alloc(0)
  size = 0
  /** Counts changes, for those who look whether there was one. */
  version = 0
  #durable: Buffer = Buffer.alloc(0)
  #durableSize = 0
  #unsynced: Unsynced[] = []
  /** Changes so far. */
  changes = 0
  /** The lowest offset at which bytes have changed since a reader has set this, who goes on from there. */
  lowestChange = 0
  readonly #bad = new Set<number>()

  /** A file that lies on the disk as a whole. */
  static durable(bytes: Buffer): SimFile {
    const file = new SimFile()
    file.write(bytes, 0)
    file.sync()
    return file
  }

  write(source: Uint8Array, offset: number): void {
    const copy = Buffer.from(source)
    this.bytes = withRoom(this.bytes, offset + copy.length)
    this.bytes.set(copy, offset)
    this.size = Math.max(this.size, offset + copy.length)
    for (const sector of this.#bad) {
      if (overlaps(sector, offset, offset + copy.length)) this.#bad.delete(sector)
    }
    this.#add(offset, copy)
  }

  truncate(length: number): void {
    this.bytes = withRoom(this.bytes, length)
    this.bytes.fill(0, Math.min(length, this.size), this.size)
    this.size = length
    this.#add(length, null)
  }

  /** What was changed before `until`, a number of changes, is on the disk. */
  sync(until = this.changes): void {
    for (const change of this.#before(until)) this.#harden(change)
  }

  /** The pages count as clean now, though they never reached the disk. */
  failSync(until = this.changes): void {
    this.#before(until)
  }

  #before(until: number): Unsynced[] {
    const first = this.#unsynced.findIndex(({ number }) => number >= until)
    return this.#unsynced.splice(0, first < 0 ? Infinity : first)
  }

  /** The bytes up to `end` would survive a power failure as they are, whatever it takes. */
  isDurable(end: number): boolean {
    if (this.#durableSize < end) return false
    // What is written once more as it is may be lost.
    const harmless = this.#unsynced.every(({ offset, bytes }) => {
      if (offset >= end) return true
      return (
        bytes !== null &&
        this.bytes.compare(bytes, 0, bytes.length, offset, offset + bytes.length) === 0
      )
    })
    return harmless && this.#durable.compare(this.bytes, 0, end, 0, end) === 0
  }

  /** What would survive a power failure for certain. */
  get durableBytes(): Buffer {
    return this.#durable.subarray(0, this.#durableSize)
  }

  /** A sector cannot be read any more, until something is written there. */
  spoil(offset: number): void {
    this.#bad.add(Math.floor(offset / sectorBytes))
  }

  /** Whether all of these bytes can be read. */
  isReadable(from: number, to: number): boolean {
    for (const sector of this.#bad) if (overlaps(sector, from, to)) return false
    return true
  }

  /** Bytes that change behind everybody's back. */
  damage(offset: number, mask: number): void {
    this.bytes[offset]! ^= mask
    if (offset < this.#durable.length) this.#durable[offset]! ^= mask
    this.#changed(offset)
  }

  powerFails(random: SeededRandom, loss: Loss): void {
    const kept = loss === 'none' ? 1 : loss === 'all' ? 0 : random.pick([0.1, 0.5, 0.9])
    for (const change of this.#unsynced) {
      if (change.bytes === null) {
        if (random.chance(kept)) this.#harden(change)
      } else this.#keepSectors(change, change.bytes, () => random.chance(kept))
    }
    this.#unsynced = []
    this.size = this.#durableSize
    this.bytes = Buffer.from(this.#durable.subarray(0, this.#durableSize))
    this.#changed(0)
  }

  #changed(offset: number): void {
    this.version++
    this.lowestChange = Math.min(this.lowestChange, offset)
  }

  #keepSectors({ number, offset }: Unsynced, bytes: Buffer, keep: () => boolean): void {
    const end = offset + bytes.length
    for (let at = offset - (offset % sectorBytes); at < end; at += sectorBytes) {
      const [start, stop] = [Math.max(at, offset), Math.min(at + sectorBytes, end)]
      const sector = bytes.subarray(start - offset, stop - offset)
      if (keep()) this.#harden({ number, offset: start, bytes: sector })
    }
  }

  #add(offset: number, bytes: Buffer | null): void {
    this.#changed(offset)
    this.#unsynced.push({ number: this.changes++, offset, bytes })
    if (this.#unsynced.length > unsyncedMax) this.#harden(this.#unsynced.shift()!)
  }

  #harden({ offset, bytes }: Unsynced): void {
    if (bytes === null) {
      this.#durable = withRoom(this.#durable, offset)
      this.#durable.fill(0, Math.min(offset, this.#durableSize), this.#durableSize)
      this.#durableSize = offset
      return
    }
    const end = offset + bytes.length
    this.#durable = withRoom(this.#durable, end)
    this.#durable.set(bytes, offset)
    this.#durableSize = Math.max(this.#durableSize, end)
  }
}

type Node = SimFile | SimDirectory

interface NameChange {
  /** Counts the changes of names on the disk. */
  readonly number: number
  readonly names: readonly { directory: SimDirectory; name: string; node: Node | null }[]
}

export class SimDirectory {
  readonly names = new Map<string, Node>()
  readonly durable = new Map<string, Node>()
  readonly pending: NameChange[] = []
}

/** The tree, without time: what a call does is done when it is called. Calls throw as the port says. */
export class SimDisk {
  readonly root = new SimDirectory()
  /** Bytes by which files may still grow. */
  room = Infinity
  /** Changes of names so far. */
  nameChanges = 0
  /** Hears of each file that was changed, by its path. */
  changed: (path: string) => void = () => {}

  find(path: string): Node | null {
    let node: Node = this.root
    for (const name of parts(path)) {
      if (!(node instanceof SimDirectory)) return null
      const next: Node | undefined = node.names.get(name)
      if (next === undefined) return null
      node = next
    }
    return node
  }

  file(path: string): SimFile | null {
    const node = this.find(path)
    return node instanceof SimFile ? node : null
  }

  /** Names and files below a directory, by path. */
  *filesBelow(path: string): Generator<[string, SimFile]> {
    const directory = this.find(path)
    if (!(directory instanceof SimDirectory)) return
    for (const [name, node] of [...directory.names].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (node instanceof SimFile) yield [`${path}/${name}`, node]
      else yield* this.filesBelow(`${path}/${name}`)
    }
  }

  open(path: string, mode: 'read' | 'write' | 'create'): SimFile {
    const node = this.find(path)
    if (mode === 'create') {
      if (node !== null) throw systemError('EEXIST', 'open', path)
      const [directory, name] = this.#place(path, 'open')
      const file = new SimFile()
      this.#rename([{ directory, name, node: file }])
      return file
    }
    if (node === null) throw systemError('ENOENT', 'open', path)
    if (node instanceof SimDirectory) throw systemError('EISDIR', 'open', path)
    return node
  }

  list(path: string): DirectoryEntry[] {
    const node = this.find(path)
    if (!(node instanceof SimDirectory)) return []
    return [...node.names]
      .map(([name, entry]) => ({ name, directory: entry instanceof SimDirectory }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  makeDirectory(path: string): void {
    let directory = this.root
    for (const name of parts(path)) {
      let next = directory.names.get(name)
      if (next === undefined) {
        next = new SimDirectory()
        directory.names.set(name, next)
        directory.durable.set(name, next)
      }
      if (!(next instanceof SimDirectory)) throw systemError('EEXIST', 'mkdir', path)
      directory = next
    }
  }

  rename(from: string, to: string): void {
    const node = this.find(from)
    if (node === null) throw systemError('ENOENT', 'rename', from)
    const [source, oldName] = this.#place(from, 'rename')
    const [target, newName] = this.#place(to, 'rename')
    const there = target.names.get(newName)
    if (there instanceof SimDirectory && there.names.size > 0) {
      throw systemError('ENOTEMPTY', 'rename', to)
    }
    this.#rename([
      { directory: source, name: oldName, node: null },
      { directory: target, name: newName, node },
    ])
    this.changed(to)
  }

  remove(path: string): void {
    const node = this.find(path)
    if (node === null) return
    if (node instanceof SimDirectory && node.names.size > 0) {
      throw systemError('ENOTEMPTY', 'rmdir', path)
    }
    const [directory, name] = this.#place(path, 'unlink')
    this.#rename([{ directory, name, node: null }])
  }

  /** Names in it that were changed before `until`, a number of changes, are on the disk. */
  syncDirectory(path: string, until = this.nameChanges): void {
    const directory = this.find(path)
    if (!(directory instanceof SimDirectory)) throw systemError('ENOENT', 'fsync', path)
    for (const change of directory.pending.slice()) if (change.number < until) this.#keep(change)
  }

  /** The file has its name, and its bytes up to `end`, whatever a power failure takes. */
  isDurable(path: string, end: number): boolean {
    let node: Node | undefined = this.root
    for (const name of parts(path)) {
      node = node instanceof SimDirectory ? node.durable.get(name) : undefined
    }
    return node instanceof SimFile && node === this.find(path) && node.isDurable(end)
  }

  /** Remembers what lies on the disk for certain; the call that it returns sets the disk back to that. */
  remember(): () => void {
    const kept = durableCopy(this.root)
    return () => {
      this.wipe()
      const copy = durableCopy(kept)
      for (const [name, node] of copy.names) this.root.names.set(name, node)
      for (const [name, node] of copy.durable) this.root.durable.set(name, node)
    }
  }

  /** How much of a write that makes a file longer there is room for. */
  takeRoom(file: SimFile, end: number): number {
    const growth = Math.max(0, end - file.size)
    const taken = Math.min(growth, this.room)
    this.room -= taken
    return growth - taken
  }

  powerFails(random: SeededRandom, loss: Loss): void {
    this.#forgetNames(this.root, random, loss)
    this.#loseBytes(this.root, random, loss, new Set())
  }

  /** It is a new one. */
  wipe(): void {
    this.root.names.clear()
    this.root.durable.clear()
    this.root.pending.length = 0
  }

  /** As if everything had been written long ago. */
  settle(directory = this.root): void {
    for (const change of directory.pending.slice()) this.#keep(change)
    for (const node of directory.names.values()) {
      if (node instanceof SimFile) node.sync()
      else this.settle(node)
    }
  }

  #forgetNames(directory: SimDirectory, random: SeededRandom, loss: Loss): void {
    const kept = loss === 'none' ? 1 : loss === 'all' ? 0 : random.pick([0.2, 0.5, 0.8])
    for (const change of directory.pending.slice()) {
      if (random.chance(kept)) this.#keep(change)
      else this.#drop(change)
    }
    directory.names.clear()
    for (const [name, node] of directory.durable) directory.names.set(name, node)
    for (const node of directory.names.values()) {
      if (node instanceof SimDirectory) this.#forgetNames(node, random, loss)
    }
  }

  #loseBytes(directory: SimDirectory, random: SeededRandom, loss: Loss, seen: Set<SimFile>): void {
    for (const node of directory.names.values()) {
      if (node instanceof SimDirectory) this.#loseBytes(node, random, loss, seen)
      else if (!seen.has(node)) {
        seen.add(node)
        node.powerFails(random, loss)
      }
    }
  }

  #place(path: string, call: string): [SimDirectory, string] {
    const slash = path.lastIndexOf('/')
    const directory = this.find(path.slice(0, slash))
    if (!(directory instanceof SimDirectory)) throw systemError('ENOENT', call, path)
    return [directory, path.slice(slash + 1)]
  }

  #rename(names: NameChange['names']): void {
    const change: NameChange = { number: this.nameChanges++, names }
    for (const { directory, name, node } of names) {
      if (node === null) directory.names.delete(name)
      else directory.names.set(name, node)
      if (!directory.pending.includes(change)) directory.pending.push(change)
    }
  }

  #keep(change: NameChange): void {
    for (const { directory, name, node } of change.names) {
      if (node === null) directory.durable.delete(name)
      else directory.durable.set(name, node)
    }
    this.#drop(change)
  }

  #drop(change: NameChange): void {
    for (const { directory } of change.names) {
      const index = directory.pending.indexOf(change)
      if (index >= 0) directory.pending.splice(index, 1)
    }
  }
}

function durableCopy(directory: SimDirectory): SimDirectory {
  const copy = new SimDirectory()
  for (const [name, node] of directory.durable) {
    const kept = node instanceof SimFile ? SimFile.durable(node.durableBytes) : durableCopy(node)
    copy.names.set(name, kept)
    copy.durable.set(name, kept)
  }
  return copy
}

function overlaps(sector: number, from: number, to: number): boolean {
  return sector * sectorBytes < to && from < (sector + 1) * sectorBytes
}

function parts(path: string): string[] {
  return path.split('/').filter(part => part !== '' && part !== '.')
}

/** At least `length` bytes; zero where nothing was written. */
function withRoom(bytes: Buffer, length: number): Buffer {
  if (length <= bytes.length) return bytes
  const grown = Buffer.alloc(Math.max(length, Math.min(bytes.length * 2, bytes.length + 262_144)))
  bytes.copy(grown)
  return grown
}

export function systemError(code: string, syscall: string, path: string): HotBackupError {
  const cause = Object.assign(new Error(`${code}: ${syscall} '${path}'`), { code, syscall, path })
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  const message = `cannot ${syscall} ${path}: ${code}`
  return new HotBackupError(full ? 'ERR_DISK_FULL' : 'ERR_DISK', message, { path }, cause)
}
