// Inline commands: a line as a person types it. Words are separated by spaces; "…" takes \n \r \t \b \a \xHH and \
// before any other byte, '…' takes \' only. A quote that ends must be followed by a space, as in Redis.
import { type Request } from './request.ts'

const QUOTE = 0x22
const APOSTROPHE = 0x27
const BACKSLASH = 0x5c

const escapes: Readonly<Record<number, number>> = {
  0x6e: 0x0a, // n
  0x72: 0x0d, // r
  0x74: 0x09, // t
  0x62: 0x08, // b
  0x61: 0x07, // a
}

/** Sets the request to the words from `start` to `end`. False when quotes are not balanced. */
export function splitInline(
  bytes: Uint8Array,
  start: number,
  end: number,
  request: Request,
): boolean {
  const words = Buffer.allocUnsafe(end - start)
  request.reset(words)
  let out = 0
  for (let at = start; ;) {
    while (at < end && isSpace(bytes[at]!)) at++
    if (at === end) return true
    const word = out
    let quote = 0
    for (; at < end; at++) {
      const byte = bytes[at]!
      if (quote === 0) {
        if (isSpace(byte)) break
        if (byte === QUOTE || byte === APOSTROPHE) quote = byte
        else words[out++] = byte
      } else if (byte === quote) {
        quote = 0
        if (at + 1 < end && !isSpace(bytes[at + 1]!)) return false
      } else if (byte === BACKSLASH && at + 1 < end && quote === APOSTROPHE) {
        if (bytes[at + 1] === APOSTROPHE) at++
        words[out++] = bytes[at]!
      } else if (byte === BACKSLASH && at + 1 < end) {
        const code = at + 3 < end && bytes[at + 1] === 0x78 ? hexByte(bytes, at + 2) : -1
        if (code < 0) {
          const next = bytes[++at]!
          words[out++] = escapes[next] ?? next
        } else {
          words[out++] = code
          at += 3
        }
      } else words[out++] = byte
    }
    if (quote !== 0) return false
    request.add(word, out)
  }
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)
}

/** The byte that two hexadecimal digits stand for; -1 when they are none. */
function hexByte(bytes: Uint8Array, at: number): number {
  const high = hexDigit(bytes[at]!)
  const low = hexDigit(bytes[at + 1]!)
  return high < 0 || low < 0 ? -1 : high * 16 + low
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const letter = byte | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1
}
