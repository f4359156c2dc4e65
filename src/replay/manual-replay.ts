// What hb-replay(1) does to a slave: brings in segments, applies the backlog by hand, and what lies in lost-found.
// The server of a running slave does it itself, on its own parts; replay-command.ts opens them where nobody runs.
//
// Every step is safe against a crash and may be done again: segments that are stored already are known, what is
// applied is behind the position, and an entry leaves lost-found when a checkpoint holds its effect.
import type { Database } from '../database/database.ts'
import { HotBackupError } from '../errors.ts'
import { BlockView } from '../log/block.ts'
import { RecordCursor } from '../log/record.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Platform } from '../platform/platform.ts'
import { checkBrought, takeBrought, type BroughtSegment } from '../slave/brought-segments.ts'
import { countLost, findLost, listLost, readLost, removeLost } from '../slave/lost-found.ts'
import type { Replayer } from '../slave/replayer.ts'
import { Selector, type SelectedCount } from '../slave/selected.ts'
import type { Config } from '../config/config.ts'
import type { Layout } from '../config/layout.ts'
import { lastInTime, replayEnds } from './replay-limit.ts'
import {
  type ReplayEnds,
  type BacklogReport,
  type ReplayProgress,
  type ReplayReport,
  type ReplayRequest,
  type ReplayedEntry,
  type SelectedReport,
} from './replay-operations.ts'

/** A slave's parts, owned by the caller. */
export interface ReplayParts {
  readonly platform: Platform
  readonly layout: Layout
  readonly config: Config
  readonly database: Database
  readonly log: LogWriter
  readonly replayer: Replayer
  /** Whether apply updates is on. */
  readonly on: boolean
  /** From now until the answer is called no master appends to the log. Throws ERR_UNSAFE when one does now. */
  readonly keepMasterOut: () => () => void
}

/**
 * Throws ERR_UNSAFE when what is asked for would come to nothing, ERR_REOPENING when the database must be opened again
 * before it can go on, ERR_NO_LOST, ERR_LOST_CORRUPT, ERR_APPLY for an entry that does not fit, what checkBrought
 * throws, and the failure of the replayer.
 */
export async function replayByHand(
  parts: ReplayParts,
  request: ReplayRequest,
  progress: (progress: ReplayProgress) => void,
  signal: AbortSignal,
): Promise<ReplayReport> {
  const { config, on } = parts
  checkRequest(parts, request)
  const entries = await lostEntries(parts, request)
  // A slave that applies updates as they come begins with segments while they are stored.
  const start = {
    txn: parts.replayer.appliedTxn,
    lost: await countLost(parts.platform.disk, parts.layout.lostAndFound),
  }
  const segments =
    request.segments.length === 0 ? null : await bring(parts, request, progress, signal)
  const limited = request.untilTxn !== null || request.untilTime !== null
  const wanted = request.lost.length === 0 || segments !== null || limited
  const filtered = request.account !== null || request.file !== null
  const all = wanted && !filtered
  const backlog = all ? await applyBacklog(parts, request, segments, start, progress, signal) : null
  const chosen = wanted && filtered ? await applySelected(parts, request, progress, signal) : null
  const ends =
    request.dryRun && wanted ? await endsOf(parts, segments, backlog, chosen?.count ?? null) : null
  if (on && !request.dryRun) await catchUp(parts, entries, signal)
  // What lies in lost-found comes behind all that is applied, or would be.
  const appliedTxn = Math.max(parts.replayer.appliedTxn, backlog?.appliedTxn ?? 0)
  const lost: ReplayedEntry[] = []
  for (const id of entries) {
    if (signal.aborted) break
    progress({ step: 'replaying', done: lost.length, total: entries.length })
    lost.push(await replayLost(parts, id, appliedTxn, request.dryRun))
  }
  return {
    server: config.name,
    dryRun: request.dryRun,
    applyUpdates: on,
    delaySeconds: parts.replayer.delayMs / 1000,
    segments: segments?.report ?? null,
    backlog,
    selected: chosen?.report ?? null,
    ends,
    lost,
  }
}

function endsOf(
  { platform, layout, log }: ReplayParts,
  brought: Brought | null,
  backlog: BacklogReport | null,
  selected: SelectedCount | null,
): Promise<ReplayEnds> {
  const ends = selected ?? {
    lastTxn: backlog?.appliedTxn ?? 0,
    nextTxn: backlog === null || backlog.remaining === 0 ? 0 : backlog.appliedTxn + 1,
  }
  const segments = brought?.files ?? []
  return replayEnds(platform.disk, layout.log, log.durableTxn, segments, ends)
}

