// Whole numbers as arguments and values have them: signed, of 64 bits, in the one way in which Redis writes them. Text
// such as "+1", "01", "-0" or " 1" is no number.
import { type Request } from './request.ts'
import { ReplyError } from './reply-error.ts'

export const int64Max = 2n ** 63n - 1n
export const int64Min = -(2n ** 63n)

export const notAnInteger = 'ERR value is not an integer or out of range'

const MINUS = 0x2d
const ZERO = 0x30
/** Numbers with fewer digits are exact as numbers of JavaScript. */
const exactDigits = 15
const int64Digits = 19

/** Null when the bytes are not the text of a number; a bigint when it needs more than 53 bits. */
export function parseInteger(
  bytes: Uint8Array,
  start: number,
  end: number,
): number | bigint | null {
  const negative = start < end && bytes[start] === MINUS
  const first = negative ? start + 1 : start
  const digits = end - first
  if (digits < 1 || digits > int64Digits) return null
  if (bytes[first] === ZERO) return digits === 1 && !negative ? 0 : null
  if (digits > exactDigits) return parseBig(bytes, start, first, end)
  let value = 0
  for (let at = first; at < end; at++) {
    const digit = bytes[at]! - ZERO
    if (digit < 0 || digit > 9) return null
    value = value * 10 + digit
  }
  return negative ? -value : value
}

function parseBig(
  bytes: Uint8Array,
  start: number,
  first: number,
  end: number,
): number | bigint | null {
  for (let at = first; at < end; at++) {
    const digit = bytes[at]! - ZERO
    if (digit < 0 || digit > 9) return null
  }
  const value = BigInt(Buffer.from(bytes.subarray(start, end)).toString('latin1'))
  if (value < int64Min || value > int64Max) return null
  return smallest(value)
}

/** As a number where that is exact. */
export function smallest(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

/** The sum; null when it does not fit 64 bits. */
export function add(a: number | bigint, b: number | bigint): number | bigint | null {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b
    if (Number.isSafeInteger(sum)) return sum
  }
  const sum = BigInt(a) + BigInt(b)
  return sum < int64Min || sum > int64Max ? null : smallest(sum)
}

/** The argument as a whole number of 64 bits. Throws ReplyError with `message`. */
export function integerArgument(
  request: Request,
  index: number,
  message: string = notAnInteger,
): number | bigint {
  const value = parseInteger(request.bytes, request.start(index), request.end(index))
  if (value === null) throw new ReplyError(message)
  return value
}

/** The argument as a whole number from `min` to `max`, which are exact. Throws ReplyError with `message`. */
export function numberArgument(
  request: Request,
  index: number,
  min: number = Number.MIN_SAFE_INTEGER,
  max: number = Number.MAX_SAFE_INTEGER,
  message: string = notAnInteger,
): number {
  const value = integerArgument(request, index, message)
  if (typeof value === 'bigint' || value < min || value > max) throw new ReplyError(message)
  return value
}

/**
 * The argument as a whole number of 64 bits; where it is beyond what is exact, the nearest exact one: for places and
 * counts, where both are beyond everything there is.
 */
export function clampedArgument(request: Request, index: number): number {
  const value = integerArgument(request, index)
  if (typeof value === 'number') return value
  return value < 0n ? Number.MIN_SAFE_INTEGER : Number.MAX_SAFE_INTEGER
}
