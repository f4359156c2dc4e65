// Makes an empty group of one that is damaged, without believing anything of it. What it referred to is not freed:
// nobody knows whose it is by now. But frames that cannot be read are written anew, so that they are not met again as
// damage that is still to be repaired; they belong to nobody then.
import { copyFrame, readBigValue } from './big-value.ts'
import { type FrameCache } from './cache.ts'
import { ChainGuard } from './chain-guard.ts'
import {
  countOf,
  entryAt,
  FrameKind,
  initFrame,
  isBig,
  itemLengthOf,
  nextOf,
  Slab,
  valueStartOf,
} from './frame.ts'
import { type Generation } from './generation.ts'
import { FrameDamage } from './quarantine.ts'

export function emptyGroup(cache: FrameCache, generation: Generation, group: number): void {
  const { fileNumber, number } = generation
  for (const frame of new Set([group, ...unreadableFrames(cache, generation, group)])) {
    const kind = frame === group ? FrameKind.group : FrameKind.free
    const slot = cache.renew(generation, frame)
    initFrame(cache.slab(slot), cache.base(slot), kind, fileNumber, number, frame)
  }
}

/**
 * The data file is damaged there, and the file has been examined since. What memory has of the frame is written again
 * by the next checkpoint. One that cannot be read, and is none of a group's own, belongs to nobody who is sound.
 */
export function renewFrame(cache: FrameCache, generation: Generation, frame: number): void {
  const doubtful = cache.renewSums(generation, frame)
  for (const one of doubtful ?? [frame]) renewOne(cache, generation, one)
}

function renewOne(cache: FrameCache, generation: Generation, frame: number): void {
  const { fileNumber, number, modulo } = generation
  if (cache.renewSums(generation, frame) !== null) return
  try {
    cache.change(cache.get(generation, frame), generation)
  } catch (error) {
    if (!(error instanceof FrameDamage)) throw error
    if (frame < modulo) return
    const slot = cache.renew(generation, frame)
    initFrame(cache.slab(slot), cache.base(slot), FrameKind.free, fileNumber, number, frame)
  }
}

/** Of overflow and of big values, as far as the group can be followed. */
function unreadableFrames(cache: FrameCache, generation: Generation, group: number): number[] {
  const unreadable: number[] = []
  const [scratch, pieces] = [new Slab(1), new Slab(1)]
  const canRead = (read: () => unknown): boolean => {
    try {
      read()
      return true
    } catch (error) {
      if (!(error instanceof FrameDamage)) throw error
      if (error.unreadable && error.frame >= generation.modulo) unreadable.push(error.frame)
      return false
    }
  }
  const guard = new ChainGuard(generation, group)
  for (let frame = group; ; frame = nextOf(scratch, 0)) {
    const kind = frame === group ? FrameKind.group : FrameKind.overflow
    if (!canRead(() => copyFrame(cache, generation, frame, kind, scratch, true))) break
    for (let index = 0; index < countOf(scratch, 0); index++) {
      const entry = entryAt(scratch, 0, index)
      if (!isBig(scratch, entry)) continue
      const first = scratch.view.getUint32(valueStartOf(scratch, entry) + 4, true)
      const length = itemLengthOf(scratch, entry)
      canRead(() => readBigValue(cache, generation, first, length, pieces))
    }
    const next = nextOf(scratch, 0)
    if (next === 0 || !canRead(() => guard.step(next))) break
  }
  return unreadable
}