function checkRequest({ config, on, replayer }: ReplayParts, request: ReplayRequest): void {
  if (replayer.failure !== null && !request.dryRun) throw failureOf(replayer, replayer.failure)
  const limited = request.untilTxn !== null || request.untilTime !== null
  const filtered = request.account !== null || request.file !== null
  if (filtered && request.segments.length > 0) {
    const message =
      'an account or file cannot be selected while segments are brought in: bring them first'
    throw new HotBackupError('ERR_USAGE', message)
  }
  if (filtered && request.lost.length === 0 && on && replayer.delayMs === 0) {
    const message = `${config.name} applies updates as they come: there is nothing to select from; "hb apply off" first`
    throw new HotBackupError('ERR_UNSAFE', message)
  }
  if (!limited || !on || replayer.delayMs > 0) return
  const message = `${config.name} applies updates as they come: what is behind the limit would follow at once; "hb apply off" first`
  throw new HotBackupError('ERR_UNSAFE', message)
}

function failureOf({ mustReopen }: Replayer, failure: HotBackupError): HotBackupError {
  if (!mustReopen) return failure
  const message = `the database is opened again: ${failure.message}`
  return new HotBackupError('ERR_REOPENING', message, failure.place, failure)
}

interface Brought {
  readonly report: NonNullable<ReplayReport['segments']>
  readonly files: readonly BroughtSegment[]
  /** The last transaction in them at or before the limit of time; Infinity without one. */
  readonly lastInTime: number
}

async function bring(
  { platform, log, keepMasterOut }: ReplayParts,
  { segments: paths, untilTime, dryRun }: ReplayRequest,
  progress: (progress: ReplayProgress) => void,
  signal: AbortSignal,
): Promise<Brought> {
  const admit = keepMasterOut()
  try {
    // What has come over the link and is not durable yet counts.
    await log.durable()
    const before = log.position.txn
    const block = new BlockView()
    let lastInTime = Infinity
    const found = await checkBrought(platform.disk, paths, log, run => {
      for (let at = run.start; at < run.end; at += block.length) {
        block.reset(run.bytes, at)
        if (block.lastTxn <= before || untilTime === null || block.time <= untilTime) continue
        lastInTime = Math.min(lastInTime, block.firstTxn - 1)
      }
      progress({ step: 'checking', done: Math.max(0, block.lastTxn - before), total: 0 })
    })
    const { segments: files, ...report } = found
    const total = found.lastTxn === 0 ? 0 : found.lastTxn - before
    if (!dryRun) {
      const stored = (txn: number) => progress({ step: 'storing', done: txn - before, total })
      await takeBrought(platform.disk, found, log, stored, signal)
    }
    const taken = dryRun ? total : log.position.txn - before
    return { report: { ...report, taken }, files, lastInTime }
  } finally {
    admit()
  }
}

async function applyBacklog(
  parts: ReplayParts,
  request: ReplayRequest,
  brought: Brought | null,
  start: { readonly txn: number; readonly lost: number },
  progress: (progress: ReplayProgress) => void,
  signal: AbortSignal,
): Promise<BacklogReport> {
  const { platform, layout, log, replayer } = parts
  const { untilTxn, untilTime } = request
  const fromTxn = start.txn
  if (request.dryRun) return backlogToApply(parts, request, brought)
  const total = Math.max(0, Math.min(log.durableTxn, untilTxn ?? Infinity) - fromTxn)
  const applied = (appliedTxn: number) =>
    progress({ step: 'applying', done: appliedTxn - fromTxn, total })
  try {
    const limit = { txn: untilTxn ?? Infinity, time: untilTime ?? Infinity }
    await replayer.applyUntil(limit, ({ appliedTxn }) => applied(appliedTxn), signal)
  } catch (error) {
    throw asFailure(error, replayer)
  }
  const { appliedTxn } = replayer
  const lost = (await countLost(platform.disk, layout.lostAndFound)) - start.lost
  return { fromTxn, appliedTxn, lost, remaining: Math.max(0, log.durableTxn - appliedTxn) }
}

function asFailure(error: unknown, replayer: Replayer): unknown {
  const { failure } = replayer
  return failure !== null && error === failure ? failureOf(replayer, failure) : error
}

