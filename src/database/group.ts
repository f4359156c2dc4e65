// Items of a generation: find, write and remove in the chain of frames of their group. The way of a small item that is
// there already and keeps its size allocates nothing.
import {
  allocateFrame,
  freeBigValue,
  freeFrame,
  getFrame,
  readReference,
  writeBigValue,
} from './big-value.ts'
import { type FrameCache } from './cache.ts'
import { ChainGuard } from './chain-guard.ts'
import {
  addEntry,
  copyBytes,
  copyWords,
  countOf,
  entryAt,
  entryBytes,
  entryBytesMax,
  findEntry,
  fits,
  FrameKind,
  idLengthOf,
  idStartOf,
  isBig,
  itemLengthOf,
  nextOf,
  referenceBytes,
  removeEntry,
  resizeEntry,
  setNext,
  Slab,
  valueLengthOf,
  valueStartOf,
} from './frame.ts'
import { type Generation } from './generation.ts'
import { groupOf, hashId, tagOf } from './hash.ts'

const noFrame = -1
/** Groups that are not badly sized have shorter chains. */
const unguardedSteps = 8

export class Groups {
  readonly #cache: FrameCache
  // What #find has found: where the item lies, and the frame before that one.
  #slab: Slab = new Slab(0)
  #base = 0
  #slot = 0
  #frame = 0
  #before = noFrame
  #index = 0
  // What #find has seen on its way: a frame with room, and the end of the chain.
  #roomy = noFrame
  #tail = 0
  /** Where `append` has put the last item: filling a long chain must not walk it each time. */
  #appendKey = 0
  #appendGroup = 0
  #appendTail = 0
  readonly #reference = new Uint8Array(referenceBytes)
  /** For the pieces of a big value in passing. */
  readonly #referenceView = new DataView(this.#reference.buffer)
  /** Records come in few buffers, again and again. */
  #source: Uint8Array = this.#reference
  #sourceView: DataView = this.#referenceView

  constructor(cache: FrameCache) {
    this.#cache = cache
  }

  has(generation: Generation, bytes: Uint8Array, start: number, end: number): boolean {
    return this.#find(generation, hashId(bytes, start, end), bytes, start, end - start, 0)
  }

