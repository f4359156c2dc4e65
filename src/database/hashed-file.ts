// A file of items as its readers see it. It stays the same object when its data moves to another generation;
// once the file is deleted it holds nothing any more.
import { itemIdBytesMax } from '../limits.ts'
import { type Bytes, type FileAttributes } from '../log/record.ts'
import { type FrameCache } from './cache.ts'
import { Slab } from './frame.ts'
import { type Generation } from './generation.ts'
import { type EntryVisitor, type Groups } from './group.ts'
import { groupOf, groupStart, hashEnd, hashId } from './hash.ts'
import { type Hold } from './hold.ts'

const noBytes = Buffer.alloc(0)
/** Ids that come as text become bytes here; a UTF-16 unit takes at most three. */
const idText = Buffer.alloc(itemIdBytesMax * 3)

export interface FileIdentity {
  readonly number: number
  readonly account: string
  readonly name: string
  readonly flags: number
  readonly absent: boolean
}

export class HashedFile {
  readonly number: number
  readonly account: string
  readonly name: string
  readonly #cache: FrameCache
  readonly #groups: Groups
  /** Updates go there while a helper builds the next generation. */
  hold: Hold | null = null
  #generation: Generation
  #lastTxn: number
  /** See fileFlags in log/record.ts. */
  flags: number
  /** On a slave, a file that is not replicated: its number and name are known, and it holds nothing. */
  absent: boolean

  constructor(
    identity: FileIdentity,
    cache: FrameCache,
    groups: Groups,
    generation: Generation,
    lastTxn: number,
  ) {
    this.number = identity.number
    this.account = identity.account
    this.name = identity.name
    this.flags = identity.flags
    this.absent = identity.absent
    this.#cache = cache
    this.#groups = groups
    this.#generation = generation
    this.#lastTxn = lastTxn
  }

  get modulo(): number {
    return this.hold?.modulo ?? this.#generation.modulo
  }
  get attributes(): FileAttributes {
    return { account: this.account, file: this.name, modulo: this.modulo, flags: this.flags }
  }
  get itemCount(): number {
    return this.hold?.itemCount ?? this.#generation.itemCount
  }
  /** Bytes of all item-ids and items. */
  get bytes(): number {
    return this.hold?.itemBytes ?? this.#generation.itemBytes
  }
  /** The last transaction that changed the file; 0 when none has since it was created. */
  get lastTxn(): number {
    return this.#lastTxn
  }
  get deleted(): boolean {
    return this.#generation.dropped
  }
  /** Where the data lies now; for the database and its checkpoints. */
  get generation(): Generation {
    return this.#generation
  }

