// hb log list, verify, dump and follow.
import { Command } from 'commander'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { VerifyFault, VerifyReport } from '../log/verify.ts'
import { loadConfig } from '../config/config.ts'
import { sizeText } from '../config/sizes-and-times.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import type { DumpOptions } from '../report/log-dump.ts'
import { count, counted } from '../text/numbers.ts'
import { formOf, withForms, type FormOptions } from './byte-arguments.ts'
import {
  opensFirst,
  serverCommand,
  usageError,
  wholeNumber,
  withCommands,
  type Context,
  type ServerOptions,
} from './command-line.ts'
import { realPaths } from './input.ts'
import { table } from './output.ts'

export function addLogCommands(program: Command, context: Context): void {
  const log = withCommands(new Command('log')).description('Look at the transaction log.')
  log.addCommand(listCommand(context))
  log.addCommand(verifyCommand(context))
  log.addCommand(dumpCommand(context))
  log.addCommand(followCommand(context))
  program.addCommand(log)
}

/** The server's layout; there must be a server. */
export async function serverLayout(context: Context, dir: string): Promise<Layout> {
  const layout = layoutOf(dir)
  await loadConfig(context.platform.disk, layout)
  return layout
}

interface ListOptions extends ServerOptions {
  readonly json?: boolean
}

function listCommand(context: Context): Command {
  return serverCommand('list', 'List the segments of the log.', 'hb log list -d /srv/north')
    .option('--json', 'as JSON')
    .action(async ({ dir, json = false }: ListOptions) => {
      const layout = await serverLayout(context, dir)
      const { listLog } = await import('../report/log-list.ts')
      const rows = await listLog(context.platform.disk, layout.log)
      if (json) return context.out.json(rows)
      const lines = table([
        ['Segment', 'First', 'Last', 'Size', 'Created', 'State'],
        ...rows.map(row => [
          row.name,
          row.firstTxn,
          row.lastTxn ?? '-',
          sizeText(row.bytes),
          row.time,
          row.state,
        ]),
      ])
      for (const line of lines) await context.out.line(line)
    })
}

function verifyCommand(context: Context): Command {
  const command = serverCommand(
    'verify',
    'Check every block of the log, or of segment files: CRC, chain and numbering.',
    `hb log verify -d /srv/north
hb log verify /mnt/old/log/*.log`,
  )
    .argument('[files...]', 'segment files (default: the log of the server)')
    .action(async (files: readonly string[], { dir }: ServerOptions) => {
      const progress = context.progress()
      const onProgress = (bytes: number) => {
        progress.update(
          seconds =>
            `${sizeText(bytes)} checked, ${sizeText(Math.round(bytes / seconds))} a second`,
        )
      }
      const { verifyLog } = await import('../log/verify.ts')
      const { disk } = context.platform
      let verifying: Promise<VerifyReport>
      if (files.length > 0) {
        verifying = aboutFiles(verifyLog(disk, await realPaths(context, files), { onProgress }))
      } else {
        await context.workIn(dir)
        const layout = layoutOf(dir)
        const { type } = await loadConfig(disk, layout)
        verifying = verifyLog(disk, layout.log, { onProgress, ownPromises: type === 'master' })
      }
      const report = await context.untilSignal(verifying)
      progress.end()
      // Where nothing is valid, the fault says all there is to say.
      if (report.fault === null || report.transactions > 0) {
        await context.out.line(verifiedText(report))
      }
      await tellFault(context, report.fault, files.length > 0)
    })
  return opensFirst(command)
}

function verifiedText({ segments, transactions, blocks, bytes, ...report }: VerifyReport): string {
  if (transactions === 0) return `valid: ${counted(segments, 'segment')} without transactions`
  const range = `transactions ${count(report.firstTxn)} to ${count(report.lastTxn)}`
  const size = `${counted(segments, 'segment')}, ${counted(blocks, 'block')}, ${sizeText(bytes)}`
  return `valid: ${range}; ${size}`
}

