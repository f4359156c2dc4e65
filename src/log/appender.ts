// The writer's hands: the one segment file that is written, its successor, and log/durable. Knows the order of
// writes and syncs that makes a change of segments safe; knows nothing of transactions.
import { dirname, join } from 'node:path'
import { isHotBackupError } from '../errors.ts'
import { blockBytesTarget } from '../limits.ts'
import type { Clock } from '../platform/clock.ts'
import type { Disk, DiskFile } from '../platform/disk.ts'
import type { Spare } from './disk-room.ts'
import { DurableFile, readDurableMark, sameMark, type DurableMark } from './durable.ts'
import { fillZeros, SegmentAllocator } from './preallocate.ts'
import { markAtEnd, type RecoveredLog } from './recovery.ts'
import { segmentHeaderBytes, segmentName } from './segment.ts'

const syncStepMs = 1

export class Appender {
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #directory: string
  readonly #allocator: SegmentAllocator
  readonly #durable: DurableFile
  readonly #segmentBytes: number
  #file: DiskFile | null = null
  /** Behind the last byte that was written. */
  #end = 0
  /** Up to here the file has its room. */
  #roomEnd = 0
  /** Moving average of how long a sync takes. */
  syncMs = 0

  private constructor(
    platform: { readonly disk: Disk; readonly clock: Clock },
    directory: string,
    segmentBytes: number,
    durable: DurableFile,
  ) {
    this.#disk = platform.disk
    this.#clock = platform.clock
    this.#directory = directory
    this.#segmentBytes = segmentBytes
    this.#durable = durable
    this.#allocator = new SegmentAllocator(platform.disk, directory, this.#preallocatedBytes)
  }

  /** Goes on where recovery has found the end: its blocks are durable, and now everyone may see them. */
  static async resume(
    platform: { readonly disk: Disk; readonly clock: Clock },
    directory: string,
    segmentBytes: number,
    recovered: RecoveredLog,
  ): Promise<Appender> {
    const { disk } = platform
    const durable = await DurableFile.open(disk, directory)
    const appender = new Appender(platform, directory, segmentBytes, durable)
    try {
      const last = recovered.segments.at(-1)
      const mark = markAtEnd(recovered)
      if (last === undefined || mark === null) return appender
      await appender.#goOn(last.path, last.bytes)
      if (!sameMark(mark, await readDurableMark(disk, directory))) {
        appender.publish(mark)
        await appender.syncPublished()
      }
      return appender
    } catch (error) {
      await appender.close()
      throw error
    }
  }

  /** The last block of a segment may reach beyond its target. */
  get #preallocatedBytes(): number {
    return this.#segmentBytes + Math.min(blockBytesTarget, this.#segmentBytes)
  }

  get hasSegment(): boolean {
    return this.#file !== null
  }

  /** Goes on in a segment whose blocks end at `end`, with only zeros behind (recovery has seen to that). */
  async #goOn(path: string, end: number): Promise<void> {
    const file = await this.#disk.open(path, 'write')
    this.#file = file
    this.#end = end
    try {
      if (end < this.#segmentBytes) await fillZeros(file, file.size(), this.#preallocatedBytes)
    } catch (error) {
      // A server with a full disk can be read, and asked how it is.
      if (!isHotBackupError(error, 'ERR_DISK_FULL')) throw error
      this.#allocator.prepare()
    }
    this.#roomEnd = file.size()
  }

  set spare(spare: Spare) {
    this.#allocator.spare = spare
  }

  /** Whether all up to `end` of the file that is written, or of the next one (null), may find no room on the disk. */
  mayLackRoom(end: number | null): boolean {
    return this.#allocator.short && (end === null || end > this.#roomEnd)
  }

  /** Looks again for room for the next segment. */
  lookForRoom(): Promise<void> {
    return this.#allocator.retry()
  }

  /**
   * Starts the next segment, durably: when its name is there after a crash, so is its header. The segment before must
   * have been sealed; one without blocks that has the same first transaction is replaced.
   */
  async enter(firstTxn: number, header: Uint8Array): Promise<void> {
    const path = join(this.#directory, segmentName(firstTxn))
    const next = await this.#allocator.take()
    let roomEnd
    try {
      await next.write(header, 0, segmentHeaderBytes, 0)
      await next.sync()
      roomEnd = next.size()
    } finally {
      await next.close()
    }
    const old = this.#file
    this.#file = null
    await old?.close()
    await this.#disk.rename(this.#allocator.path, path)
    await this.#disk.syncDirectory(dirname(path))
    // Opened by its own name, so that its errors name it.
    this.#file = await this.#disk.open(path, 'write')
    this.#end = segmentHeaderBytes
    this.#roomEnd = roomEnd
  }

  async write(bytes: Uint8Array, start: number, length: number, offset: number): Promise<void> {
    await this.#opened.write(bytes, start, length, offset)
    this.#end = offset + length
  }

  writeSync(bytes: Uint8Array, start: number, length: number, offset: number): void {
    this.#opened.writeSync(bytes, start, length, offset)
    this.#end = offset + length
  }

  async sync(): Promise<void> {
    const started = this.#clock.monotonic()
    await this.#opened.sync()
    this.#synced(started)
  }

  syncSync(): void {
    const started = this.#clock.monotonic()
    this.#opened.syncSync()
    this.#synced(started)
  }

  /** Makes the file end with its last block, as on every other server, and durable. */
  async seal(): Promise<void> {
    await this.#opened.truncate(this.#end)
    await this.sync()
  }

  /** See DurableFile.publish. */
  publish(mark: DurableMark): void {
    this.#durable.publish(mark)
  }

  syncPublished(): Promise<void> {
    return this.#durable.sync()
  }

  async close(): Promise<void> {
    await this.#allocator.close()
    await this.#file?.close()
    this.#file = null
    await this.#durable.close()
  }

  #synced(started: number): void {
    const took = this.#clock.monotonic() - started
    // One slow sync among fast ones says little, and a disk that has become slow is known after ten.
    this.syncMs += Math.min(took - this.syncMs, syncStepMs) / 8
    if (this.#end > this.#segmentBytes / 2) this.#allocator.prepare()
  }

  get #opened(): DiskFile {
    if (this.#file === null) throw new TypeError('the log has no segment yet')
    return this.#file
  }
}
