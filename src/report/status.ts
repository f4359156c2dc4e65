// Collects what "hb status" shows, from the files of the server and from whoever runs it. Takes no lock, changes
// nothing, and waits for nobody who does not answer.
import {
  type VerificationStatus,
  type CommitStatus,
  type QueueStatus,
  type MasterStatus,
  type SlaveStatus,
  type ShipperStatus,
} from '../control/server-status.ts'
import { readCheckpointTxn } from '../database/files-signature.ts'
import type { HoldSummary } from '../database/long-work.ts'
import { isHotBackupError, type HotBackupError } from '../errors.ts'
import type { HelperStatus } from '../helpers/helpers.ts'
import { readDurableMark, type DurableMark } from '../log/durable.ts'
import { listSegments, readSegmentHeader, type SegmentInfo } from '../log/segments.ts'
import { isNotFound } from '../platform/disk.ts'
import type { LockHolder } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import { queueFor, readStored } from '../ship/queue.ts'
import { Differences } from '../slave/differences.ts'
import { countLost } from '../slave/lost-found.ts'
import type { DifferencesStatus } from '../wire/messages/differences.ts'
import { nextStep, worstOf, type StatusWord } from '../wire/status-words.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { newRole, readRole, type Role, type ServerType } from '../config/role.ts'
import { liveHolder, statusOf } from '../control/reach.ts'
import type { DamagedGroup } from '../database/damaged-groups.ts'
import { fencedError, readFenced } from '../config/fence.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { serverPurpose } from '../control/owner.ts'
import { readApplyUpdates } from '../replay/apply-updates.ts'
import { readLastPass } from '../repair/continuous-verification.ts'
import { measureBacklog, type Backlog } from './backlog.ts'
import { latestMessages } from './latest-messages.ts'
import { slaveRows, type SlaveRow } from './slave-rows.ts'

export interface ServerStatus {
  readonly name: string
  /** Null when DIR/role is missing or damaged: then `failure` says so. */
  readonly type: ServerType | null
  readonly directory: string
  /** The server in the background (or foreground) runs: its server, or on a master at least its shipper. */
  readonly running: boolean
  /** Of the server where one runs, else of the shipper. */
  readonly pid: number | null
  /** The server's own process, which has log and database open. */
  readonly server: ProcessRow
  /** The process that sends a master's log. */
  readonly shipper: ProcessRow
  readonly state: StatusWord
  /** What to do about it; null where the server goes on by itself. */
  readonly nextStep: string | null
  /** Why the server does not do its work though it runs, or will not start: what is damaged; null when it is well. */
  readonly failure: string | null
  /** The process that has log and database open: on a master an application or a command, on a slave its server. */
  readonly owner: {
    readonly pid: number
    readonly purpose: string
    /** To commands. Some that open the database only for a moment never do (owner.ts). */
    readonly answers: boolean
  } | null
  readonly log: LogStatus
  readonly slaves: readonly SlaveRow[]
  readonly apply: {
    readonly on: boolean
    /** Updates are applied so much later than they were made. */
    readonly delaySeconds: number
    readonly appliedTxn: number
    readonly checkpointTxn: number
    /** What is stored and not applied. */
    readonly backlog: Backlog
  }
  /** The part of the log that some slave has not stored yet. */
  readonly queue: QueueStatus
  /** What the server may still write: into its log, or into its database when that has less. */
  readonly disk: { readonly freeBytes: number }
  /** When an update is done; null when no master answers. */
  readonly commit: CommitStatus | null
  readonly helpers: readonly HelperStatus[]
  readonly holds: readonly HoldRow[]
  readonly lostAndFound: number
  /** On a master what verification does; null when no process has it open. */
  readonly verify: VerificationStatus | null
  /** When the last whole verification ended, here or by a slave's master: milliseconds since 1970; null for never. */
  readonly lastVerified: number | null
  /** On a slave what it knows to be different from its master. */
  readonly differences: DifferencesStatus | null
  /** Damaged groups, as the process that has the database open knows them. */
  readonly damaged: readonly DamagedGroup[]
  readonly timeline: number | null
  readonly databaseId: string | null
  /** The latest messages, newest first. */
  readonly messages: readonly string[]
}

