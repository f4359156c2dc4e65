// Exports the items of a file as JSON lines or CSV, which "hb import" reads back byte for byte.
import type { Caller } from '../control/operation.ts'
import { encodeForm, type ByteForm } from '../text/byte-forms.ts'
import { LineBuffer, type Sink } from '../text/line-buffer.ts'
import { allItems } from './data-access.ts'

export interface ExportFormat {
  /** Of item-ids and items; null for the bytes as they are. */
  readonly form: ByteForm | null
  /** Between the fields of CSV, one ASCII character; null for JSON lines. */
  readonly delimiter: string | null
}

/** Resolves with the number of items. */
export async function exportItems(
  data: Caller,
  { account, file }: { readonly account: string; readonly file: string },
  { form, delimiter }: ExportFormat,
  sink: Sink,
  progressed: (items: number) => void,
): Promise<number> {
  const lines = new LineBuffer()
  // They leave when there is something to take: not when there is no such file.
  if (delimiter !== null) lines.ascii(`id${delimiter}value\n`)
  let count = 0
  for await (const { id, value } of allItems(data, account, file)) {
    if (delimiter === null) jsonLine(lines, id, value, form)
    else csvLine(lines, id, value, form, delimiter)
    count++
    if (!lines.full) continue
    await sink(lines.take())
    progressed(count)
  }
  await sink(lines.take())
  return count
}

function jsonLine(lines: LineBuffer, id: Buffer, value: Buffer, form: ByteForm | null): void {
  lines.ascii('{')
  lines.json('id', 'idBase64', id, 0, id.length, form)
  lines.ascii(',')
  lines.json('value', 'base64', value, 0, value.length, form)
  lines.ascii('}')
  lines.newLine()
}

function csvLine(
  lines: LineBuffer,
  id: Buffer,
  value: Buffer,
  form: ByteForm | null,
  delimiter: string,
): void {
  csvField(lines, form === null ? id : encodeForm(id, form), delimiter.charCodeAt(0))
  lines.ascii(delimiter)
  csvField(lines, form === null ? value : encodeForm(value, form), delimiter.charCodeAt(0))
  lines.newLine()
}

const quote = 0x22

/** In quotes where it needs them, with its own quotes doubled. */
function csvField(lines: LineBuffer, bytes: Buffer, delimiter: number): void {
  if (!needsQuotes(bytes, delimiter)) return lines.bytes(bytes)
  lines.ascii('"')
  let start = 0
  for (let at = bytes.indexOf(quote); at >= 0; at = bytes.indexOf(quote, at + 1)) {
    lines.bytes(bytes.subarray(start, at + 1))
    start = at
  }
  lines.bytes(bytes.subarray(start))
  lines.ascii('"')
}

/** Control characters as well as blanks at the ends: other programs drop or take them for something else. */
function needsQuotes(bytes: Buffer, delimiter: number): boolean {
  if (bytes[0] === 0x20 || bytes.at(-1) === 0x20) return true
  for (const byte of bytes) if (byte < 0x20 || byte === quote || byte === delimiter) return true
  return false
}
