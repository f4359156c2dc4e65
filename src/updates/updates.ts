// The one way in which a master's database changes: records are encoded into the log's gathering block, applied
// to the database, and committed, all in one turn of the event loop. So updates are in one order, a transaction
// is whole by construction, and nobody sees half of one.
import type { CommitLevel } from '../config/policies.ts'
import type { Checkpointer } from '../database/checkpointer.ts'
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { checkName } from '../database/names.ts'
import { HotBackupError } from '../errors.ts'
import { transactionBytesMax, unsyncedBytesMax } from '../limits.ts'
import type { FileAttributes } from '../log/file-attributes.ts'
import { fileFlags, isReplicated } from '../log/file-flags.ts'
import type { Bytes, RecordEncoder } from '../log/record.ts'
import { encodeVerify, type VerifyRecord } from '../log/verify-record.ts'
import type { LogWriter } from '../log/writer.ts'
import type { FilePatterns } from '../config/file-patterns.ts'
import type { GroupItem } from '../wire/group-items.ts'
import type { QueueLimit } from './queue-limit.ts'
import { checkItem, checkItemId, checkModulo } from './arguments.ts'
import type { Commits } from './commits.ts'
import { Turns } from './turns.ts'

/** What an update has removed. */
export interface Removed {
  readonly files: number
  readonly items: number
  /** Of the item-ids and the items. */
  readonly bytes: number
}

/** One item of a transaction. */
export interface Change {
  readonly file: HashedFile
  readonly id: Buffer
  /** Null: deleted. */
  readonly value: Buffer | null
}

/** All items of a file with hashes from one up to another, excluded. */
export interface GroupPart {
  readonly from: number
  readonly to: number
  readonly items: readonly GroupItem[]
}

/** See write-gate.ts. */
export interface Gate {
  /** Throws `refusal` when there is one. */
  check(): void
  readonly refusal: HotBackupError | null
}

export class Updates {
  readonly #log: LogWriter
  readonly #database: Database
  readonly #checkpointer: Checkpointer
  readonly #commits: Commits
  readonly #queue: QueueLimit
  /** Whose turn it is. */
  readonly turns: Turns
  readonly #patterns: FilePatterns
  #fillingBegins: (file: HashedFile) => void = () => {}
  #closed = false
  /** Whether the master may take updates now. */
  gate: Gate = { check: () => {}, refusal: null }

  constructor(
    log: LogWriter,
    database: Database,
    checkpointer: Checkpointer,
    commits: Commits,
    queue: QueueLimit,
    patterns: FilePatterns,
  ) {
    this.#log = log
    this.#database = database
    this.#checkpointer = checkpointer
    this.#commits = commits
    this.#queue = queue
    this.#patterns = patterns
    // Who waits for a slave hears of it as well.
    log.onFailure(() => queue.wake())
    this.turns = new Turns({
      full: () => {
        const full = log.unsyncedBytes > unsyncedBytesMax || database.overfull || queue.paced
        return full && this.#diskLack === null && this.gate.refusal === null
      },
      emptied: async () => {
        await log.drained()
        await checkpointer.room()
        await queue.room()
      },
      stopped: () => log.failed !== null || this.#closed,
    })
  }

  /** The gate is shut: those who wait hear of it now, and not when there is room. */
  barred(): void {
    this.#queue.wake()
  }

