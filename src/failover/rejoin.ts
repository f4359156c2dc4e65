// hb rejoin: an old master becomes a slave of the server that was promoted in its place, without a full copy; and so
// does another slave of the old master, which may have got more than the one that was promoted.
//
//   1. no other process has the server; its log is brought in order
//   2. the new master tells the timelines of its log: where the histories part (log/fork.ts), the fork
//   3. what lies behind the fork, the missing updates, is copied to missing-updates/, durably, and read again
//   4. every step that follows is tried
//   5. the new master takes this server as a slave
//   6. DIR/rejoin, durably       names the fork: from here on only going on leads anywhere
//   7. the log is cut back to the fork; acks, which may lie behind it, are removed
//   8. DIR/role says slave; promotion, fenced and at last DIR/rejoin are removed
//
// The database needs nothing: its stamp is not behind the fork, so it stands there after the replay of what is left. If
// the stamp is behind it, or no fork is found, there is only a new copy: with the caller's consent log and database are
// removed whole in 7, once what the new master may lack has been saved, and the new master sends a copy.
// Before 6 nothing has changed, but for the copy. Interrupted behind it, the next "hb rejoin" goes on.
import * as v from 'valibot'
import { Database } from '../database/database.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { connectionsMax } from '../limits.ts'
import type { LogPosition } from '../log/chain.ts'
import { cutBack, placeOf, type LogPlace } from '../log/cut-back.ts'
import { readDurableMark, type DurableMark } from '../log/durable.ts'
import { findFork } from '../log/fork.ts'
import { LogWriter } from '../log/writer.ts'
import { readState, removeState, tryDirectory, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import type { Address } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import { askHistory, type Peer } from '../ship/ask.ts'
import { removeAcks } from '../ship/ack-file.ts'
import { OwnLog } from '../ship/own-log.ts'
import type { HistoryMessage } from '../wire/messages/history.ts'
import { positionText } from '../wire/position-text.ts'
import { isServerName } from '../wire/server-name.ts'
import { addressText, isEverywhere, isLoopback, portDefault } from '../config/address.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { readServerId, readUpstream, writeUpstream } from '../config/identity.ts'
import { readKey } from '../config/key.ts'
import { unknownRole } from '../config/role.ts'
import { changeRole, tryRole, type Change } from '../config/role-change.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { openMasterLog } from '../updates/master-log.ts'
import { isDatabaseFile, isLogFile, removeOwn } from '../config/own-files.ts'
import { ownMark } from './joining.ts'
import { saveMissing, type MissingUpdates } from './missing-updates.ts'

export interface RejoinOptions {
  /** Where the new master listens; null: what has begun is gone on with, and that says where. */
  readonly from: Address | null
  /** Where this server will listen; null for what hb.toml, or an earlier rejoin, says. */
  readonly listen: Address | null
  /** If there is no other way, give up log and database, and take a copy of the new master's. */
  readonly newCopy: boolean
}

export interface RejoinReport {
  readonly name: string
  readonly master: string
  /** The last transaction that both histories have. */
  readonly forkTxn: number
  /** What the new master does not have; null when it has everything. */
  readonly missing: MissingUpdates | null
  /** It is empty now, and the new master must send it a copy. */
  readonly newCopy: boolean
  readonly listen: string
}

const whole = v.pipe(v.number(), v.integer(), v.minValue(0))
const place = { txn: whole, chain: whole, segmentFirstTxn: whole, offset: whole }
const missing = { path: v.string(), list: v.string(), firstTxn: whole, lastTxn: whole }
const schema = v.strictObject({
  master: v.string(),
  from: v.string(),
  listen: v.string(),
  moved: v.boolean(),
  timeline: v.optional(whole, 0),
  forkTxn: whole,
  place: v.nullable(v.strictObject(place)),
  missing: v.nullable(
    v.strictObject({ ...missing, items: whole, files: v.array(v.looseObject({})) }),
  ),
})

/** What lies in DIR/rejoin. */
interface Plan {
  readonly master: string
  /** Where that listens. */
  readonly from: string
  readonly listen: string
  /** The command has said so: what hb.toml says counts no longer. */
  readonly moved: boolean
  /** Of the new master. */
  readonly timeline: number
  readonly forkTxn: number
  /** Where the log is cut; null: nothing of it stays, nor of the database. */
  readonly place: LogPlace | null
  readonly missing: MissingUpdates | null
}
const planBytesMax = 1024 * 1024

/**
 * The caller has the locks of the owner and of the shipper. Throws ERR_REJOINING once it has begun: the next call goes
 * on. Before, ERR_UNSAFE with the reason, ERR_CONNECT, ERR_LINK_FOREIGN, ERR_LOG_REMOVED, ERR_LISTEN, ERR_DISK and so
 * on: nothing has changed then, but that missing updates may have been saved.
 */
export async function rejoin(
  platform: Platform,
  directory: string,
  options: RejoinOptions,
): Promise<RejoinReport> {
  const layout = layoutOf(directory)
  const { disk } = platform
  const config = await loadConfig(disk, layout, unknownRole)
  const { name } = config
  let plan: Plan
  try {
    plan = (await readPlan(disk, layout)) ?? (await makePlan(platform, layout, config, options))
    await carryOut(disk, layout, plan)
  } catch (error) {
    // DIR/rejoin itself may be there and not durable.
    if (!isHotBackupError(error) || !(await disk.exists(layout.rejoin))) throw error
    const message = `${name} is becoming a slave, and that is not complete: ${error.message}`
    throw new HotBackupError('ERR_REJOINING', message, { path: layout.directory }, error)
  }
  const { master, listen, place, forkTxn, missing } = plan
  return { name, master, forkTxn, missing, newCopy: place === null, listen }
}

async function makePlan(
  platform: Platform,
  layout: Layout,
  config: Config,
  options: RejoinOptions,
): Promise<Plan> {
  const { disk } = platform
  const { from } = options
  if (from === null) {
    const message = `${config.name} has no rejoin to go on with: say with --from where the new master listens`
    throw new HotBackupError('ERR_UNSAFE', message)
  }
  const stampTxn = await bringInOrder(platform, layout, config)
  if ((await readDurableMark(disk, layout.log)) === null) {
    const message = `${config.name} holds nothing: enter it as a slave in hb.toml of the new master, which sends it everything`
    throw new HotBackupError('ERR_UNSAFE', message)
  }
  const end = await ownMark(platform, layout)
  const chosen = listenAsSlave(config, options.listen, from)
  const listen = chosen ?? config.link.listen
  const ask = (register: boolean) => question(platform, layout, config, end, from, listen, register)
  const history = await ask(false)
  const found = await whereToCut(disk, layout, end, history, options.newCopy)
  const { fork } = found
  const missing = end.txn > fork.txn ? await saveMissing(disk, layout, fork) : null
  const place = stampTxn > fork.txn ? null : found.place
  if (place === null && !options.newCopy) {
    const saved = missing === null ? '' : `, which are saved in ${missing.path}`
    const message = `the database files of ${config.name} hold transactions up to ${stampTxn}, behind the fork at ${fork.txn}${saved}: it needs a new copy, see --new-copy`
    throw new HotBackupError('ERR_UNSAFE', message, { txn: fork.txn })
  }
  const change = asSlave(history.serverName, chosen === null ? null : addressText(chosen))
  await tryRejoin(platform, layout, change, place === null)
  await tryListen(platform, config, listen)
  await ask(true)
  const plan = {
    master: history.serverName,
    from: addressText(from),
    listen: addressText(listen),
    moved: chosen !== null,
    timeline: history.timelines.at(-1)?.timeline ?? 0,
    forkTxn: fork.txn,
    place,
    missing,
  }
  await writeFileAtomic(disk, layout.rejoin, Buffer.from(`${JSON.stringify(plan)}\n`))
  return plan
}

/**
 * The fork, and its place in this log. With `newCopy` it is the start of the log when there is none that both know:
 * all of the log counts as missing then.
 */
async function whereToCut(
  disk: Disk,
  layout: Layout,
  end: DurableMark,
  history: HistoryMessage,
  newCopy: boolean,
): Promise<{ readonly fork: LogPosition; readonly place: LogPlace | null }> {
  try {
    const fork = await forkWith(disk, layout, end, history)
    return { fork, place: await placeOf(disk, layout.log, fork) }
  } catch (error) {
    const unknown = ['ERR_LINK_SEED', 'ERR_LOG_REMOVED', 'ERR_LOG_FOREIGN', 'ERR_LOG_GAP'] as const
    if (!newCopy || !isHotBackupError(error, ...unknown)) throw error
    const [first] = (await new OwnLog(disk, layout.log).history(end)).timelines
    return { fork: { txn: (first?.firstTxn ?? 1) - 1, chain: first?.chain ?? 0 }, place: null }
  }
}

/**
 * Where a master is to listen once it is a slave; null: as its configuration says. It never opens all addresses because
 * none was named: beside its new master it listens on this machine alone. Throws ERR_USAGE.
 */
export function listenAsSlave(
  { name, link }: Pick<Config, 'name' | 'link'>,
  given: Address | null,
  master: Address,
): Address | null {
  if (given !== null || link.listenGiven) return given
  if (isLoopback(master)) return { host: '127.0.0.1', port: portDefault }
  const message = `hb.toml does not say where ${name} listens as a slave: name an address with --listen HOST:PORT`
  throw new HotBackupError('ERR_USAGE', message)
}

/** Recovery, as at every start. Returns the transaction up to which the database files hold. */
async function bringInOrder(platform: Platform, layout: Layout, config: Config): Promise<number> {
  const database = await Database.open(platform, layout.directory, {
    ...config.database,
    readOnly: true,
  })
  // What was applied ahead of its turn is in the files as well.
  const txn = Math.max(database.stamp.txn, database.ahead.until)
  await database.close()
  const log =
    config.type === 'master'
      ? await openMasterLog(platform, layout, config, txn)
      : await LogWriter.open(platform, layout.log, {
          ...config.log,
          knownDurableTxn: txn,
          ownPromises: false,
        })
  await log.close()
  return txn
}

/** How to ask another server of this database. Throws ERR_KEY. */
export async function peerAt(
  platform: Pick<Platform, 'disk'>,
  { link }: Config,
  address: Address,
): Promise<Peer> {
  const key = link.keyPath === null ? null : await readKey(platform, link.keyPath)
  return { address, key, timeoutMs: link.timeoutMs }
}

async function question(
  platform: Platform,
  layout: Layout,
  config: Config,
  end: DurableMark,
  from: Address,
  listen: Address,
  register: boolean,
): Promise<HistoryMessage> {
  const { name } = config
  const { databaseId } = await new OwnLog(platform.disk, layout.log).describe(end)
  const history = await askHistory(platform, await peerAt(platform, config, from), {
    name: 'join',
    register,
    serverName: name,
    serverId: await readServerId(platform.disk, layout),
    databaseId,
    // An address that means "all of this machine's" is none to call.
    host: isEverywhere(listen) ? '' : listen.host,
    port: listen.port,
  })
  if (isServerName(history.serverName)) return history
  const message = `"${history.serverName}" at ${addressText(from)} cannot be a master: a wrong name`
  throw new HotBackupError('ERR_LINK_REFUSED', message)
}

async function forkWith(
  disk: Disk,
  layout: Layout,
  end: DurableMark,
  history: HistoryMessage,
): Promise<LogPosition> {
  const ours = await new OwnLog(disk, layout.log).history(end)
  const theirs = history.timelines.at(-1)?.timeline ?? 0
  const own = ours.timelines.at(-1)?.timeline ?? 0
  if (theirs < own) {
    const message = `"${history.serverName}" is on timeline ${theirs}, and this server on the later timeline ${own}`
    const hint = 'Nothing has been changed: name the present master with --from.'
    throw new HotBackupError('ERR_UNSAFE', message, {}, undefined, hint)
  }
  const fork = findFork(ours, history)
  if (fork === null || fork.txn > end.txn || fork.txn > history.end.txn) {
    const message = `"${history.serverName}" holds ${positionText(history.end)}, this server ${positionText(end)}, and nothing in between is known to both`
    throw new HotBackupError('ERR_LINK_SEED', message)
  }
  return fork
}

/** Null also for one that is damaged: "hb rejoin --from" makes another. */
async function readPlan(disk: Disk, layout: Layout): Promise<Plan | null> {
  const bytes = await readState(disk, layout.rejoin, planBytesMax)
  if (bytes === null) return null
  // Whoever made it may have been killed before it was durable.
  await disk.syncDirectory(layout.directory)
  try {
    return v.parse(schema, JSON.parse(bytes.toString())) as unknown as Plan
  } catch {
    return null
  }
}

/** `listen`: where it listens from now on, unless that is null. */
function asSlave(master: string, listen: string | null): Change {
  return (role, written) => ({
    ...role,
    type: 'slave',
    master,
    listen: listen === null ? role.listen : { address: listen, instead: written.listen },
    // Its own slaves stay, but for the new master, which calls it from now on.
    slaves: role.slaves.filter(({ name }) => name !== master),
  })
}

/** Tries every step of `carryOut`, and changes nothing. */
async function tryRejoin(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
  change: Change,
  emptied: boolean,
): Promise<void> {
  for (const directory of [layout.directory, layout.log, layout.slaves]) {
    await tryDirectory(disk, directory)
  }
  if (emptied) await tryDirectory(disk, layout.database)
  await tryRole(disk, layout, change, unknownRole)
}

/** Whether a master could become a slave that listens there; null for where it listens already. */
export async function trySlaveAt(
  platform: Pick<Platform, 'disk' | 'network'>,
  layout: Layout,
  config: Config,
  listen: Address | null,
): Promise<void> {
  for (const directory of [layout.directory, layout.log, layout.slaves]) {
    await tryDirectory(platform.disk, directory)
  }
  const change: Change = role => ({ ...role, type: 'slave' })
  await tryRole(platform.disk, layout, change, unknownRole)
  if (listen !== null) await tryListen(platform, config, listen)
}

/** Throws ERR_LISTEN when the server could not listen there, ERR_KEY. */
async function tryListen(
  { network, disk }: Pick<Platform, 'disk' | 'network'>,
  { link }: Config,
  listen: Address,
): Promise<void> {
  const key = link.keyPath === null ? null : await readKey({ disk }, link.keyPath)
  const limits = { timeoutMs: link.timeoutMs, connectionsMax }
  const listener = await network.listen(listen, key, connection => connection.destroy(), limits)
  await listener.close()
}

async function carryOut(
  disk: Disk,
  layout: Layout,
  { master, listen, moved, timeline, place }: Plan,
): Promise<void> {
  if (place === null) await empty(disk, layout)
  else await cutBack(disk, layout.log, place)
  await removeAcks(disk, layout.slaves)
  const { type } = await loadConfig(disk, layout, unknownRole)
  // A master heeds no switch, so this is one of its time as a slave before.
  if (type === 'master') await removeState(disk, layout.applySwitch)
  // Before the role: a slave with it would be taken for one whose promotion was interrupted.
  await removeState(disk, layout.promotion)
  await disk.syncDirectory(layout.directory)
  // Promoted again before anything has come of it, this server must begin a later one.
  const upstream = await readUpstream(disk, layout)
  const latest = Math.max(upstream.timeline, timeline)
  await writeUpstream(disk, layout, { ...upstream, timeline: latest })
  await changeRole(disk, layout, asSlave(master, moved ? listen : null), unknownRole)
  await removeState(disk, layout.fenced)
  await removeState(disk, layout.rejoin)
  await disk.syncDirectory(layout.directory)
}

/** The log first: without it the database is of no use to anybody. */
async function empty(disk: Disk, layout: Layout): Promise<void> {
  await removeOwn(disk, layout.log, isLogFile)
  await removeOwn(disk, layout.database, isDatabaseFile)
}
