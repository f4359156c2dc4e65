// The database of one server: DIR/database. The door to accounts, files and checkpoints; what is behind it
// lies in the other files of this folder. Everything but opening, checkpoints and closing is synchronous.
import { join } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { type LogPosition } from '../log/chain.ts'
import { type RecordCursor } from '../log/record.ts'
import { type Clock } from '../platform/clock.ts'
import { type Disk } from '../platform/disk.ts'
import { Accounts } from './accounts.ts'
import { Ahead, type Selection } from './ahead.ts'
import { Applier } from './apply.ts'
import { FrameCache } from './cache.ts'
import { catalogRoles, type Catalog, type JournalId } from './catalog.ts'
import { refuseDamaged } from './check.ts'
import { Checkpoint, type CheckpointParts } from './checkpoint.ts'
import { DataFiles } from './data-files.ts'
import { FrameChanges } from './frame-changes.ts'
import { stateOf } from './generation-state.ts'
import { Generation } from './generation.ts'
import { Groups } from './group.ts'
import { HashedFile } from './hashed-file.ts'
import { holdStateOf } from './hold.ts'
import { LongWork } from './long-work.ts'
import { OperationCounts } from './operation-counts.ts'
import { type DatabaseOptions } from './options.ts'
import { preload, preloadPays } from './preload.ts'
import { Quarantine } from './quarantine.ts'
import { recover } from './recover.ts'

/** A checkpoint pays when so much log would have to be replayed, */
const dueLogBytesMin = 64 * MiB
/** and at least this part of what it would write: a database of 200 MB is back within a second after a crash. */
const dueLogPart = 0.5
/** So much of the cache may be changed before a checkpoint must begin. */
const dueCachePart = 0.5
/** This part of the cache is for checksums: those of a database 32 times as large as the cache. */
const sumsPart = 1 / 32

export class Database {
  readonly cacheBytes: number
  /** What helpers do, and the holds meanwhile. */
  readonly work: LongWork
  /** What has been applied since it was opened. */
  readonly operations: OperationCounts
  /** Damaged groups, which may not be used. */
  readonly quarantine: Quarantine
  readonly #parts: CheckpointParts
  readonly #readOnly: boolean
  readonly #cache: FrameCache
  readonly #dataFiles: DataFiles
  readonly #groups: Groups
  readonly #accounts = new Accounts()
  readonly #applier: Applier
  #stamp: LogPosition
  #journal: JournalId
  #appliedTxn: number
  #checkpoint: Checkpoint | null = null
  #checkpointDone: Promise<void> = Promise.resolve()
  #checkpointCount = 0
  #replayedBytes = 0
  /** Generations that no file has any more, and whose data files the durable catalog may still name. */
  #dropped: Generation[] = []
  #failure: HotBackupError | null = null
  #closed = false
  /** Something was applied out of its turn since the last checkpoint. */
  #aside = false
  #applied: ((bytes: Uint8Array, start: number, end: number) => void) | null = null
  /** What was applied ahead of its turn. */
  readonly ahead: Ahead

