// How a database is opened.
import { type LongWorkPolicy } from './long-work.ts'

export interface DatabaseOptions {
  /** Bound of the memory for frames; a minimum of about 128 KiB is used in any case. */
  readonly cacheBytes: number
  /** Nothing is written, not even to recover; what is applied stays in memory, also above `cacheBytes`. */
  readonly readOnly?: boolean
  /** A record for an account or file that is not here creates it, with the master's attributes. */
  readonly autoCreate?: boolean
  /** A slave's: files that are not replicated are left out. */
  readonly replica?: boolean
  /** Which work on files is done by helpers, see `work`; null or nothing: all of it is done at once. */
  readonly longWork?: LongWorkPolicy | null
}
