// Builds a generation of a file out of another one, in a data file elsewhere: what a helper does for a resize. The
// source lies still, and is read from its first group to its last; groups are ranges of the hash, so the target is
// filled in order, too, and memory is bounded by the cache.
import { join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { restful, turn, type Clock } from '../platform/clock.ts'
import { type Disk, type DiskFile } from '../platform/disk.ts'
import { FrameCache } from './cache.ts'
import { dataFileName } from './data-file-name.ts'
import { DataFiles, noteSum, sealFrame } from './data-files.ts'
import { frameBytes, Slab } from './frame.ts'
import { encodeSums, placeOfSums, type SumsPlace } from './frame-sums.ts'
import { type FrameStore } from './frame-store.ts'
import { stateOf, type GenerationState } from './generation-state.ts'
import { Generation } from './generation.ts'
import { Groups } from './group.ts'
import { visitGroup } from './group-walk.ts'

export interface BuildOrder {
  /** The directory with the source's data file, and its state. */
  readonly sourceDirectory: string
  readonly source: GenerationState
  /** An empty directory for the target's data file. */
  readonly targetDirectory: string
  readonly number: number
  readonly modulo: number
  /** Bound of the memory for frames. */
  readonly cacheBytes: number
}

export interface Built {
  /** The data file, complete and synced. */
  readonly path: string
  readonly state: GenerationState
}

/** Frames of one write at the end. */
const pieceFrames = (1 * MiB) / frameBytes
/**
 * So much is written between two syncs: the server's own syncs, for which updates wait, must not wait for all of a
 * large file. Behind each the disk is theirs for as long.
 */
const syncBytes = 4 * MiB
/** Of memory for the checksums of each data file, which are read in order. */
const sumsBytes = 1 * MiB
/** Items between two turns of the event loop. */
const sliceItems = 2000

/**
 * `report` hears from 0 to 1 how far it is; what it throws ends the work. Throws ERR_DATABASE_CORRUPT when the
 * source is damaged, ERR_DISK, ERR_DISK_FULL.
 */
export async function buildGeneration(
  platform: { readonly disk: Disk; readonly clock: Clock },
  order: BuildOrder,
  report: (progress: number) => void,
): Promise<Built> {
  const { disk, clock } = platform
  const store = new BuildStore(disk, order)
  const cache = new FrameCache(order.cacheBytes, store)
  const groups = new Groups(cache)
  const source = new Generation(order.source, true)
  const { fileNumber, modulo: sourceModulo } = order.source
  const target = Generation.empty(fileNumber, order.number, order.modulo, false)
  store.target = target
  for (const generation of [source, target]) cache.register(generation)
  const scratch = new Slab(1)
  try {
    let left = sliceItems
    for (let group = 0; group < sourceModulo; group++) {
      if (!cache.isBlank(source, group)) {
        left -= visitGroup(
          cache,
          source,
          group,
          scratch,
          (bytes, idStart, idEnd, value, valueStart, valueEnd) => {
            const length = valueEnd - valueStart
            groups.append(target, bytes, idStart, idEnd, value, valueStart, length)
          },
          true,
        )
      }
      left--
      if (left > 0) continue
      left = sliceItems
      report(group / sourceModulo)
      await store.syncSome(clock)
      await turn(clock)
    }
    store.closeAll()
    const path = join(order.targetDirectory, dataFileName(fileNumber, order.number))
    await writeRest(platform, cache, target, path)
    report(1)
    return { path, state: stateOf(target) }
  } finally {
    store.closeAll()
  }
}

/** The frames that were never spilled, in order; then all of it is made durable. */
async function writeRest(
  { disk, clock }: { readonly disk: Disk; readonly clock: Clock },
  cache: FrameCache,
  target: Generation,
  path: string,
): Promise<void> {
  const slots = cache.capture().sort((a, b) => cache.frameOf(a) - cache.frameOf(b))
  const file = await disk.open(path, (await disk.exists(path)) ? 'write' : 'create')
  try {
    const piece = Buffer.allocUnsafeSlow(pieceFrames * frameBytes)
    let unsyncedBytes = 0
    for (let at = 0; at < slots.length;) {
      const first = cache.frameOf(slots[at]!)
      let count = 0
      while (count < pieceFrames && at < slots.length) {
        const slot = slots[at]!
        if (cache.frameOf(slot) !== first + count) break
        const base = cache.base(slot)
        piece.set(cache.slab(slot).u8.subarray(base, base + frameBytes), count * frameBytes)
        noteSum(target, first + count, sealFrame(piece, count * frameBytes))
        count++
        at++
      }
      await file.write(piece, 0, count * frameBytes, first * frameBytes)
      unsyncedBytes += count * frameBytes
      if (unsyncedBytes < syncBytes) continue
      await restful(clock, () => file.sync())
      unsyncedBytes = 0
    }
    await writeSums(file, target)
    // Groups without items at the end were never written: they are zeros, as the others.
    await file.truncate(target.frameCount * frameBytes)
    target.diskFrames = target.frameCount
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Behind all other frames. */
async function writeSums(file: DiskFile, target: Generation): Promise<void> {
  const bytes = Buffer.allocUnsafe(frameBytes)
  for (const page of [...target.sums.pages()].sort((a, b) => a.page - b.page)) {
    page.frame = target.frameCount++
    page.crc = encodeSums(target, page, page.sums!, bytes, 0)
    await file.write(bytes, 0, frameBytes, page.frame * frameBytes)
  }
}

/**
 * The last frames of a data file that was built, which are its pages of checksums. Throws ERR_DATABASE_CORRUPT when
 * they are not.
 */
export async function readBuiltSums(
  disk: Disk,
  path: string,
  state: Omit<GenerationState, 'sumsPlaces'>,
  pages: number,
): Promise<SumsPlace[]> {
  const slab = new Slab(pieceFrames)
  const places: SumsPlace[] = []
  const file = await disk.open(path, 'read')
  try {
    for (let first = state.frameCount - pages; first < state.frameCount;) {
      const count = Math.min(pieceFrames, state.frameCount - first)
      await file.read(slab.u8, 0, count * frameBytes, first * frameBytes)
      for (let index = 0; index < count; index++) {
        const place = placeOfSums(slab, index * frameBytes, state)
        if (place?.frame !== first + index || place.page <= (places.at(-1)?.page ?? -1)) {
          const message = `${path}: frame ${first + index} is no page of checksums`
          throw new HotBackupError('ERR_DATABASE_CORRUPT', message, { path })
        }
        places.push(place)
      }
      first += count
    }
    return places
  } finally {
    await file.close()
  }
}

/** Reads both data files, writes only the target's. */
class BuildStore implements FrameStore {
  readonly #source: DataFiles
  readonly #target: DataFiles
  readonly #disk: Disk
  #unsyncedBytes = 0
  target: Generation | null = null

  constructor(disk: Disk, order: BuildOrder) {
    this.#disk = disk
    this.#source = new DataFiles(disk, order.sourceDirectory, sumsBytes)
    this.#target = new DataFiles(disk, order.targetDirectory, sumsBytes)
  }

  readFrame(generation: Generation, frame: number, slab: Slab, base: number): void {
    const files = generation === this.target ? this.#target : this.#source
    files.readFrame(generation, frame, slab, base)
  }

  isBlank(generation: Generation, group: number): boolean {
    return (generation === this.target ? this.#target : this.#source).isBlank(generation, group)
  }

  renewSums(): null {
    return null
  }

  spillFrame(generation: Generation, frame: number, slab: Slab, base: number): void {
    this.#target.spillFrame(generation, frame, slab, base)
    this.#unsyncedBytes += frameBytes
  }

  async syncSome(clock: Clock): Promise<void> {
    if (this.#unsyncedBytes < syncBytes || this.target === null) return
    this.#unsyncedBytes = 0
    const file = await this.#disk.open(this.#target.pathOf(this.target), 'write')
    try {
      await restful(clock, () => file.sync())
    } finally {
      await file.close()
    }
  }

  closeAll(): void {
    this.#source.closeAll()
    this.#target.closeAll()
  }
}
