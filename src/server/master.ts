// A master's directory, opened by the one process that owns it: lock, recovery, control socket, checkpoints,
// removal of old segments, and a clean end. What can be done with the data is in account.ts and updates.ts.
import type { MasterStatus } from '../control/server-status.ts'
import type { Checkpointer } from '../database/checkpointer.ts'
import type { Database } from '../database/database.ts'
import { Drainer } from '../database/drainer.ts'
import { HotBackupError } from '../errors.ts'
import type { Helpers } from '../helpers/helpers.ts'
import { quickReplayBytes } from '../limits.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Lock } from '../platform/locks.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Platform } from '../platform/platform.ts'
import type { Store } from '../resp/store.ts'
import type { AckLevel } from '../ship/ack-file.ts'
import { checkUserOf } from '../config/acting-user.ts'
import type { Config } from '../config/config.ts'
import { LiveConfig } from '../config/live-config.ts'
import type { Handler } from '../control/handler.ts'
import { handler } from '../control/operation.ts'
import { status } from '../control/status-operation.ts'
import { failoverOperations } from '../failover/failover-operations.ts'
import { ControlServer } from '../control/control.ts'
import { damagedGroups } from '../database/damaged-groups.ts'
import type { GroupRescue } from '../repair/group-rescue.ts'
import { withSoundLog } from '../repair/log-from-peers.ts'
import { ackSourceOf, layoutOf, type Layout } from '../config/layout.ts'
import { MasterStore } from './master-store.ts'
import { drainFailure, openParts, tellOf } from './master-parts.ts'
import type { MasterEvent, Parts, PartsEvents } from './master-parts.ts'
import { dataHandlers, ownerHandlers } from './master-handlers.ts'
import type { Log } from '../config/messages-log.ts'
import { commandPurpose, masterPurpose, takeOwnership } from '../control/owner.ts'
import type { QueueLimit } from '../updates/queue-limit.ts'
import type { Retention } from '../updates/retention.ts'
import { startHelpers } from './server-helpers.ts'
import { checkOptions, checkType } from '../updates/arguments.ts'
import { Account, checkAccount, created, type UpdateOptions } from '../updates/account.ts'
import type { Commits } from '../updates/commits.ts'
import { ReachedSlaves } from '../updates/reached-slaves.ts'
import type { Replication } from '../updates/replication.ts'
import { transact, type Synchronous, type Transaction } from '../updates/transaction.ts'
import type { Updates } from '../updates/updates.ts'
import { WriteGate } from '../updates/write-gate.ts'
import type { ContinuousVerification } from '../repair/continuous-verification.ts'

export type { HelperEvent, MasterEvent, VerifyEvent } from './master-parts.ts'

export interface MasterOptions {
  /** The outside world: disk, network, clock and so on. Node's by default. */
  readonly platform?: Platform
  /** Hears of what an operator wants to know at once, such as that the slaves do not answer. */
  readonly onEvent?: (event: MasterEvent) => void
  /** Long work on files is done beside the updates, by helper processes (default), or at once. */
  readonly helpers?: boolean
}

/** How the parts of a server open a master. */
export const openAs = Symbol('openAs')

interface Opening {
  /** Of the owner's lock. */
  readonly purpose: string
  /** Loaded already. */
  readonly config?: LiveConfig
  /** The log takes nothing more: its disk has failed, or the lock is lost. */
  readonly lost?: (error: HotBackupError) => void
}

/** At its end a master waits so long for its slaves; a checkpoint waits longer, if they are there. */
const ackWaitMs = 100

/**
 * The database of a master. One process has it open at a time; others reach it through that process, by the
 * commands of hb(1).
 */
