// hb import and export.
import path from 'node:path'
import { Option, type Command } from 'commander'
import { type Caller, ask } from '../control/operation.ts'
import { readOperations } from '../data/data-operations.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { OutputFile } from '../platform/outputs.ts'
import { badRecordLine } from '../data/bad-records.ts'
import { delimiterNamed } from '../data/csv.ts'
import { exportItems } from '../data/export.ts'
import { importRecords, type ImportFormat } from '../data/import-items.ts'
import type { BadRecord } from '../data/import-record.ts'
import { importItems, type ImportResult } from '../data/import.ts'
import { NewFile } from '../data/new-file.ts'
import { encodingNamed } from '../data/text-input.ts'
import { count, counted } from '../text/numbers.ts'
import { formOf, withForms, type FormOptions } from './byte-arguments.ts'
import {
  opensFirst,
  serverCommand,
  usageError,
  type Context,
  type ServerOptions,
} from './command-line.ts'
import { CountedInput, openInput } from './input.ts'

export function addTransferCommands(program: Command, context: Context): void {
  program.addCommand(importCommand(context))
  program.addCommand(exportCommand(context))
}

interface FormatOptions extends ServerOptions, FormOptions {
  readonly format: ImportFormat
  readonly delimiter?: string
}

interface ImportArguments extends FormatOptions {
  readonly id: string
  readonly value?: string
  readonly create?: boolean
  readonly encoding?: string
  readonly skipBad?: string
}

function formatOption(): Option {
  return new Option('--format <format>', 'format of the records').choices(['jsonl', 'csv'])
}

function delimiterOption(): Option {
  return new Option('--delimiter <character>', 'separator of CSV fields; \\t is a tab')
}

/** Throws ERR_USAGE. */
function delimiterOf({ format, delimiter }: FormatOptions): string {
  if (delimiter === undefined) return ','
  if (format === 'csv') return delimiterNamed(delimiter)
  throw usageError('--delimiter is for --format csv')
}

function importCommand(context: Context): Command {
  const command = withForms(
    serverCommand(
      'import',
      `Write an item for each record of JSON lines or CSV. The item is the field that --value names; without it, the
field "value" if that is the only other field, otherwise the whole record as JSON.`,
      `hb import -d /srv/north sales orders orders.csv --format csv --id order_number --create
hb import -d /srv/north sales orders excel.csv --format csv --id Nr --delimiter ';' --encoding windows-1252
hb import -d /srv/north sales orders orders.jsonl --format jsonl --id id --skip-bad bad.jsonl
hb export -d /srv/old sales orders | hb import -d /srv/north sales orders --format jsonl --id id`,
    ),
    'item-ids, and items that are one field,',
  )
    .argument('<account>', 'name of the account')
    .argument('<file>', 'name of the file')
    .argument('[path]', 'file to import; - is standard input', '-')
    .addOption(formatOption().makeOptionMandatory())
    .requiredOption('--id <field>', 'the field that is the item-id')
    .option('--value <field>', 'the field that is the item')
    .option('--create', 'create the account and the file if they do not exist')
    .addOption(delimiterOption())
    .option('--encoding <name>', 'of the input (default: its byte order mark, or UTF-8)')
    .option(
      '--skip-bad <path>',
      'write bad records to this file, with line and reason, and continue',
    )
    .action(async (account: string, file: string, input: string, options: ImportArguments) => {
      const target = { account, file }
      await runImport(context, target, input, options)
    })
  return opensFirst(command)
}

interface Target {
  readonly account: string
  readonly file: string
}

async function runImport(
  context: Context,
  target: Target,
  name: string,
  options: ImportArguments,
): Promise<void> {
  const delimiter = delimiterOf(options)
  const encoding = options.encoding === undefined ? null : encodingNamed(options.encoding)
  const { skipBad } = options
  const input = new CountedInput(await openInput(context, name))
  // What is written belongs to the owner of the server, and is made with no more than the owner's rights.
  await context.workIn(options.dir)
  const bad = skipBad === undefined ? null : await context.outputs.create(path.resolve(skipBad))
  const records = importRecords(input.pieces(), {
    format: options.format,
    idField: options.id,
    valueField: options.value ?? null,
    form: formOf(options),
    delimiter,
    encoding,
  })
  const progress = context.progress()
  let durable = 0
  progress.watch(seconds => progressText(durable, seconds, input))
  let result: ImportResult
  try {
    result = await context.data(options.dir, 'write', async data => {
      const { account, file } = target
      if (options.create !== true) await checkFile(data, target)
      const create = options.create === true ? new NewFile(data, account, file, () => input) : null
      return importItems(data, { ...target, create }, records, skipTo(bad), items => {
        durable = items
      })
    })
  } finally {
    progress.end()
    await bad?.close()
  }
  await report(context, result, skipBad)
}

function progressText(items: number, seconds: number, { bytes, taken }: CountedInput): string {
  const rate = `${count(items)} items, ${count(Math.round(items / seconds))} a second`
  if (bytes === null || bytes === 0) return `${rate}, ${count(taken)} bytes read`
  return `${rate}, ${Math.floor((taken / bytes) * 100)} % read`
}

function skipTo(bad: OutputFile | null): ((record: BadRecord) => Promise<void>) | null {
  return bad === null ? null : record => bad.write(badRecordLine(record))
}

async function report(
  { out }: Context,
  { items, skipped, error }: ImportResult,
  skipBad: string | undefined,
): Promise<void> {
  const records = skipped === 0 ? '' : `${counted(skipped, 'bad record')} skipped: see ${skipBad}`
  if (error === null) {
    return out.line(`${counted(items, 'item')} imported${records === '' ? '' : `, ${records}`}`)
  }
  if (!isHotBackupError(error)) throw error
  const imported =
    items === 0 ? 'nothing imported' : `imported before it: ${counted(items, 'item')}`
  const before = records === '' ? imported : `${imported}; ${records}`
  const message = `${error.message.replace(/\.$/, '')} (${before})`
  throw new HotBackupError(error.code, message, error.place, error, error.hint)
}

/** A file that is not there is reported before anything is read. */
async function checkFile(data: Caller, { account, file }: Target): Promise<void> {
  if ((await ask(data, readOperations.fileExists, { account, file })).exists) return
  throw new HotBackupError('ERR_NO_FILE', `there is no file ${account} ${file}`, { account, file })
}

function exportCommand(context: Context): Command {
  return withForms(
    serverCommand(
      'export',
      'Write the items of a file to standard output, as JSON lines or as CSV with the columns id and value.',
      `hb export -d /srv/south sales orders > orders.jsonl
hb export -d /srv/south sales orders | jq -r .value
hb export -d /srv/south sales orders --format csv --marks > orders.csv`,
    ),
    'item-ids and items',
  )
    .argument('<account>', 'name of the account')
    .argument('<file>', 'name of the file')
    .addOption(formatOption().default('jsonl'))
    .addOption(delimiterOption())
    .action(async (account: string, file: string, options: FormatOptions) => {
      const format = {
        form: formOf(options),
        delimiter: options.format === 'csv' ? delimiterOf(options) : null,
      }
      // Refused in any other format.
      delimiterOf(options)
      const progress = context.progress()
      await context.data(options.dir, 'read', data =>
        exportItems(data, { account, file }, format, context.out.write, items => {
          if (!context.out.isTerminal) progress.update(() => `${count(items)} items`)
        }),
      )
      progress.end()
    })
}