  /** A copy of the item; null when there is none. Throws ERR_DATABASE_CORRUPT, ERR_DISK. */
  read(id: Bytes): Buffer | null {
    const length = idLength(id)
    if (length === 0 || this.deleted) return null
    const bytes = typeof id === 'string' ? idText : id
    if (this.hold !== null) return this.hold.read(this.#generation, bytes, 0, length)
    return this.#groups.read(this.#generation, bytes, 0, length)
  }

  has(id: Bytes): boolean {
    const length = idLength(id)
    if (length === 0 || this.deleted) return false
    const bytes = typeof id === 'string' ? idText : id
    if (this.hold !== null) return this.hold.has(this.#generation, bytes, 0, length)
    return this.#groups.has(this.#generation, bytes, 0, length)
  }

  /**
   * Visits items in the order of their groups, from `cursor` on (0 at first). Stops at the end of a group when
   * it has done about `itemsMax` items, counting an empty group as one. Returns the next cursor, null at the
   * end. A scan visits exactly once every item that exists all the while, also when the file is resized
   * between two calls. The buffers are the visitor's own; it may read from the database but change nothing.
   */
  scan(
    cursor: number,
    itemsMax: number,
    visit: (id: Buffer, value: Buffer) => void,
    withValues = true,
  ): number | null {
    const copied: EntryVisitor = (bytes, idStart, idEnd, valueBytes, valueStart, valueEnd) => {
      const id = Buffer.from(bytes.subarray(idStart, idEnd))
      if (!withValues) visit(id, noBytes)
      else if (valueBytes === bytes) visit(id, Buffer.from(bytes.subarray(valueStart, valueEnd)))
      else visit(id, valueBytes as Buffer) // a big value was copied for us
    }
    return this.scanEntries(cursor, itemsMax, copied, withValues)
  }

  /** The same without copies: what the visitor gets is valid until it returns. */
  scanEntries(
    cursor: number,
    itemsMax: number,
    visit: EntryVisitor,
    withValues = true,
  ): number | null {
    if (this.deleted) return null
    const generation = this.#generation
    if (this.hold !== null) return this.hold.scan(generation, cursor, itemsMax, visit, withValues)
    const scratch = new Slab(1)
    let hash = cursor
    for (let left = itemsMax; hash < hashEnd && left > 0;) {
      const group = groupOf(hash, generation.modulo)
      // After a resize the cursor may lie in the middle of a group, of which the first part is done.
      const whole = hash === groupStart(group, generation.modulo)
      const wanted = whole ? visit : within(hash, hashEnd, visit)
      const count = this.#cache.isBlank(generation, group)
        ? 0
        : this.#groups.visit(generation, group, scratch, wanted, withValues)
      left -= Math.max(1, count)
      hash = groupStart(group + 1, generation.modulo)
    }
    return hash < hashEnd ? hash : null
  }

  /**
   * Visits the items with hashes from `from` up to `to`, excluded, in passing: what is not in the cache stays out
   * of it. What the visitor gets is valid until it returns.
   */
  scanRange(from: number, to: number, visit: EntryVisitor): void {
    if (this.deleted) return
    const generation = this.#generation
    if (this.hold !== null) {
      this.hold.scanRange(generation, from, to, visit)
      return
    }
    const scratch = new Slab(1)
    const { modulo } = generation
    const last = groupOf(to - 1, modulo)
    for (let group = groupOf(from, modulo); group <= last; group++) {
      if (this.#cache.isBlank(generation, group)) continue
      const whole = groupStart(group, modulo) >= from && groupStart(group + 1, modulo) <= to
      const wanted = whole ? visit : within(from, to, visit)
      this.#groups.visit(generation, group, scratch, wanted, true, true)
    }
  }

  // For the database only: records become changes here. Ids and values lie one behind the other in `bytes`.

  writeItem(
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    valueEnd: number,
    txn: number,
  ): void {
    if (this.hold !== null) this.hold.write(this.#generation, bytes, idStart, idEnd, valueEnd)
    else this.#groups.write(this.#generation, bytes, idStart, idEnd, valueEnd)
    this.#lastTxn = txn
  }

  deleteItem(bytes: Uint8Array, idStart: number, idEnd: number, txn: number): void {
    if (this.hold !== null) this.hold.remove(this.#generation, bytes, idStart, idEnd)
    else this.#groups.remove(this.#generation, bytes, idStart, idEnd)
    this.#lastTxn = txn
  }

  /** Something other than a single item has changed. */
  noteUpdate(txn: number): void {
    this.#lastTxn = txn
  }

  /** Goes on with another generation; returns the one it had. */
  switchTo(generation: Generation): Generation {
    const old = this.#generation
    this.#generation = generation
    return old
  }

  /** Fills an empty generation with the items of the present one, in one pass over both. */
  copyItemsTo(target: Generation): void {
    const groups = this.#groups
    this.scanEntries(0, Infinity, (bytes, idStart, idEnd, valueBytes, valueStart, valueEnd) => {
      groups.append(target, bytes, idStart, idEnd, valueBytes, valueStart, valueEnd - valueStart)
    })
  }
}

/** Bytes of the id, which lies in `idText` when it came as text; 0 when no item can have it. */
function idLength(id: Bytes): number {
  if (typeof id !== 'string') return id.length <= itemIdBytesMax ? id.length : 0
  const units = id.length
  if (units > itemIdBytesMax) return 0
  // Short ASCII, the usual id, is copied faster here than by a call out of JavaScript.
  let i = 0
  for (; i < units && i < 48; i++) {
    const unit = id.charCodeAt(i)
    if (unit > 0x7f) break
    idText[i] = unit
  }
  if (i === units) return units
  const length = idText.write(id, 'utf8')
  return length <= itemIdBytesMax ? length : 0
}

function within(from: number, to: number, visit: EntryVisitor): EntryVisitor {
  return (bytes, idStart, idEnd, valueBytes, valueStart, valueEnd) => {
    const hash = hashId(bytes, idStart, idEnd)
    if (hash < from || hash >= to) return
    visit(bytes, idStart, idEnd, valueBytes, valueStart, valueEnd)
  }
}
