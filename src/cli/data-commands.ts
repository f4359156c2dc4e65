// hb create-account, delete-account, create-file, set-file, delete-file, clear-file, resize-file, list, digest and why.
import type { Command } from 'commander'
import { ask, type Caller } from '../control/operation.ts'
import { itemIds, listAccounts, listFiles } from '../data/data-access.ts'
import { readOperations, updateOperations } from '../data/data-operations.ts'
import { HotBackupError } from '../errors.ts'
import { moduloMax } from '../limits.ts'
import { withData } from '../server/sessions.ts'
import { encodeForm, type ByteForm } from '../text/byte-forms.ts'
import { moduloDefault } from '../limits.ts'
import type { Removed } from '../updates/updates.ts'
import { whyLines, whyReplicated } from '../data/why.ts'
import { LineBuffer } from '../text/line-buffer.ts'
import { count, counted } from '../text/numbers.ts'
import {
  onOff,
  serverCommand,
  wholeNumber,
  type Context,
  type ServerOptions,
} from './command-line.ts'
import { formOf, withForms, type FormOptions } from './byte-arguments.ts'
import { confirmRemoval, yesOption } from './confirmation.ts'
import { addItemCommands } from './item-commands.ts'
import { table } from './output.ts'

export function addDataCommands(program: Command, context: Context): void {
  addAccountCommands(program, context)
  addFileCommands(program, context)
  addItemCommands(program, context)
  program.addCommand(listCommand(context))
  program.addCommand(digestCommand(context))
  program.addCommand(whyCommand(context))
}

function addAccountCommands(program: Command, context: Context): void {
  program.addCommand(
    serverCommand('create-account', 'Create an account.', 'hb create-account -d /srv/north sales')
      .argument('<account>', 'name of the new account')
      .action(async (account: string, { dir }: ServerOptions) => {
        await context.data(dir, 'write', data =>
          ask(data, updateOperations.createAccount, { account }),
        )
      }),
  )
  program.addCommand(
    serverCommand(
      'delete-account',
      'Delete an account with all its files.',
      `hb delete-account -d /srv/north sales
hb delete-account -d /srv/north sales --yes`,
    )
      .argument('<account>', 'name of the account')
      .addOption(yesOption())
      .action(async (account: string, { dir, yes }: RemoveOptions) => {
        await confirmRemoval(context, yes, async () => {
          const files = await context.data(dir, 'read', data => listFiles(data, account))
          const items = files.reduce((sum, file) => sum + file.items, 0)
          return `Delete account ${account} with ${counted(files.length, 'file')} and ${counted(items, 'item')}?`
        })
        const removed = await context.data(dir, 'write', data =>
          ask(data, updateOperations.deleteAccount, { account }),
        )
        const files = counted(removed.files, 'file')
        await context.out.line(`deleted account ${account}: ${files}, ${removedText(removed)}`)
      }),
  )
}

interface CreateFileArguments extends ModuloOptions {
  readonly local?: boolean
}

interface ModuloOptions extends ServerOptions {
  readonly modulo: number
}

function addFileCommands(program: Command, context: Context): void {
  const modulo = wholeNumber(1, moduloMax)
  const fileCommand = (name: string, description: string, example: string) =>
    serverCommand(name, description, `hb ${name} -d /srv/north sales orders${example}`)
      .argument('<account>', 'name of the account')
      .argument('<file>', 'name of the file')

  program.addCommand(
    fileCommand('create-file', 'Create a file in an account.', ' --modulo 10007')
      .option('--modulo <number>', 'groups of the file', modulo, moduloDefault)
      .option('--local', 'keep it on the master only: slaves skip its updates')
      .action(async (account: string, file: string, options: CreateFileArguments) => {
        await context.data(options.dir, 'write', data =>
          ask(data, updateOperations.createFile, {
            account,
            file,
            modulo: options.modulo,
            local: options.local ?? false,
          }),
        )
      }),
  )
  program.addCommand(
    fileCommand(
      'set-file',
      'Keep a file on the master only, or replicate it. Returns when the log holds everything that its slaves need.',
      ' --local on',
    )
      .addOption(
        onOff('--local <on|off>', 'whether the file is on the master only').makeOptionMandatory(),
      )
      .action(
        async (
          account: string,
          file: string,
          { dir, local }: ServerOptions & { local: 'on' | 'off' },
        ) => {
          await context.data(dir, 'write', data =>
            ask(data, updateOperations.setFile, { account, file, local: local === 'on' }),
          )
        },
      ),
  )
  program.addCommand(
    fileCommand('delete-file', 'Delete a file with its items.', ' --yes')
      .addOption(yesOption())
      .action(async (account: string, file: string, { dir, yes }: RemoveOptions) => {
        await confirmRemoval(context, yes, async () => {
          const items = await itemCount(context, dir, account, file)
          return `Delete file ${account} ${file} with ${counted(items, 'item')}?`
        })
        const removed = await context.data(dir, 'write', data =>
          ask(data, updateOperations.deleteFile, { account, file }),
        )
        await context.out.line(`deleted file ${account} ${file}: ${removedText(removed)}`)
      }),
  )
  program.addCommand(
    fileCommand('clear-file', 'Delete all items of a file.', ' --yes')
      .addOption(yesOption())
      .action(async (account: string, file: string, { dir, yes }: RemoveOptions) => {
        await confirmRemoval(context, yes, async () => {
          const items = await itemCount(context, dir, account, file)
          return `Delete ${counted(items, 'item')} of ${account} ${file}?`
        })
        const removed = await context.data(dir, 'write', data =>
          ask(data, updateOperations.clearFile, { account, file }),
        )
        await context.out.line(`cleared file ${account} ${file}: ${removedText(removed)}`)
      }),
  )
  program.addCommand(
    fileCommand(
      'resize-file',
      'Spread the items of a file over more groups, or fewer.',
      ' --modulo 100003',
    )
      .requiredOption('--modulo <number>', 'groups of the file from now on', modulo)
      .action(async (account: string, file: string, options: ModuloOptions) => {
        await context.data(options.dir, 'write', data =>
          ask(data, updateOperations.resizeFile, { account, file, modulo: options.modulo }),
        )
      }),
  )
}

