// Text that stands for any bytes, for what the system gives as bytes and libraries want as text: arguments. UTF-8 is
// decoded; each byte that is not UTF-8 becomes a lone surrogate, U+DC80 for 0x80 to U+DCFF for 0xFF. UTF-8 never
// decodes to those, so different bytes are different texts, and the bytes come back.
import { isUtf8 } from 'node:buffer'

/** A unit of such text that stands for a byte: with "u", a pair of surrogates does not match. */
export const rawByte = /[\udc80-\udcff]/u

export function rawTextOf(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString()
  let text = ''
  for (let at = 0; at < bytes.length;) {
    const length = characterLength(bytes, at)
    text +=
      length === 0
        ? String.fromCharCode(0xdc00 + (bytes[at] ?? 0))
        : bytes.toString('utf8', at, at + length)
    at += Math.max(length, 1)
  }
  return text
}

/** Bytes of the character at `at`; 0 when none begins there. */
function characterLength(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0
  const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4
  if (length <= 1) return length
  const end = at + length
  return end <= bytes.length && isUtf8(bytes.subarray(at, end)) ? length : 0
}

/** Bytes at the end that may be the beginning of a character whose rest is still to come. */
export function incompleteEnd(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if (byte >= 0x80 && byte < 0xc0) continue
    const length = byte < 0xc2 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf5 ? 4 : 1
    return length > back ? back : 0
  }
  return 0
}

/** Other lone surrogates, which no bytes become, have no bytes: they throw a RangeError. */
export function bytesOfRawText(text: string): Buffer {
  if (text.isWellFormed()) return Buffer.from(text)
  const parts: Buffer[] = []
  for (const character of text) {
    if (character.isWellFormed()) parts.push(Buffer.from(character))
    else if (rawByte.test(character)) parts.push(Buffer.of(character.charCodeAt(0) - 0xdc00))
    else throw new RangeError('a lone surrogate that stands for no byte')
  }
  return Buffer.concat(parts)
}
