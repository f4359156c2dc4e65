// A hold file: takes the updates of a file while a helper builds its next generation out of the present one, the
// base, which nobody changes meanwhile. When the new generation is there it becomes the base, and the hold is drained
// into it, in the order of the hashes; then the hold is gone. Readers see the truth all the while.
//
// It is no log but two generations: "held" has the items as they were written last, "gone" the ids that were deleted
// and that the base still has. So a held update costs what any update costs, a read needs no search, memory is the
// cache's, and checkpoints and recovery know nothing new. Updates that replace each other take the room of one.
//
// Where an item with a certain hash is looked for:
//
//   hash < drainedTo      base
//   hash >= drainedTo     held; else nowhere if it is in gone; else base
import { type FrameCache } from './cache.ts'
import { Slab } from './frame.ts'
import { type Generation } from './generation.ts'
import { type Groups } from './group.ts'
import { visitGroup, type EntryVisitor } from './group-walk.ts'
import { groupOf, groupStart, hashEnd, hashId } from './hash.ts'

/** What the catalog keeps of a hold, besides its two generations. */
export interface HoldState {
  /** What the file was ordered to have, and shows. */
  readonly modulo: number
  /** Number of the generation that the helper builds. */
  readonly target: number
  /** The target is the base now, and what is held goes into it. */
  readonly draining: boolean
  readonly drainedTo: number
  /** What readers see: items, and bytes of their ids and values. */
  readonly itemCount: number
  readonly itemBytes: number
  /** Updates that have been held so far. */
  readonly updates: number
}

/** The state alone, as it is now. */
export function holdStateOf(hold: HoldState): HoldState {
  const { modulo, target, draining, drainedTo, itemCount, itemBytes, updates } = hold
  return { modulo, target, draining, drainedTo, itemCount, itemBytes, updates }
}

export class Hold implements HoldState {
  readonly held: Generation
  readonly gone: Generation
  readonly #cache: FrameCache
  readonly #groups: Groups
  modulo: number
  target: number
  draining: boolean
  drainedTo: number
  itemCount: number
  itemBytes: number
  updates: number
  /**
   * The checkpoint that has the whole base, after which a helper may read the data file; 0 before it has begun.
   * `frozen` when it is complete.
   */
  checkpoint = 0
  frozen: boolean

  constructor(
    cache: FrameCache,
    groups: Groups,
    generations: { readonly held: Generation; readonly gone: Generation },
    state: HoldState,
    frozen: boolean,
  ) {
    this.#cache = cache
    this.#groups = groups
    this.held = generations.held
    this.gone = generations.gone
    this.modulo = state.modulo
    this.target = state.target
    this.draining = state.draining
    this.drainedTo = state.drainedTo
    this.itemCount = state.itemCount
    this.itemBytes = state.itemBytes
    this.updates = state.updates
    this.frozen = frozen
  }