  private constructor(
    parts: CheckpointParts,
    options: DatabaseOptions,
    catalog: Catalog,
    overlays: ReadonlyMap<string, ReadonlyMap<number, number>>,
  ) {
    this.#parts = parts
    this.#cache = parts.cache
    this.#dataFiles = parts.dataFiles
    this.#readOnly = options.readOnly ?? false
    this.cacheBytes = options.cacheBytes
    this.#groups = new Groups(parts.cache)
    this.quarantine = new Quarantine(catalog.damaged)
    const { disk, cache, dataFiles } = parts
    const { quarantine } = this
    const work = {
      disk,
      cache,
      dataFiles,
      groups: this.#groups,
      accounts: this.#accounts,
      quarantine,
      mayWrite: !this.#readOnly,
      drop: (generation: Generation) => this.#drop(generation),
    }
    this.work = new LongWork(work, this.#readOnly ? null : (options.longWork ?? null))
    this.operations = new OperationCounts(parts.clock.now())
    const rules = { autoCreate: options.autoCreate ?? false, replica: options.replica ?? false }
    const changed = [this.#accounts, cache, this.#groups, this.work, quarantine] as const
    this.#applier = new Applier(...changed, rules, this.operations)
    this.#stamp = catalog.stamp
    this.#journal = catalog.journal
    this.#appliedTxn = catalog.stamp.txn
    this.ahead = new Ahead(catalog.ahead)
    this.#load(catalog, overlays)
  }

  /**
   * Opens DIR/database, or makes it. A complete journal is finished, an incomplete one dropped; data files that
   * the catalog does not name are removed. The caller then replays the log from `stamp`. With `readOnly` nothing
   * on the disk is touched. Throws ERR_DATABASE_CORRUPT, ERR_LOG_VERSION, ERR_DISK, ERR_DISK_FULL.
   */
  static async open(
    platform: { readonly disk: Disk; readonly clock: Clock },
    directory: string,
    options: DatabaseOptions,
  ): Promise<Database> {
    const { disk, clock } = platform
    const path = join(directory, 'database')
    const recovered = await recover(disk, path, options.readOnly ?? false)
    const dataFiles = new DataFiles(disk, path, options.cacheBytes * sumsPart)
    dataFiles.journal = recovered.journal
    const cache = new FrameCache(options.cacheBytes * (1 - sumsPart), dataFiles)
    const parts = { disk, clock, cache, dataFiles }
    return new Database(parts, options, recovered.catalog, recovered.overlays)
  }

  /** Up to here the files on the disk hold the log's effects. */
  get stamp(): LogPosition {
    return this.#stamp
  }
  /** Up to here the readers see them. */
  get appliedTxn(): number {
    return this.#appliedTxn
  }
  /** It stopped in the middle of a transaction, half of which is in memory: only opening it again helps. */
  get broken(): boolean {
    return this.#applier.failure !== null
  }
  /** Why the database takes no more transactions or checkpoints; null as long as it does. */
  get failure(): HotBackupError | null {
    return this.#failure
  }

  /**
   * Applies the records of one whole transaction, whole or not at all. Throws ERR_APPLY, and nothing has changed,
   * when a record does not fit. What it says of damaged groups is left out (see quarantine.ts). When the disk fails in
   * the middle (ERR_DISK), or too much is damaged (ERR_DATABASE_CORRUPT), the database takes no more (ERR_STOPPED):
   * opened again, it stands at its stamp.
   */
  apply(bytes: Uint8Array, start: number, end: number, txn: number): void {
    if (this.#closed) throw closed()
    const done = txn <= this.ahead.until && this.ahead.covers(bytes, start, end, txn)
    if (!done) this.#applier.apply(bytes, start, end, txn)
    this.#appliedTxn = txn
    if (this.#applied !== null) this.#applied(bytes, start, end)
  }

  /** Gets the records of each transaction when it has been applied, and throws nothing. */
  onApplied(listener: ((bytes: Uint8Array, start: number, end: number) => void) | null): void {
    this.#applied = listener
  }

  /** Throws ERR_GROUP_DAMAGED for items of a damaged group: a master must not log what it would leave out. */
  refuseDamaged(bytes: Uint8Array, start: number, end: number): void {
    if (this.quarantine.size > 0) refuseDamaged(this.quarantine, this.#accounts, bytes, start, end)
  }

  /**
   * Applies a whole transaction out of its turn, by order of an operator; it creates what it needs. What is applied
   * up to stays as it is, so it is the caller who sees to a checkpoint before the transaction is forgotten. Throws as
   * `apply` does.
   */
  applyAside(bytes: Uint8Array): void {
    if (this.#closed) throw closed()
    this.#applier.applyCreating(bytes, this.#appliedTxn)
    this.#aside = true
  }

  /** Applies a whole transaction of a selection before its turn comes; `apply` passes over it then. Throws likewise. */
  applyAhead(bytes: Uint8Array, txn: number, selection: Omit<Selection, 'until'>): void {
    if (this.#closed) throw closed()
    this.#applier.apply(bytes, 0, bytes.length, txn)
    this.ahead.reached(selection, txn)
    this.#aside = true
  }

  /** The transaction was dealt with elsewhere (it went to lost-found): nothing of it is here. */
  passOver(txn: number): void {
    if (txn > this.#appliedTxn) this.#appliedTxn = txn
    this.operations.lost()
  }

  /**
   * Who compares what a verify record says with what is here, at the moment when it is applied: the database holds
   * all transactions before it, and none behind it, but for what `ahead` says. It changes nothing, and throws nothing.
   */
  onVerify(compare: (record: RecordCursor, txn: number) => void): void {
    this.#applier.onVerify = compare
  }

  accounts(): string[] {
    return this.#accounts.names()
  }
  hasAccount(account: string): boolean {
    return this.#accounts.has(account)
  }
  /** Those that are absent included. */
  fileCount(account: string): number {
    return this.#accounts.fileCount(account)
  }
  /** Sorted by name; none when there is no such account. */
  files(account: string): HashedFile[] {
    return this.#accounts.files(account).filter(file => !file.absent)
  }
  file(account: string, name: string): HashedFile | undefined {
    const file = this.#accounts.file(account, name)
    return file?.absent === true ? undefined : file
  }
  fileByNumber(number: number): HashedFile | undefined {
    const file = this.#accounts.byNumber(number)
    return file?.absent === true ? undefined : file
  }
  /** Those that are not replicated and so not here. They keep their names. */
  absentFiles(account: string): HashedFile[] {
    return this.#accounts.files(account).filter(file => file.absent)
  }
  /** What the next file to be created gets. */
  get nextFileNumber(): number {
    return this.#accounts.nextFileNumber
  }

  /**
   * So many transactions are about to be replayed: reads the data files into the cache when that is the faster way.
   * Never fails for what it meets on the disk.
   */
  async preload(transactions: number): Promise<void> {
    if (this.#checkpoint !== null || this.#closed) return
    const generations = [...this.#accounts.allFiles()].flatMap(file => file.generations)
    if (!preloadPays(this.#cache, generations, transactions)) return
    const count = this.#checkpointCount
    const unchanged = () => this.#checkpointCount === count && !this.#closed
    await preload(this.#parts, generations, unchanged)
  }

  // Checkpoints

  /** Bytes of changed frames: what a checkpoint would write now. */
  get dirtyBytes(): number {
    return this.#cache.dirtyBytes
  }
  /** Bytes of memory that frames have taken. */
  get frameBytes(): number {
    return this.#cache.allocatedBytes
  }
  /** So much is changed that writers must wait for the checkpoint. */
  get overfull(): boolean {
    return this.#cache.overfull
  }

  /** Bytes of log that recovery has replayed and no checkpoint holds yet: another crash would replay them again. */
  get replayedBytes(): number {
    return this.#replayedBytes
  }
  noteReplayed(bytes: number): void {
    this.#replayedBytes += bytes
  }

  /** A checkpoint would change nothing. */
  get unchanged(): boolean {
    return this.#appliedTxn === this.#stamp.txn && !this.work.moved && !this.#aside
  }

  /** True when a checkpoint pays, or a caller waits for one. `logBytes`: log written or replayed since the last. */
  checkpointDue(logBytes: number): boolean {
    if (this.#checkpoint !== null) return false
    const { dirtyBytes, limitBytes } = this.#cache
    if (dirtyBytes >= limitBytes * dueCachePart || this.work.checkpointDue) return true
    return logBytes >= Math.max(dueLogBytesMin, dirtyBytes * dueLogPart)
  }

  /**
   * Captures now, synchronously, then writes in the background while updates go on. `position` is what the stamp
   * will say: the last applied transaction. Nothing is written before `durable` resolves. `paced` spreads the
   * traffic, unless the database is overfull. Resolves when the stamp is durable. `noRoom` hears when it waits.
   *
   * Rejects with ERR_DISK_FULL, or what `durable` rejected with, and everything is as before: try again. Any other
   * error is final (`failure`), but for ERR_CLOSED.
   */
  async checkpoint(
    position: LogPosition,
    durable: Promise<void>,
    options: {
      readonly paced?: boolean
      readonly noRoom?: (error: HotBackupError) => void
    } = {},
  ): Promise<void> {
    if (this.#readOnly) throw new TypeError('the database was opened to read only')
    if (this.#checkpoint !== null) throw new TypeError('a checkpoint is under way')
    if (position.txn !== this.#appliedTxn) {
      throw new TypeError(`transaction ${this.#appliedTxn} was the last, not ${position.txn}`)
    }
    if (this.#closed) throw closed()
    this.#checkUsable()
    this.#checkpoint = this.#capture(position, options.paced ?? false)
    this.#checkpointDone = this.#run(this.#checkpoint, durable, options.noRoom ?? (() => {}))
    await this.#checkpointDone
  }

  /** From now on, until `end`, the frames that checkpoints write are noted for a copy of the data files. */
  watchFrames(): { readonly changes: FrameChanges; readonly end: () => void } {
    const changes = new FrameChanges()
    this.#dataFiles.copied.add(changes)
    return { changes, end: () => this.#dataFiles.copied.delete(changes) }
  }

  /** The running checkpoint ends as soon as it can: given up, or as a crash would leave it. */
  endCheckpoint(): void {
    this.#checkpoint?.stop()
  }

  /** The running checkpoint, if any, pauses no more. */
  hurry(): void {
    this.#checkpoint?.hurry()
  }

  /** Without a checkpoint; one that is under way ends first, or is given up when it has not committed yet. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.endCheckpoint()
    await this.#checkpointDone.catch(() => {})
    this.#dataFiles.closeAll()
  }

  #capture(stamp: LogPosition, paced: boolean): Checkpoint {
    this.#replayedBytes = 0
    this.#aside = false
    const accounts = this.#accounts.names()
    const indexes = new Map(accounts.map((account, index) => [account, index]))
    const generations: Generation[] = []
    const files = []
    for (const file of this.#accounts.allFiles()) {
      const { name, lastTxn, flags, absent, counted } = file
      const account = indexes.get(file.account)!
      for (const [index, generation] of file.generations.entries()) {
        const role = catalogRoles[index]!
        const hold = role === 'file' && file.hold !== null ? holdStateOf(file.hold) : null
        const kept = { role, account, name, lastTxn, flags, absent, counted, hold }
        files.push({ ...stateOf(generation), ...kept })
        generations.push(generation)
      }
    }
    const { nextFileNumber, nextGeneration } = this.#accounts
    const ahead = [...this.ahead.behind(stamp.txn)]
    const damaged = this.quarantine.ranges
    const counters = { journal: this.#journal, nextFileNumber, nextGeneration }
    const catalog = { stamp, ...counters, accounts, files, ahead, damaged }
    this.work.captured(++this.#checkpointCount)
    return new Checkpoint(this.#parts, this.#checkpointCount, catalog, generations, paced)
  }

  async #run(
    checkpoint: Checkpoint,
    durable: Promise<void>,
    noRoom: (error: HotBackupError) => void,
  ): Promise<void> {
    const unnamed = this.#dropped
    this.#dropped = []
    try {
      await checkpoint.run(durable, noRoom)
      this.#stamp = checkpoint.catalog.stamp
      this.#journal = checkpoint.catalog.journal
      this.work.completed(checkpoint.number)
      await this.#removeDataFiles(unnamed)
    } catch (error) {
      this.#dropped = [...unnamed, ...this.#dropped]
      this.work.givenUp(checkpoint.number)
      this.#aside = true // The next one must be made, whatever this one would have held.
      if (!checkpoint.recoverable(error)) this.#fail(error)
      throw error
    } finally {
      this.#checkpoint = null
      // What was dropped meanwhile had to be kept for this checkpoint.
      for (const generation of this.#dropped) this.#cache.forget(generation)
    }
  }

  #drop(generation: Generation): void {
    generation.dropped = true
    this.#dataFiles.drop(generation)
    this.#dropped.push(generation)
    if (generation.checkpoint !== this.#checkpoint?.number) this.#cache.forget(generation)
  }

  async #removeDataFiles(generations: readonly Generation[]): Promise<void> {
    for (const generation of generations) {
      if (generation.diskFrames === 0 && !generation.spilled) continue
      if (this.work.takeRemoval(generation)) continue
      await this.#parts.disk.remove(this.#dataFiles.pathOf(generation))
    }
  }

  #load(catalog: Catalog, overlays: ReadonlyMap<string, ReadonlyMap<number, number>>): void {
    this.#accounts.nextFileNumber = catalog.nextFileNumber
    this.#accounts.nextGeneration = catalog.nextGeneration
    for (const account of catalog.accounts) this.#accounts.add(account)
    const generations = catalog.files.map(entry => {
      const generation = new Generation(entry, true)
      generation.overlay = overlays.get(this.#dataFiles.pathOf(generation)) ?? null
      this.#cache.register(generation)
      return generation
    })
    catalog.files.forEach((entry, index) => {
      if (entry.role !== 'file') return
      const account = catalog.accounts[entry.account]!
      const { fileNumber: number, name, flags, absent } = entry
      const identity = { number, account, name, flags, absent }
      const parts = [this.#cache, this.#groups, this.quarantine, generations[index]!] as const
      const file = new HashedFile(identity, ...parts, entry.lastTxn, entry.counted)
      this.#accounts.addFile(file)
      if (!entry.counted) this.work.uncounted(file)
      if (entry.hold === null) return
      const [held, gone] = [generations[index + 1]!, generations[index + 2]!]
      this.work.load(file, { held, gone }, entry.hold)
    })
  }

  #checkUsable(): void {
    const { failure } = this.#applier
    if (failure !== null) this.#fail(failure)
    if (this.#failure === null) return
    const message = `the database stopped: ${this.#failure.message}`
    throw new HotBackupError('ERR_STOPPED', message, {}, this.#failure)
  }

  #fail(error: unknown): void {
    this.#failure ??=
      error instanceof HotBackupError
        ? error
        : new HotBackupError('ERR_STOPPED', `the database failed: ${String(error)}`, {}, error)
  }
}

function closed(): HotBackupError {
  return new HotBackupError('ERR_CLOSED', 'the database is closed')
}
