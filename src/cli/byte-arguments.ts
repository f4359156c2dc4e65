// Item-ids and values on the command line: bytes, as they are or in a form that can be typed. All other arguments are
// text, and refused where they are not UTF-8.
import { isUtf8 } from 'node:buffer'
import path from 'node:path'
import { Argument, Option, type Command } from 'commander'
import { HotBackupError } from '../errors.ts'
import { bytesOfRawText, rawByte } from '../platform/raw-text.ts'
import { decodeForm, encodeForm, type ByteForm } from '../text/byte-forms.ts'
import { quotedText } from '../text/line-buffer.ts'

/** An argument that may be any bytes. */
export class BytesArgument extends Argument {}

export interface FormOptions {
  readonly marks?: boolean
  readonly hex?: boolean
  readonly base64?: boolean
}

export function withForms(command: Command, what: string): Command {
  const option = (name: keyof FormOptions, description: string, others: string[]) =>
    new Option(`--${name}`, `${what} ${description}`).conflicts(others)
  return command
    .addOption(option('marks', 'with the marks 0xFF 0xFE 0xFD 0xFC as _ ^ ] \\', ['hex', 'base64']))
    .addOption(option('hex', 'in hexadecimal', ['marks', 'base64']))
    .addOption(option('base64', 'in base64', ['marks', 'hex']))
}

export function formOf({ marks, hex, base64 }: FormOptions): ByteForm | null {
  return marks === true ? 'marks' : hex === true ? 'hex' : base64 === true ? 'base64' : null
}

/** The bytes of an argument. Throws ERR_USAGE when it is not of the form. */
export function argumentBytes(what: string, text: string, form: ByteForm | null): Buffer {
  return formBytes(what, bytesOfRawText(text), form)
}

/** `what` names the text in the message. Throws ERR_USAGE when it is not of the form. */
export function formBytes(what: string, text: Buffer, form: ByteForm | null): Buffer {
  if (form === null) return text
  const bytes = decodeForm(text, form)
  if (bytes !== null) return bytes
  const shown = text.length > shownBytes ? '' : `: ${quotedText(text)}`
  throw new HotBackupError(
    'ERR_USAGE',
    `${what} is not ${formWords[form]}${shown}`,
    {},
    undefined,
    formHints[form],
  )
}

/** An item-id in a sentence, in quotes. */
export function shownId(id: Buffer, form: ByteForm | null): string {
  return quotedText(form === null ? id : encodeForm(id, form))
}

/** The text of an item-id in JSON; its bytes in base64 for want of a text that is UTF-8. */
export function jsonId(id: Buffer, form: ByteForm | null): { text: string; base64: boolean } {
  const text = form === null ? id : encodeForm(id, form)
  return form !== 'base64' && isUtf8(text)
    ? { text: text.toString(), base64: false }
    : { text: id.toString('base64'), base64: true }
}

const shownBytes = 60

const formWords = { marks: 'text with marks', hex: 'hexadecimal', base64: 'base64' } as const

const formHints = {
  marks: 'A DLE (0x10) stands before _ ^ ] \\ or another DLE only.',
  hex: 'Each byte is two digits of 0 to 9 and a to f.',
  base64: 'It has A to Z, a to z, 0 to 9, + and /, and = up to a length of four times something.',
} as const

/** Throws ERR_USAGE for what is not UTF-8 where text is meant: a path or a name would become another one. */
export function checkTexts(command: Command): void {
  command.args.forEach((text, index) => {
    const argument = command.registeredArguments[index] ?? command.registeredArguments.at(-1)
    if (argument instanceof BytesArgument) return
    checkText(`the argument ${argument?.name() ?? index + 1}`, text)
  })
  for (const option of command.options) {
    const name = option.attributeName()
    const value: unknown = command.getOptionValue(name)
    const texts: unknown[] = Array.isArray(value) ? value : [value]
    for (const text of texts) {
      if (typeof text !== 'string') continue
      checkText(option.long ?? name, text)
      if (name === 'dir') checkDirectory(text, command.getOptionValueSource(name) === 'env')
    }
  }
}

function checkText(what: string, text: string): void {
  if (text.isWellFormed()) return
  const shown = rawByte.test(text) ? `: ${quotedText(bytesOfRawText(text))}` : ''
  throw new HotBackupError(
    'ERR_USAGE',
    `${what} is not UTF-8${shown}`,
    {},
    undefined,
    'Item-ids and values may be any bytes; names and paths are UTF-8.',
  )
}

/** The environment and the current directory come from Node, which shows U+FFFD for what is not UTF-8. */
function checkDirectory(directory: string, fromEnvironment: boolean): void {
  const seen = fromEnvironment ? directory : path.isAbsolute(directory) ? '' : path.resolve('.')
  if (!seen.includes('\ufffd')) return
  throw new HotBackupError(
    'ERR_USAGE',
    `${fromEnvironment ? 'HB_DIR' : 'the path of the current directory'} is not UTF-8: ${JSON.stringify(seen)}`,
    {},
    undefined,
    'Keep a server in a directory whose path is UTF-8.',
  )
}
