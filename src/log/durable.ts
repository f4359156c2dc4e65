// log/durable says how far the log is durable: the writer puts it there after each fsync, every reader stops
// there. It is not fsynced itself (what it says was true before it was written, and recovery looks further), and
// never replaced, so that whoever has it open sees each new mark.
//
// LOG/DURABLE, 64 bytes, little-endian
//
//    0  magic           u32       "HBDM" = 0x4d444248
//    4  CRC-32          u32       of bytes 8 to 63
//    8  format version  u16       1
//   10  reserved        u16       0
//   12  chain           u32       CRC-32 field of the block that ends at `offset`
//   16  txn             u64       the last durable transaction
//   24  segment         u64       first transaction of the segment that holds it
//   32  offset          u64       end of that block in the segment
//   40  time            u64       of that block
//   48  reserved        16 bytes  0
//
// It is valid if and only if magic, version and CRC are right. A reader that meets another state reads again:
// it may have read while the writer wrote.
import { join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import { isWrongFile, openState } from '../platform/atomic-file.ts'
import { isNotFound, isUnreadable, type Disk, type DiskFile } from '../platform/disk.ts'
import type { Watch, Watcher } from '../platform/watch.ts'
import { hex, type LogPosition } from './chain.ts'
import { crc32 } from './crc.ts'

export const durableName = 'durable'
export const durableMagic = 0x4d444248
export const durableBytes = 64
const durableVersion = 1

/** How often to read again at once what was not valid; then the writer is not writing, it is damaged. */
const readsMax = 20
/** A waiting reader looks by itself this often: notices of changes may come late or never. */
const pollMs = 250

/** Up to here the log is durable. Only the writer looks further. */
export interface DurableMark extends LogPosition {
  /** First transaction of the segment in which `txn` lies; also its name. */
  readonly segmentFirstTxn: number
  /** Where the block of `txn` ends in that segment. */
  readonly offset: number
  /** Wall-clock time of that block, milliseconds. */
  readonly time: number
}

export function encodeDurableMark(
  mark: DurableMark,
  bytes: Buffer = Buffer.alloc(durableBytes),
): Buffer {
  bytes.writeUInt32LE(durableMagic, 0)
  bytes.writeUInt32LE(durableVersion, 8) // version, and reserved bytes
  bytes.writeUInt32LE(mark.chain, 12)
  writeUint64(bytes, mark.txn, 16)
  writeUint64(bytes, mark.segmentFirstTxn, 24)
  writeUint64(bytes, mark.offset, 32)
  writeUint64(bytes, mark.time, 40)
  bytes.writeUInt32LE(crc32(bytes, 8, durableBytes), 4)
  return bytes
}

/** Null when the bytes are not a valid mark. */
export function decodeDurableMark(bytes: Buffer): DurableMark | null {
  if (bytes.length < durableBytes || bytes.readUInt32LE(0) !== durableMagic) return null
  if (bytes.readUInt32LE(4) !== crc32(bytes, 8, durableBytes)) return null
  if (bytes.readUInt16LE(8) !== durableVersion) return null
  return {
    txn: readUint64(bytes, 16),
    chain: bytes.readUInt32LE(12),
    segmentFirstTxn: readUint64(bytes, 24),
    offset: readUint64(bytes, 32),
    time: readUint64(bytes, 40),
  }
}

/**
 * What is wrong with a mark, for people, when the blocks of its segment have been read up to it; null when nothing
 * is, and also when the blocks end before: then what is wrong there says more.
 */
export function markMismatch(
  mark: DurableMark,
  at: { readonly position: LogPosition; readonly offset: number },
): string | null {
  const { txn, chain } = at.position
  if (at.offset < mark.offset && txn < mark.txn) return null
  if (at.offset === mark.offset && txn === mark.txn && chain === mark.chain) return null
  return `log/durable names transaction ${mark.txn} at byte ${mark.offset} with the chain value ${hex(mark.chain)}; the log has ${txn} at ${at.offset} with ${hex(chain)}`
}

/** What lies in log/durable: `mark` null when there is none yet, or when it is `damaged`. */
export interface DurableState {
  readonly mark: DurableMark | null
  readonly damaged: boolean
}

/** The same as `readDurableMark`, for those who must tell "nothing yet" from "cannot be read". */
export async function readDurableState(disk: Disk, directory: string): Promise<DurableState> {
  let file: DiskFile | null = null
  try {
    file = await disk.open(join(directory, durableName), 'read')
    return readState(file)
  } catch (error) {
    if (isNotFound(error)) return { mark: null, damaged: false }
    // No file has its name, or the sector is bad: nothing is known of the log, and recovery checks all of it.
    if (isWrongFile(error) || isUnreadable(error)) return { mark: null, damaged: true }
    throw error
  } finally {
    await file?.close()
  }
}

/** How far the log in `directory` is durable; null when nothing is. */
export async function readDurableMark(disk: Disk, directory: string): Promise<DurableMark | null> {
  return (await readDurableState(disk, directory)).mark
}

const readBuffer = Buffer.alloc(durableBytes)

function readState(file: DiskFile): DurableState {
  for (let reads = 1; ; reads++) {
    // Left over from the last read, a mark would pass for this file's.
    readBuffer.fill(0)
    const count = file.readSync(readBuffer, 0, durableBytes, 0)
    const mark = decodeDurableMark(readBuffer)
    if (mark !== null) return { mark, damaged: false }
    // Created, and a crash came before the first mark: that is what these look like.
    if (count === 0 || readBuffer.every(byte => byte === 0)) return { mark: null, damaged: false }
    if (reads === readsMax) return { mark: null, damaged: true }
  }
}

/** The writer's end of log/durable. */
export class DurableFile {
  readonly #file: DiskFile
  readonly #bytes = Buffer.alloc(durableBytes)

  private constructor(file: DiskFile) {
    this.#file = file
  }

  /** Opens the file; creates it, durably, when it is not there. */
  static async open(disk: Disk, directory: string): Promise<DurableFile> {
    const { file, made } = await openState(disk, join(directory, durableName))
    if (made) await disk.syncDirectory(directory)
    return new DurableFile(file)
  }

  /** Shows the mark to every process. Call it after the fsync of what it says, never before. */
  publish(mark: DurableMark): void {
    this.#file.writeSync(encodeDurableMark(mark, this.#bytes), 0, durableBytes, 0)
  }

  /** Makes the mark itself survive a power failure: recovery then has less to look at. */
  sync(): Promise<void> {
    return this.#file.sync()
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}

interface Waiter {
  readonly sinceTxn: number
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** Follows log/durable from any process: woken by change notices, and by looking now and then while it waits. */
export class DurableWatch {
  readonly #platform: { readonly disk: Disk; readonly watcher: Watcher; readonly clock: Clock }
  readonly #path: string
  readonly #watch: Watch
  #file: DiskFile | null = null
  #mark: DurableMark | null = null
  #waiters: Waiter[] = []
  #timer: Timer | null = null
  #closed = false

  private constructor(
    platform: { readonly disk: Disk; readonly watcher: Watcher; readonly clock: Clock },
    path: string,
  ) {
    this.#platform = platform
    this.#path = path
    this.#watch = platform.watcher.watch(path, () => this.#look())
  }

  /** The file need not be there yet. */
  static async open(
    platform: { readonly disk: Disk; readonly watcher: Watcher; readonly clock: Clock },
    directory: string,
  ): Promise<DurableWatch> {
    const watch = new DurableWatch(platform, join(directory, durableName))
    watch.#look()
    return watch
  }

  /** As it was when last looked at; null while nothing is durable. */
  get mark(): DurableMark | null {
    return this.#mark
  }

  /** Resolves as soon as a transaction after `sinceTxn` is durable. Rejects with ERR_CLOSED after `close`. */
  changed(sinceTxn: number): Promise<void> {
    if (this.#closed) return Promise.reject(closedError(this.#path))
    this.#look()
    if (this.#txn > sinceTxn) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiters.push({ sinceTxn, resolve, reject })
      this.#poll()
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.cancel()
    for (const waiter of this.#waiters.splice(0)) waiter.reject(closedError(this.#path))
    await this.#watch.close()
    await this.#file?.close()
  }

  get #txn(): number {
    return this.#mark?.txn ?? 0
  }

  #look(): void {
    if (this.#closed) return
    const mark = this.#read()
    if (mark === null || mark.txn < this.#txn) return
    this.#mark = mark
    if (this.#waiters.length === 0) return
    const waiting: Waiter[] = []
    for (const waiter of this.#waiters) {
      if (mark.txn > waiter.sinceTxn) waiter.resolve()
      else waiting.push(waiter)
    }
    this.#waiters = waiting
  }

  /** What cannot be read now is read again at the next look: the disk's errors are the writer's to report. */
  #read(): DurableMark | null {
    try {
      this.#file ??= this.#platform.disk.openSync(this.#path, 'read')
      return readState(this.#file).mark
    } catch (error) {
      // A directory, say, that the writer replaces: what has its name then is another file.
      this.#file?.closeSync()
      this.#file = null
      if (error instanceof HotBackupError) return null
      throw error
    }
  }

  #poll(): void {
    if (this.#timer !== null) return
    this.#timer = this.#platform.clock.after(pollMs, () => {
      this.#timer = null
      this.#look()
      if (this.#waiters.length > 0 && !this.#closed) this.#poll()
    })
  }
}

function closedError(path: string): HotBackupError {
  return new HotBackupError('ERR_CLOSED', `the watch of ${path} is closed`, { path })
}

function readUint64(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset) + bytes.readUInt32LE(offset + 4) * 2 ** 32
}

function writeUint64(bytes: Buffer, value: number, offset: number): void {
  bytes.writeUInt32LE(value >>> 0, offset)
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), offset + 4)
}

export function sameMark(a: DurableMark, b: DurableMark | null): boolean {
  return (
    a.txn === b?.txn &&
    a.chain === b.chain &&
    a.segmentFirstTxn === b.segmentFirstTxn &&
    a.offset === b.offset
  )
}