export interface ProcessRow {
  /** Null when it does not run. */
  readonly pid: number | null
}

export interface HoldRow {
  readonly account: string
  readonly file: string
  /** Updates that were held so far. */
  readonly txns: number
  readonly bytes: number
  readonly state: HoldSummary['state']
}

function holdRow({ account, file, updates, bytes, state }: HoldSummary): HoldRow {
  return { account, file, txns: updates, bytes, state }
}

export interface LogStatus {
  readonly firstTxn: number
  readonly lastTxn: number
  readonly durableTxn: number
  readonly segments: number
  readonly bytes: number
}

type StatusPlatform = Pick<Platform, 'disk' | 'clock' | 'localSockets' | 'locks'>

/**
 * Damage is reported as a failure, with whatever else can be read; a role that is unknown as well, unless `standIn`
 * stands in for it. Throws ERR_NOT_A_SERVER, ERR_CONFIG, ERR_DISK.
 */
export async function collectStatus(
  platform: StatusPlatform,
  directory: string,
  standIn: Role | null = null,
): Promise<ServerStatus> {
  const layout = layoutOf(directory)
  const unknown = standIn === null ? await roleError(platform, layout) : null
  // A role that is unknown decides below only how hb.toml is checked.
  const config = await loadConfig(platform.disk, layout, standIn ?? newRole('slave'))
  const found = await findProcesses(platform, layout, unknown === null ? config.type : null)
  const damages: string[] = []
  const damaged = (error: HotBackupError) => void damages.push(error.message)
  const checkpointTxn = await readCheckpointTxn(platform.disk, layout.database).catch(
    (error: unknown) => {
      if (!isHotBackupError(error, 'ERR_DATABASE_CORRUPT')) throw error
      damaged(error)
      return 0
    },
  )
  const log = await readLog(platform, layout, found.master?.lastTxn ?? 0, damaged)
  const reported = (found.shipper ?? found.slave)?.slaves ?? null
  const { durableTxn } = log.status
  const alive = (config.type === 'master' ? found.shipperHolder : found.server) !== null
  const { segments } = log
  const slaves = await slaveRows(platform, layout, config, durableTxn, segments, reported, alive)
  const fenced = await readFence(platform, layout, config)
  const state = unknown === null ? stateOf(config, found, slaves, fenced) : 'Role unknown'
  const differences = await differencesStatus(platform, layout, config, found)
  return {
    name: config.name,
    type: unknown === null ? config.type : null,
    directory: layout.directory,
    running: (found.server ?? found.shipperHolder) !== null,
    pid: (found.server ?? found.shipperHolder)?.identity.pid ?? null,
    server: { pid: found.server?.identity.pid ?? null },
    shipper: { pid: found.shipperHolder?.identity.pid ?? null },
    state,
    nextStep: nextStep(state),
    failure: unknown?.message ?? fenced?.error.message ?? failureOf(found) ?? damages[0] ?? null,
    owner: ownerStatus(found),
    log: log.status,
    slaves,
    apply: await applyStatus(platform, layout, config, found, log, checkpointTxn),
    queue: found.master?.queue ?? (await queueStatus(platform, layout, config, log)),
    disk: { freeBytes: await freeBytes(platform, layout) },
    commit: found.master?.commit ?? null,
    helpers: (found.master ?? found.slave)?.helpers ?? [],
    holds: ((found.master ?? found.slave)?.holds ?? []).map(holdRow),
    lostAndFound: await countLost(platform.disk, layout.lostAndFound),
    verify: found.master?.verify ?? null,
    lastVerified:
      config.type === 'slave'
        ? (differences?.pass?.time ?? null)
        : ((await readLastPass(platform.disk, layout.verify))?.ended ?? null),
    differences,
    damaged: (found.master ?? found.slave)?.damaged ?? [],
    timeline: log.timeline,
    databaseId: log.databaseId,
    messages: await latestMessages(platform.disk, layout.messages),
  }
}

