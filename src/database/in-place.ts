// Brings the frames of a complete journal into their data files: at the end of each checkpoint, and when a
// database is opened after a crash in the middle of one. Doing it twice does no harm.
import { join } from 'node:path'
import { KiB, MiB } from '../limits.ts'
import { isNotFound, type Disk, type DiskFile } from '../platform/disk.ts'
import { dataFileName } from './data-file-name.ts'
import { frameBytes, FrameKind } from './frame.ts'
import { largePieceFrames, type JournalReader } from './journal.ts'

/** So that the last sync of a file has little left to do, and log writes do not wait behind it. */
const syncBytes = 16 * MiB

/**
 * A run up to this is written on the spot: into the page cache that takes a few microseconds, while each trip through
 * the thread pool would cost a turn of the event loop. After random updates most runs are of one or two frames.
 */
const promptBytesMax = 64 * KiB

/** How the traffic is spread. */
export interface Tempo {
  /** Frames of the next piece. */
  pieceFrames(): number
  /** Called after this many bytes have been read or written. */
  pace(bytes: number): Promise<void>
  /** Called after frames have been written to a data file: a copy of it reads them again. */
  wrote(name: string, first: number, count: number): void
}

/** There is no other work to wait for. */
export const atOnce: Tempo = {
  pieceFrames: () => largePieceFrames,
  pace: async () => {},
  wrote: () => {},
}

/** Resolves when all frames are durable where they belong. Throws ERR_DATABASE_CORRUPT, ERR_DISK. */
export async function writeInPlace(
  disk: Disk,
  directory: string,
  journal: JournalReader,
  tempo: Tempo,
): Promise<void> {
  const target = new Target(disk, directory, tempo)
  try {
    for await (const { bytes, frames } of journal.pieces(() => tempo.pieceFrames())) {
      for (let first = 0; first < frames;) {
        const end = runEnd(bytes, first, frames)
        await target.write(bytes, first * frameBytes, end * frameBytes)
        first = end
      }
      await tempo.pace(2 * frames * frameBytes)
    }
    // The name of a new data file becomes durable with the catalog's; until then there is the journal.
    await target.finish()
  } finally {
    await target.close()
  }
}

/**
 * The end of the run of frames that lie one behind the other in one data file. A page of checksums is a run of its
 * own, and so is written on the spot: one that is read meanwhile is the old one or the new one.
 */
function runEnd(bytes: Buffer, first: number, frames: number): number {
  let end = first + 1
  if (isSums(bytes, first)) return end
  for (; end < frames; end++) {
    const at = end * frameBytes
    const before = at - frameBytes
    if (isSums(bytes, end)) break
    if (bytes.readUInt32LE(at + 8) !== bytes.readUInt32LE(before + 8)) break
    if (bytes.readUInt32LE(at + 12) !== bytes.readUInt32LE(before + 12)) break
    if (bytes.readUInt32LE(at + 16) !== bytes.readUInt32LE(before + 16) + 1) break
  }
  return end
}

function isSums(bytes: Buffer, index: number): boolean {
  return bytes[index * frameBytes + 20] === FrameKind.sums
}

/** The data file that is being written. */
class Target {
  readonly #disk: Disk
  readonly #directory: string
  readonly #tempo: Tempo
  #name = ''
  #file: DiskFile | null = null
  #unsyncedBytes = 0

  constructor(disk: Disk, directory: string, tempo: Tempo) {
    this.#disk = disk
    this.#directory = directory
    this.#tempo = tempo
  }

  async write(bytes: Buffer, start: number, end: number): Promise<void> {
    const name = dataFileName(bytes.readUInt32LE(start + 8), bytes.readUInt32LE(start + 12))
    if (name !== this.#name) await this.#switchTo(name)
    const frame = bytes.readUInt32LE(start + 16)
    const offset = frame * frameBytes
    if (end - start <= promptBytesMax) this.#file!.writeSync(bytes, start, end - start, offset)
    else await this.#file!.write(bytes, start, end - start, offset)
    this.#tempo.wrote(name, frame, (end - start) / frameBytes)
    this.#unsyncedBytes += end - start
    if (this.#unsyncedBytes >= syncBytes) await this.#sync()
  }

  async finish(): Promise<void> {
    await this.#leave()
  }

  async close(): Promise<void> {
    await this.#file?.close()
    this.#file = null
  }

  async #switchTo(name: string): Promise<void> {
    await this.#leave()
    const path = join(this.#directory, name)
    try {
      this.#file = await this.#disk.open(path, 'write')
    } catch (error) {
      if (!isNotFound(error)) throw error
      this.#file = await this.#disk.open(path, 'create')
    }
    this.#name = name
  }

  async #leave(): Promise<void> {
    if (this.#file === null) return
    await this.#sync()
    await this.close()
  }

  async #sync(): Promise<void> {
    await this.#file!.sync()
    this.#unsyncedBytes = 0
  }
}
