// Where keys lead. The strings of database n are the items of one file. A hash is a file: the key ACCOUNT/FILE names
// it; a key without a slash stands for the file NAME:KEY beside the database's own, which has NAME. One more key,
// "hb:log", is the log of the server as a stream.
import { isUtf8 } from 'node:buffer'
import type { Database } from '../database/database.ts'
import { nameFault } from '../database/names.ts'
import { Place } from './place.ts'

/** The file that holds the strings of a database. */
export interface DatabaseFile {
  readonly account: string
  readonly file: string
}

export const feedKey = 'hb:log'
const SLASH = 0x2f
const feedBytes = Buffer.from(feedKey)

/** Places of hashes that are remembered for a database. */
const placesMax = 1024

export class Keyspace {
  readonly #database: Database
  readonly #fileOf: (index: number) => DatabaseFile
  readonly #spaces: (Space | undefined)[] = []

  constructor(database: Database, fileOf: (index: number) => DatabaseFile) {
    this.#database = database
    this.#fileOf = fileOf
  }

  /** Database number `index`. */
  space(index: number): Space {
    return (this.#spaces[index] ??= new Space(this.#database, this.#fileOf(index)))
  }
}

export interface KeyPlace {
  readonly key: Buffer
  readonly place: Place
}

export class Space {
  readonly strings: Place
  readonly #database: Database
  readonly #prefix: string
  /** By the key, a byte a character; null: no file can have that name. */
  readonly #places = new Map<string, Place | null>()

  constructor(database: Database, { account, file }: DatabaseFile) {
    this.#database = database
    this.strings = new Place(database, account, file, 'strings')
    this.#prefix = `${file}:`
  }

  /** The file that is the hash with that key, there or not; null when no file can be. */
  hash(bytes: Buffer, start: number, end: number): Place | null {
    const key = bytes.toString('latin1', start, end)
    const known = this.#places.get(key)
    if (known !== undefined) return known
    if (this.#places.size >= placesMax) this.#places.clear()
    const place = this.#placeOf(bytes.subarray(start, end))
    this.#places.set(key, place)
    return place
  }

  #placeOf(key: Buffer): Place | null {
    if (!isUtf8(key)) return null
    const text = key.toString()
    const slash = text.indexOf('/')
    const account = slash < 0 ? this.strings.account : text.slice(0, slash)
    const file = slash < 0 ? this.#prefix + text : text.slice(slash + 1)
    if (text === '' || nameFault(account) !== null || nameFault(file) !== null) return null
    return new Place(this.#database, account, file, slash < 0 ? 'fleeting' : 'owned')
  }

  /** For most keys it is known at once that there is no such hash. */
  mayBeHash(bytes: Uint8Array, start: number, end: number): boolean {
    for (let at = start; at < end; at++) if (bytes[at] === SLASH) return true
    return this.#database.fileCount(this.strings.account) > 1
  }

  /** Those with keys without a slash, whose files are there. */
  *hashes(): Iterable<KeyPlace> {
    const { account } = this.strings
    if (this.#database.fileCount(account) <= 1) return
    for (const { name } of this.#database.files(account)) {
      if (!name.startsWith(this.#prefix)) continue
      const key = Buffer.from(name.slice(this.#prefix.length))
      const place = this.hash(key, 0, key.length)
      if (place !== null) yield { key, place }
    }
  }

  /** The key without a slash that leads to the place; null when it is none of this database. */
  keyOf({ account, name }: Place): Buffer | null {
    if (account !== this.strings.account || !name.startsWith(this.#prefix)) return null
    return Buffer.from(name.slice(this.#prefix.length))
  }
}

export function isFeed(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== feedBytes.length) return false
  for (let i = 0; i < feedBytes.length; i++) if (bytes[start + i] !== feedBytes[i]) return false
  return true
}
