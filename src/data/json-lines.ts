// Items from JSON lines: an object in each line that is not empty.
import { isUtf8 } from 'node:buffer'
import {
  formed,
  namesText,
  NoItem,
  recordOf,
  shortName,
  type FieldOptions,
  type ImportedItem,
  type ImportRecord,
} from './import-record.ts'
import { jsonFields, type JsonField } from './json-fields.ts'
import { LineSplitter, type Line } from './lines.ts'

/** Beside a field in base64; what "hb export" writes. */
const idFlag = 'idBase64'
const valueFlag = 'base64'

export async function* recordsOfJsonLines(
  source: AsyncIterable<Buffer>,
  options: FieldOptions,
): AsyncGenerator<ImportRecord[], void, undefined> {
  const splitter = new LineSplitter()
  for await (const piece of source) yield records(splitter.push(piece), options)
  yield records(splitter.end(), options)
}

function records(lines: readonly Line[], options: FieldOptions): ImportRecord[] {
  const found: ImportRecord[] = []
  for (const { number, bytes } of lines) {
    if (bytes.length > 0) found.push(recordOf(number, bytes, () => itemOf(bytes, options)))
  }
  return found
}

function itemOf(line: Buffer, { idField, valueField, form }: FieldOptions): ImportedItem {
  if (!isUtf8(line)) throw new NoItem('not UTF-8')
  const fields = objectIn(line.toString())
  const names = [...fields.keys()]
  const needed = (name: string): string => {
    const text = fields.get(name)
    if (text !== undefined) return text
    throw new NoItem(`no field ${shortName(name)} among ${namesText(names)}`)
  }
  const id = idBytes(needed(idField))
  const idBytesOf = () => bytesOf('an item-id', id, flag(fields, idFlag), form)
  if (valueField !== null) {
    const value = needed(valueField)
    return { id: idBytesOf(), value: bytesOf('an item', value, flag(fields, valueFlag), form) }
  }
  // What "hb export" writes.
  const plain =
    fields.get('value')?.startsWith('"') === true &&
    names.every(name => [idField, 'value', idFlag, valueFlag].includes(name))
  if (!plain) return { id: idBytesOf(), value: line }
  return {
    id: idBytesOf(),
    value: bytesOf('an item', needed('value'), flag(fields, valueFlag), form),
  }
}

/** Each field's text by its name. */
function objectIn(text: string): Map<string, string> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new NoItem('not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new NoItem('not a JSON object')
  }
  const found: JsonField[] = jsonFields(text)
  const fields = new Map<string, string>()
  for (const field of found) {
    if (fields.has(field.name)) throw new NoItem(`two fields are called ${shortName(field.name)}`)
    fields.set(field.name, field.text)
  }
  return fields
}

/** The JSON text of an item-id, unless it is none. A whole number is taken digit by digit. */
function idBytes(text: string): string {
  if ((text.startsWith('"') && text !== '""') || /^-?\d+$/.test(text)) return text
  throw new NoItem(`an item-id is text or a whole number, not ${shortName(text)}`)
}

function flag(fields: ReadonlyMap<string, string>, name: string): boolean {
  const text = fields.get(name)
  if (text === undefined || text === 'false') return false
  if (text === 'true') return true
  throw new NoItem(`"${name}" is true or false, not ${shortName(text)}`)
}

/** The bytes of a field: of text in one of the forms, or of anything else as it stands. */
function bytesOf(what: string, json: string, base64: boolean, form: FieldOptions['form']): Buffer {
  if (!json.startsWith('"')) return Buffer.from(json)
  const text = JSON.parse(json) as string
  if (text.isWellFormed()) {
    return formed(what, Buffer.from(text), base64 ? 'base64' : form)
  }
  // It has no UTF-8: different texts would become the same bytes.
  throw new NoItem('text with a surrogate by itself, which has no UTF-8; give the bytes in base64')
}