/** The torn end of a server's log is nothing wrong: a crash leaves it, and the next start takes it away. */
async function tellFault(
  { out }: Context,
  fault: VerifyFault | null,
  inFiles: boolean,
): Promise<void> {
  if (fault === null) return
  const { path: file, offset, txn, torn, message } = fault
  if (torn && !inFiles) {
    await out.line(`torn: ${message}; a server cuts it off when it starts`)
    return
  }
  const place = { path: file, offset, txn }
  const error = new HotBackupError(torn ? 'ERR_LOG_TORN' : 'ERR_LOG_CORRUPT', message, place)
  throw inFiles ? aboutFile(error) : error
}

/** What is wrong with a file that was named is not for "hb scrub" or a server to repair. */
function aboutFile(error: HotBackupError): HotBackupError {
  return error.withHint(
    error.code === 'ERR_LOG_TORN'
      ? 'Check that it is a segment; its end is incomplete, as a crash or half a copy leaves it: copy it again.'
      : 'Check that it is a segment (DIR/log has them), and copy it again; "hb log verify" checks those of a server.',
  )
}

async function aboutFiles<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw isHotBackupError(error, 'ERR_LOG_CORRUPT', 'ERR_LOG_TORN') ? aboutFile(error) : error
  }
}

interface DumpArguments extends ServerOptions, FormOptions {
  readonly from?: number
  readonly to?: number
  readonly account?: string
  readonly file?: string
  readonly json?: boolean
}

function dumpCommand(context: Context): Command {
  const command = withForms(
    serverCommand(
      'dump',
      'Show the records of the log, or of segment files, one line each.',
      `hb log dump -d /srv/north --from 1000 --to 1010
hb log dump -d /srv/north --account sales --file orders --json | jq .id
hb log dump -d /srv/north --marks
hb log dump /mnt/old/log/*.log`,
    ),
    'item-ids and values',
  )
    .argument('[files...]', 'segment files (default: the log of the server)')
    .option('--from <txn>', 'first transaction to show (default: the first)', wholeNumber(0))
    .option('--to <txn>', 'last transaction to show (default: the last)', wholeNumber(0))
    .option('--account <account>', 'only records about this account')
    .option('--file <file>', 'only records about files of this name')
    .option('--json', 'as JSON lines, with whole values')
    .action(async (files: readonly string[], args: DumpArguments) => {
      const options: DumpOptions = {
        from: args.from ?? 0,
        to: args.to ?? Number.MAX_SAFE_INTEGER,
        account: args.account ?? null,
        file: args.file ?? null,
        json: args.json ?? false,
        form: formOf(args),
      }
      if (options.from > options.to) throw usageError('--from is after --to')
      if (files.length === 0) await context.workIn(args.dir)
      const { dumpFiles, dumpLog } = await import('../report/log-dump.ts')
      const { disk } = context.platform
      const dumping =
        files.length > 0
          ? aboutFiles(dumpFiles(disk, await realPaths(context, files), options, context.out.write))
          : dumpLog(disk, (await serverLayout(context, args.dir)).log, options, context.out.write)
      await context.untilSignal(dumping)
    })
  return opensFirst(command)
}

interface FollowArguments extends ServerOptions, FormOptions {
  readonly from?: number
  readonly account?: string
  readonly file?: string
  readonly json?: boolean
}

function followCommand(context: Context): Command {
  return withForms(
    serverCommand(
      'follow',
      'Show the records of the log as they become durable, until interrupted.',
      `hb log follow -d /srv/south
hb log follow -d /srv/north --account sales --json | jq .id`,
    ),
    'item-ids and values',
  )
    .option('--from <txn>', 'first transaction to show (default: the next one)', wholeNumber(0))
    .option('--account <account>', 'only records about this account')
    .option('--file <file>', 'only records about files of this name')
    .option('--json', 'as JSON lines, with whole values')
    .action(async ({ dir, from, account, file, json = false, ...forms }: FollowArguments) => {
      const { log } = await serverLayout(context, dir)
      const { platform, out } = context
      const names = { account: account ?? null, file: file ?? null }
      const options = { ...names, json, from: from ?? null, form: formOf(forms) }
      const { followLog } = await import('../report/log-follow.ts')
      await context.untilSignal(followLog(platform, log, options, out.write))
    })
}
