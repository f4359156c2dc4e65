// Items from text: JSON lines or CSV, as they stream in, in bounded memory. Each record gives one item: one field
// is the item-id; the value is the field that is asked for, or a field called "value" when there is nothing else,
// or the whole record as JSON.
import { isUtf8 } from 'node:buffer'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { CsvError, Info } from 'csv-parse'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'

export type ImportFormat = 'jsonl' | 'csv'

export interface ImportOptions {
  readonly format: ImportFormat
  /** Name of the field that holds the item-id. */
  readonly idField: string
  /** Name of the field that is the item; null for the rule above. */
  readonly valueField: string | null
}

export interface ImportedItem {
  readonly id: Buffer
  readonly value: Buffer
}

/** A line of JSON: the largest item in base64, and room for other fields. */
const lineBytesMax = 128 * MiB

/** The items of the text. Throws ERR_IMPORT with the line, after all items before that line. */
export function importedItems(
  source: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): AsyncGenerator<ImportedItem, void, undefined> {
  return options.format === 'jsonl' ? fromJsonLines(source, options) : fromCsv(source, options)
}

function bad(line: number, what: string): HotBackupError {
  return new HotBackupError('ERR_IMPORT', `line ${line}: ${what}`)
}

async function* fromJsonLines(
  source: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): AsyncGenerator<ImportedItem, void, undefined> {
  let number = 0
  for await (const line of lines(source)) {
    number++
    if (line.length === 0) continue
    yield itemOfJson(line, number, options)
  }
}

function itemOfJson(line: Buffer, number: number, options: ImportOptions): ImportedItem {
  if (!isUtf8(line)) throw bad(number, 'not UTF-8')
  let record: unknown
  try {
    record = JSON.parse(line.toString())
  } catch {
    throw bad(number, 'not JSON')
  }
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    throw bad(number, 'not a JSON object')
  }
  const fields = record as Record<string, unknown>
  const { idField, valueField } = options
  if (!Object.hasOwn(fields, idField)) throw bad(number, `no field "${idField}"`)
  const id = idBytes(fields[idField], fields['idBase64'] === true, number)
  if (valueField !== null) {
    if (!Object.hasOwn(fields, valueField)) throw bad(number, `no field "${valueField}"`)
    return { id, value: valueBytes(fields[valueField], fields['base64'] === true, number) }
  }
  // What "hb export" writes.
  const plain =
    typeof fields['value'] === 'string' &&
    Object.keys(fields).every(
      key => key === idField || key === 'value' || key === 'base64' || key === 'idBase64',
    )
  return {
    id,
    value: plain ? valueBytes(fields['value'], fields['base64'] === true, number) : line,
  }
}

function idBytes(value: unknown, base64: boolean, line: number): Buffer {
  if (typeof value === 'string' && value !== '') {
    return base64 ? base64Bytes(value, line) : utf8Bytes(value, line)
  }
  // A number that JavaScript does not keep exactly would become another item-id.
  if (typeof value === 'number' && Number.isSafeInteger(value)) return Buffer.from(String(value))
  throw bad(line, `an item-id is text or a whole number, got ${JSON.stringify(value)}`)
}

function valueBytes(value: unknown, base64: boolean, line: number): Buffer {
  if (typeof value !== 'string') return Buffer.from(JSON.stringify(value))
  return base64 ? base64Bytes(value, line) : utf8Bytes(value, line)
}

/** A surrogate by itself has no UTF-8: different texts would become the same bytes. */
function utf8Bytes(text: string, line: number): Buffer {
  if (text.isWellFormed()) return Buffer.from(text)
  throw bad(line, 'text with a surrogate by itself, which has no UTF-8; give the bytes in base64')
}

function base64Bytes(text: string, line: number): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) throw bad(line, 'not base64')
  return bytes
}

