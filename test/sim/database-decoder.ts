// Reads a database from the bytes of its directory, as the heads of src/database/{catalog,frame,frame-sums,journal}.ts
// describe them, and without a line of the program: what the next start would find, at any moment.
import { crc32 } from 'node:zlib'
import type { SimDisk } from './world/disk.ts'

export interface DecodedFile {
  readonly modulo: number
  readonly flags: number
  /** A slave's, of a file that is not replicated. */
  readonly absent: boolean
  /** What the catalog says of the number of items; null when it says that it does not know. */
  readonly count: number | null
  /** By item-id, as latin1. */
  readonly items: ReadonlyMap<string, Buffer>
}

export interface DecodedDatabase {
  /** All transactions up to there are in it. */
  readonly txn: number
  readonly accounts: readonly string[]
  /** By ACCOUNT/FILE. */
  readonly files: ReadonlyMap<string, DecodedFile>
}

/** What lies there is no database, or a damaged one. */
export class Undecodable extends Error {}

const frameBytes = 4096
const headBytes = 32
const sumsPerPage = 1016
const kinds = { group: 1, overflow: 2, bigValue: 3, sums: 5 } as const
const hashEnd = 2 ** 32

/** Null when nothing has been written yet. Throws Undecodable. */
export function decodeDatabase(disk: SimDisk, directory: string): DecodedDatabase | null {
  const read = (name: string) => {
    const file = disk.file(`${directory}/${name}`)
    return file === null ? null : file.bytes.subarray(0, file.size)
  }
  const journal = read('journal')
  const pending = journal === null ? null : pendingJournal(journal)
  const catalog = pending?.catalog ?? read('catalog')
  if (catalog === null) return null
  return new Decoder(read, pending?.frames ?? new Map()).database(catalog)
}

interface PendingJournal {
  readonly catalog: Buffer
  readonly frames: ReadonlyMap<string, Buffer>
}

/** Null when all of it is in place. */
function pendingJournal(bytes: Buffer): PendingJournal | null {
  const page = commitPage(bytes, 0) ?? commitPage(bytes, bytes.length - frameBytes)
  if (page === null) throw new Undecodable('the journal has no commit page')
  if (page.readUInt16LE(10) === 2) return null
  const count = Number(page.readBigUInt64LE(24))
  const end = frameBytes * (1 + count)
  const catalog = bytes.subarray(end, end + page.readUInt32LE(12))
  if (crc32(catalog) !== page.readUInt32LE(16)) {
    throw new Undecodable('the catalog in the journal has a wrong CRC')
  }
  const frames = new Map<string, Buffer>()
  for (let at = frameBytes; at < end; at += frameBytes) {
    const frame = bytes.subarray(at, at + frameBytes)
    const [file, generation, number] = [8, 12, 16].map(offset => frame.readUInt32LE(offset))
    frames.set(`${dataFile(file!, generation!)} ${number}`, frame)
  }
  return { catalog, frames }
}

function commitPage(bytes: Buffer, offset: number): Buffer | null {
  if (offset < 0 || offset + frameBytes > bytes.length) return null
  const page = bytes.subarray(offset, offset + frameBytes)
  const valid = page.readUInt32LE(0) === 0x4e4a4248
  return valid && page.readUInt32LE(4) === crc32(page.subarray(8, 48)) ? page : null
}

function dataFile(file: number, generation: number): string {
  const hex = (value: number) => value.toString(16).padStart(8, '0')
  return `${hex(file)}.${hex(generation)}`
}

/** An entry of the catalog: the data of a file, or of its hold. */
interface Entry {
  readonly name: string
  readonly role: number
  readonly fileNumber: number
  readonly generation: number
  readonly modulo: number
  readonly count: number
  readonly flags: number
  readonly pages: ReadonlyMap<number, { readonly frame: number; readonly crc: number }>
  readonly hold: {
    readonly modulo: number
    readonly drainedTo: number
    readonly count: number
  } | null
}

class Decoder {
  readonly #read: (name: string) => Buffer | null
  readonly #overlay: ReadonlyMap<string, Buffer>

  constructor(read: (name: string) => Buffer | null, overlay: ReadonlyMap<string, Buffer>) {
    this.#read = read
    this.#overlay = overlay
  }

