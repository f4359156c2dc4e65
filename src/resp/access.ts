// How commands read and change items: at once, each change a transaction, or within a transaction (changes.ts).
import type { EntryVisitor } from '../database/group-walk.ts'
import { isHotBackupError } from '../errors.ts'
import { grownModulo } from './growth.ts'
import type { Place } from './place.ts'
import { readOnly, ReplyError } from './reply-error.ts'
import type { FileChange, Store, Writes } from './store.ts'

/** An item's id lies in `bytes` from `start` to `end`. */
export interface Access {
  /** A copy of the item; null when there is none. */
  read(place: Place, bytes: Uint8Array, start: number, end: number): Buffer | null
  /** Bytes of the item; -1 when there is none. */
  lengthOf(place: Place, bytes: Uint8Array, start: number, end: number): number
  /** The value lies in `value` from `valueStart` to `valueEnd`. A file that is not there is created. */
  write(
    place: Place,
    bytes: Buffer,
    start: number,
    end: number,
    value: Buffer,
    valueStart: number,
    valueEnd: number,
  ): void
  /** False when there was no such item. */
  remove(place: Place, bytes: Buffer, start: number, end: number): boolean
  /** Items in the file. */
  count(place: Place): number
  /** Removes all items. */
  clear(place: Place): void
  /** Files that are not there yet, and will be. */
  created(): Iterable<Place>
  /** See HashedFile.scan; what the visitor gets is valid until it returns. */
  scan(
    place: Place,
    cursor: number,
    itemsMax: number,
    visit: EntryVisitor,
    withValues: boolean,
  ): number | null
}

/** Reads what is there now; each change is a transaction of its own. */
export class DirectAccess implements Access {
  readonly #store: Store
  /** The last transaction that made what was read; 0 for none. Set back by those who take it. */
  seenTxn = 0
  /** Something was changed. Set back likewise. */
  wrote = false

  constructor(store: Store) {
    this.#store = store
  }

  get store(): Store {
    return this.#store
  }

  get #writes(): Writes {
    const { writes } = this.#store
    if (writes === null) throw new ReplyError(readOnly)
    return writes
  }

  read(place: Place, bytes: Uint8Array, start: number, end: number): Buffer | null {
    const { file } = place
    if (file === undefined) return null
    if (file.lastTxn > this.seenTxn) this.seenTxn = file.lastTxn
    return file.readAt(bytes, start, end)
  }

  lengthOf(place: Place, bytes: Uint8Array, start: number, end: number): number {
    const { file } = place
    if (file === undefined) return -1
    if (file.lastTxn > this.seenTxn) this.seenTxn = file.lastTxn
    return file.lengthAt(bytes, start, end)
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
    const { file } = place
    if (file === undefined) {
      const id = bytes.subarray(start, end)
      const items = [{ id, value: value.subarray(valueStart, valueEnd) }]
      this.#writes.commit([{ ...namesOf(place), file, cleared: false, removed: false, items }])
    } else this.#writes.writeItem(file, bytes, start, end, value, valueStart, valueEnd)
    this.wrote = true
    if (place.grows) this.grow(place)
  }

  remove(place: Place, bytes: Buffer, start: number, end: number): boolean {
    if (this.lengthOf(place, bytes, start, end) < 0) return false
    const { file } = place
    if (file === undefined) return false
    if (place.fleeting && file.itemCount === 1) this.clear(place)
    else this.#writes.deleteItem(file, bytes, start, end)
    this.wrote = true
    return true
  }

  count(place: Place): number {
    const { file } = place
    if (file === undefined) return 0
    if (file.lastTxn > this.seenTxn) this.seenTxn = file.lastTxn
    return file.itemCount
  }

  created(): Iterable<Place> {
    return []
  }

  /** Something was written there: the file may need more groups. */
  grow(place: Place): void {
    const { file } = place
    const modulo = place.grows && file !== undefined ? grownModulo(file) : null
    if (modulo === null) return
    try {
      this.#writes.resize(file!, modulo)
    } catch (error) {
      // The write before has succeeded; what is wrong with the server, the next one says.
      if (!isHotBackupError(error)) throw error
    }
  }

  clear(place: Place): void {
    const { file, fleeting: removed } = place
    if (file === undefined) return
    this.#writes.commit([{ ...namesOf(place), file, cleared: true, removed, items: [] }])
    this.wrote = true
  }

  scan(
    place: Place,
    cursor: number,
    itemsMax: number,
    visit: EntryVisitor,
    withValues: boolean,
  ): number | null {
    const { file } = place
    if (file === undefined) return null
    if (file.lastTxn > this.seenTxn) this.seenTxn = file.lastTxn
    return file.scanEntries(cursor, itemsMax, visit, withValues)
  }
}

function namesOf(place: Place): Pick<FileChange, 'account' | 'name' | 'modulo'> {
  const { account, name, modulo } = place
  return { account, name, modulo }
}
