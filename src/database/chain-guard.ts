// Notices that a chain of frames leads back into itself, wherever the loop begins: no walk goes on for ever. One that
// the disk has made is found before by checksums; this is for what a program may have done.
import { dataFileName } from './data-file-name.ts'
import { type Generation } from './generation.ts'
import { FrameDamage } from './quarantine.ts'

export class ChainGuard {
  readonly #generation: Generation
  #anchor: number
  #steps = 0
  #stepsMax = 1

  /** The walk stands at `frame`. */
  constructor(generation: Generation, frame: number) {
    this.#generation = generation
    this.#anchor = frame
  }

  /** The walk goes on to `frame`. Throws FrameDamage when it has been there, after a few rounds at most. */
  step(frame: number): void {
    if (frame === this.#anchor) {
      const { fileNumber, number } = this.#generation
      const message = `data file ${dataFileName(fileNumber, number)}: the chain of frame ${frame} leads back to it`
      throw new FrameDamage(this.#generation, frame, false, message)
    }
    if (++this.#steps < this.#stepsMax) return
    this.#anchor = frame
    this.#steps = 0
    this.#stepsMax *= 2
  }
}
