// Requests of the Redis protocol, from bytes that come in any chunks.
//
//    *COUNT CRLF, then for each argument $LENGTH CRLF BYTES CRLF      an array of bulk strings
//    words, separated by spaces, quoted where they have to be, LF     an inline command, as people type it
//
// A request that lies in one chunk is used where it lies. Of one that does not, what has come is held, and only what
// completes it is copied behind that: the rest of the chunk is used where it lies, again. No length is believed before
// it has been compared with the limits, and no memory is taken for bytes that have not come.
import { KiB, MiB } from '../limits.ts'
import { splitInline } from './inline.ts'
import { Request } from './request.ts'

export interface ParserLimits {
  /** Arguments of a request. */
  readonly argumentsMax: number
  /** Bytes of an argument. */
  readonly argumentBytesMax: number
  /** Bytes of a whole request. */
  readonly requestBytesMax: number
}

/** As in Redis 7, but for the sizes: an item has up to 64 MiB here. */
export const defaultParserLimits: ParserLimits = {
  argumentsMax: 1024 * KiB,
  argumentBytesMax: 64 * MiB,
  requestBytesMax: 128 * MiB,
}

/** For those who have not said yet who they are. */
const strangerArgumentsMax = 10
const strangerArgumentBytesMax = 16 * KiB
/** A line without its end: an inline command, or the head of an array or string. */
const lineBytesMax = 64 * KiB
/** What a connection keeps of the buffer in which it has held a request. */
const keptBytesMax = 16 * KiB
const keptArgumentsMax = 1024

const CR = 0x0d
const LF = 0x0a
const MINUS = 0x2d
const ZERO = 0x30
const DOLLAR = 0x24
const STAR = 0x2a

/** The peer does not speak the protocol: it is told so, and its connection is closed. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
}

/** What `#readLine` says of a line that is not complete, or is no number. */
const incomplete = -2
const noNumber = -3

const nothing = Buffer.alloc(0)

export class RequestParser {
  readonly request = new Request()
  /** Nobody has logged in over this connection yet: requests must be small. */
  stranger = false
  readonly #limits: ParserLimits
  /** Where the present request lies: in the chunk, or in `#held`. */
  #bytes: Buffer = nothing
  #end = 0
  /** Where the present request starts, and what of it has been parsed. */
  #start = 0
  #at = 0
  #chunk: Buffer = nothing
  /** Of the chunk, what has not been copied to `#held`, when there is a request there. */
  #chunkAt = 0
  #held: Buffer = nothing
  #holds = false
  /** Arguments that the array still has; -1: its head has not been read. */
  #missing = -1
  /** Bytes of the argument that comes; -1: its head has not been read. */
  #length = -1

  constructor(limits: ParserLimits = defaultParserLimits) {
    this.#limits = limits
  }

  /** Bytes of the request that is not complete. */
  get heldBytes(): number {
    return this.#holds ? this.#end : 0
  }

