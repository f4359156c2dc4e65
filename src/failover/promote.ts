// hb promote: a slave becomes a master, whether its server runs (then that does it, and goes on as the master's
// shipper) or not. The steps that must survive a crash are in promotion.ts.
import type { Database } from '../database/database.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { LogWriter } from '../log/writer.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { countLost } from '../slave/lost-found.ts'
import type { Replayer } from '../slave/replayer.ts'
import { unknownRole } from '../config/role.ts'
import { loadConfig, type Config } from '../config/config.ts'
import type { ControlClient } from '../control/control-client.ts'
import { ask } from '../control/operation.ts'
import { statusNow, statusOf } from '../control/reach.ts'
import { damagedGroups } from '../database/damaged-groups.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { byOwner, slavePurpose } from '../control/owner.ts'
import { readApplyUpdates } from '../replay/apply-updates.ts'
import {
  closeSlaveData,
  openSlaveData,
  startReplayer,
  type SlaveData,
} from '../replay/slave-parts.ts'
import { collectStatus } from '../report/status.ts'
import { checkNotRejoining } from '../config/fence.ts'
import { failoverOperations, type PromoteReport } from './failover-operations.ts'
import { nextTimeline, promoteLog, tryPromotion } from './promotion.ts'

type Parts = {
  readonly config: Config
  readonly database: Database
  readonly log: LogWriter
  readonly replayer: Pick<Replayer, 'drain' | 'on' | 'appliedTxn' | 'failure'>
}

/**
 * Drains the log into the database and begins the new timeline. Nothing comes from a master any more. Throws
 * ERR_UNSAFE for a log without history, the failure of the replayer, and what promoteLog throws.
 */
export async function promoteParts(
  platform: Platform,
  layout: Layout,
  { config, database, log, replayer }: Parts,
  now: Pick<PromoteReport, 'masterTxn' | 'connected' | 'shipping'>,
): Promise<PromoteReport> {
  checkPromotable(config, log.identity !== null, replayer.failure)
  const applyUpdates = replayer.on
  await log.durable()
  const before = replayer.appliedTxn
  await replayer.drain()
  const drained = replayer.appliedTxn - before
  const { timeline, lineage, fork } = await promoteLog(platform, layout, config, log)
  const lostAndFound = await countLost(platform.disk, layout.lostAndFound)
  const { name } = config
  const found = { lostAndFound, damaged: damagedGroups(database) }
  return { name, timeline, lineage, lastTxn: fork.txn, drained, applyUpdates, ...now, ...found }
}

export function checkPromotable(
  { name }: Config,
  hasHistory: boolean,
  failure: { readonly message: string } | null,
): void {
  if (!hasHistory) {
    const message = `${name} has never received anything: there is nothing to take over`
    const hint = 'Promote a slave that holds the database; "hb status" shows how far each has come.'
    throw new HotBackupError('ERR_UNSAFE', message, {}, undefined, hint)
  }
  if (failure !== null) {
    const message = `${name} cannot apply what it holds: ${failure.message}`
    throw new HotBackupError('ERR_UNSAFE', message, {}, failure)
  }
}

/** Why a slave does not take over from a master that works, or null: it must lack nothing. */
function handOverRefusal(
  config: Config,
  { database, log }: Pick<SlaveData, 'database' | 'log'>,
  failure: HotBackupError | null,
): HotBackupError | null {
  try {
    checkPromotable(config, log.identity !== null, failure)
  } catch (error) {
    if (isHotBackupError(error)) return error
    throw error
  }
  const [first] = damagedGroups(database)
  if (first === undefined) return null
  return new HotBackupError('ERR_UNSAFE', `${config.name} lacks a group: ${first.message}`)
}

/** The same, with all that a promotion needs of the disk. The caller owns the server. */
export async function handOverTrouble(
  platform: Pick<Platform, 'disk'>,
  layout: Layout,
  config: Config,
  data: Pick<SlaveData, 'database' | 'log'>,
  failure: HotBackupError | null,
): Promise<HotBackupError | null> {
  const refusal = handOverRefusal(config, data, failure)
  if (refusal !== null) return refusal
  try {
    await tryPromotion(platform, layout)
    return null
  } catch (error) {
    return promotionError(error)
  }
}

export function promotionError(error: unknown): HotBackupError {
  if (isHotBackupError(error)) return error
  return new HotBackupError('ERR_STOPPED', `promotion failed: ${String(error)}`, {}, error)
}

