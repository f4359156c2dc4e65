// Carries out the transactions that programs send (client/): each by itself, in their order, sharing blocks of the log.
// A transaction may depend on what its program has read; when that is not so any more nothing of it happens.
import { createHash } from 'node:crypto'
import type { Database } from '../database/database.ts'
import { HotBackupError } from '../errors.ts'
import { File } from '../updates/account.ts'
import type { CommitLevel } from '../config/policies.ts'
import { transact, type Transaction } from '../updates/transaction.ts'
import type { Updates } from '../updates/updates.ts'
import type { Step } from './packed-commits.ts'

/** Deleted items, of those to be deleted; or why nothing has happened. */
export type CommitOutcome = number | 'conflict' | Error

/** Thrown by a transaction that must not happen. */
class Conflict extends Error {}

export function digestOf(value: Uint8Array): Buffer {
  return createHash('sha256').update(value).digest()
}

export class CommitOperation {
  readonly #database: Database
  readonly #updates: Updates

  constructor(database: Database, updates: Updates) {
    this.#database = database
    this.#updates = updates
  }

  /** Resolves when all of them are done, as far as `level` says. `files`: by account and name. */
  async commit(
    files: readonly (readonly [string, string])[],
    commits: Iterable<readonly Step[]>,
    level: CommitLevel | undefined,
  ): Promise<CommitOutcome[]> {
    const handles = files.map(
      ([account, name]) => new File(account, name, this.#database, this.#updates),
    )
    const outcomes: Promise<CommitOutcome>[] = []
    for (const steps of commits) {
      if (this.#updates.turns.crowded) await this.#updates.turns.room()
      const outcome = this.#commitOne(handles, steps, level)
      outcomes.push(outcome.catch((error: unknown) => asOutcome(error)))
    }
    return Promise.all(outcomes)
  }

  async #commitOne(
    files: readonly File[],
    steps: readonly Step[],
    level: CommitLevel | undefined,
  ): Promise<CommitOutcome> {
    const [only, second] = steps
    if (only?.kind === 'write' && second === undefined) {
      const options = level === undefined ? {} : { level }
      await fileAt(files, only).write(only.id, only.value, options)
      return 0
    }
    const work = (transaction: Transaction): CommitOutcome => {
      let deleted = 0
      for (const step of steps) {
        if (take(transaction, fileAt(files, step), step)) deleted++
      }
      return deleted
    }
    return transact(this.#updates, this.#database, work, level)
  }
}

/** Whether an item was deleted. Throws Conflict. */
function take(transaction: Transaction, file: File, { kind, id, value }: Step): boolean {
  switch (kind) {
    case 'write':
      transaction.write(file, id, value)
      return false
    case 'delete':
      return transaction.delete(file, id)
    case 'absent':
      if (transaction.read(file, id) !== null) throw new Conflict()
      return false
    case 'same': {
      const found = transaction.read(file, id)
      if (found === null || !digestOf(found).equals(value)) throw new Conflict()
      return false
    }
    default:
      return kind satisfies never
  }
}

function fileAt(files: readonly File[], { file }: Step): File {
  const found = files[file]
  if (found !== undefined) return found
  throw new HotBackupError('ERR_WIRE', `a transaction names file ${file} of ${files.length}`)
}

function asOutcome(error: unknown): CommitOutcome {
  if (error instanceof Conflict) return 'conflict'
  return error instanceof Error ? error : new Error(String(error))
}
