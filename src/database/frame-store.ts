// What the frame cache needs of the data files.
import { type Slab } from './frame.ts'
import { type Generation } from './generation.ts'

/** Where frames come from and go to, behind the cache's back. */
export interface FrameStore {
  /** Fills the frame from the data file; all zeros where it was never written. Throws ERR_DATABASE_CORRUPT. */
  readFrame(generation: Generation, frame: number, slab: Slab, base: number): void
  /** True when the group was never written to the data file. Throws ERR_DISK. */
  isBlank(generation: Generation, group: number): boolean
  /**
   * When a page of checksums lies in that frame: has the next checkpoint write it again. Returns the frames that cannot
   * be used because of it; null when none lies there.
   */
  renewSums(generation: Generation, frame: number): number[] | null
  /** Writes a frame of a generation that no catalog names. */
  spillFrame(generation: Generation, frame: number, slab: Slab, base: number): void
}
