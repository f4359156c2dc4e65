// Applies, of a slave's backlog, only the transactions about some account or file, ahead of the others. First all of
// the backlog is looked at: a transaction is never split, so one that is about others as well refuses the whole.
//
// Selected are the updates of the file, or of all files of the account, whatever number the log knows them by, and with
// an account its own creation and deletion. With a file alone, what creates its account is selected as well.
import type { Database } from '../database/database.ts'
import { isAbout, isUpdate } from '../database/ahead.ts'
import { HotBackupError } from '../errors.ts'
import type { BlockRun } from '../log/reader.ts'
import { namesFile, RecordCursor, RecordType } from '../log/record.ts'
import { TransactionCursor } from '../log/transactions.ts'
import { isBeyond, type FailingSteps, type StepLimit, type FailedTransaction } from './run-steps.ts'

/** Null for all of them; not both. */
export interface Filter {
  readonly account: string | null
  readonly file: string | null
}

/** What the backlog holds of it, up to a limit. */
export interface SelectedCount {
  readonly selected: number
  readonly others: number
  /** The last transaction that is selected; 0 for none. */
  readonly lastTxn: number
  /** The first one behind the limit that would have been, when it was looked for; 0 for none. */
  readonly nextTxn: number
}

export class Selector {
  readonly files = new Set<number>()
  readonly accounts = new Set<string>()
  readonly #filter: Filter
  readonly #record = new RecordCursor()
  /** For messages. */
  readonly #names = new Map<number, string>()

  constructor(filter: Filter) {
    this.#filter = filter
    if (filter.account !== null) this.accounts.add(filter.account)
  }

  /** Files that the database knows. */
  learn(database: Database): void {
    for (const account of database.accounts()) {
      for (const file of [...database.files(account), ...database.absentFiles(account)]) {
        this.#learn(file.number, file.account, file.name)
      }
    }
  }

  #learn(number: number, account: string, file: string): void {
    const { account: wanted, file: wantedFile } = this.#filter
    this.#names.set(number, `${account} ${file}`)
    if ((wanted ?? account) !== account || (wantedFile ?? file) !== file) return
    this.files.add(number)
    this.accounts.add(account)
  }

  /** What a transaction that is not in question says about files. */
  note(bytes: Uint8Array, start: number, end: number): void {
    const record = this.#record
    record.reset(bytes, start, end)
    while (record.next()) this.#noteRecord(record)
  }

  #noteRecord(record: RecordCursor): void {
    if (!namesFile(record.type)) return
    const { account, file } = record.attributes()
    this.#learn(record.fileNumber, account, file)
  }

  /** Throws ERR_UNSAFE for a transaction that is about others as well, `txn` in the message. */
  selects(bytes: Uint8Array, start: number, end: number, txn: number): boolean {
    const record = this.#record
    let mine: string | null = null
    let other: string | null = null
    record.reset(bytes, start, end)
    while (record.next()) {
      this.#noteRecord(record)
      if (!isUpdate(record.type)) continue
      const name = this.#nameOf(record)
      if (isAbout(record, this)) mine = name
      else other = name
      if (mine !== null && record.type === RecordType.deleteAccount && this.#filter.file !== null) {
        throw refused(txn, `deletes the whole account ${name}`)
      }
    }
    if (mine === null || other === null) return mine !== null
    throw refused(txn, `is about ${mine} and about ${other}`)
  }

  /** Some of it is about the selection. */
  concerns(bytes: Uint8Array, start: number, end: number): boolean {
    this.note(bytes, start, end)
    const record = this.#record
    record.reset(bytes, start, end)
    while (record.next()) if (isUpdate(record.type) && isAbout(record, this)) return true
    return false
  }

  #nameOf({ fileNumber }: RecordCursor): string {
    if (fileNumber === 0) return this.#record.idText()
    return this.#names.get(fileNumber) ?? `file number ${fileNumber}`
  }
}

function refused(txn: number, why: string): HotBackupError {
  const message = `transaction ${txn} ${why}, and is never split; select less narrowly, or end before it`
  return new HotBackupError('ERR_UNSAFE', message, { txn })
}

/**
 * Looks at runs of the backlog, one after the other; then all over, as long as `again` says so: an account is created
 * before the file for which it is selected.
 */
export class SelectedPlan {
  readonly selector: Selector
  readonly #database: Database
  readonly #limit: StepLimit
  readonly #cursor = new TransactionCursor()
  /** How many files and accounts were selected when the look began. */
  #known = -1
  #selected = 0
  #others = 0
  #lastTxn = 0
  /** `seek` has met the limit. */
  #beyond = false
  #nextTxn = 0

