// The journal: the frames of one checkpoint and its catalog, complete and durable before any data file is
// touched. It is written and read in large pieces.
//
// JOURNAL, little-endian
//
//      0  commit page     4,096 bytes
//   4096  frames          as in the data files, with CRC; sorted by data file and frame number, but for pages of
//                         checksums, each of which comes behind the frames that it is about
//      …  catalog         as in catalog.ts, padded with zeros to a multiple of 4,096
//      …  commit page     the same again, at the very end
//
// COMMIT PAGE
//
//    0  magic           u32  "HBJN" = 0x4e4a4248
//    4  CRC-32          u32  of bytes 8 to 47
//    8  format version  u16  1
//   10  state           u16  1: to be put in place; 2: in place, what follows the first page may be missing
//   12  catalog length  u32
//   16  catalog CRC     u32
//   20  frames CRC      u32  of the CRC fields of all frames, in order
//   24  frame count     u64
//   32  number          u32  journals of a database are counted from 1 on
//   36  base number     u32  of the journal before it, as the catalog had it; 0: there was none
//   40  base CRC        u32  frames CRC of that journal
//   44  reserved        4,052 bytes  0
//
// It is written as "journal.new", synced, and renamed: so whatever goes by the name "journal" was complete once, and
// what cannot be read of it is damage. It stays when it is in place, as two commit pages that say so, until the next
// one takes its name: so a journal that is missing has been lost. Two pages, because a bad sector in a single one
// would make a sound database look like one of which nobody knows what is in place.
import { dirname } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { crc32 } from '../log/crc.ts'
import { isWrongFile, replaceFile } from '../platform/atomic-file.ts'
import { isNotFound, isUnreadable, type Disk, type DiskFile } from '../platform/disk.ts'
import { catalogBytesMax, databaseVersion, type JournalId } from './catalog.ts'
import { frameBytes } from './frame.ts'

const journalMagic = 0x4e4a4248
const pageBytes = 4096
const pageFieldsBytes = 48
const stateCodes = { pending: 1, inPlace: 2 } as const
/** Frames of one read or write when there is time: about 1 ms of work in one turn of the event loop. */
export const pieceFrames = (1 * MiB) / frameBytes
/** The same in a hurry: on a busy server each piece waits for its turn, so fewer and larger ones are done earlier. */
export const largePieceFrames = (4 * MiB) / frameBytes

/** At most this many buffers are kept for the next checkpoint. */
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

/** What a journal goes by until it is complete. */
export function freshPath(path: string): string {
  return `${path}.new`
}

export class JournalWriter {
  readonly #file: DiskFile
  readonly #path: string
  readonly #base: JournalId
  readonly #crcs = new Uint8Array(largePieceFrames * 4)
  #frameCount = 0
  #framesCrc = 0
  #end = pageBytes
  #catalogLength = 0
  #catalogCrc = 0

  private constructor(file: DiskFile, path: string, base: JournalId) {
    this.#file = file
    this.#path = path
    this.#base = base
  }

