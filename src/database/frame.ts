// A frame is the unit of data files, of the cache and of the journal: 4 KiB that hold items, a piece of a
// big value, checksums of other frames, or nothing.
//
// FRAME, 4,096 bytes, little-endian
//
//    0  CRC-32          u32  of bytes 4 to 4,095; computed when the frame is written out, 0 in the cache
//    4  next            u32  the frame that continues this one; 0 is none (frame 0 continues nothing)
//    8  file number     u32
//   12  generation      u32
//   16  frame number    u32  its offset in the data file / 4,096
//   20  kind            u8   see FrameKind
//   21  reserved        u8   0
//   22  count           u16  items: entries of the slot directory; big value: bytes of the value here
//   24  heap start      u16  lowest byte of the heap; 4,096 when it is empty
//   26  garbage         u16  bytes of the heap that belong to no entry any more
//   28  reserved        u32  0
//   32  slot directory  u32 each: tag (low half of the hash) u16, offset of the entry u16; grows up
//    …  heap            entries; grows down
//
// ENTRY, at a multiple of 4
//
//    0  header          u32  bits 0–10 id length, bits 11–22 value length, bit 31 the value is a reference
//    4  id              bytes
//    …  value           bytes, or a REFERENCE (8 bytes): u32 value length, u32 first frame of the big value
//    …  padding         to a multiple of 4
//
// A frame is valid if and only if its CRC matches, file number, generation and frame number are those of the place
// where it was found, and its CRC is the one that was written last (frame-sums.ts). A frame of zeros is valid if and
// only if that frame was never written: it is an empty group then.
// A big value lies in a chain of frames, each with up to 4,064 bytes of it from offset 32 on.
// Any change here is a new version of the database format: see catalog.ts.
import assert from 'node:assert/strict'
import { endianness } from 'node:os'
import { itemIdBytesMax } from '../limits.ts'

assert(endianness() === 'LE', 'frames are read as little-endian words in place')

export const frameBytes = 4096
export const frameShift = 12
export const frameHeaderBytes = 32
export const framePayloadBytes = frameBytes - frameHeaderBytes
const slotBytes = 4
const entryHeaderBytes = 4
const bigFlag = 0x80000000
export const referenceBytes = 8
/** An entry above this has its value in frames of its own, so that a frame takes at least two items. */
export const entryBytesMax = 2000

assert(2 * (entryBytesMax + slotBytes) <= framePayloadBytes)
assert(entryBytes(itemIdBytesMax, referenceBytes) <= entryBytesMax)
assert(itemIdBytesMax < 2 ** 11 && entryBytesMax < 2 ** 12)

export const FrameKind = { group: 1, overflow: 2, bigValue: 3, free: 4, sums: 5 } as const
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind]

/** One large piece of memory, seen as bytes, half words and words. */
export class Slab {
  readonly u8: Uint8Array
  readonly u16: Uint16Array
  readonly u32: Uint32Array
  /** For words that are not aligned. */
  readonly view: DataView

  constructor(frames: number) {
    const memory = new ArrayBuffer(frames * frameBytes)
    this.u8 = new Uint8Array(memory)
    this.u16 = new Uint16Array(memory)
    this.u32 = new Uint32Array(memory)
    this.view = new DataView(memory)
  }
}

// The functions below take a slab and the byte offset of the frame in it, a multiple of 4,096.

export function nextOf(slab: Slab, base: number): number {
  return slab.u32[(base >> 2) + 1]!
}
export function setNext(slab: Slab, base: number, frame: number): void {
  slab.u32[(base >> 2) + 1] = frame
}
export function kindOf(slab: Slab, base: number): number {
  return slab.u8[base + 20]!
}
export function countOf(slab: Slab, base: number): number {
  return slab.u16[(base >> 1) + 11]!
}
export function setCount(slab: Slab, base: number, count: number): void {
  slab.u16[(base >> 1) + 11] = count
}

/** Makes an empty frame. The bytes of the heap are left as they are: nothing refers to them. */
export function initFrame(
  slab: Slab,
  base: number,
  kind: FrameKind,
  fileNumber: number,
  generation: number,
  frame: number,
): void {
  const word = base >> 2
  slab.u32[word] = 0
  slab.u32[word + 1] = 0
  slab.u32[word + 2] = fileNumber
  slab.u32[word + 3] = generation
  slab.u32[word + 4] = frame
  slab.u32[word + 5] = kind
  slab.u32[word + 6] = frameBytes // heap start, and no garbage
  slab.u32[word + 7] = 0
}

