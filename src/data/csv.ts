// Items from CSV: a first record with the names of the columns, and a record with as many fields for each item.
import { isUtf8 } from 'node:buffer'
import type { parse as parseCsv } from 'csv-parse/sync'
import { HotBackupError } from '../errors.ts'
import { CsvSplitter, type CsvRecord } from './csv-records.ts'
import {
  formed,
  importFault,
  namesText,
  NoItem,
  recordOf,
  shortName,
  type FieldOptions,
  type ImportedItem,
  type ImportRecord,
} from './import-record.ts'

const quote = '"'

/** Of an option: one character, or \t for a tab. Throws ERR_USAGE. */
export function delimiterNamed(text: string): string {
  const delimiter = text === '\\t' ? '\t' : text
  if (/^[^\0\r\n"\u0080-\uffff]$/.test(delimiter)) return delimiter
  throw new HotBackupError(
    'ERR_USAGE',
    `${shortName(text)} cannot be a delimiter`,
    {},
    undefined,
    'It is one ASCII character, such as "," or ";"; \\t is a tab.',
  )
}

interface Columns {
  readonly names: readonly string[]
  readonly id: number
  /** Null: the whole record, as JSON. */
  readonly value: number | null
}

/** Throws ERR_IMPORT when the columns are not as they should be, before the first item. */
export async function* recordsOfCsv(
  source: AsyncIterable<Buffer>,
  delimiter: string,
  options: FieldOptions,
): AsyncGenerator<ImportRecord[], void, undefined> {
  // Few commands need it, and each of them would load it.
  const { parse } = await import('csv-parse/sync')
  const splitter = new CsvSplitter(delimiter.charCodeAt(0))
  let columns: Columns | null = null
  const itemsOf = (found: readonly CsvRecord[]): ImportRecord[] => {
    if (found.length === 0) return []
    const records = rowsOf(found, delimiter, parse)
    if (columns === null) {
      const header = records.shift()
      if (header === undefined) return []
      columns = columnsOf(header, options)
    }
    const known = columns
    return records.map(({ record, fields }) =>
      recordOf(record.line, record.bytes, () => itemOf(record, fields, known, options)),
    )
  }
  for await (const piece of source) yield itemsOf(splitter.push(piece))
  yield itemsOf(splitter.end())
  if (columns === null) {
    throw importFault(
      1,
      'no names of columns: the input is empty',
      'Give it a first line with them.',
    )
  }
}

interface Row {
  readonly record: CsvRecord
  /** None when the quotes of the record are wrong. */
  readonly fields: readonly Buffer[]
}

function rowsOf(records: readonly CsvRecord[], delimiter: string, parse: typeof parseCsv): Row[] {
  const lineEnd = Buffer.from('\n')
  const sound = records.filter(({ fault }) => fault === null)
  const parsed = parse(Buffer.concat(sound.flatMap(({ bytes }) => [bytes, lineEnd])), {
    encoding: null,
    bom: false,
    delimiter,
    quote,
    record_delimiter: ['\n'],
    relax_column_count: true,
  }) as unknown as readonly (readonly Buffer[])[]
  let next = 0
  return records.map(record => ({
    record,
    fields: record.fault === null ? (parsed[next++] ?? []) : [],
  }))
}

function columnsOf({ record, fields }: Row, options: FieldOptions): Columns {
  const { line, fault } = record
  if (fault !== null)
    throw importFault(line, fault, 'Repair the line with the names of the columns.')
  if (!fields.every(field => isUtf8(field))) {
    throw importFault(
      line,
      'the names of the columns are not UTF-8',
      'Give the encoding with --encoding.',
    )
  }
  const names = fields.map(field => field.toString())
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) {
    const what =
      twice === '' ? 'two columns have no name' : `two columns are called ${shortName(twice)}`
    throw importFault(line, what, 'Give each column a name of its own.')
  }
  const find = (name: string, option: string): number => {
    const index = names.indexOf(name)
    if (index >= 0) return index
    throw importFault(
      line,
      `no column ${shortName(name)} among ${namesText(names)}`,
      names.length === 1
        ? `Give ${option} its name, or --delimiter what stands between the columns.`
        : `Give ${option} one of them.`,
    )
  }
  const { idField, valueField } = options
  const id = find(idField, '--id')
  if (valueField !== null) return { names, id, value: find(valueField, '--value') }
  const plain = names.length === 2 && names.includes('value') && idField !== 'value'
  return { names, id, value: plain ? names.indexOf('value') : null }
}

function itemOf(
  { fault }: CsvRecord,
  fields: readonly Buffer[],
  { names, id, value }: Columns,
  { form }: FieldOptions,
): ImportedItem {
  if (fault !== null) throw new NoItem(fault)
  if (fields.length !== names.length) {
    const count = `${fields.length} field${fields.length === 1 ? '' : 's'}`
    throw new NoItem(`${count} where the first line has ${names.length}`)
  }
  const field = (index: number): Buffer => fields[index] ?? Buffer.alloc(0)
  const idBytes = formed('an item-id', field(id), form)
  if (value !== null) return { id: idBytes, value: formed('an item', field(value), form) }
  const entries = names.map((name, index): [string, string] => {
    if (!isUtf8(field(index))) throw new NoItem(`${shortName(name)} is not UTF-8`)
    return [name, field(index).toString()]
  })
  return { id: idBytes, value: Buffer.from(JSON.stringify(Object.fromEntries(entries))) }
}