  /** A copy of the item; null when there is none. */
  read(base: Generation, bytes: Uint8Array, start: number, end: number): Buffer | null {
    const hash = hashId(bytes, start, end)
    if (hash >= this.drainedTo) {
      if (this.#mayHave(this.held, hash)) {
        const held = this.#groups.read(this.held, bytes, start, end)
        if (held !== null) return held
      }
      if (this.#has(this.gone, hash, bytes, start, end)) return null
    }
    return this.#groups.read(base, bytes, start, end)
  }

  /** Bytes of its value; -1 when there is none. */
  lengthOf(base: Generation, bytes: Uint8Array, start: number, end: number): number {
    const hash = hashId(bytes, start, end)
    if (hash >= this.drainedTo) return this.#lengthOf(base, hash, bytes, start, end)
    return this.#groups.lengthOf(base, bytes, start, end)
  }

  /** Id and value lie one behind the other. */
  write(
    base: Generation,
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    valueEnd: number,
  ): void {
    const groups = this.#groups
    const hash = hashId(bytes, idStart, idEnd)
    if (hash < this.drainedTo) {
      this.#counted(base, () => groups.write(base, bytes, idStart, idEnd, valueEnd))
      return
    }
    const before = this.#lengthOf(base, hash, bytes, idStart, idEnd)
    groups.write(this.held, bytes, idStart, idEnd, valueEnd)
    if (this.#mayHave(this.gone, hash)) groups.remove(this.gone, bytes, idStart, idEnd)
    this.updates++
    this.itemBytes += valueEnd - idEnd - Math.max(0, before)
    if (before >= 0) return
    this.itemCount++
    this.itemBytes += idEnd - idStart
  }

  remove(base: Generation, bytes: Uint8Array, idStart: number, idEnd: number): void {
    const groups = this.#groups
    const hash = hashId(bytes, idStart, idEnd)
    if (hash < this.drainedTo) {
      this.#counted(base, () => groups.remove(base, bytes, idStart, idEnd))
      return
    }
    const before = this.#lengthOf(base, hash, bytes, idStart, idEnd)
    if (before < 0) return
    if (this.#mayHave(this.held, hash)) groups.remove(this.held, bytes, idStart, idEnd)
    if (groups.has(base, bytes, idStart, idEnd)) {
      groups.write(this.gone, bytes, idStart, idEnd, idEnd)
    }
    this.updates++
    this.itemCount--
    this.itemBytes -= idEnd - idStart + before
  }

  /** Visits what readers see with hashes from `start` to `end`. Returns how many items that are. */
  visitRange(
    base: Generation,
    start: number,
    end: number,
    scratch: Slab,
    visit: EntryVisitor,
    withValues: boolean,
    passing: boolean,
  ): number {
    let count = 0
    const within =
      (accept: (hash: number, bytes: Uint8Array, start: number, end: number) => boolean) =>
      (...[bytes, idStart, idEnd, ...value]: Parameters<EntryVisitor>): void => {
        const own = hashId(bytes, idStart, idEnd)
        if (own < start || own >= end || !accept(own, bytes, idStart, idEnd)) return
        count++
        visit(bytes, idStart, idEnd, ...value)
      }
    const valid = within((own, ...id) => own < this.drainedTo || !this.#hides(own, ...id))
    this.#visit(base, start, end, scratch, valid, withValues, passing)
    const held = within(own => own >= this.drainedTo)
    this.#visit(this.held, start, end, scratch, held, withValues, passing)
    return count
  }

  /** Gives up what `drain` would do next; returns from where to where. */
  passOver(): { readonly from: number; readonly to: number } {
    const from = this.drainedTo
    this.drainedTo = groupStart(groupOf(from, this.held.modulo) + 1, this.held.modulo)
    return { from, to: this.drainedTo }
  }

  /** Brings about `itemsMax` held updates into the base. True when there are none left. */
  drain(base: Generation, itemsMax: number): boolean {
    const groups = this.#groups
    const { held, gone } = this
    const scratch = new Slab(1)
    const removed: EntryVisitor = (bytes, idStart, idEnd) => {
      groups.remove(base, bytes, idStart, idEnd)
    }
    const written: EntryVisitor = (bytes, idStart, idEnd, value, valueStart, valueEnd) => {
      if (value === bytes) groups.write(base, bytes, idStart, idEnd, valueEnd)
      else {
        const id = bytes.subarray(idStart, idEnd)
        const both = Buffer.concat([id, value.subarray(valueStart, valueEnd)])
        groups.write(base, both, 0, id.length, both.length)
      }
    }
    for (let left = itemsMax; this.drainedTo < hashEnd && left > 0;) {
      const end = groupStart(groupOf(this.drainedTo, held.modulo) + 1, held.modulo)
      // Neither begins in the middle of a group: both have the same modulo.
      const count =
        this.#visit(gone, this.drainedTo, end, scratch, removed, false) +
        this.#visit(held, this.drainedTo, end, scratch, written, true)
      this.drainedTo = end
      left -= Math.max(1 / 8, count)
    }
    return this.drainedTo === hashEnd
  }

  /** Visits the groups that have hashes from `start` to `end`. Returns how many items there were. */
  #visit(
    generation: Generation,
    start: number,
    end: number,
    scratch: Slab,
    visit: EntryVisitor,
    withValues: boolean,
    passing = false,
  ): number {
    let count = 0
    const last = groupOf(end - 1, generation.modulo)
    for (let group = groupOf(start, generation.modulo); group <= last; group++) {
      if (this.#cache.isBlank(generation, group)) continue
      count += visitGroup(this.#cache, generation, group, scratch, visit, withValues, passing)
    }
    return count
  }

  /** The base's item is not what readers see. */
  #hides(hash: number, bytes: Uint8Array, start: number, end: number): boolean {
    return (
      this.#has(this.held, hash, bytes, start, end) || this.#has(this.gone, hash, bytes, start, end)
    )
  }

  /** Bytes of the value that readers see; -1 when there is no such item. */
  #lengthOf(base: Generation, hash: number, bytes: Uint8Array, start: number, end: number): number {
    const groups = this.#groups
    if (this.#mayHave(this.held, hash)) {
      const length = groups.lengthOf(this.held, bytes, start, end)
      if (length >= 0) return length
    }
    if (this.#has(this.gone, hash, bytes, start, end)) return -1
    return groups.lengthOf(base, bytes, start, end)
  }

  #has(
    generation: Generation,
    hash: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    return this.#mayHave(generation, hash) && this.#groups.has(generation, bytes, start, end)
  }

  /** False for most groups of a hold, which have never been written: looking into them would make frames of them. */
  #mayHave(generation: Generation, hash: number): boolean {
    if (generation.itemCount === 0) return false
    return !this.#cache.isBlank(generation, groupOf(hash, generation.modulo))
  }

  /** A change of the base itself, which readers see. */
  #counted(base: Generation, change: () => void): void {
    const { itemCount, itemBytes } = base
    change()
    this.itemCount += base.itemCount - itemCount
    this.itemBytes += base.itemBytes - itemBytes
  }
}
