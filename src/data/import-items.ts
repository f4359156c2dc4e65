// Items from text: JSON lines or CSV, as they stream in, in bounded memory. Each record gives one item: one field
// is the item-id; the value is the field that is asked for, or a field called "value" when there is nothing else,
// or the whole record as JSON.
import { recordsOfCsv } from './csv.ts'
import type { FieldOptions, ImportRecord } from './import-record.ts'
import { recordsOfJsonLines } from './json-lines.ts'
import { utf8Bytes } from './text-input.ts'

export type ImportFormat = 'jsonl' | 'csv'

export interface ImportOptions extends FieldOptions {
  readonly format: ImportFormat
  /** As encodingNamed gives it; null for what the byte order mark says, or UTF-8. */
  readonly encoding: string | null
  /** Between the fields of CSV: one ASCII character. */
  readonly delimiter: string
}

/** The records, some at a time. Throws ERR_IMPORT where nothing behind it can be read, and what `source` throws. */
export function importRecords(
  source: AsyncIterable<Uint8Array>,
  options: ImportOptions,
): AsyncGenerator<ImportRecord[], void, undefined> {
  const text = utf8Bytes(source, options.encoding)
  return options.format === 'jsonl'
    ? recordsOfJsonLines(text, options)
    : recordsOfCsv(text, options.delimiter, options)
}
