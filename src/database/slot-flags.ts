// STATES of a slot of the frame cache (cache.ts), a set of flags
//
//   referenced   used since the clock hand passed
//   dirty        changed since the last capture: must not be lost before it is in a checkpoint
//   loose        with dirty: no catalog names the generation yet, so the frame may be written to its data file
//                at any time to make room ("spilled")
//   captured     belongs to the running checkpoint and is not in its journal yet: whoever changes it first
//                puts a copy aside, under the odd key of the generation
//   pinned       belongs to the running checkpoint and is not in place yet: the data file has an older one
//   side         such a copy
//
// A slot may be evicted if and only if it has no flag but referenced, or it is loose and could be spilled.
// When nothing can be evicted, slabs are added above the limit; `overfull` warns long before, so what is added
// is bounded by the transactions that are applied in spite of it. `shrink` takes them away again.

export const referenced = 1
export const dirty = 2
export const captured = 4
export const pinned = 8
export const side = 16
export const loose = 32
/** Not evictable, whatever else. */
const held = captured | pinned | side

export function isHeld(flags: number): boolean {
  return (flags & held) !== 0 || (flags & (dirty | loose)) === dirty
}
