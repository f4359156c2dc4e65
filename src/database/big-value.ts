// Values that are too big for a group's frames: a chain of frames with a piece each, and the allocation of
// frames in a generation, which they share with overflow frames.
import { HotBackupError } from '../errors.ts'
import { itemBytesMax } from '../limits.ts'
import { type FrameCache } from './cache.ts'
import { dataFileName } from './data-file-name.ts'
import {
  countOf,
  frameHeaderBytes,
  framePayloadBytes,
  FrameKind,
  initFrame,
  kindOf,
  nextOf,
  setCount,
  setNext,
  type Slab,
} from './frame.ts'
import { type Generation } from './generation.ts'
import { FrameDamage } from './quarantine.ts'

/** Frame numbers are u32, and offsets in a data file stay far below 2^53. */
const frameCountMax = 2 ** 32 - 1

/**
 * Takes a frame from the free ones, or the next at the end, and makes it an empty one of that kind. Returns
 * its number; the frame is in the cache and changed.
 */
export function allocateFrame(cache: FrameCache, generation: Generation, kind: FrameKind): number {
  const free = takeFree(cache, generation)
  const frame = free ?? generation.frameCount
  if (frame >= frameCountMax) {
    throw new HotBackupError('ERR_APPLY', `file ${generation.fileNumber} has no frames left`)
  }
  if (free === null) generation.frameCount++
  const slot = free === null ? cache.fresh(generation, frame) : cache.get(generation, frame)
  cache.change(slot, generation)
  const { fileNumber, number } = generation
  initFrame(cache.slab(slot), cache.base(slot), kind, fileNumber, number, frame)
  return frame
}

/** The first of the free frames; null when there is none. One that is damaged is given up, with all behind it. */
function takeFree(cache: FrameCache, generation: Generation): number | null {
  const frame = generation.freeHead
  if (frame === 0) return null
  try {
    const slot = getFrame(cache, generation, frame, FrameKind.free)
    generation.freeHead = nextOf(cache.slab(slot), cache.base(slot))
    return frame
  } catch (error) {
    if (!(error instanceof FrameDamage)) throw error
    generation.freeHead = 0
    return null
  }
}

export function freeFrame(cache: FrameCache, generation: Generation, frame: number): void {
  const slot = cache.get(generation, frame)
  cache.change(slot, generation)
  const { fileNumber, number, freeHead } = generation
  initFrame(cache.slab(slot), cache.base(slot), FrameKind.free, fileNumber, number, frame)
  setNext(cache.slab(slot), cache.base(slot), freeHead)
  generation.freeHead = frame
}

/** The slot of a frame that another one refers to. Throws ERR_DATABASE_CORRUPT when it is of another kind. */
export function getFrame(
  cache: FrameCache,
  generation: Generation,
  frame: number,
  kind: FrameKind,
): number {
  const slot = cache.get(generation, frame)
  checkKind(generation, frame, kindOf(cache.slab(slot), cache.base(slot)), kind)
  return slot
}

/** Copies such a frame to `target`. `passing`: one that is not in the cache stays out of it. */
export function copyFrame(
  cache: FrameCache,
  generation: Generation,
  frame: number,
  kind: FrameKind,
  target: Slab,
  passing: boolean,
): void {
  if (!passing) cache.get(generation, frame)
  cache.copy(generation, frame, target)
  checkKind(generation, frame, kindOf(target, 0), kind)
}

function checkKind(generation: Generation, frame: number, found: number, kind: FrameKind): void {
  if (found === kind) return
  throw corrupt(generation, frame, `frame ${frame} has kind ${found}, expected ${kind}`)
}

/** Stores the value from its end to its start, so that each frame knows the next. Returns the first frame. */
export function writeBigValue(
  cache: FrameCache,
  generation: Generation,
  bytes: Uint8Array,
  start: number,
  length: number,
): number {
  let next = 0
  for (let piece = Math.ceil(length / framePayloadBytes) - 1; piece >= 0; piece--) {
    const from = start + piece * framePayloadBytes
    const pieceBytes = Math.min(framePayloadBytes, start + length - from)
    const frame = allocateFrame(cache, generation, FrameKind.bigValue)
    const slot = cache.get(generation, frame)
    const slab = cache.slab(slot)
    const base = cache.base(slot)
    setNext(slab, base, next)
    setCount(slab, base, pieceBytes)
    slab.u8.set(bytes.subarray(from, from + pieceBytes), base + frameHeaderBytes)
    next = frame
  }
  return next
}

/**
 * Throws ERR_DATABASE_CORRUPT when the frames hold another length than the reference says. `passing`: the frames are
 * copied there, and not kept in the cache.
 */
export function readBigValue(
  cache: FrameCache,
  generation: Generation,
  first: number,
  length: number,
  passing: Slab | null = null,
): Buffer {
  if (length > itemBytesMax) throw corrupt(generation, first, `an item of ${length} bytes`)
  const value = Buffer.allocUnsafe(length)
  let end = 0
  for (let frame = first; frame !== 0;) {
    let slab = passing
    let base = 0
    if (slab === null) {
      const slot = getFrame(cache, generation, frame, FrameKind.bigValue)
      slab = cache.slab(slot)
      base = cache.base(slot)
    } else {
      copyFrame(cache, generation, frame, FrameKind.bigValue, slab, true)
    }
    const count = countOf(slab, base)
    if (count === 0 || end + count > length) break
    const from = base + frameHeaderBytes
    value.set(slab.u8.subarray(from, from + count), end)
    end += count
    frame = nextOf(slab, base)
  }
  if (end !== length) {
    const what = `the frames from ${first} on do not hold an item of ${length} bytes`
    throw corrupt(generation, first, what)
  }
  return value
}

/** The value that a REFERENCE at `at` of the slab refers to (see frame.ts). Throws likewise. */
export function readReference(
  cache: FrameCache,
  generation: Generation,
  { view }: Slab,
  at: number,
  passing: Slab | null,
): Buffer {
  const [length, first] = [view.getUint32(at, true), view.getUint32(at + 4, true)]
  return readBigValue(cache, generation, first, length, passing)
}

export function freeBigValue(cache: FrameCache, generation: Generation, first: number): void {
  for (let frame = first; frame !== 0;) {
    const slot = getFrame(cache, generation, frame, FrameKind.bigValue)
    const next = nextOf(cache.slab(slot), cache.base(slot))
    freeFrame(cache, generation, frame)
    frame = next
  }
}

/** Frames that do not fit each other. */
export function corrupt(generation: Generation, frame: number, what: string): FrameDamage {
  const name = dataFileName(generation.fileNumber, generation.number)
  return new FrameDamage(generation, frame, false, `data file ${name}: ${what}`)
}
