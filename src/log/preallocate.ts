// Makes the file of the next segment ahead of need: an fdatasync into space that was written before costs half
// of one that lets the file grow. The file is log/next.tmp, all zeros, until it gets a header and its name.
import { join } from 'node:path'
import { isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { isWrongFile, removeState } from '../platform/atomic-file.ts'
import { isNotFound, type Disk, type DiskFile } from '../platform/disk.ts'
import { noSpare } from './disk-room.ts'
import { writtenEnd } from './tail.ts'

export const nextName = 'next.tmp'

const pieceBytes = 1 * MiB
const zeros = Buffer.alloc(pieceBytes)

/** Fills with zeros from `from` to `to`, piece by piece, each synced: a commit never waits behind all of it. */
export async function fillZeros(
  file: DiskFile,
  from: number,
  to: number,
  stopped: () => boolean = () => false,
): Promise<void> {
  for (let at = from; at < to && !stopped(); at += pieceBytes) {
    await file.write(zeros, 0, Math.min(pieceBytes, to - at), at)
    await file.sync()
  }
}

export class SegmentAllocator {
  readonly #disk: Disk
  readonly #path: string
  readonly #bytes: number
  /** Given up before the file is left empty for want of room. */
  spare = noSpare
  /** The file that is being filled, or is ready. */
  #making: Promise<DiskFile> | null = null
  #stopped = false
  #short = false

  constructor(disk: Disk, directory: string, bytes: number) {
    this.#disk = disk
    this.#path = join(directory, nextName)
    this.#bytes = bytes
  }

  /** Starts to make the next file, in the background, unless that has been done. */
  prepare(): void {
    if (this.#making !== null) return
    this.#stopped = false
    this.#making = this.#make()
    // Whoever takes the file hears of the failure.
    this.#making.catch(() => {})
  }

  /**
   * The file for the next segment, empty or zeros; the caller renames `path` and closes it. What is not ready is
   * not waited for: the rest of the segment then grows as it is written.
   */
  async take(): Promise<DiskFile> {
    if (this.#making === null) this.prepare()
    else this.#stopped = true
    const making = this.#making
    this.#making = null
    if (making === null) throw new TypeError('the next segment is taken twice')
    return making
  }

  /** There was no room for the file ahead of need. */
  get short(): boolean {
    return this.#short
  }

  /** Looks again whether there is room. */
  async retry(): Promise<void> {
    if (!this.#short) return
    const file = await this.take().catch(() => null)
    await file?.close()
    this.prepare()
    await this.#making?.catch(() => {})
  }

  get path(): string {
    return this.#path
  }

  async #make(): Promise<DiskFile> {
    const left = await this.#leftBehind()
    if (left !== null) return left
    await removeState(this.#disk, this.#path)
    const file = await this.#create()
    try {
      // No room ahead of need is no failure yet: the next segment may fit all the same, by and by.
      this.#short = !(await this.#fill(file))
      if (this.#short) await file.truncate(0)
    } catch (error) {
      await file.close()
      throw error
    }
    return file
  }

  /** False when the disk is full. */
  async #fill(file: DiskFile): Promise<boolean> {
    for (;;) {
      try {
        await fillZeros(file, file.size(), this.#bytes, () => this.#stopped)
        return true
      } catch (error) {
        if (!isHotBackupError(error, 'ERR_DISK_FULL')) throw error
        if (this.#stopped || !(await this.spare.giveUp())) return false
      }
    }
  }

  async #create(): Promise<DiskFile> {
    try {
      return await this.#disk.open(this.#path, 'create')
    } catch (error) {
      this.#short = isHotBackupError(error, 'ERR_DISK_FULL')
      throw error
    }
  }

  /** What the process before has made, if it is as good as new. */
  async #leftBehind(): Promise<DiskFile | null> {
    let file
    try {
      file = await this.#disk.open(this.#path, 'write')
    } catch (error) {
      if (isNotFound(error) || isWrongFile(error)) return null
      throw error
    }
    if (file.size() === this.#bytes && (await writtenEnd(file, 0)) === 0) {
      this.#short = false
      return file
    }
    await file.close()
    return null
  }

  /** Ends the work; what is ready is left for the next process. */
  async close(): Promise<void> {
    this.#stopped = true
    const file = await this.#making?.catch(() => null)
    if (file === null || file === undefined) return
    const ready = file.size() === this.#bytes
    await file.close()
    if (!ready) await this.#disk.remove(this.#path)
  }
}
