// The beginning of a record whose end is still to come: in one buffer that grows, however small the pieces are.
import { recordBytesMax } from './import-record.ts'

export class RestOfRecord {
  #bytes = Buffer.alloc(0)
  #length = 0

  /** Keeps a copy. False when the record is longer than one may be. */
  keep(part: Buffer): boolean {
    const length = this.#length + part.length
    if (length > recordBytesMax) return false
    if (length > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(
        Math.min(recordBytesMax, Math.max(length, this.#bytes.length * 2)),
      )
      this.#bytes.copy(grown, 0, 0, this.#length)
      this.#bytes = grown
    }
    part.copy(this.#bytes, this.#length)
    this.#length = length
    return true
  }

  /** The whole record with its last part; null when it is longer than one may be. It may be a view of that part. */
  take(last: Buffer): Buffer | null {
    if (this.#length === 0) return last.length > recordBytesMax ? null : last
    if (!this.keep(last)) return null
    const whole = this.#bytes.subarray(0, this.#length)
    // It is the caller's own from now on.
    this.#bytes = Buffer.alloc(0)
    this.#length = 0
    return whole
  }
}
