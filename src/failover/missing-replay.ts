// Brings missing updates (see missing-updates.ts) to the master that never got them, as new transactions of its own:
// each whole or not at all, in their old order. What this master has changed itself since the two histories parted is
// newer, and stays: a transaction that would write over it is left out and listed, unless it is to be written over.
//
// What has changed is read from this master's own log (changed-items.ts). Applications write meanwhile; they wait only
// for the moment in which the end of the log is read and the next few transactions are applied.
import { isUtf8 } from 'node:buffer'
import type { Database } from '../database/database.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { sameIdentity } from '../log/chain.ts'
import { fileFlags } from '../log/file-flags.ts'
import { RecordType } from '../log/record.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Disk } from '../platform/disk.ts'
import { Selector } from '../slave/selected.ts'
import {
  failoverOperations,
  type KeptReason,
  type KeptTransaction,
  type MissingProgress,
  type MissingReport,
  type MissingRequest,
} from './failover-operations.ts'
import type { Handler } from '../control/handler.ts'
import { handler } from '../control/operation.ts'
import { answerWithProgress } from '../control/progress-answer.ts'
import type { Layout } from '../config/layout.ts'
import { File } from '../updates/account.ts'
import { transact, type Transaction } from '../updates/transaction.ts'
import type { Updates } from '../updates/updates.ts'
import { ChangedItems, keyOf, nameOf } from './changed-items.ts'
import {
  checkMissing,
  forkText,
  missingTransactions,
  type MissingTransaction,
  type MissingUpdate,
} from './missing-segment.ts'

export interface MissingParts {
  readonly disk: Disk
  readonly layout: Layout
  readonly name: string
  readonly database: Database
  readonly log: LogWriter
  readonly updates: Updates
}

/** What a report lists of them; all are counted. */
const keptMax = 1000
/** Item-ids that are looked for in the log at once: the log is read again for the next ones. */
const itemsAtOnce = 200_000
/** So much is applied in one go, while other updates wait: some milliseconds. */
const groupTransactions = 500
const groupBytes = 4 * MiB

/**
 * Throws ERR_LOG_FOREIGN for updates of another history, ERR_LOG_REMOVED when this log no longer reaches back to the
 * fork (then nothing but `overwrite` is left), ERR_LOG_CORRUPT, ERR_UNSAFE for a transaction that a filter would split.
 */
export async function replayMissing(
  parts: MissingParts,
  request: MissingRequest,
  progress: (progress: MissingProgress) => void,
  signal: AbortSignal,
): Promise<MissingReport> {
  const { path } = request
  const { header, lastTxn } = await checkMissing(parts.disk, path)
  const own = parts.log.identity
  if (own === null || !sameIdentity(own.databaseId, header.databaseId)) {
    throw new HotBackupError('ERR_LOG_FOREIGN', `${path} belongs to another database`, { path })
  }
  const fork = { txn: header.firstTxn - 1, chain: header.chain }
  const changes = request.overwrite ? null : new ChangedItems(parts, fork)
  const replay = new Replay(parts, request, changes)
  const total = lastTxn - fork.txn
  for await (const batch of batches(parts.disk, request)) {
    try {
      await changes?.lookFor(batch.items)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_LOG_REMOVED')) throw error
      const message = `the log of ${parts.name} no longer reaches back to ${forkText(header)}, so what has changed since is unknown; --overwrite applies the updates all the same`
      throw new HotBackupError('ERR_LOG_REMOVED', message, { path, txn: fork.txn }, error)
    }
    for await (const group of groups(parts.disk, path, batch, replay)) {
      await replay.take(group)
      progress({ step: 'bringing', done: group.at(-1)!.txn - fork.txn, total })
      if (signal.aborted) break
    }
    if (signal.aborted) break
  }
  await replay.done()
  const { applied, leftOut, kept } = replay
  const { dryRun } = request
  return {
    server: parts.name,
    dryRun,
    path,
    firstTxn: header.firstTxn,
    lastTxn,
    applied,
    leftOut,
    kept,
  }
}

/** Item-ids are kept in memory while they are looked for, so a large segment is taken in pieces. */
interface Batch {
  readonly firstTxn: number
  readonly lastTxn: number
  readonly items: ReadonlySet<string>
}

async function* batches(disk: Disk, { path }: MissingRequest): AsyncGenerator<Batch> {
  let items = new Set<string>()
  let firstTxn = 0
  let lastTxn = 0
  for await (const { txn, updates } of missingTransactions(disk, path)) {
    firstTxn ||= txn
    lastTxn = txn
    for (const { account, file, id } of updates) {
      if (file !== null) items.add(keyOf(account, file.file, id))
    }
    if (items.size < itemsAtOnce) continue
    yield { firstTxn, lastTxn, items }
    items = new Set()
    firstTxn = 0
  }
  if (firstTxn > 0) yield { firstTxn, lastTxn, items }
}

/** What is selected of a batch, in pieces for which everybody else may be kept waiting. */
async function* groups(
  disk: Disk,
  path: string,
  batch: Batch,
  replay: Replay,
): AsyncGenerator<MissingTransaction[]> {
  let group: MissingTransaction[] = []
  let bytes = 0
  for await (const transaction of missingTransactions(disk, path)) {
    const { txn, start, end } = transaction
    if (txn < batch.firstTxn || !replay.selects(transaction)) continue
    if (txn > batch.lastTxn) break
    group.push(transaction)
    bytes += end - start
    if (group.length < groupTransactions && bytes < groupBytes) continue
    yield group
    group = []
    bytes = 0
  }
  if (group.length > 0) yield group
}

