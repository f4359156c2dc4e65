// The one way in which a master's database changes: records are encoded into the log's gathering block, applied
// to the database, and committed, all in one turn of the event loop. So updates are in one order, a transaction
// is whole by construction, and nobody sees half of one.
import type { Checkpointer } from '../database/checkpointer.ts'
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { checkName } from '../database/names.ts'
import { HotBackupError } from '../errors.ts'
import {
  itemBytesMax,
  itemIdBytesMax,
  moduloMax,
  transactionBytesMax,
  unsyncedBytesMax,
} from '../limits.ts'
import type { Bytes, RecordEncoder } from '../log/record.ts'
import type { LogWriter } from '../log/writer.ts'
import { Transaction } from './transaction.ts'

export class Updates {
  readonly #log: LogWriter
  readonly #database: Database
  readonly #checkpointer: Checkpointer
  #closed = false

  constructor(log: LogWriter, database: Database, checkpointer: Checkpointer) {
    this.#log = log
    this.#database = database
    this.#checkpointer = checkpointer
  }

  /** Refuses every further update with ERR_CLOSED. */
  close(): void {
    this.#closed = true
  }

  /** Resolves when all updates so far are durable; at once when they are. */
  settled(): Promise<void> {
    return this.#log.durableTxn >= this.#log.lastTxn ? settledAlready : this.#log.synced()
  }

  /** Like `settled`, for what a reader can see of one file. */
  settledFile(file: HashedFile): Promise<void> {
    return this.isSettled(file) ? settledAlready : this.#log.synced()
  }

  isSettled(file: HashedFile): boolean {
    return this.#log.durableTxn >= file.lastTxn
  }

  /** Writes one item. The promise is shared by all updates of one block, so waiting costs nothing extra. */
  writeItem(file: HashedFile, id: Bytes, value: Bytes): Promise<void> {
    if (this.crowded) return this.#whenRoom(() => this.writeItem(file, id, value))
    checkItemId(id)
    checkItem(value)
    this.#update(encoder => encoder.writeItem(file.number, id, value), file)
    return this.#log.synced()
  }

  /** Deletes one item; false when there was none, and then nothing is logged. */
  async deleteItem(file: HashedFile, id: Bytes): Promise<boolean> {
    if (this.crowded) return this.#whenRoom(() => this.deleteItem(file, id))
    checkItemId(id)
    if (!file.has(id)) {
      await this.settledFile(file)
      return false
    }
    this.#update(encoder => encoder.deleteItem(file.number, id), file)
    await this.#log.synced()
    return true
  }

  async createAccount(account: string): Promise<void> {
    checkName('account', account)
    if (this.#database.hasAccount(account)) {
      throw new HotBackupError('ERR_EXISTS', `account ${account} exists already`, { account })
    }
    this.#update(encoder => encoder.createAccount(account))
    await this.#log.synced()
  }

  /** Deletes the account with its files, in one transaction. */
  async deleteAccount(account: string): Promise<void> {
    const files = this.#database.files(account)
    this.#update(encoder => {
      for (const file of files) {
        this.#log.ensureMapped(file.number, file.attributes)
        encoder.deleteFile(file.number)
      }
      encoder.deleteAccount(account)
    })
    await this.#log.synced()
  }

  async createFile(account: string, file: string, modulo: number): Promise<void> {
    checkName('file', file)
    checkModulo(modulo)
    if (this.#database.file(account, file) !== undefined) {
      throw new HotBackupError('ERR_EXISTS', `file ${account} ${file} exists already`, {
        account,
        file,
      })
    }
    const number = this.#database.nextFileNumber
    this.#update(encoder => {
      encoder.createFile(number, { account, file, modulo })
      this.#log.markMapped(number)
    })
    await this.#log.synced()
  }

  async deleteFile(file: HashedFile): Promise<void> {
    this.#update(encoder => encoder.deleteFile(file.number), file)
    await this.#log.synced()
  }

  async clearFile(file: HashedFile): Promise<void> {
    this.#update(encoder => encoder.clearFile(file.number), file)
    await this.#log.synced()
  }

  async resizeFile(file: HashedFile, modulo: number): Promise<void> {
    checkModulo(modulo)
    this.#update(encoder => encoder.resizeFile(file.number, modulo), file)
    await this.#log.synced()
  }

  /**
   * Runs `work` in one turn of the event loop and commits what it did as one transaction; when it throws, nothing
   * has happened. Resolves with its result when the transaction is durable.
   */
  async transaction<T>(work: (transaction: Transaction) => T): Promise<T> {
    if (this.crowded) return this.#whenRoom(() => this.transaction(work))
    const transaction = new Transaction()
    const result = work(transaction)
    if (result instanceof Promise) {
      result.catch(() => {}) // Its outcome does not count any more.
      throw new TypeError('the function given to transaction() must not be async')
    }
    transaction.close()
    if (transaction.size > 0) {
      this.#update(encoder => {
        for (const { file, id, value } of transaction.changes()) {
          this.#log.ensureMapped(file.number, file.attributes)
          if (value === null) encoder.deleteItem(file.number, id)
          else encoder.writeItem(file.number, id, value)
          if (encoder.end - this.#log.transactionStart > transactionBytesMax) {
            throw new HotBackupError(
              'ERR_TRANSACTION_SIZE',
              'the transaction is larger than 128 MiB',
            )
          }
        }
      })
    }
    await this.settled()
    return result
  }

  /**
   * Encodes, applies and commits. When encoding or applying fails nothing has happened: the log takes the records
   * back before anyone could have seen them.
   */
  #update(encode: (encoder: RecordEncoder) => void, file?: HashedFile): void {
    if (this.#closed) throw new HotBackupError('ERR_CLOSED', 'the master is closed')
    const log = this.#log
    const encoder = log.begin()
    try {
      const start = encoder.end
      if (file !== undefined) log.ensureMapped(file.number, file.attributes)
      encode(encoder)
      encoder.endTransaction()
      this.#database.apply(encoder.bytes, start, encoder.end, log.lastTxn + 1)
    } catch (error) {
      log.abandon()
      throw error
    }
    log.commit()
    this.#checkpointer.note()
  }

  /** Too much is under way: the next update waits (memory is bounded by settings, not by eagerness). */
  get crowded(): boolean {
    return this.#log.unsyncedBytes > unsyncedBytesMax || this.#database.overfull
  }

  async room(): Promise<void> {
    await this.#log.drained()
    await this.#checkpointer.room()
  }

  async #whenRoom<T>(update: () => Promise<T>): Promise<T> {
    await this.room()
    return update()
  }
}

const settledAlready = Promise.resolve()

function checkItemId(id: Bytes): void {
  const length = id.length
  if (length === 0) throw new HotBackupError('ERR_ITEM_ID', 'the item-id is empty')
  // Text can only be longer in UTF-8 than in units: the encoder measures that.
  if (length > itemIdBytesMax) {
    throw new HotBackupError('ERR_ITEM_ID', `the item-id has ${length} bytes`)
  }
}

function checkItem(value: Bytes): void {
  if (value.length > itemBytesMax) {
    throw new HotBackupError('ERR_ITEM_SIZE', `the item has ${value.length} bytes`)
  }
}

function checkModulo(modulo: number): void {
  if (!Number.isInteger(modulo) || modulo < 1 || modulo > moduloMax) {
    throw new HotBackupError('ERR_MODULO', `${modulo} is no modulo`)
  }
}
