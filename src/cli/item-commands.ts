// hb write, read and delete: one item, by its item-id.
import type { Command } from 'commander'
import { ask } from '../control/operation.ts'
import { readOperations, updateOperations } from '../data/data-operations.ts'
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, itemIdBytesMax } from '../limits.ts'
import { encodeForm, type ByteForm } from '../text/byte-forms.ts'
import { ItemPacker } from '../data/packed-items.ts'
import {
  argumentBytes,
  BytesArgument,
  formBytes,
  formOf,
  withForms,
  type FormOptions,
} from './byte-arguments.ts'
import { serverCommand, type Context, type ServerOptions } from './command-line.ts'

interface ItemOptions extends ServerOptions, FormOptions {}

export function addItemCommands(program: Command, context: Context): void {
  program.addCommand(writeCommand(context))
  program.addCommand(readCommand(context))
  program.addCommand(deleteCommand(context))
}

export function itemCommand(
  name: string,
  description: string,
  examples: string,
  what: string,
): Command {
  return withForms(serverCommand(name, description, examples), what)
    .argument('<account>', 'name of the account')
    .argument('<file>', 'name of the file')
    .addArgument(new BytesArgument('<item-id>', 'the item-id, 1 to 1,024 bytes'))
}

function writeCommand(context: Context): Command {
  return itemCommand(
    'write',
    'Write an item, new or not. Returns when it is durable.',
    `hb write -d /srv/north sales orders 1001 "3 pears"
hb write -d /srv/north sales orders 1001 --marks "pears^3]4^fresh"
hb write -d /srv/north sales orders 6bfe --hex < record.hex
hb write -d /srv/north sales scans 1001 < scan.pdf
hb write -d /srv/north sales orders -- -7 "an item-id that starts with -"`,
    'item-id and value',
  )
    .addArgument(new BytesArgument('[value]', 'the item (default: standard input, as it is)'))
    .action(
      async (
        account: string,
        file: string,
        id: string,
        value: string | undefined,
        { dir, ...forms }: ItemOptions,
      ) => {
        const form = formOf(forms)
        const item = new ItemPacker()
        const idBytes = checkedId(id, form)
        item.add(idBytes, await checkedValue(context, value, form))
        await context.data(dir, 'write', data =>
          ask(data, updateOperations.writeItems, { account, file, body: item.take() }),
        )
      },
    )
}

function readCommand(context: Context): Command {
  return itemCommand(
    'read',
    'Read an item: its bytes, and nothing else, on standard output.',
    `hb read -d /srv/south sales orders 1001
hb read -d /srv/south sales orders 1001 --marks`,
    'item-id and value',
  ).action(async (account: string, file: string, id: string, { dir, ...forms }: ItemOptions) => {
    const form = formOf(forms)
    const idBytes = checkedId(id, form)
    const request = { account, file, body: idBytes }
    const { body: value } = await context.data(dir, 'read', data =>
      ask(data, readOperations.readItem, request),
    )
    await context.out.write(form === null ? value : encodeForm(Buffer.from(value), form))
  })
}

function deleteCommand(context: Context): Command {
  return itemCommand(
    'delete',
    'Delete an item. Returns when the deletion is durable.',
    `hb delete -d /srv/north sales orders 1001
hb delete -d /srv/north sales orders 6bfe --hex`,
    'item-id',
  ).action(async (account: string, file: string, id: string, { dir, ...forms }: ItemOptions) => {
    const idBytes = checkedId(id, formOf(forms))
    await context.data(dir, 'write', data =>
      ask(data, updateOperations.deleteItem, { account, file, body: idBytes }),
    )
  })
}

export function checkedId(id: string, form: ByteForm | null): Buffer {
  const bytes = argumentBytes('the item-id', id, form)
  if (bytes.length >= 1 && bytes.length <= itemIdBytesMax) return bytes
  throw new HotBackupError('ERR_ITEM_ID', `the item-id has ${bytes.length} bytes`)
}

async function checkedValue(
  context: Context,
  value: string | undefined,
  form: ByteForm | null,
): Promise<Buffer> {
  const bytes =
    value === undefined
      ? formBytes('standard input', await wholeInput(context, form), form)
      : argumentBytes('the value', value, form)
  if (bytes.length <= itemBytesMax) return bytes
  throw new HotBackupError('ERR_ITEM_SIZE', `the item has ${bytes.length} bytes`)
}

/** In a form, an item is up to twice as long, and may have line ends between its digits. */
const formFactor = 3

async function wholeInput({ stdin }: Context, form: ByteForm | null): Promise<Buffer> {
  const bytesMax = form === null ? itemBytesMax : formFactor * itemBytesMax
  const pieces: Uint8Array[] = []
  let length = 0
  for await (const piece of stdin) {
    length += piece.length
    if (length > bytesMax) {
      throw new HotBackupError('ERR_ITEM_SIZE', 'standard input has more bytes than an item may')
    }
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}