  database(catalog: Buffer): DecodedDatabase {
    if (catalog.readUInt32LE(0) !== 0x54434248 || catalog.readUInt32LE(12) !== catalog.length) {
      throw new Undecodable('the catalog is none')
    }
    if (catalog.readUInt32LE(4) !== crc32(catalog.subarray(8))) {
      throw new Undecodable('the catalog has a wrong CRC')
    }
    let at = 64
    const accounts: string[] = []
    for (let left = catalog.readUInt32LE(28); left > 0; left--) {
      const length = catalog.readUInt8(at)
      accounts.push(catalog.toString('utf8', at + 1, at + 1 + length))
      at += 1 + length
    }
    const files = new Map<string, DecodedFile>()
    const entries: Entry[] = []
    for (let left = catalog.readUInt32LE(32); left > 0; left--) {
      const [entry, end] = readEntry(catalog, at, accounts)
      entries.push(entry)
      at = end
    }
    for (const [index, entry] of entries.entries()) {
      if (entry.role > 1) continue
      const { name, hold, flags } = entry
      files.set(name, {
        modulo: hold?.modulo ?? entry.modulo,
        flags: flags & 7,
        absent: (flags & 0x80) !== 0,
        count: (flags & 0x40) !== 0 ? null : (hold?.count ?? entry.count),
        items: this.#items(entry, entries[index + 1], entries[index + 2]),
      })
    }
    return { txn: Number(catalog.readBigUInt64LE(16)), accounts, files }
  }

  /** What readers see: with a hold, what it has in place of the base. */
  #items(base: Entry, held?: Entry, gone?: Entry): Map<string, Buffer> {
    const items = this.#itemsOf(base)
    const { hold } = base
    if (hold === null) return items
    if (held?.role !== 2 || gone?.role !== 3) throw new Undecodable(`${base.name}: half a hold`)
    const isHeld = (id: string) => hashOf(id) >= hold.drainedTo
    for (const id of this.#itemsOf(gone).keys()) if (isHeld(id)) items.delete(id)
    for (const [id, value] of this.#itemsOf(held)) if (isHeld(id)) items.set(id, value)
    return items
  }

  #itemsOf(entry: Entry): Map<string, Buffer> {
    const items = new Map<string, Buffer>()
    for (let group = 0; group < entry.modulo; group++) {
      if (this.#sum(entry, group) === 0) continue
      let kind: number = kinds.group
      for (let number = group, steps = 0; steps === 0 || number !== 0; steps++) {
        const frame = this.#frame(entry, number, kind)
        this.#readItems(entry, group, frame, items)
        kind = kinds.overflow
        number = frame.readUInt32LE(4)
        if (steps > 10_000) throw new Undecodable(`${entry.name}: group ${group} has no end`)
      }
    }
    return items
  }

  #readItems(entry: Entry, group: number, frame: Buffer, items: Map<string, Buffer>): void {
    for (let index = frame.readUInt16LE(22) - 1; index >= 0; index--) {
      const at = frame.readUInt16LE(headBytes + 4 * index + 2)
      const header = frame.readUInt32LE(at)
      const idEnd = at + 4 + (header & 0x7ff)
      const id = frame.toString('latin1', at + 4, idEnd)
      const end = idEnd + ((header >>> 11) & 0xfff)
      const place = Math.floor((hashOf(id) * entry.modulo) / hashEnd)
      if (place !== group || items.has(id)) {
        throw new Undecodable(`${entry.name}: item ${id} lies in group ${group}, not ${place}`)
      }
      const big = header >>> 31 === 1
      const value = big
        ? this.#bigValue(entry, frame.readUInt32LE(idEnd), frame.readUInt32LE(idEnd + 4))
        : Buffer.from(frame.subarray(idEnd, end))
      items.set(id, value)
    }
  }

