// What an open master is made of, opened in its order: ownership, database, log, recovery, and those who work on them.
import { Checkpointer, type CheckpointLog } from '../database/checkpointer.ts'
import { Database } from '../database/database.ts'
import { replayLog } from '../database/replay.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Lock } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import { leftOut } from '../slave/lost-found.ts'
import type { Config } from '../config/config.ts'
import { FilePatterns } from '../config/file-patterns.ts'
import { GroupRepairs } from '../repair/group-repairs.ts'
import { GroupRescue, type GroupEvent } from '../repair/group-rescue.ts'
import { databaseOptions } from '../config/database-options.ts'
import { checkNotRejoining } from '../config/fence.ts'
import { neededForReturn } from '../failover/old-master.ts'
import { ackSourceOf, type Layout } from '../config/layout.ts'
import { openBegunLog } from '../updates/master-log.ts'
import type { Log } from '../config/messages-log.ts'
import { QueueLimit, type QueueEvent } from '../updates/queue-limit.ts'
import { Retention } from '../updates/retention.ts'
import { Commits, type CommitEvent } from '../updates/commits.ts'
import { ReachedSlaves } from '../updates/reached-slaves.ts'
import { Replication } from '../updates/replication.ts'
import { Updates } from '../updates/updates.ts'
import { ContinuousVerification } from '../repair/continuous-verification.ts'
import { VerifyMarks } from '../repair/verify-marks.ts'

/** A checkpoint waits so long for slaves that are there. */
const freshAckWaitMs = 1000

export type MasterEvent =
  CommitEvent | QueueEvent | HelperEvent | VerifyEvent | LogDamageEvent | GroupEvent | DiskEvent

/** Something in the log fails its check, or did: it has been repaired with a slave's bytes. */
export interface LogDamageEvent {
  readonly type: 'log-damaged' | 'log-repaired'
  readonly message: string
}

/** A part of a file could not be read, so the slaves do not compare it. */
export interface VerifyEvent {
  readonly type: 'verify-failed'
  readonly message: string
}

/** A helper has failed so often that an operator must look; it is tried again all the same. */
export interface HelperEvent {
  readonly type: 'helper-failed'
  readonly message: string
}

/**
 * Updates are refused, or files not brought up to date, until the disk has room; or it has room again.
 * `history-removed`: before that, what the log kept only as history was removed.
 */
export interface DiskEvent {
  readonly type: 'disk-full' | 'disk-room' | 'history-removed'
  readonly message: string
}

export interface PartsEvents {
  failed(this: void, error: HotBackupError): void
  checkpointed(this: void): void
  happened(this: void, event: MasterEvent): void
}

/** Everything that an open master holds, in the order in which it was opened. */
export interface Parts {
  readonly lock: Lock
  readonly database: Database
  readonly log: LogWriter
  readonly checkpointer: Checkpointer
  readonly commits: Commits
  readonly queue: QueueLimit
  readonly updates: Updates
  readonly replication: Replication
  readonly marks: VerifyMarks
  readonly verification: ContinuousVerification
  readonly repairs: GroupRepairs
  readonly rescue: GroupRescue
  readonly retention: Retention
}

/** What is said of damage in the log becomes an event. */
export function tellOf({ happened }: PartsEvents): Log {
  return (level, message) => {
    if (level === 'error') happened({ type: 'log-damaged', message })
    else if (level === 'warn') happened({ type: 'log-repaired', message })
  }
}

/** A hold that cannot be drained ends the updates. */
export function drainFailure(error: unknown): HotBackupError {
  if (isHotBackupError(error)) return error
  return new HotBackupError('ERR_STOPPED', `draining a hold failed: ${String(error)}`, {}, error)
}

/** Recovery on a master: the log is brought in order, and what the database lacks of it is replayed. */
export async function openParts(
  platform: Platform,
  layout: Layout,
  config: Config,
  lock: Lock,
  events: PartsEvents,
  helped: boolean,
): Promise<Parts> {
  await checkNotRejoining(platform.disk, layout, config.name)
  const options = databaseOptions(config, helped)
  const database = await Database.open(platform, layout.directory, options)
  let log: LogWriter | null = null
  try {
    log = await openBegunLog(platform, layout, config, database.stamp.txn)
    const mark = log.durableMark
    if (mark !== null) {
      const left = await leftOut(platform.disk, layout.lostAndFound)
      await replayLog(platform.disk, layout.log, database, mark, { left })
    }
    const checkpointer = new Checkpointer(
      database,
      checkpointLog(
        log,
        database,
        new ReachedSlaves(platform, ackSourceOf(layout, 'master'), config),
      ),
      platform.clock,
      events.checkpointed,
      events.failed,
    )
    const source = ackSourceOf(layout, 'master')
    const commits = new Commits(platform, source, config, log, events.happened)
    const queue = await QueueLimit.start({
      platform,
      acksDirectory: layout.slaves,
      config,
      log,
      happened: events.happened,
    })
    const patterns = new FilePatterns(config.replicate)
    for (const { diskRoom } of [log, checkpointer]) {
      diskRoom.onChange(lack => events.happened(diskEvent(lack)))
    }
    const updates = new Updates(log, database, checkpointer, commits, queue, patterns)
    const replication = new Replication(database, updates, platform.clock)
    const marks = new VerifyMarks(database, updates)
    const verification = new ContinuousVerification(platform, marks, {
      // Without slaves there is nothing to compare.
      intervalMs: config.slaves.length === 0 ? null : config.verify.intervalMs,
      path: layout.verify,
      failed: message => events.happened({ type: 'verify-failed', message }),
    })
    const repairs = new GroupRepairs(database, updates)
    const { happened } = events
    const rescue = new GroupRescue({ platform, config, database, log, repairs, happened })
    const retention = retentionOf(platform, layout, config, log, database, events)
    log.spare = retention.spareFor(layout.log)
    checkpointer.diskRoom.spare = retention.spareFor(layout.database)
    const workers = { commits, queue, updates, replication, marks, verification, repairs, rescue }
    return { lock, database, log, checkpointer, retention, ...workers }
  } catch (error) {
    await log?.close()
    await database.close()
    throw error
  }
}

function retentionOf(
  platform: Platform,
  layout: Layout,
  config: Config,
  log: LogWriter,
  database: Database,
  { happened }: PartsEvents,
): Retention {
  return new Retention({
    platform,
    log,
    logDirectory: layout.log,
    acksDirectory: layout.slaves,
    config,
    stampTxn: () => database.stamp.txn,
    needed: logBytes => neededForReturn(platform, layout, logBytes),
    gaveUp: message => happened({ type: 'history-removed', message }),
  })
}

function diskEvent(lack: HotBackupError | null): DiskEvent {
  return lack === null
    ? { type: 'disk-room', message: 'the disk has room again' }
    : { type: 'disk-full', message: `the disk is full: ${lack.message}` }
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
