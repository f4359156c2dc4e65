// Replies of the Redis protocol, RESP2 and RESP3, written one behind the other into a buffer that is used again and
// again: nothing is allocated for a reply. What RESP2 has no type for is written as what Redis writes there.
import { KiB } from '../limits.ts'
import { ReplyError } from './reply-error.ts'

export type Protocol = 2 | 3

const initialBytes = 16 * KiB
/** What is kept of a buffer that has had to grow. */
const keptBytesMax = 256 * KiB

const CR = 0x0d
const LF = 0x0a
const DOLLAR = 0x24
const COLON = 0x3a
const MINUS = 0x2d
const ZERO = 0x30

const okBytes = Buffer.from('+OK\r\n')
const queuedBytes = Buffer.from('+QUEUED\r\n')
const nilBulk = Buffer.from('$-1\r\n')
const nilArray = Buffer.from('*-1\r\n')
const nilThree = Buffer.from('_\r\n')

export class Reply {
  /** The replies lie in it from 0 to `end`. */
  bytes: Buffer = Buffer.allocUnsafeSlow(initialBytes)
  end = 0
  protocol: Protocol = 2
  /** No more than this may be in the buffer at once. */
  bytesMax: number

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  /** A buffer of its own with the replies so far; then there are none. */
  take(): Buffer {
    const { bytes, end } = this
    this.end = 0
    if (end > keptBytesMax) {
      this.bytes = Buffer.allocUnsafeSlow(initialBytes)
      return bytes.subarray(0, end)
    }
    const taken = Buffer.allocUnsafe(end)
    bytes.copy(taken, 0, 0, end)
    return taken
  }

  /** Takes back everything from `end` on. */
  cutBack(end: number): void {
    this.end = end
  }

  ok(): void {
    this.#fixed(okBytes)
  }

  queued(): void {
    this.#fixed(queuedBytes)
  }

  /** What was written to another one. */
  append(other: Reply): void {
    this.#reserve(other.end)
    other.bytes.copy(this.bytes, this.end, 0, other.end)
    this.end += other.end
  }

  /** A short text without line ends. */
  simple(text: string): void {
    this.#line(0x2b, text)
  }

  /** The first word is the prefix by which clients know the error. Line ends become spaces, as in Redis. */
  error(text: string): void {
    this.#line(MINUS, text.replace(/[\r\n]/g, ' '))
  }

  integer(value: number | bigint): void {
    if (typeof value === 'bigint') this.#line(COLON, String(value))
    else this.#head(COLON, value)
  }

  /** Nothing where a string would be. */
  nil(): void {
    this.#fixed(this.protocol === 2 ? nilBulk : nilThree)
  }

  /** Nothing where an array would be. */
  nilArray(): void {
    this.#fixed(this.protocol === 2 ? nilArray : nilThree)
  }

  bulk(value: Uint8Array): void {
    this.bulkOf(value, 0, value.length)
  }

  /** The bytes from `start` to `end`. */
  bulkOf(value: Uint8Array, start: number, end: number): void {
    const at = this.startBulk(end - start)
    copy(this.bytes, at, value, start, end)
  }

  bulkOrNil(value: Uint8Array | null): void {
    if (value === null) this.nil()
    else this.bulk(value)
  }

  /** Text of ASCII characters, or of bytes as characters. */
  bulkText(text: string): void {
    const at = this.startBulk(text.length)
    this.bytes.write(text, at, 'latin1')
  }

  bulkUtf8(text: string): void {
    this.bulk(Buffer.from(text))
  }

  /** Makes a string of that many bytes, which the caller fills in, from what it returns on. */
  startBulk(length: number): number {
    this.#reserve(length + 24)
    this.#head(DOLLAR, length)
    const at = this.end
    const end = at + length
    this.bytes[end] = CR
    this.bytes[end + 1] = LF
    this.end = end + 2
    return at
  }

  /** So many replies follow, which are its elements. */
  array(length: number): void {
    this.#head(0x2a, length)
  }

  /** So many pairs follow. */
  map(length: number): void {
    if (this.protocol === 2) this.#head(0x2a, length * 2)
    else this.#head(0x25, length)
  }

  set(length: number): void {
    this.#head(this.protocol === 2 ? 0x2a : 0x7e, length)
  }

  boolean(value: boolean): void {
    if (this.protocol === 2) this.#head(COLON, value ? 1 : 0)
    else this.#line(0x23, value ? 't' : 'f')
  }

  double(text: string): void {
    if (this.protocol === 2) this.bulkText(text)
    else this.#line(0x2c, text)
  }

  /** Text for people. */
  verbatim(text: string): void {
    if (this.protocol === 2) return this.bulkUtf8(text)
    const bytes = Buffer.from(`txt:${text}`)
    this.#head(0x3d, bytes.length)
    this.#reserve(bytes.length + 2)
    bytes.copy(this.bytes, this.end)
    this.end += bytes.length
    this.#lineEnd()
  }

  #fixed(bytes: Buffer): void {
    this.#reserve(bytes.length)
    const target = this.bytes
    const at = this.end
    for (let i = 0; i < bytes.length; i++) target[at + i] = bytes[i]!
    this.end = at + bytes.length
  }

  #line(type: number, text: string): void {
    this.#reserve(text.length * 3 + 3)
    this.bytes[this.end++] = type
    this.end += this.bytes.write(text, this.end)
    this.#lineEnd()
  }

  #lineEnd(): void {
    this.bytes[this.end++] = CR
    this.bytes[this.end++] = LF
  }

  /** A type and a whole number. */
  #head(type: number, value: number): void {
    this.#reserve(24)
    const { bytes } = this
    let at = this.end
    bytes[at++] = type
    let rest = value
    if (rest < 0) {
      bytes[at++] = MINUS
      rest = -rest
    }
    if (rest < 10) bytes[at++] = ZERO + rest
    else if (rest < 100_000_000) {
      const digits = rest < 100 ? 2 : rest < 1000 ? 3 : rest < 10_000 ? 4 : digitsOf(rest)
      for (let place = at + digits - 1; place >= at; place--) {
        bytes[place] = ZERO + (rest % 10)
        rest = (rest / 10) | 0
      }
      at += digits
    } else at += bytes.write(String(rest), at, 'latin1')
    bytes[at++] = CR
    bytes[at++] = LF
    this.end = at
  }

  #reserve(length: number): void {
    const needed = this.end + length
    if (needed <= this.bytes.length) return
    if (needed > this.bytesMax) {
      throw new ReplyError(`ERR the reply is larger than ${this.bytesMax} bytes`)
    }
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2))
    this.bytes.copy(grown, 0, 0, this.end)
    this.bytes = grown
  }
}

function digitsOf(value: number): number {
  return value < 100_000 ? 5 : value < 1_000_000 ? 6 : value < 10_000_000 ? 7 : 8
}

/** Above this a call out of JavaScript costs less than a loop over bytes. */
const loopBytesMax = 48

function copy(target: Buffer, at: number, source: Uint8Array, start: number, end: number): void {
  const length = end - start
  if (length > loopBytesMax) {
    target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at)
  } else for (let i = 0; i < length; i++) target[at + i] = source[start + i]!
}