  #bigValue(entry: Entry, length: number, first: number): Buffer {
    const parts: Buffer[] = []
    for (let number = first; number !== 0 && parts.length <= length;) {
      const frame = this.#frame(entry, number, kinds.bigValue)
      parts.push(frame.subarray(headBytes, headBytes + frame.readUInt16LE(22)))
      number = frame.readUInt32LE(4)
    }
    const value = Buffer.concat(parts)
    if (value.length === length) return value
    throw new Undecodable(`${entry.name}: a value of ${length} bytes has ${value.length}`)
  }

  /** Checked: of that place and kind, whole, and as it was written last. */
  #frame(entry: Entry, number: number, kind: number): Buffer {
    const sum = this.#sum(entry, number)
    const frame = this.#bytes(entry, number, kind)
    const crc = frame.readUInt32LE(0)
    if (sum === (crc === 0 || crc === hashEnd - 1 ? 1 : crc)) return frame
    throw new Undecodable(`${entry.name}: frame ${number} is not as it was written last`)
  }

  #bytes({ fileNumber, generation, name }: Entry, number: number, kind: number): Buffer {
    const path = dataFile(fileNumber, generation)
    const start = number * frameBytes
    const frame =
      this.#overlay.get(`${path} ${number}`) ??
      this.#read(path)?.subarray(start, start + frameBytes) ??
      Buffer.alloc(0)
    const whole = frame.length === frameBytes
    if (!whole || frame.readUInt32LE(0) !== crc32(frame.subarray(4))) {
      throw new Undecodable(`${name}: frame ${number} of ${path} has a wrong CRC`)
    }
    const place = [8, 12, 16].map(offset => frame.readUInt32LE(offset)).join()
    if (place === [fileNumber, generation, number].join() && frame.readUInt8(20) === kind) {
      return frame
    }
    throw new Undecodable(`${name}: frame ${number} of ${path} is another one, of ${place}`)
  }

  /** The checksum of the frame; 0 when it was never written. */
  #sum(entry: Entry, number: number): number {
    const page = entry.pages.get(Math.floor(number / sumsPerPage))
    if (page === undefined) return 0
    const sums = this.#bytes(entry, page.frame, kinds.sums)
    if (sums.readUInt32LE(0) !== page.crc) {
      throw new Undecodable(`${entry.name}: its checksums are not those of the catalog`)
    }
    return sums.readUInt32LE(headBytes + 4 * (number % sumsPerPage))
  }
}

/** The entry at `at`, and where it ends. */
function readEntry(
  catalog: Buffer,
  at: number,
  accounts: readonly string[],
): readonly [Entry, number] {
  const role = catalog.readUInt8(at + 29)
  let end = at + 64 + catalog.readUInt8(at + 28)
  const name = `${accounts[catalog.readUInt32LE(at + 24)]}/${catalog.toString('utf8', at + 64, end)}`
  let hold: Entry['hold'] = null
  if (role === 1) {
    const [drainedTo, count] = [16, 24].map(offset => Number(catalog.readBigUInt64LE(end + offset)))
    hold = { modulo: catalog.readUInt32LE(end), drainedTo: drainedTo!, count: count! }
    end += 48
  }
  const pages = new Map<number, { frame: number; crc: number }>()
  for (let left = catalog.readUInt32LE(at + 56); left > 0; left--, end += 12) {
    const [page, frame, crc] = [0, 4, 8].map(offset => catalog.readUInt32LE(end + offset))
    pages.set(page!, { frame: frame!, crc: crc! })
  }
  const entry = {
    name,
    role,
    fileNumber: catalog.readUInt32LE(at),
    generation: catalog.readUInt32LE(at + 4),
    modulo: catalog.readUInt32LE(at + 8),
    count: Number(catalog.readBigUInt64LE(at + 32)),
    flags: catalog.readUInt8(at + 30),
    pages,
    hold,
  }
  return [entry, end]
}

/** MurmurHash3_x86_32 with seed 0, of an id as latin1. */
export function hashOf(id: string): number {
  const bytes = Buffer.from(id, 'latin1')
  const rotate = (word: number, bits: number) => (word << bits) | (word >>> (32 - bits))
  const mixed = (word: number) => Math.imul(rotate(Math.imul(word, 0xcc9e2d51), 15), 0x1b873593)
  const whole = bytes.length - (bytes.length % 4)
  let hash = 0
  for (let at = 0; at < whole; at += 4) {
    hash = (Math.imul(rotate(hash ^ mixed(bytes.readInt32LE(at)), 13), 5) + 0xe6546b64) | 0
  }
  let rest = 0
  for (let at = bytes.length - 1; at >= whole; at--) rest = (rest << 8) | bytes[at]!
  hash ^= mixed(rest) ^ bytes.length
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
