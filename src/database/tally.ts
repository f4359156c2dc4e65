// Counts the items that a walk over a file meets, between whose slices updates go on, and says at its end whether they
// are all that the file holds: a walk that is short must never be taken for the whole.
import { HotBackupError } from '../errors.ts'
import { hashEnd } from './hash.ts'

/** What a tally needs of a file. */
interface Tallied {
  readonly account: string
  readonly name: string
  readonly itemCount: number
  readonly bytes: number
  readonly counted: boolean
}

export class Tally {
  /** All items with hashes below this have been met. */
  upTo = 0
  #items = 0
  #bytes = 0
  #exact = true

  /** The walk has reached `upTo`, and has met this many more. */
  met(upTo: number, items: number, bytes: number): void {
    this.upTo = upTo
    this.#items += items
    this.#bytes += bytes
  }

  /** An update has changed the numbers of the file; so much of it concerns an item with that hash. */
  changed(hash: number, items: number, bytes: number): void {
    if (hash >= this.upTo) return
    this.#items += items
    this.#bytes += bytes
  }

  /** Something other than single items has changed, or could not be read: nothing can be said of the numbers. */
  spoil(): void {
    this.#exact = false
  }

  get items(): number {
    return this.#items
  }
  get bytes(): number {
    return this.#bytes
  }
  /** It has met everything. */
  get exact(): boolean {
    return this.#exact && this.upTo === hashEnd
  }

  /** Null when the file holds what was met, or nothing can be said. Without `withBytes` items alone are compared. */
  fault(file: Tallied, withBytes = true): HotBackupError | null {
    const { account, name, itemCount, bytes } = file
    if (!this.exact || !file.counted) return null
    if (this.#items === itemCount && (this.#bytes === bytes || !withBytes)) return null
    const found = withBytes
      ? `${this.#items} items with ${this.#bytes} bytes`
      : `${this.#items} items`
    const kept = withBytes ? `${itemCount} with ${bytes}` : `${itemCount}`
    const message = `file ${account} ${name} has ${found}; ${kept} were written`
    return new HotBackupError('ERR_DATABASE_CORRUPT', message, { account, file: name })
  }
}