/** A data file has zeros for a group that was never written: they become an empty frame. */
export function initIfBlank(
  slab: Slab,
  base: number,
  { fileNumber, number }: { readonly fileNumber: number; readonly number: number },
  frame: number,
): void {
  if (slab.u32[(base >> 2) + 5] !== 0) return
  initFrame(slab, base, FrameKind.group, fileNumber, number, frame)
}

/** Bytes that an entry takes of the heap. */
export function entryBytes(idLength: number, valueLength: number): number {
  return (entryHeaderBytes + idLength + valueLength + 3) & ~3
}

/** Position in the slot directory of the entry with that id, -1 when there is none. */
export function findEntry(
  slab: Slab,
  base: number,
  tag: number,
  bytes: Uint8Array,
  idStart: number,
  idLength: number,
): number {
  const { u8, u32 } = slab
  const directory = (base + frameHeaderBytes) >> 2
  const end = directory + slab.u16[(base >> 1) + 11]!
  for (let at = directory; at < end; at++) {
    const slot = u32[at]!
    if ((slot & 0xffff) !== tag) continue
    const entry = base + (slot >>> 16)
    if ((u32[entry >> 2]! & 0x7ff) !== idLength) continue
    let i = 0
    for (let own = entry + entryHeaderBytes; i < idLength; i++) {
      if (u8[own + i] !== bytes[idStart + i]) break
    }
    if (i === idLength) return at - directory
  }
  return -1
}

/** Byte offset in the slab of the entry at `index` of the slot directory. */
export function entryAt(slab: Slab, base: number, index: number): number {
  return base + (slab.u32[((base + frameHeaderBytes) >> 2) + index]! >>> 16)
}

// Of an entry, by its byte offset in the slab:

export function idStartOf(entry: number): number {
  return entry + entryHeaderBytes
}
export function idLengthOf(slab: Slab, entry: number): number {
  return slab.u32[entry >> 2]! & 0x7ff
}
/** Bytes that lie in the entry: the value, or the reference to it. */
export function valueLengthOf(slab: Slab, entry: number): number {
  return (slab.u32[entry >> 2]! >>> 11) & 0xfff
}
export function isBig(slab: Slab, entry: number): boolean {
  return (slab.u32[entry >> 2]! & bigFlag) !== 0
}
export function valueStartOf(slab: Slab, entry: number): number {
  return entry + entryHeaderBytes + (slab.u32[entry >> 2]! & 0x7ff)
}
/** Bytes of the item's value, wherever they lie. */
export function itemLengthOf(slab: Slab, entry: number): number {
  return isBig(slab, entry)
    ? slab.view.getUint32(valueStartOf(slab, entry), true)
    : valueLengthOf(slab, entry)
}

/** Bytes for new entries and their slots, compaction included. */
export function roomOf(slab: Slab, base: number): number {
  const half = base >> 1
  const free = slab.u16[half + 12]! - frameHeaderBytes - slab.u16[half + 11]! * slotBytes
  return free + slab.u16[half + 13]!
}
/** True when an entry of that many bytes fits, with its slot. */
export function fits(slab: Slab, base: number, bytes: number): boolean {
  return roomOf(slab, base) >= bytes + slotBytes
}

/** Adds an entry, which must fit. Its header is written; returns its byte offset in the slab. */
export function addEntry(
  slab: Slab,
  base: number,
  tag: number,
  idLength: number,
  valueLength: number,
  big: boolean,
): number {
  const bytes = entryBytes(idLength, valueLength)
  const count = slab.u16[(base >> 1) + 11]!
  const slot = ((base + frameHeaderBytes) >> 2) + count
  if (slab.u16[(base >> 1) + 12]! - (frameHeaderBytes + (count + 1) * slotBytes) < bytes) {
    compact(slab, base)
  }
  const entry = takeHeap(slab, base, bytes)
  slab.u32[slot] = tag | ((entry - base) << 16)
  slab.u16[(base >> 1) + 11] = count + 1
  slab.u32[entry >> 2] = idLength | (valueLength << 11) | (big ? bigFlag : 0)
  return entry
}

