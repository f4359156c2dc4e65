// A master's directory, opened by the one process that owns it: lock, recovery, control socket, checkpoints,
// removal of old segments, and a clean end. What can be done with the data is in account.ts and updates.ts.
import path from 'node:path'
import { Checkpointer, type CheckpointLog } from '../database/checkpointer.ts'
import { Database } from '../database/database.ts'
import { replayLog } from '../database/replay.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { quickReplayBytes } from '../limits.ts'
import type { LogWriter } from '../log/writer.ts'
import { sleep } from '../platform/clock.ts'
import type { Lock } from '../platform/locks.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Platform } from '../platform/platform.ts'
import type { AckLevel } from '../ship/ack-file.ts'
import { leftOut } from '../slave/lost-found.ts'
import { Account, checkAccount, type UpdateOptions } from './account.ts'
import { Commits, type CommitEvent, type CommitStatus } from './commits.ts'
import { loadConfig, type Config } from './config.ts'
import { ControlServer } from './control.ts'
import type { DataSource } from './data-source.ts'
import { databaseOptions } from './database-options.ts'
import { checkNotRejoining } from './fence.ts'
import { FilePatterns } from './file-patterns.ts'
import { layoutOf, type Layout } from './layout.ts'
import { openMasterLog, recoveryPurpose } from './master-log.ts'
import { NamedWrites } from './named-writes.ts'
import { neededForReturn } from './old-master.ts'
import { QueueLimit, type QueueEvent, type QueueStatus } from './queue-limit.ts'
import { Replication } from './replication.ts'
import { ReachedSlaves } from './reached-slaves.ts'
import { Retention } from './retention.ts'
import type { Transaction } from './transaction.ts'
import { Updates } from './updates.ts'
import { WriteGate } from './write-gate.ts'

export interface MasterOptions {
  /** The outside world: disk, network, clock and so on. Node's by default. */
  readonly platform?: Platform
  /** Hears of what an operator wants to know at once, such as that the slaves do not answer. */
  readonly onEvent?: (event: MasterEvent) => void
}

export type MasterEvent = CommitEvent | QueueEvent

export interface MasterStatus {
  readonly lastTxn: number
  readonly durableTxn: number
  /** The last transaction that the database files hold. */
  readonly checkpointTxn: number
  /** Why the master takes no more updates; null while it does. */
  readonly failure: string | null
  readonly commit: CommitStatus
  readonly queue: QueueStatus
}

const ownershipPollMs = 25
/** At its end a master waits so long for its slaves; a checkpoint waits longer, if they are there. */
const ackWaitMs = 100
const freshAckWaitMs = 1000

interface PartsEvents {
  failed(this: void, error: HotBackupError): void
  checkpointed(this: void): void
  happened(this: void, event: MasterEvent): void
}

/** Everything that an open master holds, in the order in which it was opened. */
interface Parts {
  readonly lock: Lock
  readonly database: Database
  readonly log: LogWriter
  readonly checkpointer: Checkpointer
  readonly commits: Commits
  readonly queue: QueueLimit
  readonly updates: Updates
  readonly replication: Replication
}

/**
 * The database of a master. One process has it open at a time; others reach it through that process, by the
 * commands of hb(1).
 */
export class Master {
  readonly directory: string
  readonly name: string
  readonly #database: Database
  readonly #log: LogWriter
  readonly #lock: Lock
  readonly #checkpointer: Checkpointer
  readonly #commits: Commits
  readonly #queue: QueueLimit
  readonly #updates: Updates
  readonly #replication: Replication
  readonly #retention: Retention
  readonly #gate: WriteGate
  readonly #reached: ReachedSlaves
  #control: ControlServer | null = null
  #closing: Promise<void> | null = null