function ownerStatus({ owner, master, slave }: Found): ServerStatus['owner'] {
  if (owner === null) return null
  const { identity, purpose } = owner
  return { pid: identity.pid, purpose, answers: master !== null || slave !== null }
}

/** Who runs, and what they answer: null for who does not run, or does not answer. */
interface Found {
  readonly owner: LockHolder | null
  /** The server's own process, which is an owner. */
  readonly server: LockHolder | null
  /** Null on a slave. */
  readonly shipperHolder: LockHolder | null
  /** A master's server should run: what starts it does. */
  readonly supervised: boolean
  readonly master: MasterStatus | null
  readonly slave: SlaveStatus | null
  readonly shipper: ShipperStatus | null
}

/** Why the role is unknown; null when it is not. */
async function roleError({ disk }: StatusPlatform, layout: Layout): Promise<HotBackupError | null> {
  try {
    await readRole(disk, layout)
    return null
  } catch (error) {
    if (isHotBackupError(error, 'ERR_ROLE')) return error
    throw error
  }
}

/** `type`: null when it is unknown; then what an answer would mean is unknown, too. */
async function findProcesses(
  platform: StatusPlatform,
  layout: Layout,
  type: ServerType | null,
): Promise<Found> {
  const owner = await liveHolder(platform, layout.ownerLock)
  const shipper = await liveHolder(platform, layout.shipperLock)
  if (type === null) {
    const answers = { master: null, slave: null, shipper: null, supervised: false }
    return { owner, server: shipper === null ? owner : null, shipperHolder: shipper, ...answers }
  }
  const [ownerAnswer, shipperAnswer] = await Promise.all([
    owner === null ? null : statusOf(platform, layout, 'owner'),
    shipper === null ? null : statusOf(platform, layout, 'shipper'),
  ])
  return {
    owner,
    server: type === 'master' && owner?.purpose !== serverPurpose ? null : owner,
    shipperHolder: type === 'master' ? shipper : null,
    supervised: type === 'master' && (await liveHolder(platform, layout.supervisorLock)) !== null,
    master: ownerAnswer?.master ?? null,
    slave: ownerAnswer?.slave ?? null,
    shipper: shipperAnswer?.shipper ?? null,
  }
}

interface LogFound {
  readonly status: LogStatus
  readonly segments: readonly SegmentInfo[]
  readonly mark: DurableMark | null
  readonly timeline: number | null
  readonly databaseId: string | null
}

async function readLog(
  { disk }: StatusPlatform,
  layout: Layout,
  lastTxn: number,
  damaged: (error: HotBackupError) => void,
): Promise<LogFound> {
  const mark = await readDurableMark(disk, layout.log)
  const segments = await listSegments(disk, layout.log, damaged)
  const durableTxn = mark?.txn ?? 0
  const first = segments[0]
  const status: LogStatus = {
    firstTxn: first === undefined || first.firstTxn > durableTxn ? 0 : first.firstTxn,
    lastTxn: Math.max(lastTxn, durableTxn),
    durableTxn,
    segments: segments.length,
    bytes: segments.reduce((sum, segment) => sum + segment.bytes, 0),
  }
  const readable = segments.findLast(segment => segment.timeline > 0)
  if (readable === undefined) return { status, segments, mark, timeline: null, databaseId: null }
  return { status, segments, mark, ...(await readHistory({ disk }, readable)) }
}

/** Without a master that could say more. */
async function queueStatus(
  { disk }: StatusPlatform,
  layout: Layout,
  config: Config,
  { segments, status }: LogFound,
): Promise<QueueStatus> {
  const names = config.slaves.map(({ name }) => name)
  const stored = await readStored(disk, layout.slaves, names)
  const { bytes } = queueFor(stored, segments, status.durableTxn)
  return { bytes, limitBytes: config.queue.limitBytes, state: 'open', secondsToLimit: null }
}

