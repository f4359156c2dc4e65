// The master's side of verification: writes into the log what its database holds, slice by slice, each in the turn of
// the event loop in which it is read. So every mark is exact at its transaction, while updates go on between any two.
import type { Database } from '../database/database.ts'
import { hashEnd } from '../database/hash.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { hashItems, sliceAt, sumRange } from '../database/range-digest.ts'
import { Tally } from '../database/tally.ts'
import { vouchFor } from '../database/vouch.ts'
import type { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { isOnSlaves } from '../log/file-flags.ts'
import type { FilesRecord } from '../log/verify-record.ts'
import type { Updates } from '../updates/updates.ts'

/** Items that are counted in one turn. */
const countedItems = 1000

/** Of one transaction that repairs. */
const repairBytes = 1 * MiB

/** Of one record; some megabytes. */
const recordItemsMax = 50_000

export interface Marked {
  /** Where to go on: `hashEnd` when the file is done, or gone. */
  readonly next: number
  /** The transaction; null when nothing was written. */
  readonly txn: number | null
}

export class VerifyMarks {
  readonly #database: Database
  readonly #updates: Pick<Updates, 'verify' | 'repair'>

  constructor(database: Database, updates: Pick<Updates, 'verify' | 'repair'>) {
    this.#database = database
    this.#updates = updates
  }

  /** Which accounts and files there are. `whole`: a pass over all of them begins. Resolves with the transaction. */
  async files(whole: boolean): Promise<number> {
    const txn = await this.#updates.verify(() => ({ fileNumber: 0, record: this.#list(whole) }))
    return txn!
  }

  async end(firstTxn: number): Promise<number> {
    const record = { form: 'end', txn: firstTxn } as const
    const txn = await this.#updates.verify(() => ({ fileNumber: 0, record }))
    return txn!
  }

  /** The files that are compared. */
  compared(): HashedFile[] {
    return this.#everything().files.filter(isCompared)
  }

  /** The first of them with this number or a higher one. */
  nextFile(number: number): HashedFile | null {
    const database = this.#database
    for (let at = number; at < database.nextFileNumber; at++) {
      const file = database.fileByNumber(at)
      if (file !== undefined && isCompared(file)) return file
    }
    return null
  }

  /**
   * The slice of the file that begins with `hash`: resolves with what is behind it. `tally` is of all slices of the
   * file, if they were looked at. Throws ERR_DATABASE_CORRUPT, also when the file should hold other items than they
   * had, ERR_DISK, and as updates do.
   */
  async slice(file: HashedFile, hash: number, tally = new Tally()): Promise<Marked> {
    let next = hashEnd
    let fault: HotBackupError | null = null
    const txn = await this.#updates.verify(() => {
      if (!isCompared(file)) return null
      const slice = sliceAt(file, hash)
      next = slice.to
      const sum = sumRange(file, slice)
      tally.met(next, sum.items, sum.bytes)
      fault = tally.fault(file)
      return { fileNumber: file.number, record: { form: 'range', ...slice, ...sum } }
    })
    if (fault !== null) throw fault as HotBackupError
    return { next, txn }
  }

  /** The items of a slice one by one; likewise, but no further than `to`. */
  async items(file: HashedFile, hash: number, to: number): Promise<Marked> {
    let next = to
    const txn = await this.#updates.verify(() => {
      if (!isCompared(file)) return null
      const { modulo, ...slice } = sliceAt(file, hash)
      next = Math.min(to, slice.to)
      let found = hashItems(file, { modulo, from: hash, to: next })
      // A group can hold any number.
      while (found.size > recordItemsMax && next - hash > 1) {
        next = hash + Math.ceil((next - hash) / 2)
        found = hashItems(file, { modulo, from: hash, to: next })
      }
      const items = [...found.values()]
      const record = { form: 'items', modulo, from: hash, to: next, items } as const
      return { fileNumber: file.number, record }
    })
    return { next, txn }
  }

  /**
   * Writes the items again as they are, or deletes them again. What this server does not hold is deleted on its word,
   * so that is proved first. Throws ERR_DATABASE_CORRUPT, ERR_GROUP_DAMAGED, and as updates do.
   */
  async repair(file: HashedFile, ids: readonly Buffer[]): Promise<void> {
    await vouchFor(file, countedItems)
    let some: Buffer[] = []
    let bytes = 0
    for (const id of ids) {
      some.push(id)
      bytes += id.length + (file.read(id)?.length ?? 0)
      if (bytes < repairBytes) continue
      await this.#updates.repair(file, some)
      some = []
      bytes = 0
    }
    if (some.length > 0) await this.#updates.repair(file, some)
  }

  #list(whole: boolean): FilesRecord {
    const { accounts, files } = this.#everything()
    const rows = files.map(({ number, account, name, modulo, flags }) => {
      return { number, account, file: name, modulo, flags }
    })
    return { form: 'files', whole, accounts, files: rows }
  }

  /** With those that the master before did not replicate. */
  #everything(): { readonly accounts: string[]; readonly files: HashedFile[] } {
    const database = this.#database
    const accounts = database.accounts()
    const files = accounts.flatMap(account => [
      ...database.files(account),
      ...database.absentFiles(account),
    ])
    return { accounts, files }
  }
}

/** The slaves are to hold the same of it. */
function isCompared(file: HashedFile): boolean {
  return !file.deleted && !file.absent && isOnSlaves(file.flags)
}
