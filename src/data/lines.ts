// Lines as they stream in, in bounded memory. A line ends with LF, CR or CRLF; the last one may lack its end.
import type { HotBackupError } from '../errors.ts'
import { importFault, recordBytesMax } from './import-record.ts'
import { RestOfRecord } from './rest-of-record.ts'

const lf = 10
const cr = 13

export interface Line {
  /** From 1 on. */
  readonly number: number
  /** Without its end. */
  readonly bytes: Buffer
}

export class LineSplitter {
  #number = 0
  readonly #rest = new RestOfRecord()
  /** The last byte was a CR: an LF behind it belongs to it. */
  #afterReturn = false

  /** The lines that end in this piece. Throws ERR_IMPORT for one that is too long. */
  push(piece: Buffer): Line[] {
    const lines: Line[] = []
    let start = 0
    let nextFeed = -1
    let nextReturn = -1
    const next = (byte: number, found: number): number => {
      if (found >= start) return found
      const index = piece.indexOf(byte, start)
      return index < 0 ? piece.length : index
    }
    while (start < piece.length) {
      if (this.#afterReturn) {
        this.#afterReturn = false
        if (piece[start] === lf) {
          start++
          continue
        }
      }
      nextFeed = next(lf, nextFeed)
      nextReturn = next(cr, nextReturn)
      const end = Math.min(nextFeed, nextReturn)
      const part = piece.subarray(start, end)
      if (end === piece.length) {
        if (!this.#rest.keep(part)) throw this.#tooLong()
        break
      }
      lines.push(this.#line(part))
      start = end + 1
      this.#afterReturn = end === nextReturn
    }
    return lines
  }

  /** The line without an end, if there is one. */
  end(): Line[] {
    const line = this.#line(Buffer.alloc(0))
    return line.bytes.length > 0 ? [line] : []
  }

  #line(last: Buffer): Line {
    const bytes = this.#rest.take(last)
    if (bytes === null) throw this.#tooLong()
    this.#number++
    return { number: this.#number, bytes }
  }

  #tooLong(): HotBackupError {
    return importFault(
      this.#number + 1,
      `longer than ${recordBytesMax} bytes`,
      'No item is that large: check --format, and that there is one record in a line.',
    )
  }
}