  /** Only when `next` has answered false. The bytes are the parser's own from here on. */
  feed(chunk: Buffer): void {
    this.#chunk = chunk
    this.#chunkAt = 0
    if (this.#holds) return
    this.#bytes = chunk
    this.#start = 0
    this.#at = 0
    this.#end = chunk.length
  }

  /**
   * True when `request` is the next request; false when there is none before the next chunk. Throws ProtocolError, and
   * the connection is of no use any more.
   */
  next(): boolean {
    for (;;) {
      if (this.#parse()) {
        // An array of nothing, or an empty line, is no request.
        if (this.request.count > 0) return true
        continue
      }
      if (!this.#holds) this.#hold()
      if (!this.#pull()) return false
    }
  }

  /** True when a request is complete, and the next one starts behind it. */
  #parse(): boolean {
    const { request } = this
    if (this.#missing < 0) {
      if (this.#holds && this.#at > 0) this.#release()
      if (this.#start === this.#end) return false
      request.reset(this.#bytes)
      if (this.#bytes[this.#start] !== STAR) return this.#parseInline()
      this.#at = this.#start + 1
      const count = this.#readLine('too big mbulk count string')
      if (count === incomplete) {
        this.#at = this.#start
        return false
      }
      const limits = this.#limits
      if (count === noNumber || count > limits.argumentsMax) {
        throw new ProtocolError('invalid multibulk length')
      }
      if (this.stranger && count > strangerArgumentsMax) {
        throw new ProtocolError('unauthenticated multibulk length')
      }
      this.#missing = Math.max(count, 0)
    }
    while (this.#missing > 0) {
      if (this.#length < 0 && !this.#parseLength()) return false
      const start = this.#at
      const end = start + this.#length
      if (end + 2 > this.#end) return false
      if (this.#bytes[end] !== CR || this.#bytes[end + 1] !== LF) {
        throw new ProtocolError('expected a line end behind the argument')
      }
      request.add(start, end)
      this.#at = end + 2
      this.#length = -1
      this.#missing--
    }
    this.#missing = -1
    this.#start = this.#at
    return true
  }

  #parseLength(): boolean {
    const head = this.#at
    if (head === this.#end) return false
    if (this.#bytes[head] !== DOLLAR) {
      const found = String.fromCharCode(this.#bytes[head]!)
      throw new ProtocolError(`expected '$', got '${found}'`)
    }
    this.#at = head + 1
    const length = this.#readLine('too big bulk count string')
    if (length === incomplete) {
      this.#at = head
      return false
    }
    const limits = this.#limits
    if (length < 0 || length > limits.argumentBytesMax) {
      throw new ProtocolError('invalid bulk length')
    }
    if (this.stranger && length > strangerArgumentBytesMax) {
      throw new ProtocolError('unauthenticated bulk length')
    }
    if (this.#at - this.#start + length > limits.requestBytesMax) {
      throw new ProtocolError('too big request')
    }
    this.#length = length
    return true
  }

  /** Reads a whole number up to the line's end, from `#at` on, and moves behind it. */
  #readLine(tooLong: string): number {
    const bytes = this.#bytes
    const end = this.#end
    let at = this.#at
    const negative = at < end && bytes[at] === MINUS
    if (negative) at++
    const first = at
    let value = 0
    for (; at < end; at++) {
      const digit = bytes[at]! - ZERO
      if (digit < 0 || digit > 9) break
      value = value * 10 + digit
      // All limits are far below.
      if (value > Number.MAX_SAFE_INTEGER) return noNumber
    }
    if (at === end || (bytes[at] === CR && at + 1 === end)) {
      if (at - first > lineBytesMax) throw new ProtocolError(tooLong)
      return incomplete
    }
    if (bytes[at] !== CR || bytes[at + 1] !== LF || at === first) return noNumber
    const leadingZero = bytes[first] === ZERO && (at - first > 1 || negative)
    if (leadingZero) return noNumber
    this.#at = at + 2
    // Less than nothing is no length of anything; an array of it is passed over.
    return negative ? -1 : value
  }

  #parseInline(): boolean {
    const line = this.#bytes.indexOf(LF, this.#start)
    const complete = line >= 0 && line < this.#end
    const length = (complete ? line : this.#end) - this.#start
    if (length > lineBytesMax) throw new ProtocolError('too big inline request')
    if (!complete) return false
    const end = line > this.#start && this.#bytes[line - 1] === CR ? line - 1 : line
    const words = splitInline(this.#bytes, this.#start, end, this.request)
    if (!words) throw new ProtocolError('unbalanced quotes in request')
    if (this.stranger && this.request.count > strangerArgumentsMax) {
      throw new ProtocolError('unauthenticated multibulk length')
    }
    this.#at = line + 1
    this.#start = this.#at
    return true
  }

  /** Takes what there is of the present request out of the chunk. */
  #hold(): void {
    const length = this.#end - this.#start
    this.#chunkAt = this.#chunk.length
    if (length === 0) return this.#forget()
    this.#makeRoom(length)
    this.#bytes.copy(this.#held, 0, this.#start, this.#end)
    this.request.move(this.#held, this.#start)
    this.#at -= this.#start
    this.#bytes = this.#held
    this.#start = 0
    this.#end = length
    this.#holds = true
  }

  /** Copies what the held request wants next; false when the chunk has no more. */
  #pull(): boolean {
    const chunk = this.#chunk
    const from = this.#chunkAt
    if (!this.#holds || from === chunk.length) {
      this.#chunk = nothing
      this.#chunkAt = 0
      if (!this.#holds) this.#forget()
      return false
    }
    let to: number
    if (this.#length >= 0) to = from + this.#at + this.#length + 2 - this.#end
    else to = chunk.indexOf(LF, from) + 1 || chunk.length
    to = Math.min(to, chunk.length)
    this.#makeRoom(this.#end + to - from)
    chunk.copy(this.#held, this.#end, from, to)
    this.#end += to - from
    this.#chunkAt = to
    return true
  }

  #makeRoom(length: number): void {
    if (length <= this.#held.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#held.length, 256))
    this.#held.copy(grown, 0, 0, this.#holds ? this.#end : 0)
    this.#held = grown
    if (!this.#holds) return
    this.#bytes = grown
    this.request.bytes = grown
  }

  /** The request that was held has been used: back to the chunk. */
  #release(): void {
    this.#holds = false
    if (this.#held.length > keptBytesMax) this.#held = nothing
    this.request.shrink(keptArgumentsMax)
    this.#bytes = this.#chunk
    this.#start = this.#chunkAt
    this.#at = this.#start
    this.#end = this.#chunk.length
  }

  #forget(): void {
    this.#bytes = nothing
    this.#start = 0
    this.#at = 0
    this.#end = 0
    this.#chunk = nothing
    this.request.bytes = nothing
  }
}
