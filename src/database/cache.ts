// The frame cache: every frame that is read or changed lies here. A few large slabs hold the frames, one
// table finds them by (generation, frame); nothing is allocated for a frame. What a slot may be: slot-flags.ts.
//
// RULE: a slot number is valid until the next call of get, fresh or change for another frame.
import { type FrameStore } from './frame-store.ts'
import { frameBytes, frameShift, initIfBlank, Slab } from './frame.ts'
import { type Generation } from './generation.ts'
import { captured, dirty, isHeld, loose, pinned, referenced, side } from './slot-flags.ts'

/** 4 MiB: a database of a few frames shall not take much memory, and a large one not have too many slabs. */
const slabFramesMax = 1024
const slotsMin = 32
/** Per slot, besides the frame: 9 bytes of state and up to 32 bytes of the table. */
const slotOverheadBytes = 41
const tableEntriesMin = 1024
/** Above this part of the cache, writers must wait for a checkpoint. */
const overfullPart = 0.8

export class FrameCache {
  readonly #store: FrameStore
  readonly #slabs: Slab[] = []
  readonly #slabShift: number
  readonly #slabMask: number
  /** Slots within the limit. */
  readonly #slotLimit: number
  /** Slots that have been handed out at least once. */
  #slotTop = 0
  #flags: Uint8Array
  #keys: Uint32Array
  #frames: Uint32Array
  /**
   * Two words an entry: frame, and slot + 1 (0: free). No larger than what is cached asks for: a table that is
   * spread over more memory than needed makes every look-up miss the processor's caches.
   */
  #table = new Uint32Array(2 * tableEntriesMin)
  #tableMask = tableEntriesMin - 1
  #tableCount = 0
  readonly #freeSlots: number[] = []
  #hand = 0
  #dirtyCount = 0
  #heldCount = 0
  /** By key: the generations that may have dirty frames. */
  readonly #generations = new Map<number, Generation>()

  constructor(cacheBytes: number, store: FrameStore) {
    this.#store = store
    const slots = Math.max(slotsMin, Math.floor(cacheBytes / (frameBytes + slotOverheadBytes)))
    let shift = 4
    while (1 << (shift + 1) <= Math.min(slabFramesMax, slots / 8)) shift++
    this.#slabShift = shift
    this.#slabMask = (1 << shift) - 1
    this.#slotLimit = (slots >> shift) << shift
    this.#flags = new Uint8Array(0)
    this.#keys = new Uint32Array(0)
    this.#frames = new Uint32Array(0)
  }

  /** Bytes of changed frames: what a checkpoint would write. */
  get dirtyBytes(): number {
    return this.#dirtyCount * frameBytes
  }
  /** Bytes of frames that cannot be evicted now. */
  get heldBytes(): number {
    return this.#heldCount * frameBytes
  }
  get limitBytes(): number {
    return this.#slotLimit * frameBytes
  }
  /** Bytes of frames that are allocated, above the limit too. */
  get allocatedBytes(): number {
    return this.#slabs.length * (frameBytes << this.#slabShift)
  }
  get overfull(): boolean {
    return this.#heldCount >= this.#slotLimit * overfullPart
  }
  /** Frames that can be taken in before one has to go. */
  get unusedFrames(): number {
    return this.#slotLimit - this.#slotTop
  }

  register(generation: Generation): void {
    this.#generations.set(generation.key, generation)
  }
  /** Its dirty frames are garbage from now on. */
  forget(generation: Generation): void {
    this.#generations.delete(generation.key)
  }
  generationOf(key: number): Generation | undefined {
    return this.#generations.get(key)
  }