  /** A journal for `path`; `base` is the one before it. */
  static async create(disk: Disk, path: string, base: JournalId): Promise<JournalWriter> {
    await disk.remove(freshPath(path))
    return new JournalWriter(await disk.open(freshPath(path), 'create'), path, base)
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

  /** Known once all frames have been appended: the catalog has it. */
  get id(): JournalId {
    return { number: this.#base.number + 1, crc: this.#framesCrc }
  }

  async appendCatalog(catalog: Uint8Array): Promise<void> {
    const padded = new Uint8Array(Math.ceil(catalog.length / pageBytes) * pageBytes)
    padded.set(catalog)
    this.#catalogLength = catalog.length
    this.#catalogCrc = crc32(catalog, 0, catalog.length)
    await this.#write(padded, padded.length)
  }

  /** Writes the commit pages, and makes all of it durable, under its first name. */
  async complete(): Promise<void> {
    const { number, crc } = this.id
    const page = Buffer.alloc(pageBytes)
    page.writeUInt32LE(this.#catalogLength, 12)
    page.writeUInt32LE(this.#catalogCrc, 16)
    page.writeUInt32LE(crc, 20)
    page.writeBigUInt64LE(BigInt(this.#frameCount), 24)
    page.writeUInt32LE(number, 32)
    page.writeUInt32LE(this.#base.number, 36)
    page.writeUInt32LE(this.#base.crc, 40)
    sealPage(page, 'pending')
    await this.#file.write(page, 0, pageBytes, this.#end)
    await this.#file.write(page, 0, pageBytes, 0)
    await this.#file.sync()
  }

  /** It counts from now on, once the directory has been synced. */
  async publish(disk: Disk): Promise<void> {
    await replaceFile(disk, freshPath(this.#path), this.#path)
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async #write(bytes: Uint8Array, length: number): Promise<void> {
    await this.#file.write(bytes, 0, length, this.#end)
    this.#end += length
  }
}

function sealPage(page: Buffer, state: keyof typeof stateCodes): void {
  page.writeUInt32LE(journalMagic, 0)
  page.writeUInt16LE(databaseVersion, 8)
  page.writeUInt16LE(stateCodes[state], 10)
  page.writeUInt32LE(crc32(page, 8, pageFieldsBytes), 4)
}

/** Puts a journal there that says that the one with that id is in place. Durable when it resolves. */
export async function writeInPlaceMark(disk: Disk, path: string, id: JournalId): Promise<void> {
  const page = Buffer.alloc(pageBytes)
  page.writeUInt32LE(id.crc, 20)
  page.writeUInt32LE(id.number, 32)
  sealPage(page, 'inPlace')
  const file = freshPath(path)
  await disk.remove(file)
  const fresh = await disk.open(file, 'create')
  try {
    await fresh.write(Buffer.concat([page, page]), 0, 2 * pageBytes, 0)
    await fresh.sync()
  } finally {
    await fresh.close()
  }
  await replaceFile(disk, file, path)
  await disk.syncDirectory(dirname(path))
}

/** One piece of a journal, whose frames have been checked. */
export interface JournalPiece {
  readonly bytes: Buffer
  readonly frames: number
  /** Offset of the first frame in the journal. */
  readonly offset: number
}

/** A journal that was complete once. */
export class JournalReader {
  readonly file: DiskFile
  readonly frameCount: number
  readonly id: JournalId
  /** The one before it. */
  readonly base: JournalId
  /** Nothing is left to be done with it. */
  readonly inPlace: boolean
  readonly #page: Buffer
  readonly #catalogLength: number
  readonly #catalogCrc: number

  private constructor(file: DiskFile, page: Buffer) {
    this.file = file
    this.#page = page
    this.inPlace = page.readUInt16LE(10) === stateCodes.inPlace
    this.#catalogLength = page.readUInt32LE(12)
    this.#catalogCrc = page.readUInt32LE(16)
    this.frameCount = Number(page.readBigUInt64LE(24))
    this.id = { number: page.readUInt32LE(32), crc: page.readUInt32LE(20) }
    this.base = { number: page.readUInt32LE(36), crc: page.readUInt32LE(40) }
  }

  /** Null when there is none. Throws ERR_DATABASE_CORRUPT when it is damaged, ERR_LOG_VERSION for a newer format. */
  static async open(disk: Disk, path: string): Promise<JournalReader | null> {
    let file: DiskFile | null = null
    try {
      file = await disk.open(path, 'read')
      const first = await readPage(file, 0)
      const page = first ?? (await readPage(file, file.size() - pageBytes))
      if (page === null) throw corrupt(file, 'both of its commit pages are damaged', 0)
      return new JournalReader(file, page).#checked()
    } catch (error) {
      await file?.close()
      if (isNotFound(error)) return null
      if (isWrongFile(error)) throw corrupt({ path }, 'it is a directory or a symbolic link', 0)
      throw error
    }
  }

  /** Of all but the second commit page. */
  get #size(): number {
    const catalogRoom = Math.ceil(this.#catalogLength / pageBytes) * pageBytes
    return pageBytes + this.frameCount * frameBytes + catalogRoom
  }

  #checked(): this {
    if (this.inPlace) return this
    if (this.file.size() < this.#size || this.#catalogLength > catalogBytesMax) {
      throw corrupt(this.file, `it has ${this.file.size()} bytes of ${this.#size}`, 0)
    }
    return this
  }

  /**
   * All of it is in place, durably: says so, and gives the room back. A crash in between leaves a journal that is put
   * in place again, or one that says so.
   */
  async settle(disk: Disk): Promise<void> {
    const page = Buffer.from(this.#page)
    sealPage(page, 'inPlace')
    const file = await disk.open(this.file.path, 'write')
    try {
      await file.write(page, 0, pageBytes, 0)
      await file.sync()
      await file.write(page, 0, pageBytes, pageBytes)
      await file.truncate(2 * pageBytes)
    } finally {
      await file.close()
    }
  }

  async catalog(): Promise<Buffer> {
    const offset = pageBytes + this.frameCount * frameBytes
    const bytes = Buffer.alloc(this.#catalogLength)
    await this.#readAt(bytes, bytes.length, offset)
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
    if (framesCrc !== this.id.crc) throw corrupt(this.file, 'frames are missing', pageBytes)
  }

  async #read(first: number, framesMax: number): Promise<JournalPiece> {
    const frames = Math.min(framesMax, this.frameCount - first)
    const length = frames * frameBytes
    const bytes = takePiece(frames)
    const offset = pageBytes + first * frameBytes
    await this.#readAt(bytes, length, offset)
    return { bytes, frames, offset }
  }

  async #readAt(bytes: Buffer, length: number, offset: number): Promise<void> {
    let count
    try {
      count = await this.file.read(bytes, 0, length, offset)
    } catch (error) {
      if (!isUnreadable(error)) throw error
      throw corrupt(this.file, `it cannot be read at ${offset} (EIO)`, offset)
    }
    if (count < length) throw corrupt(this.file, 'it ends too early', offset)
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

/** Null when there is no valid one. */
async function readPage(file: DiskFile, offset: number): Promise<Buffer | null> {
  const page = Buffer.alloc(pageBytes)
  try {
    if (offset < 0 || (await file.read(page, 0, pageBytes, offset)) < pageBytes) return null
  } catch (error) {
    if (!isUnreadable(error)) throw error
    return null
  }
  if (page.readUInt32LE(0) !== journalMagic) return null
  if (page.readUInt32LE(4) !== crc32(page, 8, pageFieldsBytes)) return null
  const version = page.readUInt16LE(8)
  if (version === databaseVersion) return page
  const message = `${file.path}: the journal has format version ${version}; this program reads ${databaseVersion}`
  throw new HotBackupError('ERR_LOG_VERSION', message, { path: file.path, offset })
}

function corrupt(
  { path }: { readonly path: string },
  what: string,
  offset: number,
): HotBackupError {
  return new HotBackupError('ERR_DATABASE_CORRUPT', `${path}: the journal is damaged: ${what}`, {
    path,
    offset,
  })
}
