// The data files of the generations: their names, a bounded number of open handles, and single frames in
// and out. Whole runs of frames are the journal's business.
import { join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { crc32 } from '../log/crc.ts'
import { isNotFound, isUnreadable, type Disk, type DiskFile } from '../platform/disk.ts'
import { type FrameChanges } from './frame-changes.ts'
import { type FrameStore } from './frame-store.ts'
import { frameBytes, frameFault, type Slab } from './frame.ts'
import { type Generation } from './generation.ts'
import { FrameDamage } from './quarantine.ts'
import { WrittenGroups } from './written-groups.ts'

/** What is wrong with a frame that the disk does not give. */
export const unreadableFault = 'cannot be read (EIO)'
/** In place of what cannot be read: it was written once. */
const written = 0xff
/** Far below the usual limit of 1,024 open files of a process. */
const handlesMax = 256

/** File number and generation, 8 hexadecimal digits each. */
export function dataFileName(fileNumber: number, generation: number): string {
  return `${hex8(fileNumber)}.${hex8(generation)}`
}

export function isDataFileName(name: string): boolean {
  return /^[0-9a-f]{8}\.[0-9a-f]{8}$/.test(name)
}

function hex8(value: number): string {
  return value.toString(16).padStart(8, '0')
}

export class DataFiles implements FrameStore {
  readonly directory: string
  readonly #disk: Disk
  readonly #open = new Set<Generation>()
  #uses = 0
  readonly #spillBuffer = new Uint8Array(frameBytes)
  /** Read-only, with a complete journal: newer frames lie there (see Generation.overlay). */
  journal: DiskFile | null = null
  /** Those who copy the data files at present. */
  readonly copied = new Set<FrameChanges>()

  constructor(disk: Disk, directory: string) {
    this.#disk = disk
    this.directory = directory
  }

  pathOf(generation: Generation): string {
    return join(this.directory, dataFileName(generation.fileNumber, generation.number))
  }

  readFrame(generation: Generation, frame: number, slab: Slab, base: number): void {
    if (frame >= generation.diskFrames && frame < generation.modulo) {
      slab.u8.fill(0, base, base + frameBytes)
      return
    }
    const journalOffset = generation.overlay?.get(frame)
    const journal = journalOffset === undefined ? null : this.journal
    const path = journal?.path ?? this.pathOf(generation)
    const offset = journal === null ? frame * frameBytes : journalOffset!
    const file = journal ?? this.#handle(generation)
    let fault
    try {
      const count = file?.readSync(slab.u8, base, frameBytes, offset) ?? 0
      if (count < frameBytes) slab.u8.fill(0, base + count, base + frameBytes)
      fault = readFault(generation, frame, slab, base)
    } catch (error) {
      if (!isUnreadable(error)) throw error
      fault = unreadableFault
    }
    if (fault !== null) {
      const what = frame < generation.modulo ? `frame ${frame} (group ${frame})` : `frame ${frame}`
      const message = `${path}: ${what} ${fault}`
      throw new FrameDamage(generation, frame, true, message, { path, offset })
    }
    slab.u32[base >> 2] = 0
  }

  isBlank(generation: Generation, group: number): boolean {
    if (group >= generation.diskFrames) return true
    if (generation.overlay !== null) return false
    return !writtenOf(generation).has(group, (buffer, first) => {
      const end = Math.min(first * frameBytes + buffer.length, generation.diskFrames * frameBytes)
      const length = end - first * frameBytes
      const file = this.#handle(generation)
      try {
        return file?.readSync(buffer, 0, length, first * frameBytes) ?? 0
      } catch (error) {
        if (!isUnreadable(error)) throw error
        buffer.fill(written, 0, length)
        return length
      }
    })
  }

  /** The frame is about to be written to the data file. */
  noteWrite(generation: Generation, frame: number): void {
    writtenOf(generation).note(frame)
  }

  /** Opens the data file for its reader alone, who closes it. */
  openToRead(generation: Generation): Promise<DiskFile> {
    return this.#disk.open(this.pathOf(generation), 'read')
  }

  spillFrame(generation: Generation, frame: number, slab: Slab, base: number): void {
    const bytes = this.#spillBuffer
    bytes.set(slab.u8.subarray(base, base + frameBytes))
    sealFrame(bytes, 0)
    this.noteWrite(generation, frame)
    // Before the write: half of it may lie on the disk when it fails.
    generation.spilled = true
    this.#writeHandle(generation).writeSync(bytes, 0, frameBytes, frame * frameBytes)
    if (generation.diskFrames <= frame) generation.diskFrames = frame + 1
  }

  /** Closes the data file of a generation that nobody reads any more. */
  drop(generation: Generation): void {
    if (!this.#open.delete(generation)) return
    generation.handle?.closeSync()
    generation.handle = null
  }

  closeAll(): void {
    for (const generation of this.#open) this.drop(generation)
    this.journal?.closeSync()
    this.journal = null
  }

  #handle(generation: Generation): DiskFile | null {
    generation.handleUsed = ++this.#uses
    if (generation.handle !== null) return generation.handle
    const path = this.pathOf(generation)
    let file
    try {
      file = this.#disk.openSync(path, 'read')
    } catch (error) {
      // With an unfinished journal over it, the file may not be there yet.
      if (generation.overlay !== null && isNotFound(error)) return null
      throw error
    }
    if (generation.overlay === null && file.size() < generation.diskFrames * frameBytes) {
      const offset = file.size()
      file.closeSync()
      const message = `${path} has ${offset} bytes; ${generation.diskFrames * frameBytes} were written`
      throw new HotBackupError('ERR_DATABASE_CORRUPT', message, { path, offset })
    }
    return this.#keep(generation, file)
  }

  /** The first write makes the file; from then on its handle is open for both until it falls out of use. */
  #writeHandle(generation: Generation): DiskFile {
    generation.handleUsed = ++this.#uses
    if (generation.handle !== null && generation.handleWrites) return generation.handle
    this.drop(generation)
    const path = this.pathOf(generation)
    let file
    try {
      file = this.#disk.openSync(path, 'write')
    } catch (error) {
      if (!isNotFound(error)) throw error
      file = this.#disk.openSync(path, 'create')
    }
    this.#keep(generation, file)
    generation.handleWrites = true
    return file
  }

  /** Closes the handle that was used least recently when there are too many. */
  #keep(generation: Generation, file: DiskFile): DiskFile {
    if (this.#open.size >= handlesMax) {
      let oldest = generation
      for (const other of this.#open) if (other.handleUsed < oldest.handleUsed) oldest = other
      this.drop(oldest)
    }
    generation.handle = file
    generation.handleWrites = false
    this.#open.add(generation)
    return file
  }
}

function writtenOf(generation: Generation): WrittenGroups {
  generation.written ??= new WrittenGroups(generation.modulo, false)
  return generation.written
}

/** Writes the CRC into a frame that lies at `start` of the buffer. */
export function sealFrame(bytes: Uint8Array, start: number): void {
  const crc = crc32(bytes, start + 4, start + frameBytes)
  bytes[start] = crc
  bytes[start + 1] = crc >>> 8
  bytes[start + 2] = crc >>> 16
  bytes[start + 3] = crc >>> 24
}

/** What is wrong with a frame that was read from its place; null when nothing is. */
export function readFault(
  generation: Pick<Generation, 'modulo' | 'fileNumber' | 'number'>,
  frame: number,
  slab: Slab,
  base: number,
): string | null {
  const word = base >> 2
  const { u32 } = slab
  if (u32[word] === 0 && u32[word + 5] === 0) {
    for (let at = word; at < word + (frameBytes >> 2); at++) {
      if (u32[at] !== 0) return 'has a wrong CRC'
    }
    return frame < generation.modulo ? null : 'was never written, but other frames refer to it'
  }
  if (crc32(slab.u8, base + 4, base + frameBytes) !== u32[word]) return 'has a wrong CRC'
  if (
    u32[word + 2] !== generation.fileNumber ||
    u32[word + 3] !== generation.number ||
    u32[word + 4] !== frame
  ) {
    return `belongs to another place: frame ${u32[word + 4]} of ${dataFileName(u32[word + 2]!, u32[word + 3]!)}`
  }
  return frameFault(slab, base)
}
