// A file of items as its readers see it. It stays the same object when its data moves to another generation;
// once the file is deleted it holds nothing any more.
import { type HotBackupError } from '../errors.ts'
import { type FileAttributes } from '../log/file-attributes.ts'
import { type Bytes } from '../log/record.ts'
import { type FrameCache } from './cache.ts'
import { emptyGroup, renewFrame } from './empty-group.ts'
import { Slab } from './frame.ts'
import { type Generation } from './generation.ts'
import { type Groups } from './group.ts'
import { copying, visitGroup, within, type EntryVisitor } from './group-walk.ts'
import { groupOf, groupStart, hashEnd, hashId } from './hash.ts'
import { type Hold } from './hold.ts'
import { idLength, idText } from './id-text.ts'
import { FrameDamage, type DamagedRange, type Quarantine } from './quarantine.ts'
import { Tally } from './tally.ts'

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
  readonly #quarantine: Quarantine
  /** Updates go there while a helper builds the next generation. */
  hold: Hold | null = null
  #generation: Generation
  #lastTxn: number
  /** See fileFlags in log/record.ts. */
  flags: number
  /** On a slave, a file that is not replicated: its number and name are known, and it holds nothing. */
  absent: boolean
  /** The numbers of items and bytes are exact. After damage they are not, until everything has been counted again. */
  counted: boolean
  /** Of the walks over it that are under way. */
  readonly #tallies = new Set<Tally>()
  #examination: Tally | null = null
  /** An examination has met exactly the items that it should hold, or others, since the database was opened. */
  #examined: 'same' | HotBackupError | null = null

  constructor(
    identity: FileIdentity,
    cache: FrameCache,
    groups: Groups,
    quarantine: Quarantine,
    generation: Generation,
    lastTxn: number,
    counted = true,
  ) {
    this.number = identity.number
    this.account = identity.account
    this.name = identity.name
    this.flags = identity.flags
    this.absent = identity.absent
    this.#cache = cache
    this.#groups = groups
    this.#quarantine = quarantine
    this.#generation = generation
    this.#lastTxn = lastTxn
    this.counted = counted
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

  /** A copy of the item; null when there is none. Throws ERR_GROUP_DAMAGED, ERR_DATABASE_CORRUPT, ERR_DISK. */
  read(id: Bytes): Buffer | null {
    const length = idLength(id)
    return this.readAt(typeof id === 'string' ? idText : id, 0, length)
  }

  has(id: Bytes): boolean {
    const length = idLength(id)
    return this.lengthAt(typeof id === 'string' ? idText : id, 0, length) >= 0
  }

  /** The same of the item whose id lies in `bytes` from `start` to `end`. */
  readAt(bytes: Uint8Array, start: number, end: number): Buffer | null {
    if (start === end || this.deleted) return null
    if (this.#quarantine.size > 0) this.#refuseItem(bytes, start, end)
    try {
      if (this.hold !== null) return this.hold.read(this.#generation, bytes, start, end)
      return this.#groups.read(this.#generation, bytes, start, end)
    } catch (error) {
      throw this.#refusalOf(error)
    }
  }

  /** Bytes of the item's value; -1 when there is no such item. Throws likewise. */
  lengthAt(bytes: Uint8Array, start: number, end: number): number {
    if (start === end || this.deleted) return -1
    if (this.#quarantine.size > 0) this.#refuseItem(bytes, start, end)
    try {
      if (this.hold !== null) return this.hold.lengthOf(this.#generation, bytes, start, end)
      return this.#groups.lengthOf(this.#generation, bytes, start, end)
    } catch (error) {
      throw this.#refusalOf(error)
    }
  }

  /**
   * Visits items in the order of their groups, from `cursor` on (0 at first). Stops at the end of a group when
   * it has done about `itemsMax` items, counting an empty group as one. Returns the next cursor, null at the
   * end. A scan visits exactly once every item that exists all the while, also when the file is resized
   * between two calls. The buffers are the visitor's own; it may read from the database but change nothing. Throws
   * as `read` does.
   */
  scan(
    cursor: number,
    itemsMax: number,
    visit: (id: Buffer, value: Buffer) => void,
    withValues = true,
  ): number | null {
    return this.scanEntries(cursor, itemsMax, copying(visit), withValues)
  }

  /** The same without copies: what the visitor gets is valid until it returns. */
  scanEntries(
    cursor: number,
    itemsMax: number,
    visit: EntryVisitor,
    withValues = true,
  ): number | null {
    if (this.deleted) return null
    const scratch = new Slab(1)
    let hash = cursor
    try {
      for (let left = itemsMax; hash < hashEnd && left > 0;) {
        // After a resize the cursor may lie in the middle of a group, of which the first part is done.
        const end = this.#groupEnd(hash)
        this.#refuseRange(hash, end)
        const count = this.#visit(hash, end, scratch, visit, withValues, false)
        left -= Math.max(1, count)
        hash = end
      }
    } catch (error) {
      throw this.#refusalOf(error)
    }
    return hash < hashEnd ? hash : null
  }

  /**
   * Visits the items with hashes from `from` up to `to`, excluded, in passing: what is not in the cache stays out
   * of it. What the visitor gets is valid until it returns.
   */
  scanRange(from: number, to: number, visit: EntryVisitor): void {
    if (this.deleted) return
    this.#refuseRange(from, to)
    try {
      this.#visit(from, to, new Slab(1), visit, true, true)
    } catch (error) {
      throw this.#refusalOf(error)
    }
  }

  /** Where the group with that hash ends; with a hold, the larger of both groups: each is visited in one piece. */
  #groupEnd(hash: number): number {
    const { modulo } = this.#generation
    const smaller = this.hold === null ? modulo : Math.min(modulo, this.hold.held.modulo)
    return groupStart(groupOf(hash, smaller) + 1, smaller)
  }

  /** Visits what readers see with hashes from `from` to `to`. Returns about how many items that are. */
  #visit(
    from: number,
    to: number,
    scratch: Slab,
    visit: EntryVisitor,
    withValues: boolean,
    passing: boolean,
  ): number {
    const generation = this.#generation
    if (this.hold !== null) {
      return this.hold.visitRange(generation, from, to, scratch, visit, withValues, passing)
    }
    const { modulo } = generation
    const last = groupOf(to - 1, modulo)
    let count = 0
    for (let group = groupOf(from, modulo); group <= last; group++) {
      if (this.#cache.isBlank(generation, group)) continue
      const whole = groupStart(group, modulo) >= from && groupStart(group + 1, modulo) <= to
      const wanted = whole ? visit : within(from, to, visit)
      count += visitGroup(this.#cache, generation, group, scratch, wanted, withValues, passing)
    }
    return count
  }

  // Damage: see quarantine.ts.

  #refuseItem(bytes: Uint8Array, start: number, end: number): void {
    const range = this.#quarantine.at(this.number, hashId(bytes, start, end))
    if (range !== undefined) throw this.#quarantine.refusal(this, range)
  }

  #refuseRange(from: number, to: number): void {
    if (this.#quarantine.size === 0) return
    const range = this.#quarantine.within(this.number, from, to)
    if (range !== undefined) throw this.#quarantine.refusal(this, range)
  }

  /** What a reader is told. */
  #refusalOf(error: unknown): unknown {
    return error instanceof FrameDamage
      ? this.#quarantine.refusal(this, this.damaged(error))
      : error
  }

  /** A frame of this file is damaged: its group is not used any more. Throws any other error. */
  damaged(error: unknown): DamagedRange {
    if (!(error instanceof FrameDamage) || error.generation.fileNumber !== this.number) throw error
    this.miscounted()
    this.counted = false
    return this.#quarantine.add(this, error)
  }

  // For the database only: records become changes here. Ids and values lie one behind the other in `bytes`.

  writeItem(
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    valueEnd: number,
    txn: number,
  ): void {
    this.#lastTxn = txn
    if (this.#quarantine.size > 0 && this.#leftOut(bytes, idStart, idEnd)) return
    const before = this.#tallies.size === 0 ? null : { items: this.itemCount, bytes: this.bytes }
    try {
      if (this.hold !== null) this.hold.write(this.#generation, bytes, idStart, idEnd, valueEnd)
      else this.#groups.write(this.#generation, bytes, idStart, idEnd, valueEnd)
    } catch (error) {
      this.damaged(error)
    }
    if (before !== null) this.#changed(hashId(bytes, idStart, idEnd), before)
  }

  deleteItem(bytes: Uint8Array, idStart: number, idEnd: number, txn: number): void {
    this.#lastTxn = txn
    if (this.#quarantine.size > 0 && this.#leftOut(bytes, idStart, idEnd)) return
    const before = this.#tallies.size === 0 ? null : { items: this.itemCount, bytes: this.bytes }
    try {
      if (this.hold !== null) this.hold.remove(this.#generation, bytes, idStart, idEnd)
      else this.#groups.remove(this.#generation, bytes, idStart, idEnd)
    } catch (error) {
      this.damaged(error)
    }
    if (before !== null) this.#changed(hashId(bytes, idStart, idEnd), before)
  }

  /** An update of an item that is quarantined: the repair will bring what it makes of it. */
  #leftOut(bytes: Uint8Array, idStart: number, idEnd: number): boolean {
    return this.#quarantine.at(this.number, hashId(bytes, idStart, idEnd)) !== undefined
  }

  /**
   * Empties a range of hashes, whatever it holds and whether that can be read, so that it can be used again. Returns
   * whether data was changed that lies still for a helper.
   */
  clearRange(from: number, to: number, txn: number): boolean {
    this.#lastTxn = txn
    this.miscounted()
    let stirred = false
    for (const range of this.#quarantine.of(this.number)) {
      if (range.from < to && from < range.to) stirred = this.#empty(range) || stirred
    }
    for (let removed = false; !removed;) {
      try {
        this.#removeRange(from, to)
        removed = true
      } catch (error) {
        stirred = this.#empty(this.damaged(error)) || stirred
      }
    }
    this.#quarantine.lift(this.number, from, to)
    return stirred
  }

  #empty(range: DamagedRange): boolean {
    const base = this.#generation
    const generation = this.generations.find(({ number }) => number === range.generation)
    if (generation !== undefined) {
      emptyGroup(this.#cache, generation, groupOf(range.from, generation.modulo))
    }
    this.#quarantine.emptied(range)
    return generation === base && this.hold !== null && !this.hold.draining
  }

  #removeRange(from: number, to: number): void {
    const ids: Buffer[] = []
    const take: EntryVisitor = (bytes, idStart, idEnd) => {
      ids.push(Buffer.from(bytes.subarray(idStart, idEnd)))
    }
    this.#visit(from, to, new Slab(1), take, false, false)
    for (const id of ids) {
      if (this.hold !== null) this.hold.remove(this.#generation, id, 0, id.length)
      else this.#groups.remove(this.#generation, id, 0, id.length)
    }
  }

  /** Reads about `itemsMax` more items, to find damage and to count them. True when it has gone over all of them. */
  examine(itemsMax: number): boolean {
    const tally = (this.#examination ??= this.watch(new Tally()))
    const scratch = new Slab(1)
    let items = 0
    let bytes = 0
    const count: EntryVisitor = (_, idStart, idEnd, __, valueStart, valueEnd) => {
      items++
      bytes += idEnd - idStart + valueEnd - valueStart
    }
    for (let left = itemsMax; tally.upTo < hashEnd && left > 0; left -= Math.max(1, items)) {
      const known = this.#quarantine.at(this.number, tally.upTo)
      const end = known?.to ?? this.#groupEnd(tally.upTo)
      items = 0
      bytes = 0
      try {
        if (known === undefined) this.#visit(tally.upTo, end, scratch, count, true, true)
        else tally.spoil()
      } catch (error) {
        this.damaged(error)
      }
      tally.met(end, items, bytes)
    }
    if (tally.upTo < hashEnd) return false
    this.unwatch(tally)
    this.#examination = null
    if (!tally.exact) return true
    if (!this.counted && this.hold === null) {
      this.#generation.itemCount = tally.items
      this.#generation.itemBytes = tally.bytes
      this.counted = true
    }
    if (this.counted) this.#examined = tally.fault(this) ?? 'same'
    return true
  }

  /**
   * Whether the file holds as many items as it should: only then it may be taken at its word for what it does not
   * hold. Null: it is to be examined first. Throws ERR_DATABASE_CORRUPT when it holds others.
   */
  get vouched(): boolean | null {
    if (!this.counted) return false
    if (this.#examined === null) return null
    if (this.#examined !== 'same') throw this.#examined
    return true
  }

  /** The tally is kept right, whatever is updated while it is taken, until `unwatch`. */
  watch(tally: Tally): Tally {
    this.#tallies.add(tally)
    return tally
  }
  unwatch(tally: Tally): void {
    this.#tallies.delete(tally)
  }

  /** Something other than a single item changes; tallies that are being taken are of no use. */
  miscounted(): void {
    for (const tally of this.#tallies) tally.spoil()
  }

  /** It is being emptied as a whole. */
  cleared(): void {
    this.miscounted()
    this.counted = true
    this.#examined = null
  }

  /** An update has changed the numbers, which were these before. */
  #changed(hash: number, before: { readonly items: number; readonly bytes: number }): void {
    const [items, bytes] = [this.itemCount - before.items, this.bytes - before.bytes]
    for (const tally of this.#tallies) tally.changed(hash, items, bytes)
  }

  /** A frame of its data is damaged on the disk, and it has been examined since. */
  renew(generation: number, frame: number): void {
    const found = this.generations.find(({ number }) => number === generation)
    if (found !== undefined && frame < found.frameCount) renewFrame(this.#cache, found, frame)
  }

  /** Where the data lies, in the order in which a catalog has it. */
  get generations(): Generation[] {
    const base = this.#generation
    return this.hold === null ? [base] : [base, this.hold.held, this.hold.gone]
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

  /**
   * Fills an empty generation with the items of the present one, in one pass over both, but for what is damaged: that
   * is missing then.
   */
  copyItemsTo(target: Generation): void {
    const groups = this.#groups
    const scratch = new Slab(1)
    const copy: EntryVisitor = (bytes, idStart, idEnd, value, valueStart, valueEnd) => {
      groups.append(target, bytes, idStart, idEnd, value, valueStart, valueEnd - valueStart)
    }
    for (let hash = 0; hash < hashEnd;) {
      const end = this.#groupEnd(hash)
      try {
        this.#visit(hash, end, scratch, copy, true, false)
      } catch (error) {
        this.damaged(error)
        this.#quarantine.addRest(this, hash, end)
      }
      hash = end
    }
  }
}
