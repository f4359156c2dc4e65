// One checkpoint: brings the durable database forward to a stamp while updates go on in memory.
//
// What is done, in this order, and what a crash leaves behind each step:
//
//   step                                                    a crash from here on leaves
//   1 capture: changed frames and catalog, in one turn      old stamp, old files
//   2 wait until the log is durable up to the stamp         old stamp, old files
//   3 journal.new: frames, catalog, commit pages; sync      the same, and journal.new, removed
//   4 sync the data files that were spilled to              the same; unknown data files, removed
//   5 rename it: "journal"; sync the directory              either 4 or 6: the name decides
//   6 frames in place, sync each data file                  a journal to be put in place: done again from 6 on
//   7 catalog, atomically                                   the same; the new stamp stands already
//   8 the journal says that it is in place, sync            new stamp, new files; old generations, removed
//   9 remove data files that no catalog names any more      new stamp, new files
//
// Nothing is written to a data file that the durable catalog names but in step 6, and only frames as they were
// at the capture. So the files always hold exactly what the stamp says, item counts included, once a complete
// journal has been finished; replay of the log from the stamp leads to the present. Pages of checksums (frame-sums.ts)
// belong to checkpoints alone: step 3 makes the new ones out of the old ones and of the frames that it writes.
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
import { encodeCatalog, type Catalog, type CatalogFile } from './catalog.ts'
import { sealFrame, type DataFiles } from './data-files.ts'
import { frameBytes } from './frame.ts'
import { encodeSums, pageOf, sumOfCrc, type SumsPage } from './frame-sums.ts'
import { type Generation } from './generation.ts'
import { writeInPlace, type Tempo } from './in-place.ts'
import {
  freshPath,
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
  #catalog: Catalog
  /** In the order of the catalog's files. */
  readonly #generations: readonly Generation[]
  readonly #slots: Int32Array
  readonly #keys = new SortedKeys()
  #nextKey = -1
  #frameCount = 0
  /** The pages of checksums about the frames, by index of the generation and number, in order. */
  #pages = new Float64Array(0)
  #nextPage = 0
  #filling: { readonly page: SumsPage; readonly sums: Uint32Array } | null = null
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
    const { cache, dataFiles } = this.#parts
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
      if (this.recoverable(error)) this.#giveBack()
      throw error
    }
    for (const key of this.#pages) dataFiles.savedSums(this.#pageAt(key).page)
    cache.release(this.#slots)
    cache.shrink()
  }

  #giveBack(): void {
    const { cache, dataFiles } = this.#parts
    cache.giveBack(this.#slots)
    for (const key of this.#pages) dataFiles.unsavedSums(this.#pageAt(key).page)
  }

  recoverable(error: unknown): boolean {
    if (this.#stage !== 'gathering') return this.#stage === 'waiting'
    return isHotBackupError(error, 'ERR_CLOSED', 'ERR_DISK_FULL')
  }

  /** Frames in the order of the data files; also, how long each data file will be. */
  async #sortFrames(): Promise<void> {
    const { cache } = this.#parts
    const pages: number[] = []
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
        const index = generation.checkpointIndex
        const file = this.#catalog.files[index]!
        if (file.diskFrames <= frame) file.diskFrames = frame + 1
        this.#touch(generation.sums.ensure(frame), index, pages)
        keys[count++] = index * 2 ** 32 + frame
      }
      this.#keys.add(keys.subarray(0, count))
      this.#frameCount += count
      await this.#turn()
    }
    this.#keys.rewind()
    this.#nextKey = this.#keys.take()
    this.#placePages(pages)
  }

  /** The page is written with this checkpoint. */
  #touch(page: SumsPage, index: number, pages: number[]): void {
    if (page.checkpoint === this.#number) return
    page.checkpoint = this.#number
    pages.push(index * 2 ** 32 + page.page)
  }

  #placePages(pages: number[]): void {
    this.#generations.forEach((generation, index) => {
      for (const page of generation.sums.pages()) {
        if (page.unsaved) this.#touch(page, index, pages)
      }
    })
    this.#pages = Float64Array.from(pages).sort()
    for (const key of this.#pages) {
      const { generation, file, page } = this.#pageAt(key)
      // The number of frames may have grown since the capture: those between are lost by a crash, and hold nothing.
      if (page.frame === 0) page.frame = generation.frameCount++
      if (file.frameCount <= page.frame) file.frameCount = page.frame + 1
      if (file.diskFrames <= page.frame) file.diskFrames = page.frame + 1
    }
  }

  #pageAt(key: number): {
    readonly generation: Generation
    readonly file: CatalogFile
    readonly page: SumsPage
  } {
    const index = Math.floor(key / 2 ** 32)
    const generation = this.#generations[index]!
    const page = generation.sums.numbered(key % 2 ** 32)
    return { generation, file: this.#catalog.files[index]!, page }
  }

  /** Steps 3 to 5. Returns the catalog's bytes. */
  async #writeJournal(): Promise<Buffer> {
    const { disk, dataFiles } = this.#parts
    if (this.#pageCount === 0) {
      this.#stage = 'committing'
      return encodeCatalog(this.#catalog)
    }
    const path = join(dataFiles.directory, journalName)
    const journal = await JournalWriter.create(disk, path, this.#catalog.journal)
    let bytes
    try {
      await this.#checkRoom()
      await this.#appendFrames(journal)
      this.#generations.forEach((generation, index) => {
        this.#catalog.files[index]!.sumsPlaces = generation.sums.places()
      })
      this.#catalog = { ...this.#catalog, journal: journal.id }
      bytes = encodeCatalog(this.#catalog)
      await journal.appendCatalog(bytes)
      await journal.complete()
      await this.#syncSpilled()
    } catch (error) {
      await journal.close()
      // Its room may be what the next attempt needs. The first error is the one to tell.
      await disk.remove(freshPath(path)).catch(() => {})
      throw error
    }
    await journal.close()
    this.#stage = 'committing'
    await this.#withRoom(() => journal.publish(disk))
    await disk.syncDirectory(dataFiles.directory)
    return bytes
  }

  /** Frames of the journal. */
  get #pageCount(): number {
    return this.#frameCount + this.#pages.length
  }

  /** A journal that will not fit would only fill the disk. */
  async #checkRoom(): Promise<void> {
    const { disk, dataFiles } = this.#parts
    const needed = this.#pageCount * frameBytes + encodeCatalog(this.#catalog).length + freeBytesMin
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
      for (let left = this.#pageCount; left > 0;) {
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

  /** Each page of checksums comes behind the last frame that it is about. */
  #fill(piece: Buffer, count: number): void {
    const { cache } = this.#parts
    for (let at = 0; at < count * frameBytes; at += frameBytes) {
      const key = this.#nextKey
      const index = Math.floor(key / 2 ** 32)
      const frame = key % 2 ** 32
      const pageKey = this.#pages[this.#nextPage]
      if (key < 0 || (pageKey !== undefined && pageKey < index * 2 ** 32 + pageOf(frame))) {
        this.#fillPage(piece, at)
        continue
      }
      const generation = this.#generations[index]!
      cache.takeCaptured(generation.key, frame, piece, at)
      const sum = sumOfCrc(sealFrame(piece, at))
      const page = generation.sums.ensure(frame)
      this.#sumsOf(generation, page)[frame - page.first] = sum
      this.#nextKey = this.#keys.take()
    }
  }

  #fillPage(piece: Buffer, at: number): void {
    const { generation, page } = this.#pageAt(this.#pages[this.#nextPage++]!)
    page.nextCrc = encodeSums(generation, page, this.#sumsOf(generation, page), piece, at)
    this.#filling = null
  }

  /** Held here from the first frame of the page to the last: what could be read again of it lacks these. */
  #sumsOf(generation: Generation, page: SumsPage): Uint32Array {
    if (this.#filling?.page !== page) {
      this.#filling = { page, sums: this.#parts.dataFiles.sumsOf(generation, page) }
    }
    return this.#filling.sums
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
    const catalogPath = join(dataFiles.directory, catalogName)
    if (this.#pageCount === 0) return writeFileAtomic(disk, catalogPath, catalogBytes)
    const path = join(dataFiles.directory, journalName)
    const journal = await JournalReader.open(disk, path)
    if (journal?.id.number !== this.#catalog.journal.number) {
      await journal?.close()
      const message = `${path} does not hold what was written to it`
      throw new HotBackupError('ERR_DISK', message, { path })
    }
    try {
      await writeInPlace(disk, dataFiles.directory, journal, this)
      this.#generations.forEach((generation, index) => {
        const { diskFrames } = this.#catalog.files[index]!
        if (generation.diskFrames < diskFrames) generation.diskFrames = diskFrames
      })
      await writeFileAtomic(disk, catalogPath, catalogBytes)
      await journal.settle(disk)
    } finally {
      await journal.close()
    }
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
