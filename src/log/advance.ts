// What every loop over a log must do: move on. Bytes are checked before they are believed, so each block and each
// segment leads further; should that ever fail, by unforeseen damage, the reader ends with an error
// that is treated like damage, and does not read the same bytes for ever.
import { HotBackupError } from '../errors.ts'

export class Advance {
  readonly #path: string
  readonly #unit: string
  #at: number

  /** `unit`: what is counted, for the message: "byte", "transaction". */
  constructor(path: string, unit: string, at = -1) {
    this.#path = path
    this.#unit = unit
    this.#at = at
  }

  /** Throws ERR_LOG_CORRUPT unless `at` lies behind where it was before. */
  to(at: number): void {
    if (!(at > this.#at)) {
      const message = `${this.#path}: reading does not get beyond ${this.#unit} ${this.#at}`
      throw new HotBackupError('ERR_LOG_CORRUPT', message, { path: this.#path })
    }
    this.#at = at
  }
}