async function applySelected(
  { replayer }: ReplayParts,
  { account, file, untilTxn, untilTime, dryRun }: ReplayRequest,
  progress: (progress: ReplayProgress) => void,
  signal: AbortSignal,
): Promise<{ readonly report: SelectedReport; readonly count: SelectedCount }> {
  const limit = { txn: untilTxn ?? Infinity, time: untilTime ?? Infinity }
  const filter = { account, file }
  if (dryRun) {
    const count = await replayer.countSelected(filter, limit)
    const { selected, others } = count
    return { report: { account, file, selected, applied: 0, others }, count }
  }
  const shown = (done: number, { selected: total }: { readonly selected: number }) =>
    progress({ step: 'applying', done, total })
  try {
    const { applied, ...count } = await replayer.applySelected(filter, limit, shown, signal)
    const { selected, others } = count
    return { report: { account, file, selected, applied, others }, count }
  } catch (error) {
    throw asFailure(error, replayer)
  }
}

async function backlogToApply(
  { platform: { disk }, layout, database, log, replayer }: ReplayParts,
  { untilTxn, untilTime }: ReplayRequest,
  brought: Brought | null,
): Promise<BacklogReport> {
  const fromTxn = replayer.appliedTxn
  const here = log.durableTxn
  const end = Math.max(here, brought?.report.lastTxn ?? 0)
  let inTime = end
  if (untilTime !== null) {
    const own = await lastInTime(disk, layout.log, database, log.durableMark, untilTime)
    inTime = own < here ? own : Math.min(end, brought?.lastInTime ?? Infinity)
  }
  const appliedTxn = Math.max(fromTxn, Math.min(end, untilTxn ?? Infinity, inTime))
  return { fromTxn, appliedTxn, lost: 0, remaining: end - appliedTxn }
}

async function lostEntries(
  { platform: { disk }, layout }: ReplayParts,
  { lost: typed, account, file }: ReplayRequest,
): Promise<string[]> {
  const directory = layout.lostAndFound
  const named = typed.includes('all')
    ? (await listLost(disk, directory)).map(({ id }) => id)
    : await Promise.all(typed.map(word => findLost(disk, directory, word)))
  // In the order of the transactions, whatever the order in which they were named.
  const ids = [...new Set(named)].sort()
  if (account === null && file === null) return ids
  const selected: string[] = []
  for (const id of ids) {
    const { entry, records } = await readLost(disk, directory, id)
    // An entry says the names of its files itself.
    const selector = new Selector({ account, file })
    if (selector.selects(records, 0, records.length, entry.txn)) selected.push(id)
  }
  return selected
}

/** After a stop or a crash the slave stands at its checkpoint, and these transactions may lie behind that. */
async function catchUp(
  { replayer }: ReplayParts,
  entries: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const txn = Math.max(0, ...entries.map(id => Number(id.split('-', 1)[0])))
  if (txn <= replayer.appliedTxn) return
  try {
    await replayer.applyUntil({ txn }, () => {}, signal)
  } catch (error) {
    throw asFailure(error, replayer)
  }
}

async function replayLost(
  { platform: { disk }, layout, database, replayer, on }: ReplayParts,
  id: string,
  appliedTxn: number,
  dryRun: boolean,
): Promise<ReplayedEntry> {
  const { entry, records } = await readLost(disk, layout.lostAndFound, id)
  const { txn } = entry
  if (txn > appliedTxn && !(dryRun && on)) {
    const message = `transaction ${txn} comes only after ${appliedTxn}, up to which updates are applied`
    throw new HotBackupError('ERR_UNSAFE', message, { txn })
  }
  const later = laterUpdates(database, records, txn)
  if (dryRun) return { ...entry, later }
  try {
    await replayer.applyAside(records)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const message = `transaction ${txn} of lost-found cannot be applied: ${why}`
    const hint = `"hb lost show ${id}" has it; make what it needs, or give it up with "hb lost discard".`
    throw new HotBackupError('ERR_APPLY', message, { txn }, error, hint)
  }
  await removeLost(disk, layout.lostAndFound, id)
  return { ...entry, later }
}

function laterUpdates(database: Database, records: Buffer, txn: number): ReplayedEntry['later'] {
  const cursor = new RecordCursor()
  cursor.reset(records, 0, records.length)
  const numbers = new Set<number>()
  while (cursor.next()) numbers.add(cursor.fileNumber)
  return [...numbers].flatMap(number => {
    const file = database.fileByNumber(number)
    if (file === undefined || file.lastTxn <= txn) return []
    return [{ account: file.account, file: file.name, txn: file.lastTxn }]
  })
}
