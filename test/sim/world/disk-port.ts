// The port to the disk as one process has it: calls take time, may fail by order of the world, and are cut off when
// the process dies in the middle. A call without a promise is done at once.
import type { Access, Disk, DiskFile, OpenMode } from '../../../src/platform/disk.ts'
import { systemError, type SimDisk, type SimFile } from './disk.ts'
import type { Machine } from './machine.ts'
import { Dead, type SimProcess } from './process.ts'

export type DiskCall =
  | 'open'
  | 'openToWrite'
  | 'look'
  | 'list'
  | 'makeDirectory'
  | 'rename'
  | 'remove'
  | 'syncDirectory'
  | 'read'
  | 'write'
  | 'sync'
  | 'truncate'

/** How long a call takes, milliseconds at most. */
const delayMs: Readonly<Record<DiskCall, number>> = {
  open: 0.1,
  openToWrite: 0.1,
  look: 0.1,
  list: 0.1,
  makeDirectory: 0.2,
  rename: 0.2,
  remove: 0.2,
  syncDirectory: 2,
  read: 0.3,
  write: 0.3,
  sync: 2,
  truncate: 0.3,
}

/** These machines have one user. */
const ownAccess: Access = { user: null, ours: true, mode: 0o600 }

export function diskPort(machine: Machine, process: SimProcess): Disk {
  const calls = new DiskCalls(machine, process)
  const disk = () => machine.disk
  return {
    open: (path, mode) =>
      calls.later(openCall(mode), path, () => openFile(calls, disk(), path, mode)),
    openSync: (path, mode) =>
      calls.now(openCall(mode), path, () => openFile(calls, disk(), path, mode)),
    exists: path => calls.later('look', path, () => disk().find(path) !== null),
    access: path =>
      calls.later('look', path, () => (disk().find(path) === null ? null : ownAccess)),
    realPath: path => Promise.resolve(path),
    list: path => calls.later('list', path, () => disk().list(path)),
    makeDirectory: path => calls.later('makeDirectory', path, () => disk().makeDirectory(path)),
    rename: (from, to) =>
      calls.later('rename', from, () => {
        disk().rename(from, to)
        machine.changed(to)
      }),
    remove: path => calls.later('remove', path, () => disk().remove(path)),
    syncDirectory: path => {
      const until = disk().nameChanges
      return calls.later('syncDirectory', path, () => disk().syncDirectory(path, until))
    },
    freeBytes: path => calls.later('look', path, () => Math.min(disk().room, 2 ** 40)),
  }
}

class DiskCalls {
  readonly machine: Machine
  readonly #process: SimProcess

  constructor(machine: Machine, process: SimProcess) {
    this.machine = machine
    this.#process = process
  }

  /**
   * Done after some time. When the process dies meanwhile the system may have done it or not; when it was a write it
   * may have done a part of it.
   */
  later<T>(call: DiskCall, path: string, run: () => T, part?: () => void): Promise<T> {
    const { machine } = this
    const { world } = machine
    if (this.#process.dead) return new Promise(() => {})
    machine.countCall(call, path)
    if (this.#process.dead) {
      if (world.random.chance(0.5)) this.#half(run, part)
      return new Promise(() => {})
    }
    return new Promise((resolve, reject) => {
      const delay = machine.diskDelay(delayMs[call])
      const done = machine.underWay(this.#process, () => {
        if (world.random.chance(0.5)) this.#half(run, part)
      })
      world.scheduler.after(delay, this.#process, () => {
        done()
        world.trace(this.#process, call, path)
        try {
          machine.failIfOrdered(call, path, part)
          resolve(run())
        } catch (error) {
          reject(error as Error)
        }
      })
    })
  }

