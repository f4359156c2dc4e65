// Lines of output gathered in one buffer. What is printable ASCII, nearly everything, is copied byte by byte; only
// the rest becomes text on the way.
import { isUtf8 } from 'node:buffer'
import { MiB } from '../limits.ts'
import { encodeForm, type ByteForm } from './byte-forms.ts'
import { escapedBytes, harmlessLine } from './harmless-text.ts'

/** Takes the bytes and resolves when more are welcome. The bytes are the taker's own. */
export type Sink = (bytes: Uint8Array) => Promise<void>

const targetBytes = 1 * MiB

export class LineBuffer {
  #bytes = Buffer.allocUnsafeSlow(2 * targetBytes)
  #end = 0

  /** Time to take what there is. */
  get full(): boolean {
    return this.#end >= targetBytes
  }

  /** What was gathered, the caller's own; the buffer is empty again. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#end))
    this.#end = 0
    return taken
  }

  ascii(text: string): void {
    this.#reserve(text.length * 3)
    this.#end += this.#bytes.write(text, this.#end)
  }

  bytes(bytes: Uint8Array): void {
    const length = bytes.length
    this.#reserve(length)
    // A call for so few costs more than this.
    if (length > 64) this.#bytes.set(bytes, this.#end)
    else for (let i = 0; i < length; i++) this.#bytes[this.#end + i] = bytes[i] as number
    this.#end += length
  }

  /** A whole number, with blanks in front of it up to `width`. */
  number(value: number, width = 0): void {
    this.#reserve(24 + width)
    let digits = 1
    for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++
    for (let i = digits; i < width; i++) this.#bytes[this.#end++] = 0x20
    const end = this.#end + digits
    let rest = value
    for (let at = end - 1; at >= this.#end; at--) {
      const next = Math.floor(rest / 10)
      this.#bytes[at] = 0x30 + rest - next * 10
      rest = next
    }
    this.#end = end
  }

  newLine(): void {
    this.#reserve(1)
    this.#bytes[this.#end++] = 0x0a
  }

  /** Without quotes, in one line; see escapedBytes. */
  escaped(bytes: Buffer): void {
    for (const byte of bytes) {
      if (byte < 0x20 || byte > 0x7e || byte === 0x5c) return this.ascii(escapedBytes(bytes))
    }
    this.bytes(bytes)
  }

  /** In double quotes, for people: what is not UTF-8 text as \xNN. */
  quoted(bytes: Uint8Array, start: number, end: number, form: ByteForm | null = null): void {
    if (form === null && this.#plain(bytes, start, end)) return
    const shown = view(bytes, start, end)
    this.ascii(quotedText(form === null ? shown : encodeForm(shown, form)))
  }

  /**
   * `"key":"…"` as JSON; in base64, also for want of another form that is UTF-8, with `,"flag":true` behind it. Null
   * as a form: the bytes as they are.
   */
  json(
    key: string,
    flag: string,
    bytes: Uint8Array,
    start: number,
    end: number,
    form: ByteForm | null = null,
  ): void {
    this.ascii(`"${key}":`)
    if (form === null && this.#plain(bytes, start, end)) return
    const value = view(bytes, start, end)
    if (form !== 'base64') {
      const text = form === null ? value : encodeForm(value, form)
      if (isUtf8(text)) return this.ascii(JSON.stringify(text.toString()))
    }
    this.ascii(`"${value.toString('base64')}","${flag}":true`)
  }

  /** In double quotes, when all of it is printable ASCII; otherwise nothing is written, and the answer is false. */
  #plain(bytes: Uint8Array, start: number, end: number): boolean {
    this.#reserve(2 * (end - start) + 2)
    const target = this.#bytes
    let at = this.#end
    target[at++] = 0x22
    for (let i = start; i < end; i++) {
      const byte = bytes[i] as number
      if (byte < 0x20 || byte > 0x7e) return false
      if (byte === 0x22 || byte === 0x5c) target[at++] = 0x5c
      target[at++] = byte
    }
    target[at++] = 0x22
    this.#end = at
    return true
  }

  #reserve(length: number): void {
    const needed = this.#end + length
    if (needed <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
    this.#bytes.copy(grown, 0, 0, this.#end)
    this.#bytes = grown
  }
}

function view(bytes: Uint8Array, start: number, end: number): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
}

/** Bytes for people, in double quotes. A terminal gets no control characters. */
export function quotedText(bytes: Buffer): string {
  if (!isUtf8(bytes)) {
    const escaped = bytes
      .toString('latin1')
      .replaceAll(/[^\x20-\x7e]|["\\]/g, unit =>
        unit === '"' || unit === '\\'
          ? `\\${unit}`
          : `\\x${unit.charCodeAt(0).toString(16).padStart(2, '0')}`,
      )
    return `"${escaped}"`
  }
  return harmlessLine(JSON.stringify(bytes.toString()))
}
