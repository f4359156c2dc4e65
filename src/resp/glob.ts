// Patterns of KEYS, SCAN and others, over bytes: * any bytes, ? any byte, [abc] [a-z] [^a] one of some, \x the byte x.

const STAR = 0x2a
const QUESTION = 0x3f
const OPEN = 0x5b
const CLOSE = 0x5d
const CARET = 0x5e
const MINUS = 0x2d
const BACKSLASH = 0x5c

/** The bytes from `start` to `end` match the pattern. */
export function globMatches(
  pattern: Uint8Array,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  let place = 0
  let at = start
  // Where the last star is, and how far what it stands for reaches: all that has to be tried again.
  let star = -1
  let starAt = 0
  while (at < end || place < pattern.length) {
    if (pattern[place] === STAR) {
      star = place++
      starAt = at
      continue
    }
    const next = at < end && place < pattern.length ? one(pattern, place, bytes[at]!) : -1
    if (next >= 0) {
      place = next
      at++
    } else if (star >= 0 && starAt < end) {
      place = star + 1
      at = ++starAt
    } else return false
  }
  return true
}

/** Where the pattern goes on when its next part stands for the byte; -1 when it does not. */
function one(pattern: Uint8Array, place: number, byte: number): number {
  const sign = pattern[place]!
  if (sign === QUESTION) return place + 1
  if (sign === OPEN) return oneOf(pattern, place + 1, byte)
  const literal = sign === BACKSLASH && place + 1 < pattern.length ? place + 1 : place
  return pattern[literal] === byte ? literal + 1 : -1
}

function oneOf(pattern: Uint8Array, from: number, byte: number): number {
  const { length } = pattern
  let place = from
  const inverted = pattern[place] === CARET
  if (inverted) place++
  let found = false
  while (place < length && pattern[place] !== CLOSE) {
    if (pattern[place] === BACKSLASH && place + 1 < length) {
      place++
      found ||= pattern[place] === byte
    } else if (place + 2 < length && pattern[place + 1] === MINUS) {
      const [a, b] = [pattern[place]!, pattern[place + 2]!]
      found ||= byte >= Math.min(a, b) && byte <= Math.max(a, b)
      place += 2
    } else found ||= pattern[place] === byte
    place++
  }
  // One that does not end goes on to the end of the pattern.
  const behind = Math.min(place + 1, length)
  return found !== inverted ? behind : -1
}
