// What one transaction has changed so far, and reads that see it.
import type { CommitLevel } from '../config/policies.ts'
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { HotBackupError } from '../errors.ts'
import { itemIdBytesMax } from '../limits.ts'
import type { Bytes } from '../log/record.ts'
import { File, stored } from './account.ts'
import { checkBytes, checkItem, checkText } from './arguments.ts'
import type { Updates, Change } from './updates.ts'

/** What a transaction's function may return: anything but a promise, since all of it happens in one turn. */
export type Synchronous<T> = T extends PromiseLike<unknown> ? never : T

/** Several updates that happen together or not at all. Only usable while the function that got it runs. */
export class Transaction {
  /** By file number and item-id; a later change of the same item replaces the earlier one. */
  readonly #changes = new Map<string, Change>()
  readonly #database: Database
  #closed = false

  constructor(database: Database) {
    this.#database = database
  }

  changes(): Change[] {
    return [...this.#changes.values()]
  }

  /** The item as it stands inside this transaction; null when there is none. */
  read(file: File, id: Bytes): Buffer | null {
    this.#checkOpen()
    checkBytes('an item-id', id)
    const hashed = this.#hashed(file)
    const change = this.#changes.get(keyOf(hashed, bytesOf(id)))
    if (change === undefined) return hashed.read(id)
    return change.value === null ? null : Buffer.from(change.value)
  }

  write(file: File, id: Bytes, value: Bytes): void {
    checkItem(value)
    const item = bytesOf(value)
    checkItem(item)
    this.#change(file, id, item)
  }

  /** False when there was no such item. */
  delete(file: File, id: Bytes): boolean {
    if (this.read(file, id) === null) return false
    this.#change(file, id, null)
    return true
  }

  /** The function has returned: using it any longer is a mistake in the program. */
  close(): void {
    this.#closed = true
  }

  #change(file: File, id: Bytes, value: Buffer | null): void {
    this.#checkOpen()
    checkBytes('an item-id', id)
    const idBytes = bytesOf(id)
    if (idBytes.length === 0 || idBytes.length > itemIdBytesMax) {
      throw new HotBackupError('ERR_ITEM_ID', `the item-id has ${idBytes.length} bytes`)
    }
    const hashed = this.#hashed(file)
    this.#changes.set(keyOf(hashed, idBytes), { file: hashed, id: idBytes, value })
  }

  #hashed(file: File): HashedFile {
    if (!(file instanceof File)) throw new TypeError('a transaction works on objects of class File')
    const hashed = file[stored]
    if (this.#database.fileByNumber(hashed.number) === hashed) return hashed
    throw new TypeError(`file ${file.account} ${file.name} belongs to another master`)
  }

  #checkOpen(): void {
    if (this.#closed) throw new TypeError('the transaction is over')
  }
}

/**
 * Runs `work` in one turn of the event loop and commits what it did; when it throws, nothing has happened. Resolves
 * with its result when the transaction is durable, or has got as far as the level says.
 */
export function transact<T>(
  updates: Updates,
  database: Database,
  work: (transaction: Transaction) => Synchronous<T>,
  level?: CommitLevel,
): Promise<T> {
  return updates.transaction(() => {
    const transaction = new Transaction(database)
    const result = work(transaction)
    refusePromise(result)
    transaction.close()
    return { changes: transaction.changes(), result }
  }, level)
}

/** Throws TypeError for what the compiler refuses, too: JavaScript gets here without it. */
function refusePromise(result: unknown): void {
  if (typeof result !== 'object' || result === null || !('then' in result)) return
  if (typeof result.then !== 'function') return
  // Its outcome does not count any more.
  Promise.resolve(result).catch(() => {})
  throw new TypeError('the function given to transaction() must not be async')
}

/** A copy: the caller may change its own bytes before the transaction is written. */
function bytesOf(bytes: Bytes): Buffer {
  checkText(bytes)
  return typeof bytes === 'string' ? Buffer.from(bytes) : Buffer.from(bytes)
}

function keyOf(file: HashedFile, id: Buffer): string {
  return `${file.number}:${id.toString('latin1')}`
}