export class Master {
  readonly directory: string
  readonly name: string
  /** Of the operations on its data, for commands and the control socket. */
  readonly handlers: readonly Handler[]
  readonly #database: Database
  readonly #log: LogWriter
  readonly #lock: Lock
  readonly #checkpointer: Checkpointer
  readonly #commits: Commits
  readonly #queue: QueueLimit
  readonly #updates: Updates
  readonly #replication: Replication
  readonly #verification: ContinuousVerification
  readonly #rescue: GroupRescue
  readonly #retention: Retention
  readonly #gate: WriteGate
  readonly #reached: ReachedSlaves
  readonly #drainer: Drainer
  /** What a server for other protocols works on. */
  readonly store: Store
  #helpers: Helpers | null = null
  #control: ControlServer | null = null
  #closing: Promise<void> | null = null

  private constructor(layout: Layout, config: LiveConfig, platform: Platform, parts: Parts) {
    this.directory = layout.directory
    this.name = config.name
    this.handlers = dataHandlers(parts, platform.clock)
    this.#lock = parts.lock
    this.#database = parts.database
    this.#log = parts.log
    this.#checkpointer = parts.checkpointer
    this.#commits = parts.commits
    this.#queue = parts.queue
    this.#updates = parts.updates
    this.#replication = parts.replication
    this.#verification = parts.verification
    this.#rescue = parts.rescue
    this.#gate = new WriteGate(platform, layout, config.name, config.failover.leaseMs)
    this.#updates.gate = this.#gate
    // What is durable may reach the slaves yet, but no caller waits for that for ever.
    parts.log.onFailure(error => void this.#commits.close(error.message))
    if (config.failover.leaseMs > 0) this.#commits.lapsed = () => this.#gate.refusal
    this.#retention = parts.retention
    this.#reached = new ReachedSlaves(platform, ackSourceOf(layout, 'master'), config)
    config.onChange(async () => {
      await this.#commits.configured()
      await this.#queue.configured()
    })
    this.store = new MasterStore(parts, platform.disk, layout.log, config, () => this.#failure)
    this.#drainer = new Drainer(parts.database, parts.checkpointer, platform.clock, error =>
      this.#log.fail(drainFailure(error)),
    )
  }

  /**
   * Opens the master whose directory "hb setup" has made; recovers what a crash has left. Errors:
   * ERR_NOT_A_SERVER, ERR_OTHER_USER, ERR_CONFIG, ERR_WRONG_TYPE, ERR_RUNNING (another process has it open; where that
   * is the server, use `connect`), ERR_LOG_CORRUPT, ERR_DATABASE_CORRUPT, ERR_DISK.
   */
  static async open(directory: string, options: MasterOptions = {}): Promise<Master> {
    checkType('the directory of a master', 'string', directory)
    checkOptions(options)
    const { onEvent } = options
    if (onEvent !== undefined) checkType('"onEvent"', 'function', onEvent)
    const helped = options.helpers ?? true
    checkType('"helpers"', 'boolean', helped)
    return Master[openAs](directory, options, { purpose: helped ? masterPurpose : commandPurpose })
  }

  /** The same for the parts of a server. */
  static async [openAs](
    directory: string,
    { platform = nodePlatform, helpers: helped = true, onEvent }: MasterOptions,
    { purpose, config: loaded, lost }: Opening,
  ): Promise<Master> {
    const layout = layoutOf(directory)
    await checkUserOf(platform, layout.directory)
    const config = loaded ?? (await LiveConfig.load(platform.disk, layout, 'master'))
    if (config.type !== 'master') {
      const hint = 'Open its master; a slave can be read with "hb read" and "hb list".'
      const message = `${directory} is a ${config.type}`
      throw new HotBackupError('ERR_WRONG_TYPE', message, { path: directory }, undefined, hint)
    }
    // What happens behind everybody's back. Before the master is open, opening fails by itself.
    let master: Master | null = null
    const events: PartsEvents = {
      failed: error => {
        if (master !== null) master.#log.fail(error)
      },
      checkpointed: () => {
        if (master !== null) master.#removeSegments()
      },
      happened: event => {
        if (master !== null) master.#take(event)
        onEvent?.(event)
      },
    }
    const lock = await takeOwnership(platform, layout, purpose, events.failed)
    // Before the database takes memory.
    const prepared = helped ? platform.processes.prepare() : null
    let parts: Parts
    try {
      parts = await withSoundLog(platform, layout, config, tellOf(events), () =>
        openParts(platform, layout, config, lock, events, helped),
      )
      master = new Master(layout, config, platform, parts)
      if (lost !== undefined) parts.log.onFailure(lost)
    } catch (error) {
      prepared?.()
      await lock.release()
      throw error
    }
    try {
      if (prepared !== null) await master.#help(platform, layout, config, events, prepared)
      await master.#serve(platform, layout, config, parts, tellOf(events))
      // An opening for a moment does nothing by itself.
      if (helped) await master.#verification.begin()
      master.#rescue.begin()
      return master
    } catch (error) {
      await master.close()
      throw error
    }
  }

  async #help(
    platform: Platform,
    layout: Layout,
    config: Config,
    events: PartsEvents,
    prepared: () => void,
  ): Promise<void> {
    const say: Log = (level, message) => {
      if (level === 'error') events.happened({ type: 'helper-failed', message })
    }
    this.#helpers = await startHelpers(platform, layout, config, this.#database, say, prepared)
    this.#database.work.onChange(() => this.#drainer.wake())
    this.#drainer.wake()
  }

