// One request as it was received: its arguments are places in a buffer, not copies.

export class Request {
  /** Holds the arguments; good until the handler returns. What is kept longer is kept with `copy`. */
  bytes: Buffer = Buffer.alloc(0)
  /** Arguments, the name of the command included. */
  count = 0
  readonly starts: number[] = []
  readonly ends: number[] = []

  reset(bytes: Buffer): void {
    this.bytes = bytes
    this.count = 0
  }

  add(start: number, end: number): void {
    this.starts[this.count] = start
    this.ends[this.count] = end
    this.count++
  }

  /** The bytes move to another buffer, where they start so much earlier. */
  move(bytes: Buffer, earlier: number): void {
    this.bytes = bytes
    for (let index = 0; index < this.count; index++) {
      this.starts[index]! -= earlier
      this.ends[index]! -= earlier
    }
  }

  /** Gives back the memory that a request with many arguments has taken. */
  shrink(argumentsMax: number): void {
    if (this.starts.length <= argumentsMax) return
    this.starts.length = 0
    this.ends.length = 0
  }

  start(index: number): number {
    return this.starts[index]!
  }

  end(index: number): number {
    return this.ends[index]!
  }

  length(index: number): number {
    return this.ends[index]! - this.starts[index]!
  }

  /** Bytes of all arguments. */
  get size(): number {
    let size = 0
    for (let index = 0; index < this.count; index++) size += this.ends[index]! - this.starts[index]!
    return size
  }

  /** A view of the argument. */
  arg(index: number): Buffer {
    return this.bytes.subarray(this.starts[index], this.ends[index])
  }

  /** Each byte of the argument as a character. */
  latin1(index: number): string {
    return this.bytes.toString('latin1', this.starts[index], this.ends[index])
  }

  text(index: number): string {
    return this.bytes.toString('utf8', this.starts[index], this.ends[index])
  }

  /** The argument is this word, which is ASCII in lower case, in whatever case. */
  is(index: number, word: string): boolean {
    const start = this.starts[index]!
    if (this.ends[index]! - start !== word.length) return false
    for (let i = 0; i < word.length; i++) {
      if (lower(this.bytes[start + i]!) !== word.charCodeAt(i)) return false
    }
    return true
  }

  /** The request by itself, for later. */
  copy(): Request {
    const copy = new Request()
    copy.bytes = Buffer.allocUnsafe(this.size)
    let end = 0
    for (let index = 0; index < this.count; index++) {
      const start = end
      end += this.bytes.copy(copy.bytes, start, this.starts[index], this.ends[index])
      copy.add(start, end)
    }
    return copy
  }
}

/** An ASCII letter in lower case; any other byte as it is. */
export function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
}
