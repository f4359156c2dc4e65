// The journal: the frames of one checkpoint and its catalog, complete and durable before any data file is
// touched. It is written and read in large pieces.
//
// JOURNAL, little-endian
//
//      0  commit page     4,096 bytes
//   4096  frames          as in the data files, with CRC; sorted by data file and frame number
//      …  catalog         as in catalog.ts, padded with zeros to a multiple of 4,096
//      …  commit page     the same again, at the very end
//
// COMMIT PAGE
//
//    0  magic           u32  "HBJN" = 0x4e4a4248
//    4  CRC-32          u32  of bytes 8 to 47
//    8  format version  u16  1
//   10  reserved        u16  0
//   12  catalog length  u32
//   16  catalog CRC     u32
//   20  frames CRC      u32  of the CRC fields of all frames, in order
//   24  frame count     u64
//   32  reserved        16 bytes  0
//   48  reserved        4,048 bytes  0
//
// Both commit pages are written after everything else has been synced. So the journal is complete if and only
// if one of them is valid; then all frames must be, and what is not is damage, never a torn write. Two pages,
// because a bad sector in a single one would make a journal that is half in place look like an incomplete one.
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { crc32 } from '../log/crc.ts'
import { isNotFound, type Disk, type DiskFile } from '../platform/disk.ts'
import { catalogBytesMax, databaseVersion } from './catalog.ts'
import { frameBytes } from './frame.ts'

const journalMagic = 0x4e4a4248
const pageBytes = 4096
const pageFieldsBytes = 48
/** Frames of one read or write when there is time: about 1 ms of work in one turn of the event loop. */
export const pieceFrames = (1 * MiB) / frameBytes
/** The same in a hurry: on a busy server each piece waits for its turn, so fewer and larger ones are done earlier. */
export const largePieceFrames = (4 * MiB) / frameBytes

/** At most so many buffers of pieces are kept for the next checkpoint. */
const sparesMax = 2
const spares: Buffer[] = []

/**
 * A buffer for that many frames, to be given back with `givePiece`. The same few are used again and again: new ones
 * for each checkpoint would lie about until the next collection of garbage, which is late when memory is outside
 * the heap.
 */
export function takePiece(frames: number): Buffer {
  const length = frames * frameBytes
  const at = spares.findIndex(spare => spare.length >= length)
  if (at >= 0) return spares.splice(at, 1)[0]!
  return Buffer.allocUnsafeSlow(length)
}

export function givePiece(piece: Buffer): void {
  spares.push(piece)
  spares.sort((a, b) => b.length - a.length)
  spares.length = Math.min(spares.length, sparesMax)
}

export class JournalWriter {
  readonly #file: DiskFile
  readonly #crcs = new Uint8Array(largePieceFrames * 4)
  #frameCount = 0
  #framesCrc = 0
  #end = pageBytes
  #catalogLength = 0
  #catalogCrc = 0

  private constructor(file: DiskFile) {
    this.#file = file
  }

  /** Replaces a journal that was not needed any more. */
  static async create(disk: Disk, path: string): Promise<JournalWriter> {
    await disk.remove(path)
    return new JournalWriter(await disk.open(path, 'create'))
  }

