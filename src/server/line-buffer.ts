// Lines of output gathered in one buffer. What is plain ASCII, nearly everything, is copied byte by byte or in
// one piece; only the rest becomes text and is escaped.
import { isUtf8 } from 'node:buffer'
import { MiB } from '../limits.ts'

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
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#end)
    this.#end += bytes.length
  }

  newLine(): void {
    this.#reserve(1)
    this.#bytes[this.#end++] = 0x0a
  }

  /** In double quotes, for people: what is not UTF-8 text as \xNN. */
  quoted(bytes: Uint8Array, start: number, end: number): void {
    if (isPlain(bytes, start, end)) this.#plain(bytes, start, end)
    else this.ascii(quotedText(view(bytes, start, end)))
  }

  /** `"key":"…"` as JSON; what is not UTF-8 in base64, and then `,"flag":true` behind it. */
  json(key: string, flag: string, bytes: Uint8Array, start: number, end: number): void {
    this.ascii(`"${key}":`)
    if (isPlain(bytes, start, end)) {
      this.#plain(bytes, start, end)
      return
    }
    const value = view(bytes, start, end)
    if (isUtf8(value)) this.ascii(JSON.stringify(value.toString()))
    else this.ascii(`"${value.toString('base64')}","${flag}":true`)
  }

  #plain(bytes: Uint8Array, start: number, end: number): void {
    this.#reserve(end - start + 2)
    const target = this.#bytes
    let at = this.#end
    target[at++] = 0x22
    if (end - start < 64) for (let i = start; i < end; i++) target[at++] = bytes[i] as number
    else {
      target.set(bytes.subarray(start, end), at)
      at += end - start
    }
    target[at++] = 0x22
    this.#end = at
  }

  #reserve(length: number): void {
    const needed = this.#end + length
    if (needed <= this.#bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2))
    this.#bytes.copy(grown, 0, 0, this.#end)
    this.#bytes = grown
  }
}

/** Printable ASCII that needs no escape between double quotes. */
function isPlain(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number
    if (byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c) return false
  }
  return true
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
  // JSON leaves DEL and the C1 controls alone, which some terminals obey.
  return JSON.stringify(bytes.toString()).replaceAll(
    /[\x7f-\x9f\u2028\u2029]/g,
    unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