  async #serve(
    platform: Platform,
    layout: Layout,
    config: LiveConfig,
    parts: Parts,
    say: Log,
  ): Promise<void> {
    let opening: Promise<void> | null = null
    // After it listens: whoever was fencing it before it could be told so has left the marker by then.
    const opened = () => (opening ??= this.#gate.open())
    const services = ownerHandlers(platform, layout, config, parts, this.#retention, say)
    this.#control = await ControlServer.start(platform, layout.ownerSocket, say, {
      opened,
      handlers: [
        handler(status, async () => ({ master: this.status() })),
        ...this.handlers,
        ...services,
        handler(failoverOperations.fence, async () => {
          await this.#fence()
          return {}
        }),
        handler(failoverOperations.handOver, async () => {
          this.#handOver()
          return {}
        }),
      ],
    })
    await opened()
    this.#removeSegments()
    this.#replication.begin()
  }

  /**
   * Resolves when the slaves are sent all of each file that is to be replicated: one that has become so is written
   * into the log again in the background, and what is not complete when the master closes begins anew.
   */
  filled(): Promise<void> {
    return this.#replication.filled()
  }

  /** Names of the accounts, sorted. */
  accounts(): string[] {
    return this.#database.accounts()
  }

  /** The account of that name. Throws ERR_NO_ACCOUNT. */
  account(name: string): Account {
    checkAccount(this.#database, name)
    return new Account(name, this.#database, this.#updates)
  }

  /** Creates an account; resolves when that is durable. Errors: ERR_NAME, ERR_EXISTS. */
  async createAccount(name: string): Promise<Account> {
    await this.#updates.createAccount(name)
    // Not looked up: it was created, and may have been deleted again.
    return new Account(name, this.#database, this.#updates)
  }

  /** The account of that name, created if there is none; resolves when it is durable. Errors: ERR_NAME. */
  async openAccount(name: string): Promise<Account> {
    await created(this.createAccount(name), this.#updates)
    return new Account(name, this.#database, this.#updates)
  }

  /** Deletes an account with its files; resolves when that is durable. Errors: ERR_NO_ACCOUNT. */
  async deleteAccount(name: string): Promise<void> {
    checkAccount(this.#database, name)
    await this.#updates.deleteAccount(name)
  }

  /**
   * Several updates, whole or not at all, on the master, in the log and on every slave. `work` runs at once, without
   * a pause in which others could update, and must not be async; what it throws is thrown, and nothing has
   * happened then. Resolves with its result when the transaction is durable, or has got as far as the level says.
   */
  async transaction<T>(
    work: (transaction: Transaction) => Synchronous<T>,
    options: UpdateOptions = {},
  ): Promise<T> {
    checkType('the work of a transaction', 'function', work)
    checkOptions(options)
    return transact(this.#updates, this.#database, work, options.level)
  }

  /**
   * Resolves when enough slaves (hb.toml, commit.slaves) have received, stored or applied transaction `txn`. Errors:
   * ERR_TIMEOUT after `timeoutMs`, ERR_NO_SLAVE, ERR_UNCONFIRMED (closed meanwhile).
   */
  async wait(txn: number, level: AckLevel, options: { timeoutMs?: number } = {}): Promise<void> {
    checkOptions(options)
    await this.#commits.reached(txn, level, options.timeoutMs ?? null)
  }

  /** Number of the last transaction. */
  get lastTxn(): number {
    return this.#log.lastTxn
  }

  /** Number of the last transaction that is durable: shippers go this far and no further. */
  get durableTxn(): number {
    return this.#log.durableTxn
  }

  /** Makes the database files hold all updates so far, so that recovery has nothing to replay. */
  async checkpoint(): Promise<void> {
    await this.#checkpointer.now()
  }

  status(): MasterStatus {
    return {
      lastTxn: this.#log.lastTxn,
      durableTxn: this.#log.durableTxn,
      checkpointTxn: this.#database.stamp.txn,
      failure: this.#failure?.message ?? null,
      commit: this.#commits.status,
      queue: this.#queue.status,
      helpers: this.#helpers?.status() ?? [],
      holds: this.#database.work.holds(),
      verify: this.#verification.status,
      damaged: damagedGroups(this.#database),
    }
  }

  get #failure(): HotBackupError | null {
    const lack = this.#log.diskRoom.lack ?? this.#checkpointer.diskRoom.lack
    return this.#log.failed ?? this.#gate.refusal ?? lack
  }

  /** Stops taking updates, finishes what is under way, makes a checkpoint and gives the directory free. */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** After each checkpoint, so the log of a master that works is never much longer than its slaves need. */
  #removeSegments(): void {
    // What cannot be removed now is removed the next time; a disk that fails says so when the log is written.
    this.#retention.apply().catch(() => {})
  }

  #take(event: MasterEvent): void {
    if (event.type === 'slave-dropped') this.#removeSegments()
    // So that whoever reads the log later knows when updates were on this master alone. A log that takes no more
    // marks has failed, and says so itself.
    if ('reachedTxn' in event && this.#closing === null) {
      const { type, reachedTxn, message } = event
      this.#updates.mark(`commit ${type}`, { reachedTxn, message }).catch(() => {})
    }
  }

  /** Another server may be the master now. */
  async #fence(): Promise<void> {
    await this.#gate.look()
    if (this.#gate.fenced) this.#updates.barred()
    if (this.#gate.over) this.#commits.giveUp()
  }

  /** The application has it open no more; what it tries from here on fails with ERR_FENCED. */
  #handOver(): void {
    if (this.#gate.fenced) this.close().catch(() => {}) // It is opened as a slave next, and recovered.
  }

  /** At the end, and not ahead of the slaves, as long as a start without it is quick. */
  async #mayCheckpoint(): Promise<boolean> {
    if (this.#gate.fenced || this.#checkpointer.diskRoom.lack !== null) return false
    if (this.#checkpointer.logBytes > quickReplayBytes) return true
    return this.#reached.wait(this.#log.lastTxn, ackWaitMs)
  }

  async #close(): Promise<void> {
    this.#updates.close()
    this.#log.diskRoom.endPatience()
    const workers = [this.#replication, this.#verification, this.#rescue]
    const filling = Promise.all(workers.map(worker => worker.stop()))
    await this.#queue.close()
    await this.#gate.close()
    await this.#commits.close()
    await filling
    await this.#control?.close()
    await this.#helpers?.stop()
    await this.#drainer.pause()
    try {
      if (this.#log.failed === null) {
        await this.#log.synced()
        if (await this.#mayCheckpoint()) await this.#checkpointer.now()
        await this.#retention.apply()
      }
    } finally {
      await this.#checkpointer.stop()
      await this.#retention.settled()
      await this.#log.close()
      await this.#database.close()
      await this.#lock.release()
    }
  }
}
