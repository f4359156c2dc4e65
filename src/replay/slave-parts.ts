// What a slave is made of besides its links: log, database, and the replayer between them. The slave's server opens
// them, and so does a command on a slave that nobody runs.
import { Database } from '../database/database.ts'
import { isHotBackupError, type HotBackupError } from '../errors.ts'
import { LogWriter } from '../log/writer.ts'
import type { Platform } from '../platform/platform.ts'
import { ApplyFailures } from '../slave/apply-failures.ts'
import { compareWithMaster } from '../slave/comparison.ts'
import { Differences } from '../slave/differences.ts'
import { LostAndFound } from '../slave/lost-found.ts'
import type { ReplayerEvents } from '../slave/replayer-terms.ts'
import { Replayer } from '../slave/replayer.ts'
import type { Config } from '../config/config.ts'
import { isImageFile, removeOwnBelow } from '../config/own-files.ts'
import { databaseOptions } from '../config/database-options.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'
import { Retention } from '../updates/retention.ts'

export interface SlaveData {
  readonly database: Database
  /** Why the database is an empty one that stands in for the slave's own; null when it is that. */
  readonly damage: HotBackupError | null
  readonly log: LogWriter
  readonly lostAndFound: LostAndFound
  readonly differences: Differences
}

/** The caller owns the server, and has helpers or not. Throws ERR_LOG_CORRUPT, ERR_DATABASE_CORRUPT, ERR_DISK. */
export function openSlaveData(
  platform: Platform,
  layout: Layout,
  config: Config,
  helped: boolean,
): Promise<SlaveData> {
  return openData(platform, layout, config, helped, null)
}

/**
 * The same for a slave's server. With auto_seed, a database that cannot be opened is left as it is, and an empty one
 * stands in for it: the log goes on, nothing is applied or read, until the copy of the master's database has come.
 */
export async function openServedData(
  platform: Platform,
  layout: Layout,
  config: Config,
  say: Log,
): Promise<SlaveData> {
  try {
    return await openData(platform, layout, config, true, null)
  } catch (error) {
    if (!config.slave.autoSeed || !isHotBackupError(error, 'ERR_DATABASE_CORRUPT')) throw error
    const { code, message, place } = error
    say('error', `the database is damaged, and needs a copy: ${message}`, { code, ...place })
    return openData(platform, layout, config, true, error)
  }
}

async function openData(
  platform: Platform,
  layout: Layout,
  config: Config,
  helped: boolean,
  damage: HotBackupError | null,
): Promise<SlaveData> {
  const lostAndFound = await LostAndFound.open(platform.disk, layout.lostAndFound)
  const options = databaseOptions(config, helped)
  if (damage !== null) await removeOwnBelow(platform.disk, layout.standIn, isImageFile)
  const directory = damage === null ? layout.directory : layout.standIn
  const database = await Database.open(platform, directory, options)
  try {
    await lostAndFound.forgetGone(database.stamp.txn)
    const log = await LogWriter.open(platform, layout.log, {
      ...config.log,
      knownDurableTxn: database.stamp.txn,
      ownPromises: false,
    })
    // What cannot be written is found again.
    const differences = await Differences.open(platform.disk, layout.differences, () => {})
    return { database, damage, log, lostAndFound, differences }
  } catch (error) {
    await database.close()
    throw error
  }
}

export async function closeSlaveData(data: SlaveData): Promise<void> {
  await data.log.close()
  await data.database.close()
  await data.differences.close()
}

/** What is behind `neededAfter` must stay, too. For room on the disk the log gives up its history. */
export function slaveRetention(
  platform: Platform,
  layout: Layout,
  config: Config,
  { database, log }: SlaveData,
  also: { readonly neededAfter: number },
  say: Log,
): Retention {
  const retention = new Retention({
    platform,
    log,
    logDirectory: layout.log,
    acksDirectory: layout.slaves,
    config,
    stampTxn: () => database.stamp.txn,
    needed: () => Promise.resolve(also.neededAfter),
    gaveUp: message => say('warn', message),
  })
  log.spare = retention.spareFor(layout.log)
  return retention
}

/** `on`: it follows the log at once. */
export function startReplayer(
  platform: Platform,
  layout: Layout,
  config: Config,
  { database, damage, log, lostAndFound, differences }: SlaveData,
  on: boolean,
  say: Log,
  events: ReplayerEvents,
): Replayer {
  const failures = new ApplyFailures(platform, lostAndFound, {
    server: config.name,
    logDirectory: layout.log,
    tries: config.slave.applyTries,
    autoCreate: config.slave.autoCreate,
    acknowledged: () => log.durableTxn,
    lost: (count, txn, reason) => {
      const more = count === 1 ? '' : `, and ${count - 1} more before it,`
      const message = `transaction ${txn}${more} could not be applied and lies in lost-found`
      say('error', `${message}: ${reason}`, { txn, count, lostAndFound: true })
    },
  })
  compareWithMaster(database, differences, platform.clock, ({ message, ...fields }) => {
    say('error', message, { ...fields, difference: true })
  })
  const mode = { on, delayMs: config.slave.applyDelayMs, failure: damage }
  return new Replayer(platform, log, layout.log, database, mode, failures, events)
}

/** The disk is full (and what is not done meanwhile), or has room again. */
export function sayDiskRoom(say: Log, without: string, lack: HotBackupError | null): void {
  if (lack === null) say('info', 'the disk has room again')
  else say('error', `the disk is full, ${without}: ${lack.message}`, { code: lack.code })
}
