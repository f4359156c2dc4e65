// The checksums of a generation's frames, as each of them was written last: what tells a frame that was written and
// is lost from one that never was. A frame's own CRC and place say only that it was written once.
//
// What lies where a frame should be, and what finds it when the frame is read, scrubbed, or copied:
//
//   zeros, though the frame was written            its checksum is not 0
//   an older version of the frame (lost write)     its checksum is another one
//   another group's frame (misdirected write)      the frame number in its header
//   a frame of another file or generation          the file and generation numbers in its header
//   flipped bits, a half-written frame             its own CRC
//   nothing: the data file is too short            as zeros
//   an older copy of the whole data file           the CRC of the page of checksums, which the catalog has
//   an older catalog                               the number of the journal that goes with it (recover.ts)
//
// PAGE OF CHECKSUMS, a frame of kind 5 of the same data file, little-endian; header as in frame.ts
//
//   28  number          u32  of the page
//   32  checksums       u32 each, of 1,016 frames: page 0 has those of frames 0 to 1,015, and so on
//
// CHECKSUM    0: the frame was never written; 4,294,967,295: not known (see below); else the frame's CRC-32, with 1 in
//             place of these two values. Pages of checksums are not among the frames: theirs is 0.
//
// The catalog says where each page lies and has its CRC. A page that was never written is not there, as all of its
// frames. A checkpoint writes a page with the frames that it is about, through the journal.
//
// A page that is damaged is made again of the frames that it is about, and is right if and only if its CRC is the one
// that the catalog has. Otherwise, which of its frames are damaged is not known: none of them can be used.
import { crc32 } from '../log/crc.ts'
import {
  FrameKind,
  frameBytes,
  frameHeaderBytes,
  framePayloadBytes,
  initFrame,
  kindOf,
  Slab,
} from './frame.ts'

export const sumsPerPage = framePayloadBytes / 4
export const neverWritten = 0
export const unknownSum = 0xffffffff

/** Where a page of checksums lies, and its CRC: what the catalog keeps of it. */
export interface SumsPlace {
  /** It is about the frames from `page * sumsPerPage` on. */
  readonly page: number
  readonly frame: number
  readonly crc: number
}

/** The checksum of a frame with that CRC. */
export function sumOfCrc(crc: number): number {
  return crc === neverWritten || crc === unknownSum ? 1 : crc
}

export function pageOf(frame: number): number {
  return Math.floor(frame / sumsPerPage)
}

/** One page. Its checksums are in memory only while they are wanted. */
export class SumsPage {
  /** Its number. */
  readonly page: number
  /** Where it lies in the data file; 0 before it has a place. */
  frame = 0
  /** Of what lies there; null before it was written. */
  crc: number | null = null
  /** Of what a checkpoint is writing there. */
  nextCrc: number | null = null
  sums: Uint32Array | null = null
  /** What is in memory lies nowhere else: the next checkpoint writes it. */
  unsaved = false
  /** It could not be read or made again: none of the checksums is known but those that were written since. */
  lost = false
  /** The checkpoint that writes it. */
  checkpoint = 0

  constructor(number: number) {
    this.page = number
  }

  get first(): number {
    return this.page * sumsPerPage
  }

  /** The data file has what is in memory. */
  get saved(): boolean {
    return !this.unsaved && !this.lost
  }
}

/** Those of a generation. */
export class FrameSums {
  readonly #pages = new Map<number, SumsPage>()

  constructor(places: readonly SumsPlace[]) {
    for (const { page: number, frame, crc } of places) {
      const page = new SumsPage(number)
      page.frame = frame
      page.crc = crc
      this.#pages.set(number, page)
    }
  }

  /** The page about a frame; undefined when none of its frames was ever written. */
  about(frame: number): SumsPage | undefined {
    return this.#pages.get(pageOf(frame))
  }

  /** The same; made when it is not there. */
  ensure(frame: number): SumsPage {
    const number = pageOf(frame)
    let page = this.#pages.get(number)
    if (page === undefined) {
      page = new SumsPage(number)
      page.sums = new Uint32Array(sumsPerPage)
      this.#pages.set(number, page)
    }
    return page
  }

  /** Which must be there. */
  numbered(page: number): SumsPage {
    return this.#pages.get(page)!
  }

  pages(): IterableIterator<SumsPage> {
    return this.#pages.values()
  }

  /** The page that lies in that frame. */
  in(frame: number): SumsPage | undefined {
    for (const page of this.#pages.values()) if (page.frame === frame) return page
    return undefined
  }

  /** What the catalog keeps, once what is being written has been. */
  places(): SumsPlace[] {
    const places: SumsPlace[] = []
    for (const { page, frame, crc, nextCrc } of this.#pages.values()) {
      const written = nextCrc ?? crc
      if (written !== null) places.push({ page, frame, crc: written })
    }
    return places.sort((a, b) => a.page - b.page)
  }
}

interface Owner {
  readonly fileNumber: number
  readonly number: number
}

const scratch = new Slab(1)
const numberAt = 7

/** Makes the frame of a page, at `at` of the target. Returns its CRC, which lies in it. */
export function encodeSums(
  { fileNumber, number }: Owner,
  page: Pick<SumsPlace, 'page' | 'frame'>,
  sums: Uint32Array,
  target: Uint8Array,
  at: number,
): number {
  initFrame(scratch, 0, FrameKind.sums, fileNumber, number, page.frame)
  scratch.u32[numberAt] = page.page
  scratch.u32.set(sums, frameHeaderBytes >> 2)
  const crc = crc32(scratch.u8, 4, frameBytes)
  scratch.u32[0] = crc
  target.set(scratch.u8, at)
  return crc
}

/** The checksums of a page that lies at `base` of a slab; null when it is not the one with that CRC. */
export function decodeSums(
  slab: Slab,
  base: number,
  crcs: readonly (number | null)[],
): Uint32Array | null {
  const crc = slab.u32[base >> 2]!
  if (!crcs.includes(crc) || crc32(slab.u8, base + 4, base + frameBytes) !== crc) return null
  const start = (base + frameHeaderBytes) >> 2
  return slab.u32.slice(start, start + sumsPerPage)
}

/** Where the page at `base` of a slab says that it lies; null when it is not one, or damaged. */
export function placeOfSums(
  slab: Slab,
  base: number,
  { fileNumber, number }: Owner,
): SumsPlace | null {
  const word = base >> 2
  const { u32 } = slab
  const crc = u32[word]!
  const own = u32[word + 2] === fileNumber && u32[word + 3] === number
  if (!own || kindOf(slab, base) !== FrameKind.sums) return null
  if (crc32(slab.u8, base + 4, base + frameBytes) !== crc) return null
  return { page: u32[word + numberAt]!, frame: u32[word + 4]!, crc }
}
