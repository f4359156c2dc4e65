// Walks over the items of a group, frame by frame.
import { copyFrame, corrupt, readReference } from './big-value.ts'
import { type FrameCache } from './cache.ts'
import { ChainGuard } from './chain-guard.ts'
import {
  countOf,
  entryAt,
  FrameKind,
  idLengthOf,
  idStartOf,
  isBig,
  nextOf,
  Slab,
  valueLengthOf,
  valueStartOf,
} from './frame.ts'
import { type Generation } from './generation.ts'
import { groupOf, hashId } from './hash.ts'

/** Gets the item where it lies; valid until it returns. */
export type EntryVisitor = (
  bytes: Uint8Array,
  idStart: number,
  idEnd: number,
  valueBytes: Uint8Array,
  valueStart: number,
  valueEnd: number,
) => void

/** Pieces of big values that are not kept in the cache. */
const pieces = new Slab(1)

/**
 * Visits the items of a group, whose frames are copied to `scratch` one by one: the visitor may read from the
 * database meanwhile. `passing`: what is not in the cache stays out of it. Returns how many there were.
 */
export function visitGroup(
  cache: FrameCache,
  generation: Generation,
  group: number,
  scratch: Slab,
  visitor: EntryVisitor,
  withValues: boolean,
  passing = false,
): number {
  let visited = 0
  let frame = group
  let guard: ChainGuard | null = null
  do {
    const kind = frame === group ? FrameKind.group : FrameKind.overflow
    generation.lookedAt = group
    copyFrame(cache, generation, frame, kind, scratch, passing)
    const count = countOf(scratch, 0)
    if (frame !== group) checkOwner(generation, group, frame, scratch)
    for (let index = 0; index < count; index++) {
      const entry = entryAt(scratch, 0, index)
      const idStart = idStartOf(entry)
      const valueStart = valueStartOf(scratch, entry)
      if (isBig(scratch, entry) && withValues) {
        generation.lookedAt = group // The visitor may have looked elsewhere.
        const value = readReference(cache, generation, scratch, valueStart, passing ? pieces : null)
        visitor(scratch.u8, idStart, valueStart, value, 0, value.length)
      } else {
        const valueEnd = valueStart + (withValues ? valueLengthOf(scratch, entry) : 0)
        visitor(scratch.u8, idStart, valueStart, scratch.u8, valueStart, valueEnd)
      }
    }
    visited += count
    frame = nextOf(scratch, 0)
    if (frame !== 0) (guard ??= new ChainGuard(generation, group)).step(frame)
  } while (frame !== 0)
  return visited
}

/** An overflow frame that another group's chain has led to holds other items. */
function checkOwner(generation: Generation, group: number, frame: number, slab: Slab): void {
  const count = countOf(slab, 0)
  for (let index = 0; index < count; index++) {
    const entry = entryAt(slab, 0, index)
    const idStart = idStartOf(entry)
    const hash = hashId(slab.u8, idStart, idStart + idLengthOf(slab, entry))
    const owner = groupOf(hash, generation.modulo)
    if (owner === group) continue
    const what = `frame ${frame} of group ${group} holds an item of group ${owner}`
    throw corrupt(generation, frame, what)
  }
}

/** Leaves out what has other hashes. */
export function within(from: number, to: number, visit: EntryVisitor): EntryVisitor {
  return (bytes, idStart, idEnd, valueBytes, valueStart, valueEnd) => {
    const hash = hashId(bytes, idStart, idEnd)
    if (hash < from || hash >= to) return
    visit(bytes, idStart, idEnd, valueBytes, valueStart, valueEnd)
  }
}

/** Copies what a visitor keeps. */
export function copying(visit: (id: Buffer, value: Buffer) => void): EntryVisitor {
  return (bytes, idStart, idEnd, valueBytes, valueStart, valueEnd) => {
    const id = Buffer.from(bytes.subarray(idStart, idEnd))
    if (valueBytes === bytes) visit(id, Buffer.from(bytes.subarray(valueStart, valueEnd)))
    else visit(id, valueBytes as Buffer) // A big value is a copy already.
  }
}
