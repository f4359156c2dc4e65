// The writer's hands: the one segment file that is written, its successor, and log/durable. Knows the order of
// writes and syncs that makes a change of segments safe; knows nothing of transactions.
import { dirname, join } from 'node:path'
import { blockBytesTarget } from '../limits.ts'
import type { Clock } from '../platform/clock.ts'
import type { Disk, DiskFile } from '../platform/disk.ts'
import { DurableFile, type DurableMark } from './durable.ts'
import { fillZeros, SegmentAllocator } from './preallocate.ts'
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

  static async open(
    platform: { readonly disk: Disk; readonly clock: Clock },
    directory: string,
    segmentBytes: number,
  ): Promise<Appender> {
    const durable = await DurableFile.open(platform.disk, directory)
    return new Appender(platform, directory, segmentBytes, durable)
  }

  /** The last block of a segment may reach beyond its target. */
  get #preallocatedBytes(): number {
    return this.#segmentBytes + Math.min(blockBytesTarget, this.#segmentBytes)
  }

  get hasSegment(): boolean {
    return this.#file !== null
  }

  /** Goes on in a segment whose blocks end at `end`, with only zeros behind (recovery has seen to that). */
  async resume(path: string, end: number): Promise<void> {
    const file = await this.#disk.open(path, 'write')
    this.#file = file
    this.#end = end
    const size = file.size()
    if (end < this.#segmentBytes) await fillZeros(file, size, this.#preallocatedBytes)
  }

  /**
   * Starts the next segment, durably: when its name is there after a crash, so is its header. The segment before must
   * have been sealed; one without blocks that has the same first transaction is replaced.
   */
  async enter(firstTxn: number, header: Uint8Array): Promise<void> {
    const path = join(this.#directory, segmentName(firstTxn))
    const next = await this.#allocator.take()
    try {
      await next.write(header, 0, segmentHeaderBytes, 0)
      await next.sync()
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
