// What the catalog keeps of a generation of a file's data (generation.ts).
import type { SumsPlace } from './frame-sums.ts'

export interface GenerationState {
  readonly fileNumber: number
  /** Counted for the whole database and never used twice, so a leftover data file is never taken for a new one. */
  readonly number: number
  readonly modulo: number
  readonly itemCount: number
  /** Bytes of all ids and values. */
  readonly itemBytes: number
  /** Frames in use or free: groups first, then overflow and big values. */
  readonly frameCount: number
  /** First of the linked free frames; 0 is none. */
  readonly freeHead: number
  /** Frames from here on have never been written to the data file. */
  readonly diskFrames: number
  /** Where the checksums of the frames lie. */
  readonly sumsPlaces: readonly SumsPlace[]
}

/** The state alone, as it is now. */
export function stateOf(generation: GenerationState): GenerationState {
  const { fileNumber, number, modulo, itemCount, itemBytes } = generation
  const { frameCount, freeHead, diskFrames, sumsPlaces } = generation
  const frames = { frameCount, freeHead, diskFrames, sumsPlaces }
  return { fileNumber, number, modulo, itemCount, itemBytes, ...frames }
}
