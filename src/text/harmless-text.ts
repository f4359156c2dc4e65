// Text for a terminal: what comes from a log, a peer or an item may hold escape sequences. They are shown, not obeyed.
// Surrogates by themselves have no UTF-8 and would all be shown as one character: those that stand for a byte (see
// platform/raw-text.ts) are shown as that byte, \xNN.
import { rawByte, rawTextOf } from '../platform/raw-text.ts'

/** Control characters (C0, DEL, C1), those that change the direction of text or break lines, and lone surrogates. */
const control = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu
const controlButLayout = /(?![\n\t])[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu

/** One line: each control character as JSON writes it, \u001b, so that text that is JSON means the same. */
export function harmlessLine(text: string): string {
  return text.replaceAll(control, escaped)
}

/** The same for text of several lines: its line ends and tabs stay. */
export function harmlessText(text: string): string {
  return text.replaceAll(controlButLayout, escaped)
}

/**
 * Bytes as one line of text, harmless on a terminal, that is different for different bytes: a backslash is doubled, and
 * each byte of what is not UTF-8, or is a control character, is \xNN.
 */
export function escapedBytes(bytes: Buffer): string {
  return rawTextOf(bytes)
    .replaceAll('\\', '\\\\')
    .replaceAll(control, character =>
      rawByte.test(character)
        ? escaped(character)
        : Buffer.from(character).toString('hex').replaceAll(/../g, '\\x$&'),
    )
}

function escaped(character: string): string {
  if (rawByte.test(character)) return `\\x${(character.charCodeAt(0) - 0xdc00).toString(16)}`
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}