  /** Bytes of the value; -1 when there is no such item. */
  lengthOf(generation: Generation, bytes: Uint8Array, start: number, end: number): number {
    if (!this.#find(generation, hashId(bytes, start, end), bytes, start, end - start, 0)) return -1
    return itemLengthOf(this.#slab, entryAt(this.#slab, this.#base, this.#index))
  }

  /** A copy of the value; null when there is no such item. */
  read(generation: Generation, bytes: Uint8Array, start: number, end: number): Buffer | null {
    if (!this.#find(generation, hashId(bytes, start, end), bytes, start, end - start, 0))
      return null
    const slab = this.#slab
    const entry = entryAt(slab, this.#base, this.#index)
    const from = valueStartOf(slab, entry)
    if (isBig(slab, entry)) return readReference(this.#cache, generation, slab, from, null)
    const length = valueLengthOf(slab, entry)
    const value = Buffer.allocUnsafe(length)
    copyBytes(value, 0, slab.u8, from, length)
    return value
  }

  /** Makes the item what `bytes` say. */
  write(
    generation: Generation,
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    valueEnd: number,
  ): void {
    const idLength = idEnd - idStart
    const length = valueEnd - idEnd
    const need = entryBytes(idLength, length)
    const hash = hashId(bytes, idStart, idEnd)
    const room = need <= entryBytesMax ? need : entryBytes(idLength, referenceBytes)
    const found = this.#find(generation, hash, bytes, idStart, idLength, room)
    if (found && need <= entryBytesMax) {
      const slab = this.#slab
      const entry = entryAt(slab, this.#base, this.#index)
      if (!isBig(slab, entry) && valueLengthOf(slab, entry) === length) {
        this.#cache.change(this.#slot, generation)
        copyWords(slab, entry + 4 + idLength, bytes, this.#viewOf(bytes), idEnd, length)
        return
      }
    }
    if (found) this.#replace(generation, bytes, idStart, idEnd, length, need <= entryBytesMax)
    else this.#insert(generation, hash, bytes, idStart, idEnd, length, need <= entryBytesMax)
  }

  /** False when there is no such item. */
  remove(generation: Generation, bytes: Uint8Array, start: number, end: number): boolean {
    if (!this.#find(generation, hashId(bytes, start, end), bytes, start, end - start, 0))
      return false
    this.#forgetValue(generation)
    this.#removeFound(generation)
    return true
  }

  /**
   * Adds an item that is certainly not there, fast when items come in the order of their hashes: the way to
   * fill a new generation.
   */
  append(
    generation: Generation,
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    value: Uint8Array,
    valueStart: number,
    length: number,
  ): void {
    const cache = this.#cache
    const hash = hashId(bytes, idStart, idEnd)
    const group = groupOf(hash, generation.modulo)
    generation.lookedAt = group
    const idLength = idEnd - idStart
    const inline = entryBytes(idLength, length) <= entryBytesMax
    const valueLength = inline ? length : this.#store(generation, value, valueStart, length)
    let frame =
      this.#appendKey === generation.key && this.#appendGroup === group ? this.#appendTail : group
    for (;;) {
      const slot = cache.get(generation, frame)
      const next = nextOf(cache.slab(slot), cache.base(slot))
      if (next === 0) break
      frame = next
    }
    const end = this.#roomAt(generation, frame, entryBytes(idLength, valueLength))
    this.#add(
      generation,
      end,
      tagOf(hash),
      bytes,
      idStart,
      idLength,
      valueLength,
      inline,
      value,
      valueStart,
    )
    this.#appendKey = generation.key
    this.#appendGroup = group
    this.#appendTail = end
  }

  /** Looks for the item; on the way, for a frame with `room` bytes (0: none wanted). */
  #find(
    generation: Generation,
    hash: number,
    bytes: Uint8Array,
    idStart: number,
    idLength: number,
    room: number,
  ): boolean {
    const cache = this.#cache
    const tag = tagOf(hash)
    let frame = groupOf(hash, generation.modulo)
    generation.lookedAt = frame
    let before = noFrame
    let roomy = noFrame
    let steps = 0
    let guard: ChainGuard | null = null
    for (;;) {
      const slot =
        before === noFrame
          ? cache.get(generation, frame)
          : getFrame(cache, generation, frame, FrameKind.overflow)
      const slab = cache.slab(slot)
      const base = cache.base(slot)
      const index = findEntry(slab, base, tag, bytes, idStart, idLength)
      if (index >= 0) {
        this.#slab = slab
        this.#base = base
        this.#slot = slot
        this.#frame = frame
        this.#before = before
        this.#index = index
        return true
      }
      if (room > 0 && roomy === noFrame && fits(slab, base, room)) roomy = frame
      const next = nextOf(slab, base)
      if (next === 0) {
        this.#roomy = roomy
        this.#tail = frame
        return false
      }
      if (++steps > unguardedSteps) (guard ??= new ChainGuard(generation, frame)).step(next)
      before = frame
      frame = next
    }
  }

  #viewOf(bytes: Uint8Array): DataView {
    if (this.#source !== bytes) {
      this.#source = bytes
      this.#sourceView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    }
    return this.#sourceView
  }

  /** The item was found, and its value has another length or lies elsewhere. */
  #replace(
    generation: Generation,
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    length: number,
    inline: boolean,
  ): void {
    const cache = this.#cache
    const frame = this.#frame
    const idLength = idEnd - idStart
    this.#forgetValue(generation)
    const valueLength = inline ? length : this.#store(generation, bytes, idEnd, length)
    const slot = cache.get(generation, frame)
    cache.change(slot, generation)
    const slab = cache.slab(slot)
    const entry = resizeEntry(slab, cache.base(slot), this.#index, valueLength, !inline)
    if (entry >= 0) {
      this.#fill(slab, entry, bytes, idStart, idLength, valueLength, inline, bytes, idEnd)
      generation.itemBytes += length
      return
    }
    this.#removeFound(generation)
    const hash = hashId(bytes, idStart, idEnd)
    const need = entryBytes(idLength, valueLength)
    this.#find(generation, hash, bytes, idStart, idLength, need)
    const target =
      this.#roomy !== noFrame ? this.#roomy : this.#roomAt(generation, this.#tail, need)
    this.#add(
      generation,
      target,
      tagOf(hash),
      bytes,
      idStart,
      idLength,
      valueLength,
      inline,
      bytes,
      idEnd,
    )
  }

  /** The item was not found; `#roomy` and `#tail` say what there is. */
  #insert(
    generation: Generation,
    hash: number,
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    length: number,
    inline: boolean,
  ): void {
    const idLength = idEnd - idStart
    const valueLength = inline ? length : this.#store(generation, bytes, idEnd, length)
    const frame =
      this.#roomy !== noFrame
        ? this.#roomy
        : this.#roomAt(generation, this.#tail, entryBytes(idLength, valueLength))
    this.#add(
      generation,
      frame,
      tagOf(hash),
      bytes,
      idStart,
      idLength,
      valueLength,
      inline,
      bytes,
      idEnd,
    )
  }

  /** The last frame of a chain when the entry fits, otherwise a new one behind it. */
  #roomAt(generation: Generation, tail: number, need: number): number {
    const cache = this.#cache
    let slot = cache.get(generation, tail)
    if (fits(cache.slab(slot), cache.base(slot), need)) return tail
    const frame = allocateFrame(cache, generation, FrameKind.overflow)
    slot = cache.get(generation, tail)
    cache.change(slot, generation)
    setNext(cache.slab(slot), cache.base(slot), frame)
    return frame
  }

  #add(
    generation: Generation,
    frame: number,
    tag: number,
    bytes: Uint8Array,
    idStart: number,
    idLength: number,
    valueLength: number,
    inline: boolean,
    value: Uint8Array,
    valueStart: number,
  ): void {
    const cache = this.#cache
    const slot = cache.get(generation, frame)
    cache.change(slot, generation)
    const slab = cache.slab(slot)
    const entry = addEntry(slab, cache.base(slot), tag, idLength, valueLength, !inline)
    this.#fill(slab, entry, bytes, idStart, idLength, valueLength, inline, value, valueStart)
    generation.itemCount++
    generation.itemBytes += idLength + itemLengthOf(slab, entry)
  }

  #fill(
    slab: Slab,
    entry: number,
    bytes: Uint8Array,
    idStart: number,
    idLength: number,
    valueLength: number,
    inline: boolean,
    value: Uint8Array,
    valueStart: number,
  ): void {
    const at = idStartOf(entry)
    copyBytes(slab.u8, at, bytes, idStart, idLength)
    if (inline) copyBytes(slab.u8, at + idLength, value, valueStart, valueLength)
    else copyBytes(slab.u8, at + idLength, this.#reference, 0, valueLength)
  }

  /** Puts a big value into frames and its reference into `#reference`. Returns the reference's length. */
  #store(generation: Generation, bytes: Uint8Array, start: number, length: number): number {
    const first = writeBigValue(this.#cache, generation, bytes, start, length)
    this.#referenceView.setUint32(0, length, true)
    this.#referenceView.setUint32(4, first, true)
    return referenceBytes
  }

  /** Takes the found item's value out of the count, and frees its frames when it is a big one. */
  #forgetValue(generation: Generation): void {
    const slab = this.#slab
    const entry = entryAt(slab, this.#base, this.#index)
    generation.itemBytes -= itemLengthOf(slab, entry)
    if (isBig(slab, entry)) {
      const first = slab.view.getUint32(valueStartOf(slab, entry) + 4, true)
      freeBigValue(this.#cache, generation, first)
    }
  }

  /** Takes the found entry out, and its frame when that is an overflow frame and empty now. */
  #removeFound(generation: Generation): void {
    const cache = this.#cache
    const frame = this.#frame
    let slot = cache.get(generation, frame)
    cache.change(slot, generation)
    const slab = cache.slab(slot)
    const base = cache.base(slot)
    generation.itemCount--
    generation.itemBytes -= idLengthOf(slab, entryAt(slab, base, this.#index))
    removeEntry(slab, base, this.#index)
    if (countOf(slab, base) > 0 || this.#before === noFrame) return
    const next = nextOf(slab, base)
    slot = cache.get(generation, this.#before)
    cache.change(slot, generation)
    setNext(cache.slab(slot), cache.base(slot), next)
    freeFrame(cache, generation, frame)
  }
}
