// Reads the data files into an empty cache, in large pieces, before a long replay: frame by frame, as replay
// comes upon them, it would take four times as long. It only saves time: what cannot be read here, or
// is damaged, stays out of the cache, and whoever needs it meets the error.
import { isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { type DiskFile } from '../platform/disk.ts'
import { type FrameCache } from './cache.ts'
import { readFault, type DataFiles } from './data-files.ts'
import { frameBytes } from './frame.ts'
import { type Generation } from './generation.ts'

/** One read; two are under way at a time, so that one is checked while the other is read. */
const pieceFrames = (1 * MiB) / frameBytes
const piecesUnderWay = 2
/** Replay must have some of the cache left for new frames. */
const cachePartMax = 0.75

export interface PreloadParts {
  readonly cache: FrameCache
  readonly dataFiles: DataFiles
}

/**
 * True when all of the data files fit into the cache, and reading them costs less than the single reads of so
 * many transactions, each of a frame of its own as long as there are any.
 */
export function preloadPays(
  cache: FrameCache,
  generations: Iterable<Generation>,
  transactions: number,
): boolean {
  let frames = 0
  for (const { diskFrames } of generations) frames += diskFrames
  return frames > 0 && frames <= cache.unusedFrames * cachePartMax && transactions >= frames / 2
}

/** `unchanged` says whether the data files are still what they were at the call: from then on no frame is taken. */
export async function preload(
  parts: PreloadParts,
  generations: readonly Generation[],
  unchanged: () => boolean,
): Promise<void> {
  for (const generation of generations) {
    if (generation.diskFrames === 0 || generation.dropped) continue
    let file
    try {
      file = await parts.dataFiles.openToRead(generation)
    } catch (error) {
      if (isHotBackupError(error)) continue
      throw error
    }
    try {
      await new Preload(parts, generation, file, unchanged).run()
    } finally {
      await file.close()
    }
  }
}

/** The pieces of one data file. */
class Preload {
  readonly #cache: FrameCache
  readonly #dataFiles: DataFiles
  readonly #generation: Generation
  readonly #file: DiskFile
  readonly #unchanged: () => boolean
  readonly #frames: number
  #next = 0

  constructor(
    { cache, dataFiles }: PreloadParts,
    generation: Generation,
    file: DiskFile,
    unchanged: () => boolean,
  ) {
    this.#cache = cache
    this.#dataFiles = dataFiles
    this.#generation = generation
    this.#file = file
    this.#unchanged = unchanged
    this.#frames = generation.diskFrames
  }

  async run(): Promise<void> {
    const readers = Array.from({ length: piecesUnderWay }, () => this.#read())
    await Promise.all(readers)
  }

  async #read(): Promise<void> {
    while (this.#next < this.#frames && this.#unchanged()) {
      const wanted = Math.min(pieceFrames, this.#frames - this.#next)
      const reserved = this.#cache.reserve(wanted)
      if (reserved === null) return
      const first = this.#next
      const { slot, count } = reserved
      this.#next += count
      const bytes = await this.#readPiece(slot, first, count)
      for (let i = 0; i < count; i++) {
        const whole = (i + 1) * frameBytes <= bytes
        if (whole && this.#isGood(slot + i, first + i)) {
          this.#cache.adopt(slot + i, this.#generation, first + i)
        } else {
          this.#cache.abandon(slot + i)
        }
      }
    }
  }

  /** Returns how many bytes could be read. */
  async #readPiece(slot: number, first: number, count: number): Promise<number> {
    const { u8 } = this.#cache.slab(slot)
    try {
      const base = this.#cache.base(slot)
      return await this.#file.read(u8, base, count * frameBytes, first * frameBytes)
    } catch (error) {
      if (isHotBackupError(error)) return 0
      throw error
    }
  }

  #isGood(slot: number, frame: number): boolean {
    // A journal that lies over the data file may have a newer one.
    if (this.#generation.overlay?.has(frame) === true) return false
    if (this.#generation.dropped || !this.#unchanged()) return false
    const slab = this.#cache.slab(slot)
    const base = this.#cache.base(slot)
    const sum = this.#dataFiles.sumOf(this.#generation, frame)
    if (readFault(this.#generation, frame, sum, slab, base) !== null) return false
    slab.u32[base >> 2] = 0
    return true
  }
}
