// The options, the progress and the report of hb-replay(1).
import { Command, InvalidArgumentError, Option } from 'commander'
import { HotBackupError } from '../errors.ts'
import { durationText } from '../config/sizes-and-times.ts'
import type { MissingProgress, MissingReport } from '../failover/failover-operations.ts'
import type {
  BacklogReport,
  ReplayProgress,
  ReplayReport,
  ReplayRequest,
  ReplayEnds,
  TransactionOutline,
} from '../replay/replay-operations.ts'
import { replayMissingOn } from '../server/missing-command.ts'
import { replayServer } from '../replay/replay-command.ts'
import { version } from '../programs.ts'
import type { ByteForm } from '../text/byte-forms.ts'
import { count, counted } from '../text/numbers.ts'
import { formOf, jsonId, shownId, withForms, type FormOptions } from './byte-arguments.ts'
import {
  collect,
  directoryOption,
  wholeNumber,
  withExamples,
  type Context,
  type ServerOptions,
} from './command-line.ts'
import { realPaths } from './input.ts'
import type { Progress } from './progress.ts'
import { parseMoment, type Moment } from './time-argument.ts'

interface ReplayArguments extends ServerOptions, FormOptions {
  readonly untilTxn?: number
  readonly beforeTxn?: number
  readonly untilTime?: Moment
  readonly beforeTime?: Moment
  readonly segments?: readonly string[]
  readonly account?: string
  readonly file?: string
  readonly lostFound?: readonly string[]
  readonly missing?: string
  readonly overwrite?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

export function replayProgram(context: Context): Command {
  return withExamples(
    withForms(new Command('hb-replay'), 'item-ids'),
    `hb-replay -d /srv/south
hb-replay -d /srv/south --before-txn 4711 --dry-run
hb-replay -d /srv/south --before-txn 4711
hb-replay -d /srv/south --until-time 2026-11-24T13:59:00Z
hb-replay -d /srv/south --segments /media/stick/log
hb-replay -d /srv/south --account sales --file orders
hb-replay -d /srv/south --lost-found 4711
hb-replay -d /srv/south --missing /srv/north/missing-updates/4-5-b650bd9a.log --dry-run`,
  )
    .description(
      'Apply by hand what a slave has not applied: its backlog, imported segments, and lost-found; on a master, the updates that only an old master had.',
    )
    .version(version)
    .addOption(directoryOption())
    .addOption(endOption('--until-txn <txn>', 'the last transaction to apply', wholeNumber(0)))
    .addOption(
      endOption('--before-txn <txn>', 'the first transaction not to apply', wholeNumber(1)),
    )
    .addOption(
      endOption('--until-time <time>', 'apply nothing written after this time', parseMoment),
    )
    .addOption(
      endOption(
        '--before-time <time>',
        'apply nothing that was written then or later',
        parseMoment,
      ),
    )
    .option('--segments <path>', "segments of the master's log (repeatable)", collect)
    .option('--account <account>', 'only transactions about this account')
    .option('--file <file>', 'only transactions about files of this name')
    .option('--lost-found <id>', 'apply this entry of lost-found, or "all" (repeatable)', collect)
    .addOption(
      new Option(
        '--missing <path>',
        'on a master: the updates that "hb rejoin" has saved, except to items that have changed since',
      ).conflicts([...endNames, 'segments', 'lostFound']),
    )
    .option('--overwrite', 'with --missing: also over what has changed since')
    .option('--dry-run', 'report what would be done, and change nothing')
    .option('--json', 'as JSON')
    .action(async (options: ReplayArguments) => {
      if (options.missing !== undefined) return replayMissing(context, options, options.missing)
      if (options.overwrite === true) {
        throw new HotBackupError('ERR_USAGE', '--overwrite goes with --missing')
      }
      const { segments = [], lostFound = [] } = options
      const { dryRun = false, json = false } = options
      const request = {
        ...limitsOf(options),
        segments: await realPaths(context, segments),
        account: options.account ?? null,
        file: options.file ?? null,
        lost: lostFound,
        dryRun,
      }
      const report = await withProgress<ReplayProgress, ReplayReport>(context, (update, signal) =>
        replayServer(context.platform, options.dir, request, update, signal),
      )
      const form = formOf(options)
      if (json) return context.out.json(reportToJson(report, form))
      for (const line of reportLines(report, request, form)) await context.out.line(line)
    })
}

async function replayMissing(
  context: Context,
  { dir, account, file, overwrite = false, dryRun = false, json, ...forms }: ReplayArguments,
  missing: string,
): Promise<void> {
  const form = formOf(forms)
  const about = { account: account ?? null, file: file ?? null }
  const [from = missing] = await realPaths(context, [missing])
  const request = { path: from, ...about, overwrite, dryRun }
  const report = await withProgress<MissingProgress, MissingReport>(context, (update, signal) =>
    replayMissingOn(context.platform, dir, request, update, signal),
  )
  if (json === true) {
    return context.out.json({ ...report, kept: report.kept.map(row => withIdIn(form, row)) })
  }
  for (const line of missingLines(report, form)) await context.out.line(line)
}

async function withProgress<P extends ReplayProgress | MissingProgress, R>(
  context: Context,
  work: (update: (progress: P) => void, signal: AbortSignal) => Promise<R>,
): Promise<R> {
  const shown = context.progress()
  const stop = new AbortController()
  const working = work(progress => show(shown, progress), stop.signal)
  try {
    return await context.untilSignal(working)
  } catch (error) {
    stop.abort()
    await working.catch(() => {})
    throw error
  } finally {
    shown.end()
  }
}

const stepWords = {
  checking: 'checked',
  storing: 'stored',
  applying: 'applied',
  replaying: 'replayed from lost-found',
  bringing: 'applied',
} as const

function show(shown: Progress, { step, done, total }: ReplayProgress | MissingProgress): void {
  shown.update(seconds => {
    const rate = done / Math.max(seconds, 0.001)
    const of = total === 0 ? counted(done, 'transaction') : `${count(done)} of ${count(total)}`
    const left =
      total <= done || rate === 0 ? '' : `, ${durationText(((total - done) / rate) * 1000)} left`
    return `${stepWords[step]} ${of}, ${count(Math.round(rate))} a second${left}`
  })
}

const endNames = ['untilTxn', 'beforeTxn', 'untilTime', 'beforeTime']

/** There is one end, given once. */
function endOption<T>(flags: string, description: string, parse: (text: string) => T): Option {
  const option = new Option(flags, description)
  return option
    .conflicts(endNames.filter(name => name !== option.attributeName()))
    .argParser((text, before: T | undefined) => {
      if (before === undefined) return parse(text)
      throw new InvalidArgumentError('It can be given once.')
    })
}

/** The last transaction, and the last millisecond, from which something is applied; null without such an end. */
function limitsOf({ untilTxn, beforeTxn, untilTime, beforeTime }: ReplayArguments) {
  const beforeMs =
    beforeTime === undefined ? undefined : beforeTime.ms - (beforeTime.between ? 0 : 1)
  return {
    untilTxn: untilTxn ?? (beforeTxn === undefined ? null : beforeTxn - 1),
    untilTime: untilTime?.ms ?? beforeMs ?? null,
  }
}

interface WithId {
  readonly id?: string | null
  readonly idBase64?: boolean
}

function withIdIn<T extends WithId>(
  form: ByteForm | null,
  { idBase64 = false, ...row }: T,
): object {
  if (typeof row.id !== 'string') return row
  const { text, base64 } = jsonId(Buffer.from(row.id, idBase64 ? 'base64' : 'utf8'), form)
  return { ...row, id: text, ...(base64 ? { idBase64: true } : {}) }
}

function reportToJson(report: ReplayReport, form: ByteForm | null): object {
  const { ends } = report
  if (ends === null) return report
  const outline = (of: TransactionOutline | null) =>
    of === null ? null : { ...of, operations: of.operations.map(row => withIdIn(form, row)) }
  return { ...report, ends: { ...ends, last: outline(ends.last), next: outline(ends.next) } }
}

function reportLines(
  report: ReplayReport,
  request: ReplayRequest,
  form: ByteForm | null,
): string[] {
  const { dryRun, segments, backlog, selected, ends, lost } = report
  const lines = dryRun ? ['Nothing has been changed.'] : []
  if (segments !== null) lines.push(...segmentLines(segments, dryRun))
  if (backlog !== null) lines.push(...backlogLines(report, backlog))
  if (selected !== null) lines.push(...selectedLines(selected, dryRun))
  if (backlog !== null) lines.push(...tooLate(backlog, ends, request))
  if (ends !== null) lines.push(...endLines(ends, backlog, form))
  for (const { id, later } of lost) {
    lines.push(`${dryRun ? 'would replay' : 'replayed'} ${id} of lost-found`)
    for (const { account, file, txn } of later) {
      lines.push(
        `  ${account} ${file} has later updates, up to transaction ${count(txn)}: what they wrote ${dryRun ? 'would be' : 'may have been'} written over`,
      )
    }
  }
  return lines
}

/** What is applied already is not taken back. */
function tooLate(
  { fromTxn }: BacklogReport,
  ends: ReplayEnds | null,
  { untilTxn, untilTime }: ReplayRequest,
): string[] {
  const last = ends?.last ?? null
  const late =
    fromTxn > (untilTxn ?? Infinity) ||
    (last !== null && last.txn === fromTxn && Date.parse(last.time) > (untilTime ?? Infinity))
  if (!late) return []
  return [
    `The end comes too late: transaction ${count(fromTxn)} comes after it, and is applied already.`,
  ]
}

function endLines(
  { last, next }: ReplayEnds,
  backlog: BacklogReport | null,
  form: ByteForm | null,
): string[] {
  const lines: string[] = []
  if (last !== null) {
    const applied = backlog !== null && last.txn === backlog.fromTxn
    lines.push(
      applied ? 'The last transaction applied:' : 'The last transaction that would be applied:',
      ...outlineLines(last, form),
    )
  }
  if (next !== null) {
    lines.push('The first transaction that would not be applied:', ...outlineLines(next, form))
  }
  return lines
}

/** As "hb log dump" shows them. */
function outlineLines(
  { txn, time, operations, more }: TransactionOutline,
  form: ByteForm | null,
): string[] {
  const start = `${count(txn).padStart(10)}  ${time}`
  const lines = operations.map(operation => {
    const { type, account, file, id, idBase64 = false, modulo, bytes } = operation
    const fields = [
      [account, file].filter(name => name !== undefined).join(' '),
      id === undefined ? '' : shownId(Buffer.from(id, idBase64 ? 'base64' : 'utf8'), form),
      modulo === undefined ? '' : `modulo ${count(modulo)}`,
      bytes === undefined ? '' : `${count(bytes)} B`,
    ]
    return [start, type.padEnd(14), ...fields.filter(field => field !== '')].join('  ').trimEnd()
  })
  if (more > 0) lines.push(`${start}  and ${counted(more, 'more operation')}`)
  return lines.length > 0 ? lines : [`${start}  nothing`]
}

function segmentLines(segments: NonNullable<ReplayReport['segments']>, dryRun: boolean): string[] {
  const { taken, firstTxn, lastTxn, known, unproven, torn } = segments
  const lines: string[] = []
  if (taken === 0) lines.push('The segments hold nothing new.')
  else {
    const range = `${count(firstTxn)} to ${count(lastTxn)}`
    const what = `${counted(taken, 'transaction')} of the segments, ${range}`
    lines.push(`${dryRun ? 'Would store' : 'Stored'} ${what}.`)
  }
  if (known > 0) lines.push(`${counted(known, 'transaction')} in them were stored already.`)
  if (unproven > 0) {
    lines.push(
      `Later transactions, up to ${count(unproven)}, may not be durable on the master, and are skipped; supply its log/durable too.`,
    )
  }
  if (torn !== null) lines.push(`The last segment ends early: ${torn}.`)
  return lines
}

function selectedLines(
  { account, file, selected, applied, others }: NonNullable<ReplayReport['selected']>,
  dryRun: boolean,
): string[] {
  const about = [account, file].filter(name => name !== null).join(' ')
  const lines = dryRun
    ? [`Would apply ${counted(selected, 'transaction')} about ${about}.`]
    : [`Applied ${counted(applied, 'transaction')} about ${about}, ahead of the others.`]
  if (others > 0) {
    lines.push(
      `${counted(others, 'transaction')} about others ${others === 1 ? 'is' : 'are'} still to be applied.`,
    )
  }
  return lines
}

function backlogLines(
  { dryRun, applyUpdates, delaySeconds }: ReplayReport,
  { fromTxn, appliedTxn, lost, remaining }: NonNullable<ReplayReport['backlog']>,
): string[] {
  const lines: string[] = []
  const what = counted(appliedTxn - fromTxn, 'transaction')
  lines.push(
    appliedTxn === fromTxn
      ? `Nothing ${dryRun ? 'would be' : 'was'} applied: the slave is at transaction ${count(fromTxn)}.`
      : `${dryRun ? 'Would apply' : 'Applied'} ${what}, ${count(fromTxn + 1)} to ${count(appliedTxn)}.`,
  )
  if (lost > 0) {
    lines.push(`${counted(lost, 'transaction')} of them went to lost-found; see "hb lost list".`)
  }
  if (remaining > 0) {
    const rest = counted(remaining, 'transaction')
    const when = !applyUpdates
      ? 'apply updates is off'
      : delaySeconds > 0
        ? `they follow when they are ${durationText(delaySeconds * 1000)} old`
        : 'they follow by themselves'
    lines.push(`${rest} ${remaining === 1 ? 'is' : 'are'} stored after that; ${when}.`)
  }
  return lines
}

function missingLines(
  { dryRun, applied, leftOut, kept, firstTxn, lastTxn }: MissingReport,
  form: ByteForm | null,
): string[] {
  const range = `${count(firstTxn)} to ${count(lastTxn)}`
  const what = `${counted(applied, 'transaction')} of ${range}`
  const lines = dryRun
    ? ['Nothing has been changed.', `Would apply ${what}.`]
    : [`Applied ${what}.`]
  if (leftOut === 0) return lines
  lines.push(`${dryRun ? 'Would skip' : 'Skipped'} ${counted(leftOut, 'transaction')}:`)
  for (const { txn, account, file, id, idBase64 = false, why } of kept) {
    const item = id === null ? null : shownId(Buffer.from(id, idBase64 ? 'base64' : 'utf8'), form)
    const about = [account, file, item].filter(name => name !== null).join(' ')
    lines.push(`  ${count(txn)}  ${about}: ${keptWords[why]}`)
  }
  if (leftOut > kept.length) lines.push(`  and ${count(leftOut - kept.length)} more`)
  return lines
}

const keptWords = {
  'changed since': 'has been changed here since',
  'not there': 'there is no such account or file here',
} as const
