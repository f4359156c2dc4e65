// Where the records of CSV end, as they stream in, in bounded memory: what is between the quotes of a field is told
// from what is not, so each record has its bytes, its first line, and what is wrong with its quotes. A record ends with
// LF, CR or CRLF outside of quotes; the last one may lack its end; empty lines are none.
import type { HotBackupError } from '../errors.ts'
import { importFault, recordBytesMax } from './import-record.ts'
import { RestOfRecord } from './rest-of-record.ts'

const lf = 10
const cr = 13
const quote = 34

export interface CsvRecord {
  /** Its first line, from 1 on. */
  readonly line: number
  /** Without its end. */
  readonly bytes: Buffer
  /** What is wrong with its quotes; null when it can be parsed. */
  readonly fault: string | null
}

/** Where the byte before has led. */
const State = { fieldStart: 0, plain: 1, quoted: 2, quoteInQuoted: 3 } as const
type State = (typeof State)[keyof typeof State]

export class CsvSplitter {
  readonly #delimiter: number
  #state: State = State.fieldStart
  #fault: string | null = null
  #line = 1
  /** The first line of the record. */
  #firstLine = 1
  readonly #rest = new RestOfRecord()
  /** The last byte was a CR: an LF behind it belongs to it. */
  #afterReturn = false

  /** `delimiter`: the byte between fields. */
  constructor(delimiter: number) {
    this.#delimiter = delimiter
  }

  /** The records that end in this piece. Throws ERR_IMPORT for one that is too long. */
  push(piece: Buffer): CsvRecord[] {
    const records: CsvRecord[] = []
    let start = 0
    for (let at = 0; at < piece.length; at++) {
      const byte = piece[at]
      if (byte !== lf && byte !== cr) {
        this.#afterReturn = false
        if (byte === quote) this.#quote()
        else if (this.#state !== State.quoted) this.#outside(byte === this.#delimiter)
        continue
      }
      const secondHalf = byte === lf && this.#afterReturn
      this.#afterReturn = byte === cr
      if (!secondHalf) this.#line++
      if (this.#state === State.quoted) continue
      if (!secondHalf) {
        this.#take(records, piece.subarray(start, at))
      }
      start = at + 1
      this.#firstLine = this.#line
    }
    if (!this.#rest.keep(piece.subarray(start))) throw this.#tooLong()
    return records
  }

  /** The record without an end, if there is one. */
  end(): CsvRecord[] {
    const records: CsvRecord[] = []
    if (this.#state === State.quoted) this.#fault ??= 'a quote that is never closed'
    this.#take(records, Buffer.alloc(0))
    return records
  }

  #quote(): void {
    if (this.#state === State.fieldStart) this.#state = State.quoted
    else if (this.#state === State.quoted) this.#state = State.quoteInQuoted
    else if (this.#state === State.quoteInQuoted) this.#state = State.quoted
    else this.#fault ??= 'a quote in a field that does not begin with one'
  }

  #outside(delimiter: boolean): void {
    if (delimiter) this.#state = State.fieldStart
    else {
      if (this.#state === State.quoteInQuoted)
        this.#fault ??= 'more of a field behind its closing quote'
      this.#state = State.plain
    }
  }

  #take(records: CsvRecord[], last: Buffer): void {
    const bytes = this.#rest.take(last)
    if (bytes === null) throw this.#tooLong()
    if (bytes.length > 0) records.push({ line: this.#firstLine, bytes, fault: this.#fault })
    this.#state = State.fieldStart
    this.#fault = null
    this.#firstLine = this.#line
  }

  #tooLong(): HotBackupError {
    return importFault(
      this.#firstLine,
      `a record longer than ${recordBytesMax} bytes`,
      'No item is that large: look for a quote that is never closed.',
    )
  }
}
