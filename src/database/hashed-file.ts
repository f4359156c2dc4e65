// A file of items as its readers see it. It stays the same object when its data moves to another generation;
// once the file is deleted it holds nothing any more.
import { type Bytes, type FileAttributes } from '../log/record.ts'
import { type FrameCache } from './cache.ts'
import { emptyGroup, renewFrame } from './empty-group.ts'
import { Slab } from './frame.ts'
import { type Generation } from './generation.ts'
import { type EntryVisitor, type Groups } from './group.ts'
import { groupOf, groupStart, hashEnd, hashId } from './hash.ts'
import { type Hold } from './hold.ts'
import { idLength, idText } from './id-text.ts'
import { FrameDamage, type DamagedRange, type Quarantine } from './quarantine.ts'

const noBytes = Buffer.alloc(0)

export interface FileIdentity {
  readonly number: number
  readonly account: string
  readonly name: string
  readonly flags: number
  readonly absent: boolean
}

/** How far an examination is, and the items with hashes below that. */
interface Examination {
  readonly generation: Generation
  upTo: number
  items: number
  bytes: number
  /** What it has counted is all there is. */
  exact: boolean
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
  #examination: Examination | null = null

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
    if (length === 0 || this.deleted) return null
    const bytes = typeof id === 'string' ? idText : id
    if (this.#quarantine.size > 0) this.#refuseItem(bytes, length)
    try {
      if (this.hold !== null) return this.hold.read(this.#generation, bytes, 0, length)
      return this.#groups.read(this.#generation, bytes, 0, length)
    } catch (error) {
      throw this.#refusalOf(error)
    }
  }

  /** Throws likewise. */
  has(id: Bytes): boolean {
    const length = idLength(id)
    if (length === 0 || this.deleted) return false
    const bytes = typeof id === 'string' ? idText : id
    if (this.#quarantine.size > 0) this.#refuseItem(bytes, length)
    try {
      if (this.hold !== null) return this.hold.has(this.#generation, bytes, 0, length)
      return this.#groups.has(this.#generation, bytes, 0, length)
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
      count += this.#groups.visit(generation, group, scratch, wanted, withValues, passing)
    }
    return count
  }

  // Damage: see quarantine.ts.

  #refuseItem(bytes: Uint8Array, length: number): void {
    const range = this.#quarantine.at(this.number, hashId(bytes, 0, length))
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

  /** A frame of this file is damaged: nobody uses its group any more. Throws any other error. */
  damaged(error: unknown): DamagedRange {
    if (!(error instanceof FrameDamage) || error.generation.fileNumber !== this.number) throw error
    this.#miscounted()
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
    const { itemCount, itemBytes } = this.#generation
    try {
      if (this.hold !== null) this.hold.write(this.#generation, bytes, idStart, idEnd, valueEnd)
      else this.#groups.write(this.#generation, bytes, idStart, idEnd, valueEnd)
    } catch (error) {
      this.damaged(error)
    }
    if (this.#examination !== null) this.#note(hashId(bytes, idStart, idEnd), itemCount, itemBytes)
  }

  deleteItem(bytes: Uint8Array, idStart: number, idEnd: number, txn: number): void {
    this.#lastTxn = txn
    if (this.#quarantine.size > 0 && this.#leftOut(bytes, idStart, idEnd)) return
    const { itemCount, itemBytes } = this.#generation
    try {
      if (this.hold !== null) this.hold.remove(this.#generation, bytes, idStart, idEnd)
      else this.#groups.remove(this.#generation, bytes, idStart, idEnd)
    } catch (error) {
      this.damaged(error)
    }
    if (this.#examination !== null) this.#note(hashId(bytes, idStart, idEnd), itemCount, itemBytes)
  }

  /** An update of an item that is quarantined: the mend will bring what it makes of it. */
  #leftOut(bytes: Uint8Array, idStart: number, idEnd: number): boolean {
    return this.#quarantine.at(this.number, hashId(bytes, idStart, idEnd)) !== undefined
  }

  /**
   * Empties a range of hashes, whatever it holds and whether that can be read, so that it can be used again. Returns
   * whether data was changed that lies still for a helper.
   */
  clearRange(from: number, to: number, txn: number): boolean {
    this.#lastTxn = txn
    this.#miscounted()
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
    const generation = this.#parts.find(({ number }) => number === range.generation)
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

  /**
   * Reads about `itemsMax` more items: to find damage, and to count them, unless they have been. True when it has gone
   * over all of them.
   */
  examine(itemsMax: number): boolean {
    const generation = this.#generation
    if (this.#examination?.generation !== generation) this.#examination = null
    const exact = this.hold === null
    const state = (this.#examination ??= { generation, upTo: 0, items: 0, bytes: 0, exact })
    const scratch = new Slab(1)
    let items = 0
    let bytes = 0
    const count: EntryVisitor = (_, idStart, idEnd, __, valueStart, valueEnd) => {
      items++
      bytes += idEnd - idStart + valueEnd - valueStart
    }
    for (let left = itemsMax; state.upTo < hashEnd && left > 0; left -= Math.max(1, items)) {
      const known = this.#quarantine.at(this.number, state.upTo)
      const end = known?.to ?? this.#groupEnd(state.upTo)
      items = 0
      bytes = 0
      try {
        if (known === undefined) this.#visit(state.upTo, end, scratch, count, true, true)
        else state.exact = false
      } catch (error) {
        this.damaged(error)
      }
      state.items += items
      state.bytes += bytes
      state.upTo = end
    }
    if (state.upTo < hashEnd) return false
    this.#examination = null
    if (this.counted || !state.exact || this.hold !== null) return true
    generation.itemCount = state.items
    generation.itemBytes = state.bytes
    this.counted = true
    return true
  }

  #miscounted(): void {
    if (this.#examination !== null) this.#examination.exact = false
  }

  /** An update has changed the numbers, which were these before. */
  #note(hash: number, itemCount: number, itemBytes: number): void {
    const examination = this.#examination
    if (examination === null || hash >= examination.upTo) return
    examination.items += this.#generation.itemCount - itemCount
    examination.bytes += this.#generation.itemBytes - itemBytes
  }

  /** A frame of its data is damaged on the disk, and it has been examined since. */
  renew(generation: number, frame: number): void {
    const found = this.#parts.find(({ number }) => number === generation)
    if (found !== undefined && frame < found.frameCount) renewFrame(this.#cache, found, frame)
  }

  get #parts(): Generation[] {
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

function within(from: number, to: number, visit: EntryVisitor): EntryVisitor {
  return (bytes, idStart, idEnd, valueBytes, valueStart, valueEnd) => {
    const hash = hashId(bytes, idStart, idEnd)
    if (hash < from || hash >= to) return
    visit(bytes, idStart, idEnd, valueBytes, valueStart, valueEnd)
  }
}
