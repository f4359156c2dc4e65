// Goes over whole files in the background: for damage, where somebody has met some or suspects it, and to count their
// items again after it has been repaired.
import { type Accounts } from './accounts.ts'
import { type HashedFile } from './hashed-file.ts'
import { type DamagedRange, type Quarantine } from './quarantine.ts'

export class Examiner {
  readonly #accounts: Accounts
  readonly #quarantine: Quarantine
  readonly #suspect = new Set<HashedFile>()
  readonly #known = new WeakSet<DamagedRange>()
  /** To be counted, when they are whole. */
  readonly #uncounted = new Set<HashedFile>()

  constructor(accounts: Accounts, quarantine: Quarantine) {
    this.#accounts = accounts
    this.#quarantine = quarantine
    quarantine.onChange(() => this.#look())
  }

  /** A disk that has damaged one frame of a file may have damaged others. */
  #look(): void {
    for (const range of this.#quarantine.ranges) {
      const file = this.#accounts.byNumber(range.fileNumber)
      if (file === undefined) continue
      this.count(file)
      if (range.generation !== 0 && !this.#known.has(range)) this.suspect(file)
      this.#known.add(range)
    }
  }

  /** Looks at every item of the file. */
  suspect(file: HashedFile): void {
    this.#suspect.add(file)
  }

  /** The numbers of its items and bytes are not exact. */
  count(file: HashedFile): void {
    this.#uncounted.add(file)
  }

  get busy(): boolean {
    return this.#next !== null
  }

  /** Looks at about this many more items. True when the numbers of a file have changed. */
  step(itemsMax: number): boolean {
    const file = this.#next
    if (file === null) return false
    const { counted } = file
    if (file.examine(itemsMax)) this.#suspect.delete(file)
    return file.counted && !counted
  }

  /** The one that is examined now. */
  get #next(): HashedFile | null {
    for (const file of this.#suspect) {
      if (!file.deleted) return file
      this.#suspect.delete(file)
    }
    for (const file of this.#uncounted) {
      if (file.deleted || file.counted) this.#uncounted.delete(file)
      // It goes by all items, in one generation.
      else if (file.hold === null && this.#quarantine.of(file.number).length === 0) return file
    }
    return null
  }
}