  private constructor(layout: Layout, config: Config, platform: Platform, parts: Parts) {
    this.directory = layout.directory
    this.name = config.name
    this.#lock = parts.lock
    this.#database = parts.database
    this.#log = parts.log
    this.#checkpointer = parts.checkpointer
    this.#commits = parts.commits
    this.#queue = parts.queue
    this.#updates = parts.updates
    this.#replication = parts.replication
    this.#gate = new WriteGate(platform, layout, config.name, config.failover.leaseMs)
    this.#updates.gate = () => this.#gate.check()
    const slaves = config.slaves.map(slave => slave.name)
    this.#retention = new Retention(
      platform,
      parts.log,
      layout.slaves,
      slaves,
      config.log,
      logBytes => neededForReturn(platform, layout, logBytes),
    )
    this.#reached = new ReachedSlaves(platform, layout.slaves, slaves)
  }

  /**
   * Opens the master whose directory "hb setup" has made; recovers what a crash has left. Errors:
   * ERR_NOT_A_SERVER, ERR_CONFIG, ERR_WRONG_TYPE, ERR_RUNNING (another process has it open), ERR_LOG_CORRUPT,
   * ERR_DATABASE_CORRUPT, ERR_DISK.
   */
  static async open(directory: string, options: MasterOptions = {}): Promise<Master> {
    const platform = options.platform ?? nodePlatform
    const layout = layoutOf(path.resolve(directory))
    const config = await loadConfig(platform.disk, layout)
    if (config.type !== 'master') {
      throw new HotBackupError('ERR_WRONG_TYPE', `${directory} is a ${config.type}`, {
        path: directory,
      })
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
        options.onEvent?.(event)
      },
    }
    const lock = await takeOwnership(platform, layout, events.failed)
    try {
      const parts = await openParts(platform, layout, config, lock, events)
      master = new Master(layout, config, platform, parts)
    } catch (error) {
      await lock.release()
      throw error
    }
    try {
      await master.#serve(platform, layout)
      return master
    } catch (error) {
      await master.close()
      throw error
    }
  }

  async #serve(platform: Platform, layout: Layout): Promise<void> {
    this.#control = await ControlServer.start(platform, layout.ownerSocket, {
      data: this.source,
      status: () => Promise.resolve(this.status()),
      copying: {
        database: this.#database,
        retention: this.#retention,
        hold: () => this.#checkpointer.hold(),
      },
      fence: () => this.#gate.look(),
      handOver: () => this.#handOver(),
    })
    // After that: whoever was fencing it before it could be told so has left the marker by now.
    await this.#gate.open()
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
    return this.account(name)
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
    work: (transaction: Transaction) => T,
    options: UpdateOptions = {},
  ): Promise<T> {
    return this.#updates.transaction(work, options.level)
  }

  /**
   * Resolves when enough slaves (hb.toml, commit.slaves) have received, stored or applied transaction `txn`. Errors:
   * ERR_TIMEOUT after `timeoutMs`, ERR_NO_SLAVE, ERR_UNCONFIRMED (closed meanwhile).
   */
  async wait(txn: number, level: AckLevel, options: { timeoutMs?: number } = {}): Promise<void> {
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

  /** What commands and the control socket work on. */
  get source(): DataSource {
    return {
      database: this.#database,
      settled: () => this.#updates.settled(),
      writes: new NamedWrites(this.#database, this.#updates, this.#replication),
    }
  }

  status(): MasterStatus {
    return {
      lastTxn: this.#log.lastTxn,
      durableTxn: this.#log.durableTxn,
      checkpointTxn: this.#database.stamp.txn,
      failure: (this.#log.failed ?? this.#gate.refusal)?.message ?? null,
      commit: this.#commits.status,
      queue: this.#queue.status,
    }
  }

  /** Stops taking updates, finishes what is under way, makes a checkpoint and gives the directory free. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** After each checkpoint, so the log of a master that works is never much longer than its slaves need. */
  #removeSegments(): void {
    // What cannot be removed now is removed the next time; a disk that fails says so when the log is written.
    this.#retention.apply(this.#database.stamp.txn).catch(() => {})
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

  /** The application has it open no more; what it tries from here on fails with ERR_FENCED. */
  #handOver(): void {
    if (this.#gate.fenced) this.close().catch(() => {}) // It is opened as a slave next, and recovered.
  }

  /** At the end, and not ahead of the slaves, as long as a start without it is quick. */
  async #mayCheckpoint(): Promise<boolean> {
    if (this.#gate.fenced) return false
    if (this.#checkpointer.logBytes > quickReplayBytes) return true
    return this.#reached.wait(this.#log.lastTxn, ackWaitMs)
  }

  async #close(): Promise<void> {
    this.#updates.close()
    const filling = this.#replication.stop()
    await this.#queue.close()
    await this.#gate.close()
    await this.#commits.close()
    await filling
    await this.#control?.close()
    try {
      if (this.#log.failed === null) {
        await this.#log.synced()
        if (await this.#mayCheckpoint()) await this.#checkpointer.now()
        await this.#retention.apply(this.#database.stamp.txn)
      }
    } finally {
      await this.#checkpointer.stop()
      await this.#log.close()
      await this.#database.close()
      await this.#lock.release()
    }
  }
}

/** A shipper that starts owns the directory for a moment, to bring the log in order: that is waited for. */
async function takeOwnership(
  platform: Platform,
  layout: Layout,
  lost: (error: HotBackupError) => void,
): Promise<Lock> {
  const { locks, clock } = platform
  for (;;) {
    try {
      return await locks.acquire(layout.ownerLock, 'master', lost)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_RUNNING')) throw error
      const holder = await locks.holder(layout.ownerLock)
      if (holder !== null && holder.purpose !== recoveryPurpose) throw error
      await sleep(clock, ownershipPollMs)
    }
  }
}

/** Recovery on a master: the log is brought in order, and what the database lacks of it is replayed. */
async function openParts(
  platform: Platform,
  layout: Layout,
  config: Config,
  lock: Lock,
  events: PartsEvents,
): Promise<Parts> {
  await checkNotRejoining(platform.disk, layout, config.name)
  const database = await Database.open(platform, layout.directory, databaseOptions(config))
  let log: LogWriter | null = null
  try {
    log = await openMasterLog(platform, layout, config, database.stamp.txn)
    if (log.identity === null) await beginHistory(platform, log)
    const mark = log.durableMark
    if (mark !== null) {
      const left = await leftOut(platform.disk, layout.lostAndFound)
      await replayLog(platform.disk, layout.log, database, mark, { left })
    }
    const slaves = config.slaves.map(slave => slave.name)
    const checkpointer = new Checkpointer(
      database,
      checkpointLog(log, database, new ReachedSlaves(platform, layout.slaves, slaves)),
      platform.clock,
      events.checkpointed,
      events.failed,
    )
    const commits = new Commits(
      platform,
      layout.slaves,
      slaves,
      config.commit,
      log,
      events.happened,
    )
    const queue = await QueueLimit.start({
      platform,
      acksDirectory: layout.slaves,
      slaves,
      policy: config.queue,
      log,
      happened: events.happened,
    })
    const patterns = new FilePatterns(config.replicate)
    const updates = new Updates(log, database, checkpointer, commits, queue, patterns)
    const replication = new Replication(database, updates, platform.clock)
    return { lock, database, log, checkpointer, commits, queue, updates, replication }
  } catch (error) {
    await log?.close()
    await database.close()
    throw error
  }
}

async function beginHistory({ random }: Platform, log: LogWriter): Promise<void> {
  const [databaseId, lineageId] = [random.bytes(16), random.bytes(16)]
  await log.beginHistory({ databaseId, lineageId, timeline: 1 })
}

function checkpointLog(log: LogWriter, database: Database, reached: ReachedSlaves): CheckpointLog {
  const durable = async (txn: number) => {
    await log.durable()
    await reached.waitForFresh(txn, freshAckWaitMs, () => !database.overfull)
  }
  return {
    cut: () => {
      const position = log.cut()
      const promise = durable(position.txn)
      promise.catch(() => {}) // A checkpoint that is not needed after all does not ask.
      return { position, durable: promise }
    },
    bytes: () => log.bytesWritten,
  }
}
