// What an import reads: items, and records that are none.
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, itemIdBytesMax, MiB } from '../limits.ts'
import { harmlessLine } from '../text/harmless-text.ts'
import { decodeForm, type ByteForm } from '../text/byte-forms.ts'

/** One record of the input: the largest item in base64, and room for other fields. */
export const recordBytesMax = 128 * MiB

export interface ImportedItem {
  readonly id: Buffer
  readonly value: Buffer
}

/** A record that is no item. */
export interface BadRecord {
  /** The first of its lines, from 1 on. */
  readonly line: number
  readonly reason: string
  /** The record as it stands in the input, in UTF-8. */
  readonly text: Buffer
}

export type ImportRecord = ImportedItem | BadRecord

export function isBad(record: ImportRecord): record is BadRecord {
  return 'reason' in record
}

export interface FieldOptions {
  /** Name of the field that holds the item-id. */
  readonly idField: string
  /** Name of the field that is the item; null for "value" when there is nothing else, or the whole record as JSON. */
  readonly valueField: string | null
  /** Of item-ids, and of values that are one field; null for the bytes as they are. */
  readonly form: ByteForm | null
}

/** Why a record is no item. */
export class NoItem extends Error {}

/** What `make` gives, or the record as a bad one when it throws NoItem. */
export function recordOf(line: number, text: Buffer, make: () => ImportedItem): ImportRecord {
  try {
    const item = make()
    checkSizes(item)
    return item
  } catch (error) {
    if (error instanceof NoItem) return { line, reason: error.message, text }
    throw error
  }
}

function checkSizes({ id, value }: ImportedItem): void {
  if (id.length === 0) throw new NoItem('an empty item-id')
  if (id.length > itemIdBytesMax) {
    throw new NoItem(`an item-id of ${id.length} bytes; it may have ${itemIdBytesMax}`)
  }
  if (value.length > itemBytesMax) {
    throw new NoItem(`an item of ${value.length} bytes; it may have ${itemBytesMax}`)
  }
}

const formWords = { marks: 'with marks', hex: 'in hexadecimal', base64: 'in base64' } as const

export function formed(what: string, text: Buffer, form: ByteForm | null): Buffer {
  if (form === null) return text
  const bytes = decodeForm(text, form)
  if (bytes !== null) return bytes
  throw new NoItem(`${what} that is not ${formWords[form]}`)
}

/** The import cannot go on behind this line, whatever may be skipped. */
export function importFault(line: number, what: string, hint?: string): HotBackupError {
  return new HotBackupError('ERR_IMPORT', `line ${line}: ${what}`, {}, undefined, hint)
}

const shownNames = 8
const shownUnits = 40

/** `"a", "b", … (37 in all)`: names may be many and long, and may hold what a terminal obeys. */
export function namesText(names: readonly string[]): string {
  if (names.length === 0) return 'none'
  const shown = names.slice(0, shownNames).map(shortName)
  return names.length === shown.length
    ? shown.join(', ')
    : `${shown.join(', ')}, … (${names.length} in all)`
}

export function shortName(name: string): string {
  const short = name.length > shownUnits ? `${name.slice(0, shownUnits).toWellFormed()}…` : name
  return harmlessLine(JSON.stringify(short))
}
