// Turns the records of a transaction into changes. Every record sets a state, none adds to one, so a record
// that is applied again changes nothing. A transaction of one item takes the short way.
import { HotBackupError } from '../errors.ts'
import { isReplicated } from '../log/file-flags.ts'
import { RecordCursor, RecordType } from '../log/record.ts'
import { type Accounts } from './accounts.ts'
import { type FrameCache } from './cache.ts'
import { checkTransaction, type ApplyRules } from './check.ts'
import { type Groups } from './group.ts'
import { HashedFile } from './hashed-file.ts'
import { type LongWork } from './long-work.ts'
import { type OperationCounts } from './operation-counts.ts'
import { type Quarantine } from './quarantine.ts'

export class Applier {
  readonly #accounts: Accounts
  readonly #cache: FrameCache
  readonly #groups: Groups
  readonly #work: LongWork
  readonly #quarantine: Quarantine
  readonly #rules: ApplyRules
  readonly #counts: OperationCounts
  /** The same, with auto-create. */
  readonly #creating: ApplyRules
  readonly #cursor = new RecordCursor()
  /** Why a transaction was left half done: the frames in memory are of no use any more. */
  failure: unknown = null
  /** See Database.onVerify. */
  onVerify: (record: RecordCursor, txn: number) => void = () => {}

  constructor(
    accounts: Accounts,
    cache: FrameCache,
    groups: Groups,
    work: LongWork,
    quarantine: Quarantine,
    rules: ApplyRules,
    counts: OperationCounts,
  ) {
    this.#accounts = accounts
    this.#cache = cache
    this.#groups = groups
    this.#work = work
    this.#quarantine = quarantine
    this.#rules = rules
    this.#counts = counts
    this.#creating = { ...rules, autoCreate: true }
  }

  /** See Database.apply. */
  apply(bytes: Uint8Array, start: number, end: number, txn: number, rules = this.#rules): void {
    if (this.failure !== null) throw this.#stopped()
    const cursor = this.#cursor
    cursor.reset(bytes, start, end)
    if (start === end || !cursor.next() || !this.#isSingleItem(cursor, end)) {
      cursor.reset(bytes, start, end)
      checkTransaction(cursor, end, this.#accounts, rules)
      cursor.reset(bytes, start, end)
      cursor.next()
    }
    try {
      do this.#record(cursor, txn)
      while (cursor.next())
      this.#counts.transaction()
    } catch (error) {
      this.failure = error
      throw error
    }
  }

  /** See Database.applyAside. */
  applyCreating(bytes: Uint8Array, txn: number): void {
    this.apply(bytes, 0, bytes.length, txn, this.#creating)
  }

  /** True for the usual transaction, which needs no further check. */
  #isSingleItem(cursor: RecordCursor, end: number): boolean {
    return (
      cursor.type <= RecordType.deleteItem &&
      cursor.last &&
      cursor.valueEnd === end &&
      cursor.idStart < cursor.idEnd &&
      this.#accounts.byNumber(cursor.fileNumber) !== undefined
    )
  }

  #record(cursor: RecordCursor, txn: number): void {
    switch (cursor.type) {
      case RecordType.writeItem: {
        const file = this.#accounts.byNumber(cursor.fileNumber)!
        if (file.absent) return this.#counts.leftOut()
        file.writeItem(cursor.bytes, cursor.idStart, cursor.idEnd, cursor.valueEnd, txn)
        this.#counts.itemBytes(cursor.valueEnd - cursor.idStart)
        break
      }
      case RecordType.deleteItem: {
        const file = this.#accounts.byNumber(cursor.fileNumber)!
        if (file.absent) return this.#counts.leftOut()
        file.deleteItem(cursor.bytes, cursor.idStart, cursor.idEnd, txn)
        break
      }
      case RecordType.createFile:
        this.#createFile(cursor, txn)
        break
      case RecordType.clearFile: {
        const file = this.#accounts.byNumber(cursor.fileNumber)!
        if (file.absent) return this.#counts.leftOut()
        this.#work.clear(file, file.modulo, txn)
        break
      }
      case RecordType.resizeFile: {
        const file = this.#accounts.byNumber(cursor.fileNumber)!
        if (file.absent) return this.#counts.leftOut()
        this.#work.resize(file, cursor.modulo(), txn)
        break
      }
      case RecordType.clearGroup: {
        const file = this.#accounts.byNumber(cursor.fileNumber)!
        if (file.absent) return this.#counts.leftOut()
        const { from, to } = cursor.hashes()
        this.#work.clearRange(file, from, to, txn)
        break
      }
      case RecordType.deleteFile: {
        const file = this.#accounts.byNumber(cursor.fileNumber)!
        this.#accounts.removeFile(file)
        this.#work.delete(file)
        break
      }
      case RecordType.createAccount:
        this.#accounts.add(cursor.idText())
        break
      case RecordType.deleteAccount:
        this.#accounts.remove(cursor.idText())
        break
      case RecordType.mapFile:
        // The check has compared it with what is here, or let it create what is not.
        if (this.#accounts.byNumber(cursor.fileNumber) === undefined) this.#createFile(cursor, txn)
        break
      case RecordType.setFile:
        if (this.#accounts.byNumber(cursor.fileNumber) === undefined) this.#createFile(cursor, txn)
        else this.#setFile(cursor, txn)
        break
      case RecordType.promote:
      case RecordType.mark:
        // It says something of the log.
        break
      case RecordType.verify:
        this.onVerify(cursor, txn)
        break
    }
    this.#counts.record(cursor.type)
  }

  #createFile(cursor: RecordCursor, txn: number): void {
    const { account, file: name, modulo, flags } = cursor.attributes()
    const number = cursor.fileNumber
    const absent = this.#rules.replica && !isReplicated(flags)
    const generation = this.#work.generation(number, absent ? 1 : modulo)
    const identity = { number, account, name, flags, absent }
    if (!this.#accounts.has(account)) this.#accounts.add(account)
    const parts = [this.#cache, this.#groups, this.#quarantine] as const
    this.#accounts.addFile(new HashedFile(identity, ...parts, generation, txn))
  }

  /** A slave gives up the items of a file that is no longer replicated, and makes room for those to come. */
  #setFile(cursor: RecordCursor, txn: number): void {
    const { modulo, flags } = cursor.attributes()
    const file = this.#accounts.byNumber(cursor.fileNumber)!
    const absent = !isReplicated(flags) && (this.#rules.replica || file.absent)
    file.flags = flags
    if (absent === file.absent) return
    file.absent = absent
    this.#work.clear(file, absent ? 1 : modulo, txn)
  }

  #stopped(): HotBackupError {
    const message = 'the database stopped in the middle of a transaction; open the server again'
    return new HotBackupError('ERR_STOPPED', message, {}, this.failure)
  }
}
