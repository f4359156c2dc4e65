// Compares the frames of data files as they lie on the disk with what the catalog says of them, without a database: for
// scrubbing, and to prove that no checkpoint is half in place.
import { isNotFound, isUnreadable, type Disk, type DiskFile } from '../platform/disk.ts'
import { type CatalogFile } from './catalog.ts'
import { ownSum, readFault, unreadableFault } from './data-files.ts'
import {
  decodeSums,
  encodeSums,
  pageOf,
  sumsPerPage,
  unknownSum,
  type SumsPlace,
} from './frame-sums.ts'
import { frameBytes, Slab } from './frame.ts'

export interface FrameFault {
  readonly frame: number
  readonly fault: string
}

/** A data file, and the journal whose frames are to be put in place there. */
export interface CheckedDataFile {
  readonly path: string
  readonly entry: CatalogFile
  /** Frames for which the journal has newer ones, and where. */
  readonly newer: ReadonlyMap<number, number>
  readonly journalPath: string
}

const pieceFrames = 256

/** Opens what it needs. A data file that is not there is one without frames. */
export async function openFrames(disk: Disk, file: CheckedDataFile): Promise<FrameCheck> {
  const data = await opened(disk, file.path)
  const journal = file.newer.size === 0 ? null : await opened(disk, file.journalPath)
  return new FrameCheck(file, data, journal)
}

async function opened(disk: Disk, path: string): Promise<DiskFile | null> {
  try {
    return await disk.open(path, 'read')
  } catch (error) {
    if (isNotFound(error)) return null
    throw error
  }
}

export class FrameCheck {
  readonly #entry: CatalogFile
  readonly #newer: ReadonlyMap<number, number>
  readonly #data: DiskFile | null
  readonly #journal: DiskFile | null
  readonly #places: ReadonlyMap<number, SumsPlace>
  readonly #placesIn: ReadonlyMap<number, SumsPlace>
  readonly #slab = new Slab(pieceFrames)
  readonly #single = new Slab(1)
  #page = -1
  #sums: Uint32Array = new Uint32Array(0)
  /** What is wrong with the page of checksums that was looked at last. */
  #pageFault: FrameFault | null = null

  constructor({ entry, newer }: CheckedDataFile, data: DiskFile | null, journal: DiskFile | null) {
    this.#entry = entry
    this.#newer = newer
    this.#data = data
    this.#journal = journal
    this.#places = new Map(entry.sumsPlaces.map(place => [place.page, place]))
    this.#placesIn = new Map(entry.sumsPlaces.map(place => [place.frame, place]))
  }

  async close(): Promise<void> {
    await this.#data?.close()
    await this.#journal?.close()
  }

  /** Frames to look at. */
  get frames(): number {
    const size = this.#data?.size() ?? 0
    return Math.max(this.#entry.diskFrames, Math.ceil(size / frameBytes))
  }

  /** All that are damaged, in order of their pages. `took` hears of every piece that was read. */
  async faults(took: (bytes: number) => Promise<void>): Promise<FrameFault[]> {
    const faults: FrameFault[] = []
    for (let first = 0; first < this.frames;) {
      const page = pageOf(first)
      if (page !== this.#page) {
        await this.#turnTo(page)
        if (this.#pageFault !== null) faults.push(this.#pageFault)
      }
      const end = Math.min(first + pieceFrames, (page + 1) * sumsPerPage, this.frames)
      const readable = await this.#read(this.#slab, first, end - first)
      for (let frame = first; frame < end; frame++) {
        const fault = readable
          ? this.#fault(frame, this.#slab, (frame - first) * frameBytes)
          : await this.#faultOfOne(frame)
        // Which of the frames of a page that is lost are damaged is not known.
        if (fault !== null && !this.#isLost(frame)) faults.push({ frame, fault })
      }
      await took((end - first) * frameBytes)
      first = end
    }
    return faults
  }

  /** What is wrong with one frame; null when nothing is. */
  async fault(frame: number): Promise<string | null> {
    const place = this.#placeIn(frame)
    await this.#turnTo(place?.page ?? pageOf(frame))
    return place === undefined ? this.#faultOfOne(frame) : (this.#pageFault?.fault ?? null)
  }

  async #faultOfOne(frame: number): Promise<string | null> {
    if (this.#placeIn(frame) !== undefined) return null
    const readable = await this.#read(this.#single, frame, 1)
    return readable ? this.#fault(frame, this.#single, 0) : unreadableFault
  }

  #fault(frame: number, slab: Slab, base: number): string | null {
    if (this.#newer.has(frame) || this.#placeIn(frame) !== undefined) return null
    return readFault(this.#entry, frame, this.#sums[frame % sumsPerPage]!, slab, base)
  }

  #placeIn(frame: number): SumsPlace | undefined {
    return this.#placesIn.get(frame)
  }

  #isLost(frame: number): boolean {
    return this.#pageFault !== null && this.#sums[frame % sumsPerPage] === unknownSum
  }

  /** Zeros behind the end of the data file. False when the disk does not give it. */
  async #read(slab: Slab, frame: number, count: number): Promise<boolean> {
    const length = count * frameBytes
    try {
      const got = (await this.#data?.read(slab.u8, 0, length, frame * frameBytes)) ?? 0
      slab.u8.fill(0, got, length)
      return true
    } catch (error) {
      if (!isUnreadable(error)) throw error
      return false
    }
  }

  async #turnTo(page: number): Promise<void> {
    if (page === this.#page) return
    this.#page = page
    this.#pageFault = null
    const place = this.#places.get(page)
    const sums = place === undefined ? new Uint32Array(sumsPerPage) : await this.#sumsIn(place)
    this.#sums = sums ?? (await this.#madeAgain(place!))
  }

  async #sumsIn({ frame, crc }: SumsPlace): Promise<Uint32Array | null> {
    const offset = this.#newer.get(frame)
    if (offset === undefined) {
      return (await this.#read(this.#single, frame, 1)) ? decodeSums(this.#single, 0, [crc]) : null
    }
    const count = (await this.#journal?.read(this.#single.u8, 0, frameBytes, offset)) ?? 0
    return count === frameBytes ? decodeSums(this.#single, 0, [crc]) : null
  }

  /** See frame-sums.ts. */
  async #madeAgain(place: SumsPlace): Promise<Uint32Array> {
    const sums = new Uint32Array(sumsPerPage)
    const first = place.page * sumsPerPage
    let proved = true
    for (let index = 0; index < sumsPerPage && proved; index++) {
      const frame = first + index
      if (frame >= this.#entry.diskFrames) break
      // What a journal will bring is not looked at: there is another look when it is in place.
      const readable = !this.#newer.has(frame) && (await this.#read(this.#single, frame, 1))
      const sum = readable ? ownSum(this.#entry, frame, this.#single, 0) : null
      if (sum === null) proved = false
      else sums[index] = sum
    }
    proved &&= encodeSums(this.#entry, place, sums, this.#single.u8, 0) === place.crc
    const last = Math.min(first + sumsPerPage, this.#entry.diskFrames) - 1
    const about = `the page of checksums about frames ${first} to ${last} is damaged`
    const fault = proved ? `${about}, which prove it` : `${about}, or one of them: none can be used`
    this.#pageFault = { frame: place.frame, fault }
    return proved ? sums : sums.fill(unknownSum)
  }
}

/** How many frames of the data file are not as the catalog says: 0 when no journal is half in place there. */
export async function countFaults(disk: Disk, file: CheckedDataFile): Promise<number> {
  const frames = await openFrames(disk, file)
  try {
    return (await frames.faults(async () => {})).length
  } finally {
    await frames.close()
  }
}