interface RemoveOptions extends ServerOptions {
  readonly yes?: boolean
}

async function itemCount(
  context: Context,
  dir: string,
  account: string,
  file: string,
): Promise<number> {
  const files = await context.data(dir, 'read', data => listFiles(data, account))
  const found = files.find(row => row.file === file)
  if (found !== undefined) return found.items
  throw new HotBackupError('ERR_NO_FILE', `there is no file ${account} ${file}`, { account, file })
}

function removedText({ items, bytes }: Removed): string {
  return `${counted(items, 'item')}, ${counted(bytes, 'byte')}`
}

interface ListOptions extends ServerOptions {
  readonly json?: boolean
}

function listCommand(context: Context): Command {
  return withForms(
    serverCommand(
      'list',
      'List the accounts, the files of an account, or the item-ids of a file.',
      `hb list -d /srv/north
hb list -d /srv/north sales
hb list -d /srv/north sales orders | sort
hb list -d /srv/north sales orders --hex`,
    ),
    'item-ids',
  )
    .argument('[account]', 'list its files')
    .argument('[file]', 'list its item-ids')
    .option('--json', 'as JSON')
    .action(
      async (
        account: string | undefined,
        file: string | undefined,
        { dir, json = false, ...forms }: ListOptions & FormOptions,
      ) => {
        await context.data(dir, 'read', data =>
          account === undefined
            ? printAccounts(context, data, json)
            : file === undefined
              ? printFiles(context, data, account, json)
              : printItems(context, data, { account, file, json, form: formOf(forms) }),
        )
      },
    )
}

async function printAccounts({ out }: Context, data: Caller, json: boolean): Promise<void> {
  const rows = await listAccounts(data)
  if (json) return out.json(rows)
  for (const line of table(
    rows.map(row => [row.account, row.files, row.files === 1 ? 'file' : 'files']),
  ))
    await out.line(line)
}

async function printFiles(
  { out }: Context,
  data: Caller,
  account: string,
  json: boolean,
): Promise<void> {
  const rows = await listFiles(data, account)
  if (json) return out.json(rows)
  const lines = table(
    rows.map(row => [
      row.file,
      'modulo',
      row.modulo,
      row.items,
      row.items === 1 ? 'item' : 'items',
      row.flags?.join(' ') ?? '',
    ]),
  )
  for (const line of lines) await out.line(line)
}

interface ItemList {
  readonly account: string
  readonly file: string
  readonly json: boolean
  readonly form: ByteForm | null
}

/** There may be millions: one after the other. */
async function printItems(
  context: Context,
  data: Caller,
  { account, file, json, form }: ItemList,
): Promise<void> {
  const { out } = context
  const lines = new LineBuffer()
  const progress = context.progress()
  let items = 0
  for await (const id of itemIds(data, account, file)) {
    if (json) {
      lines.ascii(items === 0 ? '[\n  {' : ',\n  {')
      lines.json('id', 'idBase64', id, 0, id.length, form)
      lines.ascii('}')
    } else {
      if (form === null) lines.escaped(id)
      else lines.bytes(encodeForm(id, form))
      lines.newLine()
    }
    items++
    if (!lines.full) continue
    await out.write(lines.take())
    if (!out.isTerminal) progress.update(() => `${count(items)} item-ids`)
  }
  if (json) lines.ascii(items === 0 ? '[]\n' : '\n]\n')
  await out.write(lines.take())
  progress.end()
}

function digestCommand(context: Context): Command {
  return serverCommand(
    'digest',
    `Compute the SHA-256 of the content alone: equal for equal accounts, files, modulos and items, however they lie
on disk. A master and a slave that has applied everything have the same digest.`,
    `hb digest -d /srv/north
hb digest -d /srv/south sales orders --json`,
  )
    .argument('[account]', 'this account only')
    .argument('[file]', 'this file only')
    .option('--json', 'as JSON')
    .action(
      async (
        account: string | undefined,
        file: string | undefined,
        { dir, json = false }: ListOptions,
      ) => {
        const progress = context.progress()
        const { digest } = await context.data(dir, 'read', data =>
          ask(
            data,
            readOperations.digest,
            { account: account ?? null, file: file ?? null },
            part => {
              progress.update(() => `about ${count(part.slices * 1000)} items`)
            },
          ),
        )
        progress.end()
        if (json) await context.out.json({ account, file, digest })
        else await context.out.line(digest)
      },
    )
}

function whyCommand(context: Context): Command {
  return serverCommand(
    'why',
    'Say whether the updates of a file are replicated, and why.',
    `hb why -d /srv/north sales orders
hb why -d /srv/south sales scratch --json`,
  )
    .argument('<account>', 'name of the account')
    .argument('<file>', 'name of the file')
    .option('--json', 'as JSON')
    .action(async (account: string, file: string, { dir, json = false }: ListOptions) => {
      const why = await context.untilSignal(
        whyReplicated(context.platform, dir, account, file, withData),
      )
      if (json) await context.out.json(why)
      else for (const line of whyLines(why)) await context.out.line(line)
    })
}