/** Gives the entry at `index` other lengths. Id and value must be written again. -1, and no change, without room. */
export function resizeEntry(
  slab: Slab,
  base: number,
  index: number,
  valueLength: number,
  big: boolean,
): number {
  const slot = ((base + frameHeaderBytes) >> 2) + index
  let entry = base + (slab.u32[slot]! >>> 16)
  const idLength = slab.u32[entry >> 2]! & 0x7ff
  const oldBytes = entryBytes(idLength, valueLengthOf(slab, entry))
  const bytes = entryBytes(idLength, valueLength)
  if (bytes <= oldBytes) {
    slab.u16[(base >> 1) + 13]! += oldBytes - bytes
  } else {
    const half = base >> 1
    const free = slab.u16[half + 12]! - frameHeaderBytes - slab.u16[half + 11]! * slotBytes
    if (free + slab.u16[half + 13]! + oldBytes < bytes) return -1
    const tag = slab.u32[slot]! & 0xffff
    if (free >= bytes) {
      slab.u16[half + 13]! += oldBytes
      entry = takeHeap(slab, base, bytes)
      slab.u32[slot] = tag | ((entry - base) << 16)
    } else {
      removeEntry(slab, base, index)
      return addEntry(slab, base, tag, idLength, valueLength, big)
    }
  }
  slab.u32[entry >> 2] = idLength | (valueLength << 11) | (big ? bigFlag : 0)
  return entry
}

/** Takes an entry out; the last one of the slot directory moves to its index. */
export function removeEntry(slab: Slab, base: number, index: number): void {
  const directory = (base + frameHeaderBytes) >> 2
  const half = base >> 1
  const count = slab.u16[half + 11]! - 1
  const entry = base + (slab.u32[directory + index]! >>> 16)
  const bytes = entryBytes(idLengthOf(slab, entry), valueLengthOf(slab, entry))
  slab.u32[directory + index] = slab.u32[directory + count]!
  slab.u16[half + 11] = count
  if (count === 0) {
    slab.u16[half + 12] = frameBytes
    slab.u16[half + 13] = 0
  } else {
    slab.u16[half + 13]! += bytes
  }
}

function takeHeap(slab: Slab, base: number, bytes: number): number {
  const start = slab.u16[(base >> 1) + 12]! - bytes
  slab.u16[(base >> 1) + 12] = start
  return base + start
}

const compacted = new Uint32Array(frameBytes >> 2)

/** Moves the entries together, so that all room lies in one piece. */
function compact(slab: Slab, base: number): void {
  const { u32 } = slab
  const directory = (base + frameHeaderBytes) >> 2
  const end = directory + slab.u16[(base >> 1) + 11]!
  const word = base >> 2
  let top = frameBytes >> 2
  for (let at = directory; at < end; at++) {
    const slot = u32[at]!
    const entry = word + (slot >>> 18)
    const header = u32[entry]!
    const words = entryBytes(header & 0x7ff, (header >>> 11) & 0xfff) >> 2
    top -= words
    for (let i = 0; i < words; i++) compacted[top + i] = u32[entry + i]!
    u32[at] = (slot & 0xffff) | (top << 18)
  }
  for (let i = top; i < frameBytes >> 2; i++) u32[word + i] = compacted[i]!
  slab.u16[(base >> 1) + 12] = top << 2
  slab.u16[(base >> 1) + 13] = 0
}

/** Above this a call out of JavaScript costs less than a loop over bytes (measured on Node 20). */
const loopBytesMax = 48
/** The same for a loop over words. */
const wordLoopBytesMax = 384

export function copyBytes(
  target: Uint8Array,
  at: number,
  bytes: Uint8Array,
  start: number,
  length: number,
): void {
  if (length > loopBytesMax) target.set(bytes.subarray(start, start + length), at)
  else for (let i = 0; i < length; i++) target[at + i] = bytes[start + i]!
}

/** The value of an item that keeps its size: the busiest copy of all goes by words and allocates nothing. */
export function copyWords(
  slab: Slab,
  at: number,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  length: number,
): void {
  if (length > wordLoopBytesMax) {
    copyBytes(slab.u8, at, bytes, start, length)
    return
  }
  const target = slab.view
  let i = 0
  for (; i + 4 <= length; i += 4) target.setInt32(at + i, view.getInt32(start + i, true), true)
  for (; i < length; i++) slab.u8[at + i] = bytes[start + i]!
}

/** What is wrong with the inner structure of a frame whose CRC matches; null when nothing is. */
export function frameFault(slab: Slab, base: number): string | null {
  const kind = kindOf(slab, base)
  const count = countOf(slab, base)
  if (kind < FrameKind.group || kind > FrameKind.free) return `has kind ${kind}`
  if (kind === FrameKind.bigValue) return count > framePayloadBytes ? `has ${count} bytes` : null
  const heapStart = slab.u16[(base >> 1) + 12]!
  if (heapStart > frameBytes || frameHeaderBytes + count * slotBytes > heapStart) {
    return `has ${count} entries above a heap that starts at ${heapStart}`
  }
  return null
}