  constructor(filter: Filter, database: Database, limit: StepLimit) {
    this.selector = new Selector(filter)
    this.selector.learn(database)
    this.#database = database
    this.#limit = limit
  }

  /** Begins anew. False when the last look has learned nothing that could change what is selected. */
  again(): boolean {
    const known = this.selector.files.size + this.selector.accounts.size
    if (known === this.#known) return false
    this.#known = known
    this.#selected = 0
    this.#others = 0
    this.#lastTxn = 0
    return true
  }

  get count(): SelectedCount {
    const [selected, others, lastTxn] = [this.#selected, this.#others, this.#lastTxn]
    return { selected, others, lastTxn, nextTxn: this.#nextTxn }
  }

  /** False when the limit has been met. */
  look(run: BlockRun): boolean {
    const cursor = this.#cursor
    const { appliedTxn, ahead } = this.#database
    cursor.reset(run)
    while (cursor.next()) {
      const { txn, start, end } = cursor
      const pending = txn > appliedTxn
      if (pending && isBeyond(this.#limit, txn, cursor.blockTime)) return false
      if (!pending || ahead.covers(run.bytes, start, end, txn)) {
        this.selector.note(run.bytes, start, end)
      } else if (this.selector.selects(run.bytes, start, end, txn)) {
        this.#selected++
        this.#lastTxn = txn
      } else {
        this.#others++
      }
    }
    return true
  }

  /**
   * Goes over the same runs again, for the first transaction behind the limit that would have been selected; false when
   * it is found, as `nextTxn`, or cannot be.
   */
  seek(run: BlockRun): boolean {
    const cursor = this.#cursor
    const { appliedTxn, ahead } = this.#database
    if (this.#limit.txn === Infinity && this.#limit.time === Infinity) return false
    cursor.reset(run)
    while (cursor.next()) {
      const { txn, start, end } = cursor
      const about = this.selector.concerns(run.bytes, start, end)
      if (txn <= appliedTxn) continue
      this.#beyond ||= isBeyond(this.#limit, txn, cursor.blockTime)
      if (!this.#beyond || !about || ahead.covers(run.bytes, start, end, txn)) continue
      this.#nextTxn = txn
      return false
    }
    return true
  }
}

/** Goes over the same runs again. */
export class SelectedSteps implements FailingSteps {
  readonly #plan: SelectedPlan
  readonly #database: Database
  readonly #isLost: (txn: number, chain: number) => boolean
  readonly #cursor = new TransactionCursor()
  #run: BlockRun | null = null
  #waiting = false
  applied = 0

  constructor(
    plan: SelectedPlan,
    database: Database,
    isLost: (txn: number, chain: number) => boolean,
  ) {
    this.#plan = plan
    this.#database = database
    this.#isLost = isLost
  }

  take(run: BlockRun): void {
    this.#cursor.reset(run)
    this.#run = run
    this.#waiting = false
  }

  /** The transaction at which `step` has thrown. */
  get failed(): FailedTransaction | null {
    const run = this.#run
    if (run === null || !this.#waiting) return null
    const { txn, blockCrc: chain, start, end, blockTime: time } = this.#cursor
    return { txn, chain, bytes: run.bytes, start, end, time, segment: run.segment }
  }

  /** Applies what is selected of the run. False when all that was planned is applied. Throws as the database does. */
  step(): boolean {
    const run = this.#run
    const cursor = this.#cursor
    const database = this.#database
    const { selector, count } = this.#plan
    if (run === null) return false
    while (this.#waiting || cursor.next()) {
      this.#waiting = true
      const { txn, start, end } = cursor
      if (txn > count.lastTxn) return false
      const done = txn <= database.appliedTxn || database.ahead.covers(run.bytes, start, end, txn)
      if (!done && selector.selects(run.bytes, start, end, txn)) {
        if (this.#isLost(txn, cursor.blockCrc)) this.passOver()
        else this.applyInstead(run.bytes.subarray(start, end))
      }
      this.#waiting = false
    }
    return true
  }

  applyInstead(records: Uint8Array): void {
    this.#database.applyAhead(records, this.#cursor.txn, this.#plan.selector)
    this.#moveOn()
  }

  passOver(): void {
    this.#database.ahead.reached(this.#plan.selector, this.#cursor.txn)
    this.#moveOn()
  }

  #moveOn(): void {
    this.applied++
    this.#waiting = false
  }
}