  /** While the disk is full updates are refused, since the wait has no known end. */
  get #diskLack(): HotBackupError | null {
    return this.#log.diskRoom.lack ?? this.#checkpointer.diskRoom.lack
  }

  #refuseIfDiskFull(): void {
    const lack = this.#diskLack
    if (lack !== null) throw new HotBackupError('ERR_DISK_FULL', lack.message, lack.place, lack)
  }

  /** Refuses every further update with ERR_CLOSED. */
  close(): void {
    this.#closed = true
  }

  get lastTxn(): number {
    return this.#log.lastTxn
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
  writeItem(file: HashedFile, id: Bytes, value: Bytes, level?: CommitLevel): Promise<void> {
    checkItemId(id)
    checkItem(value)
    this.#commits.check(level)
    if (this.turns.crowded) return this.turns.take(() => this.#writeItem(file, id, value, level))
    return this.#writeItem(file, id, value, level)
  }

  #writeItem(
    file: HashedFile,
    id: Bytes,
    value: Bytes,
    level: CommitLevel | undefined,
  ): Promise<void> {
    this.now(encoder => encoder.writeItem(file.number, id, value), file)
    return this.#commits.done(level)
  }

  /** Deletes one item; false when there was none, and then nothing is logged. */
  deleteItem(file: HashedFile, id: Bytes, level?: CommitLevel): Promise<boolean> {
    checkItemId(id)
    this.#commits.check(level)
    return this.turns.take(async () => {
      const found = file.has(id)
      if (found) this.now(encoder => encoder.deleteItem(file.number, id), file)
      await (found ? this.#commits.done(level) : this.settledFile(file))
      return found
    })
  }

  createAccount(account: string): Promise<void> {
    checkName('account', account)
    return this.turns.take(() => {
      if (this.#database.hasAccount(account)) {
        throw new HotBackupError('ERR_EXISTS', `account ${account} exists already`, { account })
      }
      return this.#updateAndSync(encoder => encoder.createAccount(account))
    })
  }

  /** Deletes the account with its files, in one transaction. */
  deleteAccount(account: string): Promise<Removed> {
    return this.turns.take(() => {
      const here = this.#database.files(account)
      return this.#remove(here, encoder => {
        for (const file of [...here, ...this.#database.absentFiles(account)]) {
          this.#log.ensureMapped(file.number, file.attributes)
          encoder.deleteFile(file.number)
        }
        encoder.deleteAccount(account)
      })
    })
  }

  createFile(account: string, file: string, modulo: number, local = false): Promise<void> {
    checkName('file', file)
    checkModulo(modulo)
    return this.turns.take(() => {
      if (this.#database.file(account, file) !== undefined) {
        const place = { account, file }
        throw new HotBackupError('ERR_EXISTS', `file ${account} ${file} exists already`, place)
      }
      const number = this.#database.nextFileNumber
      return this.#updateAndSync(encoder =>
        this.encodeCreate(encoder, number, { account, file, modulo }, local),
      )
    })
  }

  /** The file that is created gets that number; its account is there, or created by a record before. */
  encodeCreate(encoder: RecordEncoder, number: number, to: FileAttributes, local: boolean): void {
    const { account, file } = to
    // The master before did not replicate one of that name.
    const absent = this.#database.absentFiles(account).find(({ name }) => name === file)
    if (absent !== undefined) {
      this.#log.ensureMapped(absent.number, absent.attributes)
      encoder.deleteFile(absent.number)
    }
    encoder.createFile(number, { ...to, flags: this.flagsOf(account, file, local) })
    this.#log.markMapped(number)
  }

  deleteFile(file: HashedFile): Promise<Removed> {
    return this.turns.take(() =>
      this.#remove([file], encoder => encoder.deleteFile(file.number), file),
    )
  }

  clearFile(file: HashedFile): Promise<Removed> {
    return this.turns.take(() =>
      this.#remove([file], encoder => encoder.clearFile(file.number), file),
    )
  }

  resizeFile(file: HashedFile, modulo: number): Promise<void> {
    checkModulo(modulo)
    return this.turns.take(() =>
      this.#updateAndSync(encoder => encoder.resizeFile(file.number, modulo), file),
    )
  }

  /** Calls back with a file that has become replicated, and is to be filled on the slaves. */
  onFilling(begins: (file: HashedFile) => void): void {
    this.#fillingBegins = begins
  }

  /** The flags of a file by its creator's wish and by the patterns of hb.toml. */
  flagsOf(account: string, file: string, local: boolean): number {
    const { excluded } = this.#patterns.verdict(account, file)
    return (local ? fileFlags.local : 0) | (excluded ? fileFlags.excluded : 0)
  }

  /** Keeps the file on this master alone, or not. Resolves when that is durable here; filling comes afterwards. */
  setLocal(file: HashedFile, local: boolean): Promise<void> {
    return this.turns.take(() => {
      let flags = this.flagsOf(file.account, file.name, local)
      const begins = isReplicated(flags) && !isReplicated(file.flags)
      if (begins) flags |= fileFlags.filling
      else if (isReplicated(flags)) flags |= file.flags & fileFlags.filling
      if (flags === file.flags) return this.settled()
      this.#setFile(file, flags)
      if (begins) this.#fillingBegins(file)
      return this.#log.synced()
    })
  }

  /** All items have been written again. */
  endFilling(file: HashedFile): Promise<void> {
    return this.turns.take(() => {
      this.#setFile(file, file.flags & ~fileFlags.filling)
      return this.#log.synced()
    })
  }

  #setFile(file: HashedFile, flags: number): void {
    this.now(encoder => encoder.setFile(file.number, { ...file.attributes, flags }), file)
  }

  /**
   * Writes items as they are at this moment, from `ids[next]` on, in one transaction of about `bytesMax`. Those that
   * have gone are passed over. Resolves, when that is durable on this master, with where to go on.
   */
  writeAgain(
    file: HashedFile,
    ids: readonly Buffer[],
    next: number,
    bytesMax: number,
  ): Promise<number> {
    return this.turns.take(async () => {
      const items: [Buffer, Buffer][] = []
      let bytes = 0
      let end = next
      for (; end < ids.length && bytes < bytesMax; end++) {
        const id = ids[end]!
        const value = file.read(id)
        if (value === null) continue
        items.push([id, value])
        bytes += id.length + value.length
      }
      if (items.length === 0) return end
      this.now(encoder => {
        for (const [id, value] of items) encoder.writeItem(file.number, id, value)
      }, file)
      await this.#log.synced()
      return end
    })
  }

  /**
   * Runs `work` in one turn of the event loop and commits its changes as one transaction; when it throws, nothing
   * has happened. Resolves with its result when the transaction is durable.
   */
  transaction<T>(
    work: () => { readonly changes: readonly Change[]; readonly result: T },
    level?: CommitLevel,
  ): Promise<T> {
    this.#commits.check(level)
    return this.turns.take(async () => {
      const { changes, result } = work()
      if (changes.length > 0) this.now(encoder => this.#encode(changes, encoder))
      await (changes.length > 0 ? this.#commits.done(level) : this.settled())
      return result
    })
  }

  #encode(changes: readonly Change[], encoder: RecordEncoder): void {
    for (const { file, id, value } of changes) {
      this.#log.ensureMapped(file.number, file.attributes)
      if (value === null) encoder.deleteItem(file.number, id)
      else encoder.writeItem(file.number, id, value)
      if (encoder.end - this.#log.transactionStart > transactionBytesMax) {
        throw new HotBackupError('ERR_TRANSACTION_SIZE', 'the transaction is larger than 128 MiB')
      }
    }
  }

  #updateAndSync(encode: (encoder: RecordEncoder) => void, file?: HashedFile): Promise<void> {
    this.now(encode, file)
    return this.#commits.done()
  }

  /** The counts are those of the moment of the update. */
  async #remove(
    files: readonly HashedFile[],
    encode: (encoder: RecordEncoder) => void,
    file?: HashedFile,
  ): Promise<Removed> {
    const items = files.reduce((sum, { itemCount }) => sum + itemCount, 0)
    const bytes = files.reduce((sum, each) => sum + each.bytes, 0)
    await this.#updateAndSync(encode, file)
    return { files: files.length, items, bytes }
  }

  /** Says in the log what happened to the server. Resolves when that is durable here. */
  async mark(what: string, details: object): Promise<void> {
    this.#change(encoder => encoder.mark(what, JSON.stringify(details)))
    await this.#log.synced()
  }

  /**
   * Says in the log what `look` finds in the database, in the turn in which it looks; null: nothing. Whoever follows
   * the log compares. Resolves, before that is durable, with the number of the transaction; null when there is none.
   */
  verify(
    look: () => { readonly fileNumber: number; readonly record: VerifyRecord } | null,
  ): Promise<number | null> {
    return this.turns.take(() => {
      const found = look()
      if (found === null) return Promise.resolve(null)
      this.now(encoder => encoder.verify(found.fileNumber, encodeVerify(found.record)))
      return Promise.resolve(this.#log.lastTxn)
    })
  }

  /**
   * Writes the items as they are at this moment, also those that are not there any more: as deleted. Resolves when
   * that is durable on this master.
   */
  repair(file: HashedFile, ids: readonly Buffer[]): Promise<void> {
    return this.turns.take(() => {
      const items = ids.map(id => [id, file.read(id)] as const)
      this.now(encoder => {
        for (const [id, value] of items) {
          if (value === null) encoder.deleteItem(file.number, id)
          else encoder.writeItem(file.number, id, value)
        }
      }, file)
      return this.#log.synced()
    })
  }

  /**
   * Empties groups of the file, or parts of them, and writes what they hold: each a transaction, all in one turn.
   * Resolves, when that is durable on this master, with the last transaction. The queue's limit is no reason to wait.
   */
  writeGroup(file: HashedFile, look: () => readonly GroupPart[]): Promise<number> {
    return this.turns.take(async () => {
      for (const { from, to, items } of look()) {
        const encode = (encoder: RecordEncoder) => {
          encoder.clearGroup(file.number, from, to)
          for (const { id, value } of items) encoder.writeItem(file.number, id, value)
        }
        this.#change(encode, file, true)
      }
      const txn = this.#log.lastTxn
      await this.#log.synced()
      return txn
    })
  }

  /**
   * Encodes, applies and commits, in this turn of the event loop: not while it is `crowded`. When encoding or applying
   * fails nothing has happened: the log takes the records back before anyone could have seen them.
   */
  now(encode: (encoder: RecordEncoder) => void, file?: HashedFile): void {
    this.gate.check()
    this.#queue.check()
    this.#change(encode, file)
  }

  #change(encode: (encoder: RecordEncoder) => void, file?: HashedFile, repairs = false): void {
    this.gate.check()
    if (this.#closed) throw new HotBackupError('ERR_CLOSED', 'the master is closed')
    if (file?.deleted === true) throw noFile(file)
    if (this.#database.overfull) this.#refuseIfDiskFull()
    const log = this.#log
    const encoder = log.begin()
    try {
      const start = encoder.end
      if (file !== undefined) log.ensureMapped(file.number, file.attributes)
      encode(encoder)
      encoder.endTransaction()
      log.checkRoom()
      // Others are told that they cannot be updated: the repair would undo it.
      if (!repairs) this.#database.refuseDamaged(encoder.bytes, start, encoder.end)
      this.#database.apply(encoder.bytes, start, encoder.end, log.lastTxn + 1)
    } catch (error) {
      log.abandon()
      throw error
    }
    log.commit()
    this.#checkpointer.note()
  }
}

const settledAlready = Promise.resolve()

/** It was there at the call, and deleted by an update before this one's turn. */
function noFile({ account, name }: HashedFile): HotBackupError {
  const place = { account, file: name }
  return new HotBackupError('ERR_NO_FILE', `there is no file ${account} ${name}`, place)
}
