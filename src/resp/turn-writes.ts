// Updates for those who make many in one turn of the event loop: nothing is awaited but room, and the end.
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { checkName } from '../database/names.ts'
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, itemIdBytesMax, transactionBytesMax } from '../limits.ts'
import type { RecordEncoder } from '../log/record.ts'
import type { LogWriter } from '../log/writer.ts'
import type { FileChange, Writes } from './store.ts'
import type { Commits } from '../updates/commits.ts'
import type { Updates } from '../updates/updates.ts'

export class TurnWrites implements Writes {
  readonly #updates: Updates
  readonly #log: LogWriter
  readonly #database: Database
  readonly #commits: Commits

  constructor(updates: Updates, log: LogWriter, database: Database, commits: Commits) {
    this.#updates = updates
    this.#log = log
    this.#database = database
    this.#commits = commits
  }

  get crowded(): boolean {
    return this.#updates.turns.crowded
  }

  room(): Promise<void> {
    return this.#updates.turns.room()
  }

  get lastTxn(): number {
    return this.#log.lastTxn
  }

  done(): Promise<void> {
    return this.#commits.done()
  }

  writeItem(
    file: HashedFile,
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void {
    checkItem(idEnd - idStart, valueEnd - valueStart)
    this.#updates.now(
      encoder => encoder.item(file.number, bytes, idStart, idEnd, value, valueStart, valueEnd),
      file,
    )
  }

  deleteItem(file: HashedFile, bytes: Uint8Array, idStart: number, idEnd: number): void {
    checkItem(idEnd - idStart, 0)
    this.#updates.now(encoder => encoder.item(file.number, bytes, idStart, idEnd, null, 0, 0), file)
  }

  resize(file: HashedFile, modulo: number): void {
    this.#updates.now(encoder => encoder.resizeFile(file.number, modulo), file)
  }

  commit(changes: Iterable<FileChange>): void {
    this.#updates.now(encoder => {
      let next = this.#database.nextFileNumber
      const accounts = new Set<string>()
      for (const change of changes) {
        const number = change.file?.number ?? next++
        if (change.file === undefined) this.#create(encoder, change, number, accounts)
        else this.#log.ensureMapped(number, change.file.attributes)
        if (change.removed) {
          encoder.deleteFile(number)
          continue
        }
        if (change.cleared && change.file !== undefined) encoder.clearFile(number)
        for (const { id, value } of change.items) {
          checkItem(id.length, value?.length ?? 0)
          encoder.item(number, id, 0, id.length, value, 0, value?.length ?? 0)
          this.#checkSize(encoder)
        }
      }
    })
  }

  /** `accounts`: those that the transaction has created. */
  #create(
    encoder: RecordEncoder,
    { account, name, modulo }: FileChange,
    number: number,
    accounts: Set<string>,
  ): void {
    checkName('account', account)
    checkName('file', name)
    if (!accounts.has(account) && !this.#database.hasAccount(account)) {
      encoder.createAccount(account)
      accounts.add(account)
    }
    const file = { account, file: name, modulo }
    this.#updates.encodeCreate(encoder, number, file, false)
  }

  #checkSize(encoder: RecordEncoder): void {
    if (encoder.end - this.#log.transactionStart <= transactionBytesMax) return
    throw new HotBackupError('ERR_TRANSACTION_SIZE', 'the transaction is larger than 128 MiB')
  }
}

function checkItem(idLength: number, valueLength: number): void {
  if (idLength === 0 || idLength > itemIdBytesMax) {
    throw new HotBackupError('ERR_ITEM_ID', `the item-id has ${idLength} bytes`)
  }
  if (valueLength > itemBytesMax) {
    throw new HotBackupError('ERR_ITEM_SIZE', `the item has ${valueLength} bytes`)
  }
}
