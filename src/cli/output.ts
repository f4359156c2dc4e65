// Standard output: backpressure, tables, a reader that goes away, and a terminal that must not obey what it is shown.
import { HotBackupError } from '../errors.ts'
import { incompleteEnd, rawTextOf } from '../platform/raw-text.ts'
import { harmlessLine, harmlessText } from '../text/harmless-text.ts'
import { count } from '../text/numbers.ts'

/** The reader of standard output has gone ("hb export … | head"): no error, but nothing more to do. */
export class OutputClosed extends Error {}

export class Output {
  readonly #stream: NodeJS.WritableStream & { readonly isTTY?: boolean }
  /** For a terminal: the beginning of a character that is not complete yet. */
  #rest: Buffer = Buffer.alloc(0)
  #failure: Error | null = null
  #room: () => void = () => {}

  constructor(stream: NodeJS.WritableStream & { readonly isTTY?: boolean }) {
    this.#stream = stream
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#failure ??= outputError(error)
      this.#room()
    })
    stream.on('drain', () => this.#room())
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY === true
  }

  /**
   * Data: the bytes as they are, or, on a terminal, with control characters and what is not UTF-8 escaped. Resolves
   * when more is welcome. Throws OutputClosed, ERR_DISK, ERR_DISK_FULL.
   */
  readonly write = (bytes: Uint8Array | string): Promise<void> => {
    if (!this.isTerminal) return this.#write(bytes)
    const whole = Buffer.concat([this.#rest, Buffer.from(bytes)])
    const end = whole.length - incompleteEnd(whole)
    this.#rest = whole.subarray(end)
    return this.#write(harmlessText(rawTextOf(whole.subarray(0, end))))
  }

  async #writeRest(): Promise<void> {
    const rest = this.#rest
    this.#rest = Buffer.alloc(0)
    if (rest.length > 0) await this.#write(harmlessText(rawTextOf(rest)))
  }

  /** Text for people, or JSON; control characters are escaped as JSON does it, but for line ends and tabs. */
  async line(text: string): Promise<void> {
    await this.#write(harmlessText(`${text}\n`))
  }

  /** Clears a terminal's screen. */
  async clear(): Promise<void> {
    await this.#write('\u001b[H\u001b[2J')
  }

  async #write(bytes: Uint8Array | string): Promise<void> {
    this.#check()
    if (bytes.length === 0 || this.#stream.write(bytes)) return
    await new Promise<void>(resolve => {
      this.#room = resolve
    })
    this.#check()
  }

  /** One JSON document. */
  async json(value: unknown): Promise<void> {
    await this.line(JSON.stringify(value, null, 2))
  }

  /** Resolves when everything has been given to the system. Throws OutputClosed, ERR_DISK, ERR_DISK_FULL. */
  async flush(): Promise<void> {
    await this.#writeRest()
    if (this.#failure === null) {
      await new Promise<void>(resolve => this.#stream.write('', () => resolve()))
      // An error comes a moment later than the callback.
      await new Promise(resolve => setImmediate(resolve))
    }
    this.#check()
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure
  }
}

function outputError(error: NodeJS.ErrnoException): Error {
  if (error.code === 'EPIPE') return new OutputClosed()
  const code = error.code === 'ENOSPC' || error.code === 'EDQUOT' ? 'ERR_DISK_FULL' : 'ERR_DISK'
  return new HotBackupError(code, `cannot write standard output: ${error.message}`, {}, error)
}

/** Lines with aligned columns; columns of numbers to the right. */
export function table(rows: readonly (readonly (string | number)[])[]): string[] {
  const widths: number[] = []
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cellText(cell).length)
    })
  }
  return rows.map(row =>
    row
      .map((cell, column) => {
        const text = cellText(cell)
        const width = widths[column] ?? 0
        return typeof cell === 'number' ? text.padStart(width) : text.padEnd(width)
      })
      .join('  ')
      .trimEnd(),
  )
}

function cellText(cell: string | number): string {
  return typeof cell === 'number' ? count(cell) : harmlessLine(cell)
}