  /** Appends up to `largePieceFrames` frames that have their CRCs. */
  async append(frames: Uint8Array, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const at = i * frameBytes
      this.#crcs.set(frames.subarray(at, at + 4), i * 4)
    }
    this.#framesCrc = crc32(this.#crcs, 0, count * 4, this.#framesCrc)
    this.#frameCount += count
    await this.#write(frames, count * frameBytes)
  }

  async appendCatalog(catalog: Uint8Array): Promise<void> {
    const padded = new Uint8Array(Math.ceil(catalog.length / pageBytes) * pageBytes)
    padded.set(catalog)
    this.#catalogLength = catalog.length
    this.#catalogCrc = crc32(catalog, 0, catalog.length)
    await this.#write(padded, padded.length)
  }

  /** Makes it complete. The directory must have been synced as well before anything is done in place. */
  async commit(): Promise<void> {
    await this.#file.sync()
    const page = Buffer.alloc(pageBytes)
    page.writeUInt32LE(journalMagic, 0)
    page.writeUInt16LE(databaseVersion, 8)
    page.writeUInt32LE(this.#catalogLength, 12)
    page.writeUInt32LE(this.#catalogCrc, 16)
    page.writeUInt32LE(this.#framesCrc, 20)
    page.writeBigUInt64LE(BigInt(this.#frameCount), 24)
    page.writeUInt32LE(crc32(page, 8, pageFieldsBytes), 4)
    await writePages(this.#file, page, this.#end)
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async #write(bytes: Uint8Array, length: number): Promise<void> {
    await this.#file.write(bytes, 0, length, this.#end)
    this.#end += length
  }
}

/** Durable when it resolves. */
async function writePages(file: DiskFile, page: Buffer, end: number): Promise<void> {
  await file.write(page, 0, pageBytes, end)
  await file.write(page, 0, pageBytes, 0)
  await file.sync()
}

/** One piece of a journal, whose frames have been checked. */
export interface JournalPiece {
  readonly bytes: Buffer
  readonly frames: number
  /** Offset of the first frame in the journal. */
  readonly offset: number
}

/** A complete journal. */
export class JournalReader {
  readonly file: DiskFile
  readonly frameCount: number
  readonly #page: Buffer
  readonly #catalogLength: number
  readonly #catalogCrc: number
  readonly #framesCrc: number

  private constructor(file: DiskFile, page: Buffer) {
    this.file = file
    this.#page = page
    this.#catalogLength = page.readUInt32LE(12)
    this.#catalogCrc = page.readUInt32LE(16)
    this.#framesCrc = page.readUInt32LE(20)
    this.frameCount = Number(page.readBigUInt64LE(24))
  }

  /**
   * Null when there is no journal, or an incomplete one, of which nothing has been done. Throws
   * ERR_DATABASE_CORRUPT when it was complete and is not any more, ERR_LOG_VERSION for a newer format.
   */
  static async open(disk: Disk, path: string): Promise<JournalReader | null> {
    let file
    try {
      file = await disk.open(path, 'read')
    } catch (error) {
      if (isNotFound(error)) return null
      throw error
    }
    try {
      const first = await readPage(file, 0)
      const page = first ?? (await readPage(file, file.size() - pageBytes))
      if (page === null) {
        await file.close()
        return null
      }
      return new JournalReader(file, page).#checked()
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Of all but the second commit page. */
  get #size(): number {
    const catalogRoom = Math.ceil(this.#catalogLength / pageBytes) * pageBytes
    return pageBytes + this.frameCount * frameBytes + catalogRoom
  }

  #checked(): this {
    // The page at the end may be torn: it is written together with the first one.
    if (this.file.size() < this.#size || this.#catalogLength > catalogBytesMax) {
      throw corrupt(this.file, `${this.file.size()} bytes, expected ${this.#size}`, 0)
    }
    return this
  }

  /**
   * Writes the commit pages again. They can be read, and need not be durable: whoever wrote them may have been killed
   * before his sync was done, or it has failed, and then another sync alone would prove nothing.
   */
  async commitAgain(disk: Disk): Promise<void> {
    const file = await disk.open(this.file.path, 'write')
    try {
      await writePages(file, this.#page, this.#size)
    } finally {
      await file.close()
    }
  }

  async catalog(): Promise<Buffer> {
    const offset = pageBytes + this.frameCount * frameBytes
    const bytes = Buffer.alloc(this.#catalogLength)
    await this.file.read(bytes, 0, bytes.length, offset)
    if (crc32(bytes, 0, bytes.length) !== this.#catalogCrc) {
      throw corrupt(this.file, 'the catalog has a wrong CRC', offset)
    }
    return bytes
  }

  /**
   * The frames in pieces of as many as `size` says, up to `largePieceFrames`, each valid until the next; that one is
   * read meanwhile. Throws ERR_DATABASE_CORRUPT; at the end when one is missing.
   */
  async *pieces(size: () => number = () => largePieceFrames): AsyncGenerator<JournalPiece> {
    const crcs = new Uint8Array(largePieceFrames * 4)
    let framesCrc = 0
    let coming = this.frameCount > 0 ? this.#read(0, size()) : null
    try {
      for (let done = 0; coming !== null;) {
        const piece: JournalPiece = await coming
        done += piece.frames
        coming = done < this.frameCount ? this.#read(done, size()) : null
        // Its error is met when its turn comes.
        coming?.catch(() => {})
        try {
          this.#check(piece, crcs)
          framesCrc = crc32(crcs, 0, piece.frames * 4, framesCrc)
          yield piece
        } finally {
          givePiece(piece.bytes)
        }
      }
    } finally {
      // The file must not be closed under a read that nobody waits for any more.
      const left = await coming?.catch(() => null)
      if (left) givePiece(left.bytes)
    }
    if (framesCrc !== this.#framesCrc) throw corrupt(this.file, 'frames are missing', pageBytes)
  }

  async #read(first: number, framesMax: number): Promise<JournalPiece> {
    const frames = Math.min(framesMax, this.frameCount - first)
    const length = frames * frameBytes
    const bytes = takePiece(frames)
    const offset = pageBytes + first * frameBytes
    if ((await this.file.read(bytes, 0, length, offset)) < length) {
      throw corrupt(this.file, 'it ends too early', offset)
    }
    return { bytes, frames, offset }
  }

  /** Checks each frame, and collects their CRCs. */
  #check({ bytes, frames, offset }: JournalPiece, crcs: Uint8Array): void {
    for (let i = 0; i < frames; i++) {
      const at = i * frameBytes
      if (crc32(bytes, at + 4, at + frameBytes) !== bytes.readUInt32LE(at)) {
        throw corrupt(this.file, 'a frame has a wrong CRC', offset + at)
      }
      crcs.set(bytes.subarray(at, at + 4), i * 4)
    }
  }

  async close(): Promise<void> {
    await this.file.close()
  }
}

async function readPage(file: DiskFile, offset: number): Promise<Buffer | null> {
  const page = Buffer.alloc(pageBytes)
  if (offset < 0 || (await file.read(page, 0, pageBytes, offset)) < pageBytes) return null
  if (page.readUInt32LE(0) !== journalMagic) return null
  if (page.readUInt32LE(4) !== crc32(page, 8, pageFieldsBytes)) return null
  const version = page.readUInt16LE(8)
  if (version === databaseVersion) return page
  const message = `${file.path}: the journal has format version ${version}; this program reads ${databaseVersion}`
  throw new HotBackupError('ERR_LOG_VERSION', message, { path: file.path, offset })
}

function corrupt(file: DiskFile, what: string, offset: number): HotBackupError {
  const { path } = file
  return new HotBackupError('ERR_DATABASE_CORRUPT', `${path}: ${what} (the journal was complete)`, {
    path,
    offset,
  })
}
