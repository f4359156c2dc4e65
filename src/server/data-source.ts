// What those who serve data commands work on: an open master, a slave, or files that are only looked at.
import type { Database } from '../database/database.ts'
import type { Updates } from './updates.ts'

export interface DataSource {
  readonly database: Database
  /** Resolves when everything that readers could have seen so far is durable. Awaited before an answer leaves. */
  settled(): Promise<void>
  /** Null where nothing may be written: ERR_READ_ONLY. */
  readonly updates: Updates | null
}
