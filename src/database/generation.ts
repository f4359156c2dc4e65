// A generation is one life of a file's data: clearing or resizing a file starts the next, in a data file of
// its own, and leaves the old one as it is until no durable catalog names it any more.
import { type DiskFile } from '../platform/disk.ts'
import { FrameSums, type SumsPlace } from './frame-sums.ts'
import type { GenerationState } from './generation-state.ts'
import { type RemoveJob } from './helper-jobs.ts'

let lastKey = 0

export class Generation implements GenerationState {
  readonly fileNumber: number
  readonly number: number
  readonly modulo: number
  itemCount: number
  itemBytes: number
  frameCount: number
  freeHead: number
  diskFrames: number
  /** Its frames in the cache go by this even number; copies for a checkpoint by the odd one behind it. */
  readonly key: number
  /** A catalog names it, or will: from then on only checkpoints write the data file. */
  named: boolean
  /** The data file was written without a checkpoint: the next one syncs it before it commits. */
  spilled = false
  /** Number of the checkpoint that captured it last. */
  checkpoint = 0
  /** Its place in the catalog of that checkpoint. */
  checkpointIndex = 0
  /** The group of its that was looked at last: when a frame turns out to be damaged, it is one of that group. */
  lookedAt = 0
  /** Belongs to no file any more. */
  dropped = false
  /** Dropped: how to remove its data file, when it is large. */
  removal: RemoveJob | null = null
  /** The data file, while it is open (see DataFiles). */
  handle: DiskFile | null = null
  handleWrites = false
  handleUsed = 0
  /** The checksums of the frames in the data file. */
  readonly sums: FrameSums
  /** Read-only, with a journal that was not finished: where newer frames lie in the journal. */
  overlay: ReadonlyMap<number, number> | null = null

  constructor(state: GenerationState, named: boolean) {
    this.fileNumber = state.fileNumber
    this.number = state.number
    this.modulo = state.modulo
    this.itemCount = state.itemCount
    this.itemBytes = state.itemBytes
    this.frameCount = state.frameCount
    this.freeHead = state.freeHead
    this.diskFrames = state.diskFrames
    this.named = named
    this.sums = new FrameSums(state.sumsPlaces)
    lastKey += 2
    this.key = lastKey
  }

  get sumsPlaces(): SumsPlace[] {
    return this.sums.places()
  }

  static empty(fileNumber: number, number: number, modulo: number, named: boolean): Generation {
    const counts = { itemCount: 0, itemBytes: 0, frameCount: modulo, freeHead: 0, diskFrames: 0 }
    return new Generation({ fileNumber, number, modulo, ...counts, sumsPlaces: [] }, named)
  }
}