  now<T>(call: DiskCall, path: string, run: () => T, part?: () => void): T {
    const { machine } = this
    // Whoever only looks on sets nothing off.
    if (machine.world.onlooking) return run()
    if (this.#process.dead) throw new Dead()
    machine.countCall(call, path)
    if (this.#process.dead) {
      if (machine.world.random.chance(0.5)) this.#half(run, part)
      throw new Dead()
    }
    machine.world.trace(this.#process, call, path)
    const { scheduler } = machine.world
    const process = this.#process
    process.clockMs =
      Math.max(process.clockMs, scheduler.now) + machine.diskDelay(delayMs[call] / 2)
    machine.failIfOrdered(call, path, part)
    return run()
  }

  #half(run: () => void, part?: () => void): void {
    try {
      if (part !== undefined && this.machine.world.random.chance(0.5)) part()
      else run()
    } catch {
      // Nobody is there to be told.
    }
  }
}

function openCall(mode: OpenMode): DiskCall {
  return mode === 'read' ? 'open' : 'openToWrite'
}

function openFile(calls: DiskCalls, disk: SimDisk, path: string, mode: OpenMode): DiskFile {
  const existed = disk.find(path) !== null
  const file = disk.open(path, mode)
  if (!existed) calls.machine.changed(path)
  return new PortFile(calls, file, path, mode !== 'read')
}

class PortFile implements DiskFile {
  readonly path: string
  readonly #calls: DiskCalls
  readonly #file: SimFile
  readonly #writable: boolean
  #open = true

  constructor(calls: DiskCalls, file: SimFile, path: string, writable: boolean) {
    this.#calls = calls
    this.#file = file
    this.path = path
    this.#writable = writable
  }

  size(): number {
    this.#check()
    return this.#file.size
  }

  access(): Access {
    return ownAccess
  }

  read(buffer: Uint8Array, start: number, length: number, offset: number): Promise<number> {
    this.#check()
    return this.#calls.later('read', this.path, () => this.#read(buffer, start, length, offset))
  }

  readSync(buffer: Uint8Array, start: number, length: number, offset: number): number {
    this.#check()
    return this.#calls.now('read', this.path, () => this.#read(buffer, start, length, offset))
  }

  write(buffer: Uint8Array, start: number, length: number, offset: number): Promise<void> {
    this.#checkWritable('write')
    const some = Math.floor(length * this.#calls.machine.world.random.fraction())
    return this.#calls.later(
      'write',
      this.path,
      () => this.#write(buffer, start, length, offset),
      () => this.#write(buffer, start, some, offset),
    )
  }

  writeSync(buffer: Uint8Array, start: number, length: number, offset: number): void {
    this.#checkWritable('write')
    const some = Math.floor(length * this.#calls.machine.world.random.fraction())
    this.#calls.now(
      'write',
      this.path,
      () => this.#write(buffer, start, length, offset),
      () => this.#write(buffer, start, some, offset),
    )
  }

  sync(): Promise<void> {
    this.#check()
    // What is written while it is under way need not be among what it brings to the disk.
    const until = this.#file.changes
    return this.#calls.later(
      'sync',
      this.path,
      () => this.#file.sync(until),
      () => this.#file.failSync(until),
    )
  }

  syncSync(): void {
    this.#check()
    this.#calls.now(
      'sync',
      this.path,
      () => this.#file.sync(),
      () => this.#file.failSync(),
    )
  }

  truncate(length: number): Promise<void> {
    this.#checkWritable('truncate')
    return this.#calls.later('truncate', this.path, () => this.#file.truncate(length))
  }

  async close(): Promise<void> {
    this.closeSync()
  }

  closeSync(): void {
    this.#check()
    this.#open = false
  }

  #read(buffer: Uint8Array, start: number, length: number, offset: number): number {
    if (start + length > buffer.length) throw new RangeError('the buffer is too short')
    const end = Math.min(offset + length, this.#file.size)
    if (end <= offset) return 0
    if (!this.#file.isReadable(offset, end)) throw systemError('EIO', 'read', this.path)
    buffer.set(this.#file.bytes.subarray(offset, end), start)
    return end - offset
  }

  #write(buffer: Uint8Array, start: number, length: number, offset: number): void {
    if (start + length > buffer.length) throw new RangeError('the buffer is too short')
    const { disk } = this.#calls.machine
    const without = disk.takeRoom(this.#file, offset + length)
    const taken = Math.max(0, length - without)
    if (taken > 0) this.#file.write(buffer.subarray(start, start + taken), offset)
    this.#calls.machine.changed(this.path)
    if (taken < length) throw systemError('ENOSPC', 'write', this.path)
  }

  #check(): void {
    if (!this.#open) throw new TypeError(`${this.path} is used after it was closed`)
  }

  #checkWritable(call: string): void {
    this.#check()
    if (!this.#writable) throw systemError('EBADF', call, this.path)
  }
}
