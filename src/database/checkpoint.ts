// One checkpoint: brings the durable database forward to a stamp while updates go on in memory.
//
// What is done, in this order, and what a crash leaves behind each step:
//
//   step                                                    a crash from here on leaves
//   1 capture: changed frames and catalog, in one turn      old stamp, old files
//   2 wait until the log is durable up to the stamp         old stamp, old files
//   3 sync the data files that were spilled to              old stamp, old files; unknown data files, removed
//   4 journal: frames, catalog; sync it and the directory   the same, and an incomplete journal, dropped
//   5 journal: commit pages; sync                           either 4 or 6: the pages decide
//   6 frames in place, sync each data file                  a complete journal: done again from 6 on
//   7 catalog, atomically                                   the same; the new stamp stands already
//   8 remove the journal, sync the directory                new stamp, new files; old generations, removed
//   9 remove data files that no catalog names any more      new stamp, new files
//
// Nothing is written to a data file that the durable catalog names but in step 6, and only frames as they were
// at the capture. So the files always hold exactly what the stamp says, item counts included, once a complete
// journal has been finished; replay of the log from the stamp leads to the present.
//
// A disk that is full before step 5 is survived: the frames are changed frames as before, and the next
// checkpoint tries again. From then on there is no way back, and room is waited for. Any other failure is final
// for this opening of the database.
import { join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { writeFileAtomic } from '../platform/atomic-file.ts'
import { sleep, turn, type Clock } from '../platform/clock.ts'
import { type Disk } from '../platform/disk.ts'
import { type FrameCache } from './cache.ts'
import { encodeCatalog, type Catalog } from './catalog.ts'
import { sealFrame, type DataFiles } from './data-files.ts'
import { frameBytes } from './frame.ts'
import { type Generation } from './generation.ts'
import { writeInPlace, type Tempo } from './in-place.ts'
import {
  givePiece,
  JournalReader,
  JournalWriter,
  largePieceFrames,
  pieceFrames,
  takePiece,
} from './journal.ts'
import { SortedKeys } from './sorted-keys.ts'

/** Traffic of a paced checkpoint: far below what disks do, far above what replay of small items makes. */
const pacedBytesPerSecond = 96 * MiB
/** A full disk is looked at this often. */
const roomRetryMs = 1000
/** What a checkpoint leaves free: the log goes before it. */
const freeBytesMin = 4 * MiB
/** Frames looked at in one turn of the event loop, about 1 ms. */
const sliceFrames = 8192

export const catalogName = 'catalog'
export const journalName = 'journal'

export interface CheckpointParts {
  readonly disk: Disk
  readonly clock: Clock
  readonly cache: FrameCache
  readonly dataFiles: DataFiles
}

export class Checkpoint implements Tempo {
  readonly #parts: CheckpointParts
  readonly #number: number
  readonly #catalog: Catalog
  /** In the order of the catalog's files. */
  readonly #generations: readonly Generation[]
  readonly #slots: Int32Array
  readonly #keys = new SortedKeys()
  #frameCount = 0
  #paced: boolean
  #stopped = false
  #stop: () => void = () => {}
  readonly #stopping = new Promise<void>(resolve => {
    this.#stop = resolve
  })
  #noRoom: (error: HotBackupError) => void = () => {}
  /**
   * waiting: nothing has been written; gathering: the journal can be thrown away; committing: what is written may
   * be on the disk for good, there is no way back.
   */
  #stage: 'waiting' | 'gathering' | 'committing' = 'waiting'

  /** Captures, synchronously: the catalog must be of this moment. */
  constructor(
    parts: CheckpointParts,
    number: number,
    catalog: Catalog,
    generations: readonly Generation[],
    paced: boolean,
  ) {
    this.#parts = parts
    this.#number = number
    this.#catalog = catalog
    this.#generations = generations
    this.#paced = paced
    generations.forEach((generation, index) => {
      generation.checkpoint = number
      generation.checkpointIndex = index
      generation.named = true
    })
    this.#slots = parts.cache.capture()
  }

  get catalog(): Catalog {
    return this.#catalog
  }
  get number(): number {
    return this.#number
  }

  /** No pauses from now on. */
  hurry(): void {
    this.#paced = false
  }

  /** Ends as soon as it can: with ERR_CLOSED while nothing has been committed. */
  stop(): void {
    this.#stopped = true
    this.#paced = false
    this.#stop()
  }

  /**
   * Resolves when the new stamp is durable. When it rejects, `recoverable` says whether the database is as
   * before the checkpoint. `noRoom` hears when it waits for room on the disk.
   */
  async run(durable: Promise<void>, noRoom: (error: HotBackupError) => void): Promise<void> {
    const { cache } = this.#parts
    this.#noRoom = noRoom
    try {
      // The caller may have no more use for it once the checkpoint is stopped.
      durable.catch(() => {})
      await Promise.race([durable, this.#stopping])
      this.#checkStopped()
      this.#stage = 'gathering'
      await this.#sortFrames()
      const bytes = await this.#writeJournal()
      await this.#withRoom(() => this.#finish(bytes))
    } catch (error) {
      if (this.recoverable(error)) cache.giveBack(this.#slots)
      throw error
    }
    cache.release(this.#slots)
    cache.shrink()
  }

  recoverable(error: unknown): boolean {
    if (this.#stage !== 'gathering') return this.#stage === 'waiting'
    return isHotBackupError(error, 'ERR_CLOSED', 'ERR_DISK_FULL')
  }

  /** Frames in the order of the data files; also, how long each data file will be. */
  async #sortFrames(): Promise<void> {
    const { cache, dataFiles } = this.#parts
    for (let start = 0; start < this.#slots.length; start += sliceFrames) {
      const slice = this.#slots.subarray(start, start + sliceFrames)
      const keys = new Float64Array(slice.length)
      let count = 0
      for (const slot of slice) {
        const generation = cache.generationOf(cache.keyOf(slot))
        // Dropped before the capture.
        if (generation === undefined) {
          cache.discard(slot)
          continue
        }
        const frame = cache.frameOf(slot)
        const file = this.#catalog.files[generation.checkpointIndex]!
        if (file.diskFrames <= frame) file.diskFrames = frame + 1
        dataFiles.noteWrite(generation, frame)
        keys[count++] = generation.checkpointIndex * 2 ** 32 + frame
      }
      this.#keys.add(keys.subarray(0, count))
      this.#frameCount += count
      await this.#turn()
    }
    this.#keys.rewind()
  }

  /** Steps 3 to 5. Returns the catalog's bytes. */
  async #writeJournal(): Promise<Buffer> {
    const { disk, dataFiles } = this.#parts
    const bytes = encodeCatalog(this.#catalog)
    if (this.#frameCount === 0) {
      this.#stage = 'committing'
      await this.#syncSpilled()
      return bytes
    }
    const path = join(dataFiles.directory, journalName)
    const journal = await JournalWriter.create(disk, path)
    try {
      await this.#checkRoom(bytes.length)
      await this.#appendFrames(journal)
      await journal.appendCatalog(bytes)
    } catch (error) {
      await journal.close()
      // Its room may be what the next attempt needs. The first error is the one to tell.
      await disk.remove(path).catch(() => {})
      throw error
    }
    try {
      this.#stage = 'committing'
      await this.#syncSpilled()
      await disk.syncDirectory(dataFiles.directory)
      await this.#withRoom(() => journal.commit())
    } finally {
      await journal.close()
    }
    return bytes
  }

  /** A journal that will not fit would only fill the disk. */
  async #checkRoom(catalogBytes: number): Promise<void> {
    const { disk, dataFiles } = this.#parts
    const needed = this.#frameCount * frameBytes + catalogBytes + freeBytesMin
    const free = await disk.freeBytes(dataFiles.directory)
    if (needed <= free) return
    const message = `a checkpoint takes ${needed} bytes, and ${free} are free`
    throw new HotBackupError('ERR_DISK_FULL', message, { path: dataFiles.directory })
  }

  /** A step that may be done again, behind the point of no return: a full disk is waited for. */
  async #withRoom(step: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await step()
      } catch (error) {
        if (!isHotBackupError(error, 'ERR_DISK_FULL') || this.#stopped) throw error
        this.#noRoom(error)
        await Promise.race([sleep(this.#parts.clock, roomRetryMs), this.#stopping])
      }
    }
  }

  /** One piece is filled while the one before it is written. */
  async #appendFrames(journal: JournalWriter): Promise<void> {
    let writing = Promise.resolve()
    try {
      for (let left = this.#frameCount; left > 0;) {
        const count = Math.min(left, this.pieceFrames())
        const piece = takePiece(count)
        this.#fill(piece, count)
        await writing
        writing = journal.append(piece, count).finally(() => givePiece(piece))
        // Its error is met when its turn comes.
        writing.catch(() => {})
        left -= count
        await this.#turn()
        await this.pace(count * frameBytes)
      }
    } finally {
      await writing
    }
  }

  #fill(piece: Buffer, count: number): void {
    const { cache } = this.#parts
    for (let i = 0; i < count; i++) {
      const key = this.#keys.take()
      const generation = this.#generations[Math.floor(key / 2 ** 32)]!
      cache.takeCaptured(generation.key, key % 2 ** 32, piece, i * frameBytes)
      sealFrame(piece, i * frameBytes)
    }
  }

  async #syncSpilled(): Promise<void> {
    const { disk, dataFiles } = this.#parts
    let synced = false
    for (const generation of this.#generations) {
      if (!generation.spilled) continue
      const file = await disk.open(dataFiles.pathOf(generation), 'write')
      try {
        await file.sync()
      } finally {
        await file.close()
      }
      generation.spilled = false
      synced = true
    }
    if (synced) await disk.syncDirectory(dataFiles.directory)
  }

  /** Steps 6 to 8. */
  async #finish(catalogBytes: Buffer): Promise<void> {
    const { disk, dataFiles } = this.#parts
    const { directory } = dataFiles
    const path = join(directory, journalName)
    if (this.#frameCount > 0) {
      const journal = await JournalReader.open(disk, path)
      if (journal === null) {
        throw new HotBackupError('ERR_DISK', `${path} does not hold what was written to it`, {
          path,
        })
      }
      try {
        await writeInPlace(disk, directory, journal, this)
      } finally {
        await journal.close()
      }
    }
    this.#generations.forEach((generation, index) => {
      const { diskFrames } = this.#catalog.files[index]!
      if (generation.diskFrames < diskFrames) generation.diskFrames = diskFrames
    })
    await writeFileAtomic(disk, join(directory, catalogName), catalogBytes)
    if (this.#frameCount === 0) return
    await disk.remove(path)
    await disk.syncDirectory(directory)
  }

  /** Lets others have their turn, and looks whether it should stop. */
  async #turn(): Promise<void> {
    await turn(this.#parts.clock)
    this.#checkStopped()
  }

  #checkStopped(): void {
    if (this.#stopped) throw new HotBackupError('ERR_CLOSED', 'the database was closed')
  }

  /** The tempo of the traffic; see writeInPlace. */
  pieceFrames(): number {
    return this.#unhurried ? pieceFrames : largePieceFrames
  }

  async pace(bytes: number): Promise<void> {
    if (!this.#unhurried) return
    const { clock } = this.#parts
    await Promise.race([sleep(clock, (bytes / pacedBytesPerSecond) * 1000), this.#stopping])
  }

  wrote(name: string, first: number, count: number): void {
    for (const changes of this.#parts.dataFiles.copied) changes.note(name, first, count)
  }

  /** Writers that wait for room must not wait for pauses. */
  get #unhurried(): boolean {
    return this.#paced && !this.#parts.cache.overfull
  }
}
