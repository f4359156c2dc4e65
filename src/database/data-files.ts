// The data files of the generations: a bounded number of open handles, and single frames in and out. Whole runs of
// frames are the journal's business.
import { join } from 'node:path'
import { KiB } from '../limits.ts'
import { crc32 } from '../log/crc.ts'
import { isNotFound, isUnreadable, type Disk, type DiskFile } from '../platform/disk.ts'
import { dataFileName } from './data-file-name.ts'
import { type FrameChanges } from './frame-changes.ts'
import { type FrameStore } from './frame-store.ts'
import {
  decodeSums,
  encodeSums,
  neverWritten,
  sumOfCrc,
  sumsPerPage,
  unknownSum,
  type SumsPage,
} from './frame-sums.ts'
import { FrameKind, frameBytes, frameFault, kindOf, Slab } from './frame.ts'
import { type Generation } from './generation.ts'
import { FrameDamage } from './quarantine.ts'

/** What is wrong with a frame that the disk does not give. */
export const unreadableFault = 'cannot be read (EIO)'
/** Far below the usual limit of 1,024 open files of a process. */
const handlesMax = 256
/** At least this many bytes of checksums are kept in memory: those of 64 MiB. */
const sumsBytesMin = 64 * KiB

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
  /** Pages of checksums that can be read again, the one that was used last at the end. */
  readonly #sums = new Set<SumsPage>()
  readonly #sumsMax: number
  #lastSums: SumsPage | null = null
  readonly #scratch = new Slab(1)

  /** `sumsBytes`: bound of the memory for checksums that can be read again. */
  constructor(disk: Disk, directory: string, sumsBytes: number) {
    this.#disk = disk
    this.directory = directory
    this.#sumsMax = Math.ceil(Math.max(sumsBytes, sumsBytesMin) / frameBytes)
  }

  pathOf(generation: Generation): string {
    return join(this.directory, dataFileName(generation.fileNumber, generation.number))
  }

  readFrame(generation: Generation, frame: number, slab: Slab, base: number): void {
    const sum = this.sumOf(generation, frame)
    if (sum === neverWritten) {
      if (frame >= generation.modulo) throw this.#damage(generation, frame, unwrittenFault)
      slab.u8.fill(0, base, base + frameBytes)
      return
    }
    const unread = this.#readRaw(generation, frame, slab, base)
    const fault = unread ?? readFault(generation, frame, sum, slab, base)
    if (fault !== null) throw this.#damage(generation, frame, fault)
    slab.u32[base >> 2] = 0
  }

  isBlank(generation: Generation, group: number): boolean {
    return group >= generation.diskFrames || this.sumOf(generation, group) === neverWritten
  }

  /** The bytes of the frame, zeros behind the end of the data file. Returns why they cannot be read. */
  #readRaw(generation: Generation, frame: number, slab: Slab, base: number): string | null {
    const { file, offset } = this.#placeOf(generation, frame)
    try {
      const count = file?.readSync(slab.u8, base, frameBytes, offset) ?? 0
      if (count < frameBytes) slab.u8.fill(0, base + count, base + frameBytes)
      if (count > 0 || file === null) return null
      return `was written, and the file ends at ${file.size()} bytes`
    } catch (error) {
      if (!isUnreadable(error)) throw error
      return unreadableFault
    }
  }

  /** In the data file, or in the journal that lies over it. */
  #placeOf(
    generation: Generation,
    frame: number,
  ): { readonly file: DiskFile | null; readonly path: string; readonly offset: number } {
    const { journal } = this
    const offset = journal === null ? undefined : generation.overlay?.get(frame)
    if (journal !== null && offset !== undefined)
      return { file: journal, path: journal.path, offset }
    const path = this.pathOf(generation)
    return { file: this.#handle(generation), path, offset: frame * frameBytes }
  }

  #damage(generation: Generation, frame: number, fault: string): FrameDamage {
    const { path, offset } = this.#placeOf(generation, frame)
    const what = frame < generation.modulo ? `frame ${frame} (group ${frame})` : `frame ${frame}`
    return new FrameDamage(generation, frame, true, `${path}: ${what} ${fault}`, { path, offset })
  }

  // Checksums: see frame-sums.ts.

  /** The checksum of what the data file should have of the frame. */
  sumOf(generation: Generation, frame: number): number {
    const page = generation.sums.about(frame)
    if (page === undefined) return neverWritten
    return this.sumsOf(generation, page)[frame - page.first]!
  }

  sumsOf(generation: Generation, page: SumsPage): Uint32Array {
    const { sums } = page
    if (sums === null) return this.#loadSums(generation, page)
    if (page !== this.#lastSums && this.#sums.delete(page)) this.#sums.add(page)
    this.#lastSums = page
    return sums
  }

  /** The data file has the page as it is to be from now on; it is read again when it is wanted. */
  savedSums(page: SumsPage): void {
    page.crc = page.nextCrc
    page.nextCrc = null
    page.unsaved = false
    page.lost = false
    this.#letGo(page)
  }

  /** A checkpoint was given up. */
  unsavedSums(page: SumsPage): void {
    page.nextCrc = null
    if (page.saved && page.crc !== null) this.#letGo(page)
  }

  renewSums(generation: Generation, frame: number): number[] | null {
    const page = generation.sums.in(frame)
    if (page === undefined) return null
    const sums = this.sumsOf(generation, page)
    page.unsaved = true
    this.#sums.delete(page)
    const frames: number[] = []
    sums.forEach((sum, index) => {
      const about = page.first + index
      if (sum === unknownSum && about < generation.diskFrames) frames.push(about)
    })
    return frames
  }

  #letGo(page: SumsPage): void {
    page.sums = null
    this.#sums.delete(page)
  }

  #loadSums(generation: Generation, page: SumsPage): Uint32Array {
    const scratch = this.#scratch
    const readable = page.crc !== null && this.#readRaw(generation, page.frame, scratch, 0) === null
    page.sums = readable ? decodeSums(scratch, 0, [page.crc, page.nextCrc]) : null
    page.sums ??= this.#madeAgain(generation, page)
    if (page.saved) this.#sums.add(page)
    if (this.#sums.size > this.#sumsMax) {
      const [oldest] = this.#sums
      this.#letGo(oldest!)
    }
    return page.sums
  }

  /** Out of the frames that the page is about, which prove themselves, all together or none. */
  #madeAgain(generation: Generation, page: SumsPage): Uint32Array {
    const scratch = this.#scratch
    const sums = new Uint32Array(sumsPerPage)
    let readable = true
    for (let index = 0; index < sumsPerPage && readable; index++) {
      const frame = page.first + index
      if (frame >= generation.diskFrames) break
      readable = this.#readRaw(generation, frame, scratch, 0) === null
      const sum = ownSum(generation, frame, scratch, 0)
      if (sum === null) readable = false
      else sums[index] = sum
    }
    const crc = encodeSums(generation, page, sums, scratch.u8, 0)
    if (readable && (crc === page.crc || crc === page.nextCrc)) {
      page.unsaved = true
      return sums
    }
    page.lost = true
    return sums.fill(unknownSum)
  }

  /** Opens the data file for its reader alone, who closes it. */
  openToRead(generation: Generation): Promise<DiskFile> {
    return this.#disk.open(this.pathOf(generation), 'read')
  }

  spillFrame(generation: Generation, frame: number, slab: Slab, base: number): void {
    const bytes = this.#spillBuffer
    bytes.set(slab.u8.subarray(base, base + frameBytes))
    noteSum(generation, frame, sealFrame(bytes, 0))
    // Before the write: half of it may lie on the disk when it fails.
    generation.spilled = true
    this.#writeHandle(generation).writeSync(bytes, 0, frameBytes, frame * frameBytes)
    if (generation.diskFrames <= frame) generation.diskFrames = frame + 1
  }

  /** Closes the data file of a generation that is no longer read. */
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