class Replay {
  applied = 0
  leftOut = 0
  readonly kept: KeptTransaction[] = []
  readonly #parts: MissingParts
  readonly #request: MissingRequest
  readonly #changes: ChangedItems | null
  readonly #selector: Selector | null
  /** Files and accounts that a dry run would have made by now. */
  readonly #imagined = new Set<string>()
  #latest: Promise<unknown> = Promise.resolve()
  #failure: Error | null = null

  constructor(parts: MissingParts, request: MissingRequest, changes: ChangedItems | null) {
    this.#parts = parts
    this.#request = request
    this.#changes = changes
    const { account, file } = request
    this.#selector = account === null && file === null ? null : new Selector({ account, file })
  }

  selects({ bytes, start, end, txn }: MissingTransaction): boolean {
    return this.#selector === null || this.#selector.selects(bytes, start, end, txn)
  }

  async take(group: readonly MissingTransaction[]): Promise<void> {
    await this.#parts.updates.turns.alone(async now => {
      await this.#changes?.readOn()
      for (const transaction of group) {
        const objection = this.#objectionTo(transaction)
        if (objection === null) now(() => this.#apply(transaction))
        else this.#leaveOut(transaction, objection)
      }
    })
    if (this.#failure !== null) throw this.#failure
  }

  /** Resolves when everything is durable. */
  async done(): Promise<void> {
    await this.#latest
    if (this.#failure !== null) throw this.#failure
    await this.#parts.updates.settled()
  }

  #leaveOut({ txn }: MissingTransaction, { update, why }: Objection): void {
    this.leftOut++
    if (this.kept.length >= keptMax) return
    const { account, file, id } = update
    const where = { txn, account, file: file?.file ?? null }
    if (!isItem(update)) this.kept.push({ ...where, id: null, why })
    else if (isUtf8(id)) this.kept.push({ ...where, id: id.toString(), why })
    else this.kept.push({ ...where, id: id.toString('base64'), idBase64: true, why })
  }

  /** Null when it may be applied. */
  #objectionTo({ updates }: MissingTransaction): Objection | null {
    for (const update of updates) {
      const why = this.#whyNot(update)
      if (why !== null) return { update, why }
    }
    return null
  }

  #whyNot(update: MissingUpdate): KeptReason | null {
    const { type, account, file, id } = update
    const { database } = this.#parts
    if (type === RecordType.createAccount || type === RecordType.deleteAccount) return null
    if (!database.hasAccount(account) && !this.#imagined.has(account)) return 'not there'
    if (file === null || type === RecordType.createFile) return null
    const changes = this.#changes
    if (database.file(account, file.file) === undefined) {
      if (this.#imagined.has(nameOf(account, file.file))) return null
      return type === RecordType.deleteFile ? null : 'not there'
    }
    if (changes === null) return null
    const changed = isItem(update)
      ? changes.hasItem(account, file.file, id)
      : changes.hasFile(account, file.file)
    return changed ? 'changed since' : null
  }

  #apply({ updates }: MissingTransaction): void {
    this.applied++
    if (this.#request.dryRun) {
      for (const { type, account, file } of updates) {
        if (type === RecordType.createAccount) this.#imagined.add(account)
        if (type === RecordType.createFile) this.#imagined.add(nameOf(account, file!.file))
      }
      return
    }
    const { log } = this.#parts
    const before = log.lastTxn
    // They are done in their order, so the last one is waited for.
    this.#latest = this.#carryOut(updates).catch((error: unknown) => {
      this.#failure ??= error as Error
    })
    if (log.lastTxn > before) this.#changes?.applied(log.lastTxn)
  }

  #carryOut(records: readonly MissingUpdate[]): Promise<unknown> {
    const { database, updates } = this.#parts
    const [first] = records
    if (first === undefined) return updates.settled()
    const { type, account, file, modulo } = first
    if (records.some(record => record.type === RecordType.deleteAccount)) {
      return database.hasAccount(account) ? updates.deleteAccount(account) : updates.settled()
    }
    const found = file === null ? undefined : database.file(account, file.file)
    switch (type) {
      case RecordType.createAccount:
        return database.hasAccount(account) ? updates.settled() : updates.createAccount(account)
      case RecordType.createFile: {
        if (found !== undefined) return updates.settled()
        const local = ((file!.flags ?? 0) & fileFlags.local) !== 0
        return updates.createFile(account, file!.file, file!.modulo, local)
      }
      case RecordType.deleteFile:
        return found === undefined ? updates.settled() : updates.deleteFile(found)
      case RecordType.clearFile:
        return updates.clearFile(found!)
      case RecordType.resizeFile:
        return updates.resizeFile(found!, modulo)
      case RecordType.setFile:
        return updates.setLocal(found!, ((file!.flags ?? 0) & fileFlags.local) !== 0)
      default:
        return transact(updates, database, transaction => this.#write(transaction, records))
    }
  }

  #write(transaction: Transaction, records: readonly MissingUpdate[]): void {
    const { database, updates } = this.#parts
    for (const { type, account, file, id, value } of records) {
      const handle = new File(account, file!.file, database, updates)
      if (type === RecordType.writeItem) transaction.write(handle, id, value)
      else transaction.delete(handle, id)
    }
  }
}

function isItem({ type }: MissingUpdate): boolean {
  return type === RecordType.writeItem || type === RecordType.deleteItem
}

interface Objection {
  readonly update: MissingUpdate
  readonly why: KeptReason
}

export function missingHandler(parts: MissingParts): Handler {
  return handler(failoverOperations.replayMissing, request =>
    answerWithProgress((progress, signal) => replayMissing(parts, request, progress, signal)),
  )
}
