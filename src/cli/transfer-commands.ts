// hb import and export.
import { Option, type Command } from 'commander'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { DataClient } from '../data/data-client.ts'
import { exportItems } from '../data/export.ts'
import { importedItems, type ImportFormat } from '../data/import-items.ts'
import { importItems } from '../data/import.ts'
import { moduloDefault } from '../updates/account.ts'
import { opensFirst, serverCommand, type Context, type ServerOptions } from './command-line.ts'
import { openInput } from './input.ts'
import { count, counted } from './output.ts'

export function addTransferCommands(program: Command, context: Context): void {
  program.addCommand(importCommand(context))
  program.addCommand(exportCommand(context))
}

interface ImportArguments extends ServerOptions {
  readonly format: ImportFormat
  readonly id: string
  readonly value?: string
  readonly create?: boolean
}

function importCommand(context: Context): Command {
  const command = serverCommand(
    'import',
    `Write an item for each record of JSON lines or CSV. The item is the field that --value names; without it, the
field "value" when there is no other besides the item-id, and otherwise the whole record as JSON.`,
    `hb import -d /srv/north sales orders orders.csv --format csv --id order_number --create
hb export -d /srv/old sales orders | hb import -d /srv/north sales orders --format jsonl --id id`,
  )
    .argument('<account>', 'name of the account')
    .argument('<file>', 'name of the file')
    .argument('[path]', 'what to import; - is standard input', '-')
    .addOption(
      new Option('--format <format>', 'format of the records')
        .choices(['jsonl', 'csv'])
        .makeOptionMandatory(),
    )
    .requiredOption('--id <field>', 'the field that is the item-id')
    .option('--value <field>', 'the field that is the item')
    .option('--create', 'create the account and the file if they are not there')
    .action(async (account: string, file: string, path: string, options: ImportArguments) => {
      const { pieces } = await openInput(context, path)
      await context.workIn(options.dir)
      await context.data(options.dir, 'write', async data => {
        await importFrom(context, data, pieces, { account, file, ...options })
      })
    })
  return opensFirst(command)
}

async function createMissing(data: DataClient, account: string, file: string): Promise<void> {
  const existing = (error: unknown) => {
    if (!isHotBackupError(error, 'ERR_EXISTS')) throw error
  }
  await data.createAccount(account).catch(existing)
  await data.createFile(account, file, moduloDefault).catch(existing)
}

async function importFrom(
  context: Context,
  data: DataClient,
  source: AsyncIterable<Uint8Array>,
  {
    account,
    file,
    format,
    id,
    value,
    create = false,
  }: ImportArguments & { readonly account: string; readonly file: string },
): Promise<void> {
  if (!create) await checkFile(data, account, file)
  const progress = context.progress()
  const records = importedItems(source, { format, idField: id, valueField: value ?? null })
  // Nothing is created for what cannot be read, or lacks the field.
  const first = await records.next()
  if (create) await createMissing(data, account, file)
  const { items, error } = await importItems(
    data,
    account,
    file,
    withFirst(first, records),
    done => {
      progress.update(
        seconds => `${count(done)} items, ${count(Math.round(done / seconds))} a second`,
      )
    },
  )
  progress.end()
  if (error === null) return context.out.line(`${counted(items, 'item')} imported`)
  if (!isHotBackupError(error)) throw error
  const message = `${error.message.replace(/\.$/, '')} (imported before it: ${counted(items, 'item')})`
  throw new HotBackupError(error.code, message, error.place, error)
}

/** A file that is not there is reported before anything is read. */
async function checkFile(data: DataClient, account: string, file: string): Promise<void> {
  if (await data.fileExists(account, file)) return
  throw new HotBackupError('ERR_NO_FILE', `there is no file ${account} ${file}`, { account, file })
}

async function* withFirst<T>(
  first: IteratorResult<T, void>,
  rest: AsyncGenerator<T, void, undefined>,
): AsyncGenerator<T, void, undefined> {
  if (first.done === true) return
  yield first.value
  yield* rest
}

function exportCommand(context: Context): Command {
  return serverCommand(
    'export',
    'Write the items of a file to standard output, as JSON lines.',
    `hb export -d /srv/south sales orders > orders.jsonl
hb export -d /srv/south sales orders | jq -r .value`,
  )
    .argument('<account>', 'name of the account')
    .argument('<file>', 'name of the file')
    .action(async (account: string, file: string, { dir }: ServerOptions) => {
      const progress = context.progress()
      await context.data(dir, 'read', data =>
        exportItems(data, account, file, context.out.write, items => {
          if (!context.out.isTerminal) progress.update(() => `${count(items)} items`)
        }),
      )
      progress.end()
    })
}
