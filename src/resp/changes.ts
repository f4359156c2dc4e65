// What a transaction has changed so far, over what is there: its commands see their own changes, all others nothing
// until it is committed as a whole.
import type { EntryVisitor } from '../database/group-walk.ts'
import { hashEnd, hashId } from '../database/hash.ts'
import { itemBytesMax, itemIdBytesMax, MiB, transactionBytesMax } from '../limits.ts'
import type { Access, DirectAccess } from './access.ts'
import type { Place } from './place.ts'
import { readOnly, ReplyError, tooLong, wrongIdLength } from './reply-error.ts'
import type { FileChange, ItemChange } from './store.ts'

/** What the records of a transaction take besides ids and values is within this. */
const sizeMargin = 1 * MiB
/** A record's header, and what a map of changes takes in memory. */
const changeBytes = 64

/** Of one file. */
class PlaceChange implements FileChange {
  readonly place: Place
  cleared = false
  /** By the id, a byte a character. */
  readonly changed = new Map<string, ItemChange>()
  /** Items more or less than there are, or than none when it is cleared. */
  delta = 0

  constructor(place: Place) {
    this.place = place
  }

  get account(): string {
    return this.place.account
  }
  get name(): string {
    return this.place.name
  }
  get file() {
    return this.place.file
  }
  get modulo(): number {
    return this.place.modulo
  }
  /** Nothing is left in a file that is there only as long as it holds something. */
  get removed(): boolean {
    const { file, fleeting } = this.place
    if (file === undefined || !fleeting) return false
    return (this.cleared ? 0 : file.itemCount) + this.delta === 0
  }
  get items(): Iterable<ItemChange> {
    return this.changed.values()
  }
}

export class Changes implements Access {
  readonly #base: DirectAccess
  readonly #places = new Map<string, PlaceChange>()
  #bytes = 0

  constructor(base: DirectAccess) {
    this.#base = base
  }

  /** Makes the changes, as one transaction, if there are any. Throws as Writes.commit does. */
  commit(): void {
    const { writes } = this.#base.store
    const changes = [...this.#places.values()].filter(
      ({ cleared, changed }) => cleared || changed.size > 0,
    )
    if (changes.length === 0) return
    if (writes === null) throw new ReplyError(readOnly)
    writes.commit(changes)
    this.#base.wrote = true
    for (const { place } of changes) this.#base.grow(place)
  }

  read(place: Place, bytes: Uint8Array, start: number, end: number): Buffer | null {
    const own = this.#own(place, bytes, start, end)
    return own === undefined ? this.#base.read(place, bytes, start, end) : own
  }

  lengthOf(place: Place, bytes: Uint8Array, start: number, end: number): number {
    const own = this.#own(place, bytes, start, end)
    if (own === undefined) return this.#base.lengthOf(place, bytes, start, end)
    return own === null ? -1 : own.length
  }

  /** What the transaction has made of the item; undefined when it is as it was. */
  #own(place: Place, bytes: Uint8Array, start: number, end: number): Buffer | null | undefined {
    const change = this.#places.get(place.path)
    if (change === undefined) return undefined
    const item = change.changed.get(keyOf(bytes, start, end))
    if (item !== undefined) return item.value
    return change.cleared ? null : undefined
  }

  write(
    place: Place,
    bytes: Buffer,
    start: number,
    end: number,
    value: Buffer,
    valueStart: number,
    valueEnd: number,
  ): void {
    this.#check(end - start, valueEnd - valueStart)
    if (this.lengthOf(place, bytes, start, end) < 0) this.#changeOf(place).delta++
    this.#set(place, bytes, start, end, Buffer.from(value.subarray(valueStart, valueEnd)))
  }

  remove(place: Place, bytes: Buffer, start: number, end: number): boolean {
    if (this.lengthOf(place, bytes, start, end) < 0) return false
    this.#check(end - start, 0)
    const change = this.#changeOf(place)
    change.delta--
    const added = change.cleared || this.#base.lengthOf(place, bytes, start, end) < 0
    if (added) change.changed.delete(keyOf(bytes, start, end))
    else this.#set(place, bytes, start, end, null)
    return true
  }

  count(place: Place): number {
    const change = this.#places.get(place.path)
    if (change === undefined) return this.#base.count(place)
    return (change.cleared ? 0 : this.#base.count(place)) + change.delta
  }

  clear(place: Place): void {
    const change = this.#changeOf(place)
    change.changed.clear()
    change.cleared = place.file !== undefined
    change.delta = 0
  }

  *created(): Iterable<Place> {
    for (const { place } of this.#places.values()) if (place.file === undefined) yield place
  }

  /** What the transaction has written comes among the rest by its hash. */
  scan(
    place: Place,
    cursor: number,
    itemsMax: number,
    visit: EntryVisitor,
    withValues: boolean,
  ): number | null {
    const change = this.#places.get(place.path)
    if (change === undefined) return this.#base.scan(place, cursor, itemsMax, visit, withValues)
    const unchanged: EntryVisitor = (bytes, start, end, ...value) => {
      if (!change.changed.has(keyOf(bytes, start, end))) visit(bytes, start, end, ...value)
    }
    const next = change.cleared
      ? null
      : this.#base.scan(place, cursor, itemsMax, unchanged, withValues)
    for (const { id, value } of change.changed.values()) {
      if (value === null) continue
      const hash = hashId(id, 0, id.length)
      if (hash < cursor || hash >= (next ?? hashEnd)) continue
      visit(id, 0, id.length, value, 0, value.length)
    }
    return next
  }

  #changeOf(place: Place): PlaceChange {
    let change = this.#places.get(place.path)
    if (change === undefined) {
      change = new PlaceChange(place)
      this.#places.set(place.path, change)
    }
    return change
  }

  #set(place: Place, bytes: Buffer, start: number, end: number, value: Buffer | null): void {
    const id = Buffer.from(bytes.subarray(start, end))
    this.#bytes += id.length + (value?.length ?? 0) + changeBytes
    this.#changeOf(place).changed.set(keyOf(id, 0, id.length), { id, value })
  }

  /** Before anything is changed, so that a command that is refused has changed nothing. */
  #check(idLength: number, valueLength: number): void {
    if (idLength === 0 || idLength > itemIdBytesMax) throw new ReplyError(wrongIdLength)
    if (valueLength > itemBytesMax) throw new ReplyError(tooLong)
    if (this.#bytes + idLength + valueLength > transactionBytesMax - sizeMargin) {
      throw new ReplyError('ERR the transaction is larger than 127 MiB')
    }
  }
}

function keyOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1')
}
