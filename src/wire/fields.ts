// Reads and writes the fields of a message. A field that does not fit, or a number that cannot be counted with,
// is an ERR_WIRE that names the message.
import { HotBackupError } from '../errors.ts'
import type { LogPosition } from '../log/chain.ts'
import { identityBytes } from '../log/segment.ts'

/** Writes one field behind the other into a buffer of fixed size; the codecs know that it is large enough. */
export class FieldWriter {
  readonly bytes: Buffer
  end = 0

  constructor(capacity: number) {
    this.bytes = Buffer.alloc(capacity)
  }

  u8(value: number): void {
    this.end = this.bytes.writeUInt8(value, this.end)
  }
  u16(value: number): void {
    this.end = this.bytes.writeUInt16LE(value, this.end)
  }
  u32(value: number): void {
    this.end = this.bytes.writeUInt32LE(value, this.end)
  }
  u64(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new TypeError(`${value} is not a count`)
    this.u32(value >>> 0)
    this.u32(Math.floor(value / 2 ** 32))
  }
  identity(bytes: Uint8Array): void {
    if (bytes.length !== identityBytes) throw new TypeError(`an identity of ${bytes.length} bytes`)
    this.raw(bytes)
  }
  raw(bytes: Uint8Array): void {
    if (this.end + bytes.length > this.bytes.length) throw new TypeError('the message is too long')
    this.bytes.set(bytes, this.end)
    this.end += bytes.length
  }
}

/** Reads one field behind the other from `start` to `end`, never beyond. */
export class FieldReader {
  readonly #name: string
  readonly #bytes: Buffer
  readonly #end: number
  #at: number

  constructor(name: string, bytes: Buffer, start: number, end: number) {
    this.#name = name
    this.#bytes = bytes
    this.#at = start
    this.#end = end
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1))
  }
  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2))
  }
  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }
  /** A count that fits a JavaScript number. */
  u64(): number {
    const value = this.u32() + this.u32() * 2 ** 32
    if (!Number.isSafeInteger(value)) throw this.fail('an impossible number')
    return value
  }
  /** A transaction number and the chain value behind it. */
  position(): LogPosition {
    return { txn: this.u64(), chain: this.u32() }
  }
  /** A copy. */
  identity(): Uint8Array {
    return this.raw(identityBytes)
  }
  /** A copy. */
  raw(length: number): Uint8Array {
    const start = this.#take(length)
    return new Uint8Array(this.#bytes.subarray(start, start + length))
  }
  /** A peer's text goes into logs and onto terminals: control characters of any kind are taken out. */
  text(length: number): string {
    const start = this.#take(length)
    return this.#bytes.toString('utf8', start, start + length).replace(/\p{Cc}/gu, '?')
  }
  skip(length: number): void {
    this.#take(length)
  }
  /** Bytes that are left. */
  get rest(): number {
    return this.#end - this.#at
  }
  /** Throws unless everything was read. */
  finish(): void {
    if (this.rest > 0) throw this.fail(`${this.rest} bytes too many`)
  }
  fail(what: string): HotBackupError {
    return new HotBackupError('ERR_WIRE', `${what} in a ${this.#name} message`)
  }

  #take(length: number): number {
    const start = this.#at
    if (length > this.rest) {
      throw this.fail(`a field of ${length} bytes where ${this.rest} are left`)
    }
    this.#at = start + length
    return start
  }
}