/** Without their ends: \n or \r\n. The last one may lack it. */
async function* lines(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void, undefined> {
  let rest: Buffer[] = []
  let restLength = 0
  let number = 0
  const tooLong = () => bad(number + 1, `longer than ${lineBytesMax} bytes`)
  for await (const part of source) {
    const bytes = Buffer.from(part.buffer, part.byteOffset, part.byteLength)
    let start = 0
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      if (restLength + end - start > lineBytesMax) throw tooLong()
      const piece = bytes.subarray(start, end)
      yield withoutReturn(restLength === 0 ? piece : Buffer.concat([...rest, piece]))
      number++
      rest = []
      restLength = 0
      start = end + 1
    }
    if (start === bytes.length) continue
    // A copy: the source may use its buffer again.
    rest.push(Buffer.from(bytes.subarray(start)))
    restLength += bytes.length - start
    if (restLength > lineBytesMax) throw tooLong()
  }
  if (restLength > 0) yield withoutReturn(Buffer.concat(rest))
}

function withoutReturn(line: Buffer): Buffer {
  return line.at(-1) === 13 ? line.subarray(0, -1) : line
}

interface CsvRow {
  readonly record: readonly Buffer[]
  readonly info: Info
}

async function* fromCsv(
  source: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): AsyncGenerator<ImportedItem, void, undefined> {
  // Few commands need it, and each of them would load it.
  const { parse } = await import('csv-parse')
  // The parser drops the rows that wait behind an error, so it is told to skip bad rows, and the first one
  // that it skipped ends the import when its turn has come.
  let skipped: CsvError | null = null
  const parser = parse({
    encoding: null,
    info: true,
    bom: false,
    record_delimiter: ['\r\n', '\n'],
    skip_empty_lines: true,
    skip_records_with_error: true,
    max_record_size: lineBytesMax,
    on_skip: error => {
      skipped ??= error ?? null
      return undefined
    },
  })
  const feeding = pipeline(Readable.from(source), parser)
  feeding.catch(() => {}) // The parser's own iteration says it.
  const failure = () => (skipped === null ? null : csvFault(skipped))
  let columns: CsvColumns | null = null
  for await (const { record, info } of parser as AsyncIterable<CsvRow>) {
    const fault = failure()
    if (fault !== null && info.lines > fault.line) break
    if (columns === null) columns = csvColumns(record, options)
    else yield itemOfRow(record, columns, info.lines)
  }
  const fault = failure()
  if (fault !== null) throw bad(fault.line, fault.what)
}

function csvFault(error: CsvError): { line: number; what: string } {
  const line = Number((error as unknown as Record<string, unknown>)['lines'] ?? 0)
  return { line, what: error.message.replace(/ (?:at|on) line \d+.*$/, '') }
}

interface CsvColumns {
  readonly names: readonly string[]
  readonly id: number
  /** Null: the whole row, as JSON. */
  readonly value: number | null
}

function csvColumns(record: readonly Buffer[], options: ImportOptions): CsvColumns {
  const names = record.map(name => name.toString())
  const byteOrderMark = '\ufeff'
  if (names[0]?.startsWith(byteOrderMark) === true) names[0] = names[0].slice(1)
  const find = (name: string): number => {
    const index = names.indexOf(name)
    if (index >= 0) return index
    throw bad(1, `no column "${name}" among ${names.map(found => `"${found}"`).join(', ')}`)
  }
  const id = find(options.idField)
  if (options.valueField !== null) return { names, id, value: find(options.valueField) }
  const plain = names.length === 2 && names.includes('value') && options.idField !== 'value'
  return { names, id, value: plain ? find('value') : null }
}

function itemOfRow(record: readonly Buffer[], columns: CsvColumns, line: number): ImportedItem {
  const id = record[columns.id] ?? Buffer.alloc(0)
  if (id.length === 0) throw bad(line, 'an empty item-id')
  if (columns.value !== null) return { id, value: record[columns.value] ?? Buffer.alloc(0) }
  const fields = columns.names.map((name, index): [string, string] => {
    const field = record[index] ?? Buffer.alloc(0)
    if (!isUtf8(field)) throw bad(line, `"${name}" is not UTF-8`)
    return [name, field.toString()]
  })
  return { id, value: Buffer.from(JSON.stringify(Object.fromEntries(fields))) }
}