/** Log and database may lie on file systems of their own. */
async function freeBytes({ disk }: StatusPlatform, layout: Layout): Promise<number> {
  const of = (directory: string) =>
    disk.freeBytes(directory).catch((error: unknown) => {
      if (isNotFound(error)) return disk.freeBytes(layout.directory)
      throw error
    })
  return Math.min(await of(layout.log), await of(layout.database))
}

async function readHistory({ disk }: Pick<Platform, 'disk'>, segment: SegmentInfo) {
  const file = await disk.open(segment.path, 'read')
  try {
    const { header } = await readSegmentHeader(file)
    return {
      timeline: header.timeline,
      databaseId: Buffer.from(header.databaseId).toString('hex'),
    }
  } finally {
    await file.close()
  }
}

/** Without a slave that could say more, what it knew last. */
async function differencesStatus(
  { disk }: StatusPlatform,
  layout: Layout,
  { type }: Config,
  found: Found,
): Promise<DifferencesStatus | null> {
  if (type !== 'slave') return null
  if (found.slave !== null) return found.slave.differences
  return (await Differences.open(disk, layout.differences, () => {})).status
}

async function applyStatus(
  platform: StatusPlatform,
  layout: Layout,
  config: Config,
  found: Found,
  { status, segments, mark }: LogFound,
  checkpointTxn: number,
): Promise<ServerStatus['apply']> {
  if (config.type === 'master') {
    // It applies what it logs; nobody having it open, its readers replay the log.
    const backlog = { transactions: 0, bytes: 0, seconds: 0, secondsToDiskFull: null }
    return { on: true, delaySeconds: 0, appliedTxn: status.lastTxn, checkpointTxn, backlog }
  }
  const apply = found.slave?.apply ?? {
    on: await readApplyUpdates(platform, layout, config),
    delaySeconds: config.slave.applyDelayMs / 1000,
    appliedTxn: checkpointTxn,
    checkpointTxn,
  }
  const backlog = await measureBacklog(platform, layout.log, segments, mark, apply.appliedTxn)
  const gathers = !apply.on || apply.delaySeconds > 0
  const secondsToDiskFull = gathers ? backlog.secondsToDiskFull : null
  return { ...apply, backlog: { ...backlog, secondsToDiskFull } }
}

function stateOf(
  config: Config,
  found: Found,
  slaves: readonly SlaveRow[],
  fenced: Fence | null,
): StatusWord {
  const { server, shipperHolder } = found
  if (server === null && shipperHolder === null) return 'Stopped'
  if (config.type === 'master' && shipperHolder === null) return 'Not shipping'
  const answer = config.type === 'slave' ? found.slave : found.shipper
  if (answer === null) return 'Not answering'
  if (found.slave !== null) return found.slave.receiver.state
  if (fenced !== null) return fenced.switching ? 'Handing over' : 'Fenced'
  return worstOf(slaves.map(slave => slave.state)) ?? 'No slaves'
}

interface Fence {
  readonly error: HotBackupError
  /** The master is handing over, and not over yet. */
  readonly switching: boolean
}

/** A later timeline has been met, by whichever process; null when none has. */
async function readFence(
  { disk }: StatusPlatform,
  layout: Layout,
  { name, type }: Config,
): Promise<Fence | null> {
  if (type !== 'master') return null
  try {
    const fenced = await readFenced(disk, layout)
    if (fenced === null) return null
    return { error: fencedError(name, fenced), switching: fenced.switching === true }
  } catch (error) {
    if (isHotBackupError(error, 'ERR_FENCED')) return { error, switching: false }
    throw error
  }
}

function failureOf(found: Found): string | null {
  const { server, shipperHolder, master, shipper, slave } = found
  if (found.supervised && found.owner === null) {
    return 'the server has ended, and is started again: its messages say why'
  }
  if (server !== null && master === null && slave === null) {
    return 'the server does not answer: it is starting, stopping, or hangs'
  }
  if (shipperHolder !== null && shipper === null) {
    return 'the shipper does not answer: it is starting, stopping, or hangs'
  }
  return found.slave?.failure ?? found.master?.failure ?? null
}
