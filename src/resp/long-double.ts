// The numbers of INCRBYFLOAT: floating point with a mantissa of 64 bits, as a C compiler on x86-64 has it, so that sums
// come out as in Redis, to the last digit. All of it is exact but for the one rounding (to nearest, ties to even) that
// each operation ends with.

/** mantissa × 2^exponent; the mantissa has 64 bits at most, and a sign. */
export interface LongDouble {
  readonly mantissa: bigint
  readonly exponent: number
}

const mantissaBits = 64
/** The largest exponent of a number, seen as 1.… × 2^exponent. */
const exponentMax = 16_383
const exponentMin = -16_445
const charactersMax = 5119
/** Powers of ten beyond this are beyond every number. */
const tensMax = 10_000
const decimals = 17

const hexPattern = /^[+-]?0x(?:([\da-f]+)(?:\.([\da-f]*))?|\.([\da-f]+))(?:p([+-]?\d+))?$/i
const pattern = /^[+-]?(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d+))?$/

/** Null for what is no number, or none of that range; "infinite" for the words for it. */
export function parseLongDouble(text: string): LongDouble | 'infinite' | null {
  if (/^[+-]?inf(inity)?$/i.test(text)) return 'infinite'
  if (text.length > charactersMax) return null
  const match = pattern.exec(text)
  if (match === null) return parseHex(text)
  const [, whole = '', behind = '', alone = '', power = '0'] = match
  const fraction = behind + alone
  const digits = BigInt(whole + fraction)
  const tens = Number(power) - fraction.length
  const negative = text.startsWith('-')
  if (digits === 0n) return { mantissa: 0n, exponent: 0 }
  if (Math.abs(tens) > tensMax) return null
  const value =
    tens >= 0
      ? rounding(digits * 10n ** BigInt(tens), 1n, 0)
      : rounding(digits, 10n ** BigInt(-tens), 0)
  if (value === null) return null
  return negative ? { mantissa: -value.mantissa, exponent: value.exponent } : value
}

function parseHex(text: string): LongDouble | null {
  const match = hexPattern.exec(text)
  if (match === null) return null
  const [, whole = '', behind = '', alone = '', power = '0'] = match
  const fraction = behind + alone
  const digits = BigInt(`0x${whole}${fraction}`)
  const twos = Number(power) - fraction.length * 4
  if (digits === 0n) return { mantissa: 0n, exponent: 0 }
  if (Math.abs(twos) > 5 * tensMax) return null
  const value = rounding(digits, 1n, twos)
  if (value === null || !text.startsWith('-')) return value
  return { mantissa: -value.mantissa, exponent: value.exponent }
}

/** The sum; null when it is beyond the range. */
export function addLongDoubles(a: LongDouble, b: LongDouble): LongDouble | null {
  const exponent = Math.min(a.exponent, b.exponent)
  const sum =
    (a.mantissa << BigInt(a.exponent - exponent)) + (b.mantissa << BigInt(b.exponent - exponent))
  if (sum === 0n) return { mantissa: 0n, exponent: 0 }
  const size = sum < 0n ? -sum : sum
  const rounded = rounding(size, 1n, exponent)
  if (rounded === null) return null
  return sum < 0n ? { mantissa: -rounded.mantissa, exponent: rounded.exponent } : rounded
}

/** With up to 17 decimals, without zeros at the end. */
export function longDoubleText({ mantissa, exponent }: LongDouble): string {
  const size = mantissa < 0n ? -mantissa : mantissa
  const scaled = size * 10n ** BigInt(decimals)
  const units =
    exponent >= 0 ? scaled << BigInt(exponent) : divided(scaled, 1n << BigInt(-exponent))
  const text = units.toString().padStart(decimals + 1, '0')
  const whole = text.slice(0, -decimals)
  const fraction = text.slice(-decimals).replace(/0+$/, '')
  const number = fraction === '' ? whole : `${whole}.${fraction}`
  return mantissa < 0n && number !== '0' ? `-${number}` : number
}

/** a / b × 2^exponent, both positive, as the nearest number. */
function rounding(a: bigint, b: bigint, exponent: number): LongDouble | null {
  let shift = bitsOf(a) - bitsOf(b) - mantissaBits
  // The quotient has 64 or 65 bits now; with 65, one more is to go.
  if (shiftedQuotient(a, b, shift) >> BigInt(mantissaBits) > 0n) shift++
  let mantissa = shift >= 0 ? divided(a, b << BigInt(shift)) : divided(a << BigInt(-shift), b)
  if (mantissa >> BigInt(mantissaBits) > 0n) {
    mantissa >>= 1n
    shift++
  }
  const size = shift + exponent + mantissaBits - 1
  if (size > exponentMax || size < exponentMin) return null
  return { mantissa, exponent: shift + exponent }
}

function shiftedQuotient(a: bigint, b: bigint, shift: number): bigint {
  return shift >= 0 ? a / (b << BigInt(shift)) : (a << BigInt(-shift)) / b
}

/** To the nearest whole number, a tie to the even one. */
function divided(a: bigint, b: bigint): bigint {
  const whole = a / b
  const twice = (a % b) * 2n
  return twice > b || (twice === b && (whole & 1n) === 1n) ? whole + 1n : whole
}

function bitsOf(value: bigint): number {
  return value.toString(16).length * 4 - (Math.clz32(parseInt(value.toString(16)[0]!, 16)) - 28)
}