/** The frame of a generation that no catalog names lies in its data file now, with that CRC. */
export function noteSum(generation: Generation, frame: number, crc: number): void {
  const page = generation.sums.ensure(frame)
  page.unsaved = true
  page.sums![frame - page.first] = sumOfCrc(crc)
}

/** Writes the CRC into a frame that lies at `start` of the buffer, and returns it. */
export function sealFrame(bytes: Uint8Array, start: number): number {
  const crc = crc32(bytes, start + 4, start + frameBytes)
  bytes[start] = crc
  bytes[start + 1] = crc >>> 8
  bytes[start + 2] = crc >>> 16
  bytes[start + 3] = crc >>> 24
  return crc
}

type Owner = Pick<Generation, 'modulo' | 'fileNumber' | 'number'>

/** What is wrong with a frame that was read from its place, and has that checksum; null when nothing is. */
export function readFault(
  generation: Owner,
  frame: number,
  sum: number,
  slab: Slab,
  base: number,
): string | null {
  if (isZeros(slab, base)) {
    if (sum === unknownSum) return unknownFault
    if (sum !== neverWritten) return 'was written, and holds zeros'
    return null
  }
  const fault = ownFault(generation, frame, slab, base)
  if (fault !== null) return fault
  if (sum === unknownSum) return unknownFault
  if (sum === neverWritten) return 'was never written, and holds something'
  if (sumOfCrc(slab.u32[base >> 2]!) !== sum) return 'is not as it was written last'
  return frameFault(slab, base)
}

const unwrittenFault = 'was never written, but other frames refer to it'
const unknownFault =
  'cannot be proved: the page with its checksum is damaged, or another frame of that page'

/** What a frame says of itself is wrong; null when nothing is. */
function ownFault(generation: Owner, frame: number, slab: Slab, base: number): string | null {
  const word = base >> 2
  const { u32 } = slab
  if (crc32(slab.u8, base + 4, base + frameBytes) !== u32[word]) return 'has a wrong CRC'
  const [file, number, own] = [u32[word + 2]!, u32[word + 3]!, u32[word + 4]!]
  if (file === generation.fileNumber && number === generation.number && own === frame) return null
  return `belongs to another place: frame ${own} of ${dataFileName(file, number)}`
}

/** The checksum that a frame gives itself; null when it is damaged. */
export function ownSum(generation: Owner, frame: number, slab: Slab, base: number): number | null {
  if (isZeros(slab, base)) return neverWritten
  if (ownFault(generation, frame, slab, base) !== null) return null
  return kindOf(slab, base) === FrameKind.sums ? neverWritten : sumOfCrc(slab.u32[base >> 2]!)
}

function isZeros(slab: Slab, base: number): boolean {
  const { u32 } = slab
  const word = base >> 2
  if (u32[word] !== 0 || u32[word + 5] !== 0) return false
  for (let at = word; at < word + (frameBytes >> 2); at++) if (u32[at] !== 0) return false
  return true
}