  slab(slot: number): Slab {
    return this.#slabs[slot >>> this.#slabShift]!
  }
  /** Byte offset of the slot's frame in its slab. */
  base(slot: number): number {
    return (slot & this.#slabMask) << frameShift
  }

  /** The slot of the frame, which is read from the data file when it is not here. */
  get(generation: Generation, frame: number): number {
    const table = this.#table
    const mask = this.#tableMask
    const key = generation.key
    for (let entry = place(key, frame) & mask; ; entry = (entry + 1) & mask) {
      const slot = table[2 * entry + 1]! - 1
      if (slot < 0) return this.#load(generation, frame)
      if (table[2 * entry] === frame && this.#keys[slot] === key) {
        const flags = this.#flags[slot]!
        if ((flags & referenced) === 0) this.#flags[slot] = flags | referenced
        return slot
      }
    }
  }

  /** Copies the frame to the start of `target`. One that is not here is read and not kept: it was wanted once. */
  copy(generation: Generation, frame: number, target: Slab): void {
    const slot = this.#find(generation.key, frame)
    if (slot >= 0) {
      const base = this.base(slot)
      target.u8.set(this.slab(slot).u8.subarray(base, base + frameBytes))
    } else {
      this.#store.readFrame(generation, frame, target, 0)
      initIfBlank(target, 0, generation, frame)
    }
  }

  /** A slot for a frame that is nowhere yet: all of it is the caller's to write. */
  fresh(generation: Generation, frame: number): number {
    const slot = this.#takeSlot()
    this.#enter(generation.key, frame, slot)
    this.#flags[slot] = referenced
    return slot
  }

  /** A slot for a frame that is to be written anew, whatever the data file has of it; as `change` leaves it. */
  renew(generation: Generation, frame: number): number {
    const found = this.#find(generation.key, frame)
    const slot = found >= 0 ? found : this.fresh(generation, frame)
    this.change(slot, generation)
    return slot
  }

  /**
   * Reserves up to `count` slots that lie one behind the other in one slab, none of them used before, to be filled
   * by one read; each is to be given to `adopt` or `abandon`. Null when there are none.
   */
  reserve(count: number): { readonly slot: number; readonly count: number } | null {
    if (this.unusedFrames <= 0) return null
    if (this.#slotTop === this.#slabs.length << this.#slabShift) this.#pushSlab()
    const slot = this.#slotTop
    const taken = Math.min(count, (this.#slabs.length << this.#slabShift) - slot)
    this.#slotTop += taken
    return { slot, count: taken }
  }

  /** The reserved slot holds what the data file has of the frame, checked. It counts only when no other slot does. */
  adopt(slot: number, generation: Generation, frame: number): void {
    if (this.#find(generation.key, frame) >= 0) this.abandon(slot)
    else this.#enterRead(slot, generation, frame)
  }

  /** The reserved slot is not needed. */
  abandon(slot: number): void {
    this.#freeSlots.push(slot)
  }

  /** True when the frame is certainly an empty group, neither here nor in the data file. */
  isBlank(generation: Generation, frame: number): boolean {
    return this.#find(generation.key, frame) < 0 && this.#store.isBlank(generation, frame)
  }

  /** See FrameStore. */
  renewSums(generation: Generation, frame: number): number[] | null {
    return this.#store.renewSums(generation, frame)
  }

  /** Before every change of a frame. */
  change(slot: number, generation: Generation): void {
    if ((this.#flags[slot]! & (dirty | captured)) !== dirty) this.#makeDirty(slot, generation)
  }

  #makeDirty(slot: number, generation: Generation): void {
    let flags = this.#flags[slot]!
    if ((flags & captured) !== 0) {
      this.#putAside(slot)
      flags &= ~captured
    }
    if ((flags & dirty) === 0) this.#dirtyCount++
    const next = flags | dirty | referenced | (generation.named ? 0 : loose)
    this.#setFlags(slot, next)
  }

  /** The copy takes over the part of the captured frame; the frame itself stays pinned. */
  #putAside(slot: number): void {
    const copy = this.#takeSlot()
    const from = this.base(slot)
    this.slab(copy).u8.set(this.slab(slot).u8.subarray(from, from + frameBytes), this.base(copy))
    this.#enter(this.#keys[slot]! + 1, this.#frames[slot]!, copy)
    this.#setFlags(copy, side)
    this.#setFlags(slot, this.#flags[slot]! & ~captured)
  }

  /** Keeps the count of slots that cannot be evicted. */
  #setFlags(slot: number, flags: number): void {
    this.#heldCount += Number(isHeld(flags)) - Number(isHeld(this.#flags[slot]!))
    this.#flags[slot] = flags
  }

  #load(generation: Generation, frame: number): number {
    const slot = this.#takeSlot()
    const slab = this.slab(slot)
    const base = this.base(slot)
    try {
      this.#store.readFrame(generation, frame, slab, base)
    } catch (error) {
      this.#freeSlots.push(slot)
      throw error
    }
    this.#enterRead(slot, generation, frame)
    return slot
  }

  #enterRead(slot: number, generation: Generation, frame: number): void {
    initIfBlank(this.slab(slot), this.base(slot), generation, frame)
    this.#enter(generation.key, frame, slot)
    this.#flags[slot] = referenced
  }

  // Slots

  #takeSlot(): number {
    const free = this.#freeSlots.pop()
    if (free !== undefined) return free
    if (this.#slotTop < this.#slabs.length << this.#slabShift) return this.#slotTop++
    if (this.#slotTop < this.#slotLimit) return this.#addSlab()
    const evicted = this.#evict()
    return evicted >= 0 ? evicted : this.#addSlab()
  }

  #addSlab(): number {
    this.#pushSlab()
    return this.#slotTop++
  }

  #pushSlab(): void {
    this.#slabs.push(new Slab(1 << this.#slabShift))
    const slots = this.#slabs.length << this.#slabShift
    if (slots > this.#flags.length) this.#growSlots(slots)
  }

  #growSlots(slots: number): void {
    const room = Math.max(slots + (slots >> 2), Math.min(2 * slots, this.#slotLimit))
    const [flags, keys, frames] = [this.#flags, this.#keys, this.#frames]
    ;(this.#flags = new Uint8Array(room)).set(flags)
    ;(this.#keys = new Uint32Array(room)).set(keys)
    ;(this.#frames = new Uint32Array(room)).set(frames)
  }

  /**
   * Second chance: the hand takes `referenced` away, and the slot when it comes again. -1 when next to nothing is
   * evictable.
   */
  #evict(): number {
    const slots = this.#slotTop
    // A sweep over many slots for few evictable ones would cost more than the memory is worth.
    if (slots - this.#heldCount <= slots >> 6) return -1
    const flagsOf = this.#flags
    for (let steps = 2 * slots; steps > 0; steps--) {
      const slot = this.#hand
      this.#hand = slot + 1 < slots ? slot + 1 : 0
      const flags = flagsOf[slot]!
      if (this.#keys[slot] === 0) continue
      if ((flags & referenced) !== 0) flagsOf[slot] = flags & ~referenced
      else if (flags === 0 || (flags === (dirty | loose) && this.#spill(slot))) {
        this.#leave(slot)
        return slot
      }
    }
    return -1
  }

  /** Makes a loose frame evictable. When that fails it is held instead: the checkpoint will meet the disk's error. */
  #spill(slot: number): boolean {
    const generation = this.#generations.get(this.#keys[slot]!)
    if (generation !== undefined) {
      try {
        this.#store.spillFrame(generation, this.#frames[slot]!, this.slab(slot), this.base(slot))
      } catch {
        this.#setFlags(slot, dirty)
        return false
      }
    }
    this.#dirtyCount--
    this.#flags[slot] = 0
    return true
  }

  // The table: linear probing; an entry is taken out by closing the gap.

  #find(key: number, frame: number): number {
    const table = this.#table
    const mask = this.#tableMask
    for (let entry = place(key, frame) & mask; ; entry = (entry + 1) & mask) {
      const slot = table[2 * entry + 1]! - 1
      if (slot < 0 || (table[2 * entry] === frame && this.#keys[slot] === key)) return slot
    }
  }

  #enter(key: number, frame: number, slot: number): void {
    this.#keys[slot] = key
    this.#frames[slot] = frame
    this.#tableCount++
    if (2 * this.#tableCount > this.#tableMask) this.#growTable()
    else this.#link(slot)
  }

  #link(slot: number): void {
    const mask = this.#tableMask
    const frame = this.#frames[slot]!
    let entry = place(this.#keys[slot]!, frame) & mask
    while (this.#table[2 * entry + 1] !== 0) entry = (entry + 1) & mask
    this.#table[2 * entry] = frame
    this.#table[2 * entry + 1] = slot + 1
  }

  #growTable(): void {
    this.#table = new Uint32Array(2 * this.#table.length)
    this.#tableMask = 2 * this.#tableMask + 1
    for (let slot = 0; slot < this.#slotTop; slot++) if (this.#keys[slot] !== 0) this.#link(slot)
  }

  #leave(slot: number): void {
    const table = this.#table
    const mask = this.#tableMask
    let gap = place(this.#keys[slot]!, this.#frames[slot]!) & mask
    while (table[2 * gap + 1] !== slot + 1) gap = (gap + 1) & mask
    for (let entry = (gap + 1) & mask; ; entry = (entry + 1) & mask) {
      const other = table[2 * entry + 1]! - 1
      if (other < 0) break
      const home = place(this.#keys[other]!, table[2 * entry]!) & mask
      // The entry may move into the gap when its home is not between the gap and itself.
      if (((entry - home) & mask) < ((entry - gap) & mask)) continue
      table[2 * gap] = table[2 * entry]!
      table[2 * gap + 1] = other + 1
      gap = entry
    }
    table[2 * gap + 1] = 0
    this.#tableCount--
    this.#keys[slot] = 0
  }

  #free(slot: number): void {
    if ((this.#flags[slot]! & dirty) !== 0) this.#dirtyCount--
    this.#setFlags(slot, 0)
    this.#leave(slot)
    this.#freeSlots.push(slot)
  }

  // For the checkpoint

  /** Every changed frame belongs to the checkpoint from now on. Returns their slots. */
  capture(): Int32Array {
    const slots = new Int32Array(this.#dirtyCount)
    let count = 0
    for (let slot = 0; slot < this.#slotTop; slot++) {
      const flags = this.#flags[slot]!
      if ((flags & dirty) === 0) continue
      this.#setFlags(slot, (flags & referenced) | captured | pinned)
      slots[count++] = slot
    }
    this.#dirtyCount = 0
    return slots
  }

  keyOf(slot: number): number {
    return this.#keys[slot]!
  }
  frameOf(slot: number): number {
    return this.#frames[slot]!
  }

  /** A captured frame of a generation that is no longer needed. */
  discard(slot: number): void {
    this.#free(slot)
  }

  /** Copies a captured frame as it was at the capture, and lets go of it: it may be changed in place now. */
  takeCaptured(key: number, frame: number, target: Uint8Array, at: number): void {
    const copy = this.#find(key + 1, frame)
    const slot = copy >= 0 ? copy : this.#find(key, frame)
    const base = this.base(slot)
    target.set(this.slab(slot).u8.subarray(base, base + frameBytes), at)
    if (copy >= 0) this.#free(copy)
    else this.#setFlags(slot, this.#flags[slot]! & ~captured)
  }

  /** The checkpoint is in place: its frames may be evicted. */
  release(slots: Int32Array): void {
    for (const slot of slots) {
      const flags = this.#flags[slot]!
      if ((flags & pinned) !== 0) this.#setFlags(slot, flags & ~pinned)
    }
  }

  /** The checkpoint failed before anything was in place: its frames are changed frames as before. */
  giveBack(slots: Int32Array): void {
    for (const slot of slots) {
      const flags = this.#flags[slot]!
      if ((flags & pinned) === 0) continue
      if ((flags & dirty) === 0) this.#dirtyCount++
      this.#setFlags(slot, (flags & referenced) | dirty)
    }
    for (let slot = 0; slot < this.#slotTop; slot++) {
      if ((this.#flags[slot]! & side) !== 0) this.#free(slot)
    }
  }

  /** Gives memory above the limit back, where nothing in it is held. */
  shrink(): void {
    while (this.#slabs.length << this.#slabShift > this.#slotLimit) {
      const first = (this.#slabs.length - 1) << this.#slabShift
      for (let slot = first; slot < this.#slotTop; slot++) {
        if (this.#keys[slot] !== 0 && (this.#flags[slot]! & ~referenced) !== 0) return
      }
      for (let slot = first; slot < this.#slotTop; slot++) {
        if (this.#keys[slot] !== 0) this.#free(slot)
      }
      const kept = this.#freeSlots.filter(slot => slot < first)
      this.#freeSlots.length = 0
      for (const slot of kept) this.#freeSlots.push(slot)
      this.#slotTop = Math.min(this.#slotTop, first)
      this.#slabs.pop()
    }
    if (this.#hand >= this.#slotTop) this.#hand = 0
  }
}

/** Where the search for an entry starts. */
function place(key: number, frame: number): number {
  const mixed = Math.imul(frame, 0x9e3779b1) ^ Math.imul(key, 0x85ebca6b)
  return mixed ^ (mixed >>> 15)
}
