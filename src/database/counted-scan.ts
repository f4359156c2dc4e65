// Scans of all items of a file that fail rather than end early.
import { type EntryVisitor } from './group-walk.ts'
import { hashEnd } from './hash.ts'
import { type HashedFile } from './hashed-file.ts'
import { Tally } from './tally.ts'

/** One scan from beginning to end, as HashedFile.scanEntries makes it; to be ended in any case. */
export class CountedScan {
  readonly #file: HashedFile
  readonly #withValues: boolean
  readonly #tally = new Tally()
  #cursor: number | null = 0

  constructor(file: HashedFile, withValues = true) {
    this.#file = file
    this.#withValues = withValues
    file.watch(this.#tally)
  }

  /**
   * About so many items more. False when there are none left. Throws ERR_DATABASE_CORRUPT when the file should hold
   * others than were met, and as `scanEntries` does.
   */
  next(itemsMax: number, visit: EntryVisitor): boolean {
    if (this.#cursor === null) return false
    let items = 0
    let bytes = 0
    const counting: EntryVisitor = (source, idStart, idEnd, value, valueStart, valueEnd) => {
      items++
      bytes += idEnd - idStart + valueEnd - valueStart
      visit(source, idStart, idEnd, value, valueStart, valueEnd)
    }
    const file = this.#file
    this.#cursor = file.scanEntries(this.#cursor, itemsMax, counting, this.#withValues)
    this.#tally.met(this.#cursor ?? hashEnd, items, bytes)
    if (this.#cursor !== null) return true
    const fault = file.deleted ? null : this.#tally.fault(file, this.#withValues)
    this.end()
    if (fault !== null) throw fault
    return false
  }

  end(): void {
    this.#file.unwatch(this.#tally)
  }
}