/** What "hb promote" would do: tries what it needs, and changes nothing. Throws as that would. */
export async function describePromotion(
  platform: Platform,
  directory: string,
): Promise<PromoteReport> {
  const layout = layoutOf(directory)
  const config = await loadSlave(platform, layout)
  const status = await collectStatus(platform, directory, unknownRole)
  const receiver = (await statusOf(platform, layout, 'owner'))?.slave?.receiver
  const failure = status.failure === null ? null : { message: status.failure }
  checkPromotable(config, status.timeline !== null, failure)
  await byOwner(
    platform,
    layout,
    client => ask(client, failoverOperations.tryPromote, {}),
    async () => {
      await owning(platform, layout, config, () => tryPromotion(platform, layout))
      return {}
    },
  )
  return {
    name: config.name,
    timeline: await nextTimeline(platform.disk, layout, status.timeline ?? 0),
    lineage: null,
    lastTxn: status.log.durableTxn,
    drained: status.log.durableTxn - status.apply.appliedTxn,
    applyUpdates: status.apply.on,
    masterTxn: receiver?.masterDurableTxn ?? 0,
    connected: receiver?.master?.name ?? null,
    lostAndFound: status.lostAndFound,
    damaged: status.damaged,
    shipping: status.running,
  }
}

/**
 * Promotes the slave in `directory`; when it resolves applications may open it. Throws ERR_WRONG_TYPE, ERR_UNSAFE,
 * ERR_LOG_CORRUPT, ERR_DISK and so on.
 */
export async function promoteServer(platform: Platform, directory: string): Promise<PromoteReport> {
  const layout = layoutOf(directory)
  // Its server ends as the one that another command has promoted, it may be: then this says so.
  const config = () => loadSlave(platform, layout)
  return byOwner(
    platform,
    layout,
    async client => {
      await config()
      return promoteRunning(platform, layout, client)
    },
    async () => promoteStopped(platform, layout, await config()),
  )
}

async function promoteRunning(
  platform: Platform,
  layout: Layout,
  client: ControlClient,
): Promise<PromoteReport> {
  const report = await ask(client, failoverOperations.promote, {})
  await ownerGone(platform, layout)
  return { ...report, shipping: await shipperThere(platform, layout) }
}

async function loadSlave(platform: Platform, layout: Layout): Promise<Config> {
  const config = await loadConfig(platform.disk, layout, unknownRole)
  if (config.type === 'slave') return config
  const message = `${config.name} is a master already`
  const hint = 'There is nothing to promote; "hb status" shows its state.'
  throw new HotBackupError('ERR_WRONG_TYPE', message, { path: layout.directory }, undefined, hint)
}

async function owning<T>(
  platform: Platform,
  layout: Layout,
  { name }: Config,
  work: () => Promise<T>,
): Promise<T> {
  const lock = await platform.locks.acquire(layout.ownerLock, 'hb promote', () => {})
  try {
    await checkNotRejoining(platform.disk, layout, name)
    return await work()
  } finally {
    await lock.release()
  }
}

async function promoteStopped(
  platform: Platform,
  layout: Layout,
  config: Config,
): Promise<PromoteReport> {
  return owning(platform, layout, config, async () => {
    const data = await openSlaveData(platform, layout, config, false)
    const { database, log } = data
    try {
      checkPromotable(config, log.identity !== null, null)
      await tryPromotion(platform, layout)
      const events = { applied: () => {}, checkpointed: () => {}, failed: () => {} }
      const off = startReplayer(platform, layout, config, data, false, () => {}, events)
      const on = await readApplyUpdates(platform, layout, config)
      const replayer = {
        on,
        get appliedTxn() {
          return off.appliedTxn
        },
        get failure() {
          return off.failure
        },
        drain: () => off.drain(),
      }
      const none = { masterTxn: 0, connected: null, shipping: false }
      return await promoteParts(platform, layout, { config, database, log, replayer }, none)
    } finally {
      await closeSlaveData(data)
    }
  })
}

const pollMs = 10
const ownerWaitMs = 60_000

/** The slave's server gives the database free a moment after its answer. */
async function ownerGone(platform: Platform, layout: Layout): Promise<void> {
  const { clock, locks } = platform
  const start = clock.monotonic()
  for (;;) {
    const holder = await locks.holder(layout.ownerLock)
    if (holder === null || !holder.alive || holder.purpose !== slavePurpose) return
    if (clock.monotonic() - start > ownerWaitMs) {
      const message = `process ${holder.identity.pid} has not given ${layout.directory} free`
      throw new HotBackupError('ERR_TIMEOUT', message)
    }
    await sleep(clock, pollMs)
  }
}

/** A shipper that is not there by then is not about to be: it has been killed, say. */
const shipperWaitMs = 10_000

/** The process goes on as the shipper, and answers at the port: only then can the old master come back. */
async function shipperThere(platform: Platform, layout: Layout): Promise<boolean> {
  const { clock } = platform
  const start = clock.monotonic()
  while ((await statusNow(platform, layout, 'shipper')) === null) {
    if (clock.monotonic() - start > shipperWaitMs) return false
    await sleep(clock, pollMs)
  }
  return true
}
