// Standard output: backpressure, tables, and a reader that goes away.

/** The reader of standard output has gone ("hb export … | head"): no error, but nothing more to do. */
export class OutputClosed extends Error {}

export class Output {
  readonly #stream: NodeJS.WritableStream & { readonly isTTY?: boolean }
  #closed = false
  #room: () => void = () => {}

  constructor(stream: NodeJS.WritableStream & { readonly isTTY?: boolean }) {
    this.#stream = stream
    stream.on('error', () => {
      this.#closed = true
      this.#room()
    })
    stream.on('drain', () => this.#room())
  }

  get isTerminal(): boolean {
    return this.#stream.isTTY === true
  }

  /** Resolves when more is welcome. Throws OutputClosed. */
  readonly write = async (bytes: Uint8Array | string): Promise<void> => {
    if (this.#closed) throw new OutputClosed()
    if (bytes.length === 0 || this.#stream.write(bytes)) return
    await new Promise<void>(resolve => {
      this.#room = resolve
    })
    if (this.#closed) throw new OutputClosed()
  }

  async line(text: string): Promise<void> {
    await this.write(`${text}\n`)
  }

  /** One JSON document. */
  async json(value: unknown): Promise<void> {
    await this.line(JSON.stringify(value, null, 2))
  }

  /** Resolves when everything has been given to the system. */
  flush(): Promise<void> {
    return new Promise(resolve => {
      if (this.#closed) resolve()
      else this.#stream.write('', () => resolve())
    })
  }
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
  return typeof cell === 'number' ? count(cell) : cell
}

/** A number for people: 1,234,567. */
export function count(number: number): string {
  return number.toLocaleString('en-US')
}

/** "1 item", "1,234 items". */
export function counted(number: number, noun: string): string {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`
}
