// A client of the Redis protocol for tests: sends requests as they are given, and returns replies byte for byte.
import { connect, type Socket } from 'node:net'

export type Word = string | number | Buffer

/** The request as an array of strings. */
export function request(...words: readonly Word[]): Buffer {
  const parts: Buffer[] = [Buffer.from(`*${words.length}\r\n`)]
  for (const word of words) {
    const bytes = Buffer.isBuffer(word) ? word : Buffer.from(String(word))
    parts.push(Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from('\r\n'))
  }
  return Buffer.concat(parts)
}

/** A reply as a value: errors as `Error`, maps as arrays of pairs, bytes as text of a character each. */
export type Value = string | number | null | boolean | bigint | Error | Value[]

export class RespClient {
  readonly socket: Socket
  #bytes = Buffer.alloc(0)
  readonly #waiting: { resolve: (raw: Buffer) => void; reject: (error: Error) => void }[] = []
  #closed = false
  /** Resolves when the connection is closed. */
  readonly closed: Promise<void>

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', bytes => {
      this.#bytes = this.#bytes.length === 0 ? bytes : Buffer.concat([this.#bytes, bytes])
      this.#deliver()
    })
    socket.on('error', () => {})
    this.closed = new Promise(resolve => {
      socket.on('close', () => {
        this.#closed = true
        for (const { reject } of this.#waiting.splice(0)) reject(new Error('closed'))
        resolve()
      })
    })
  }

  static open(
    where: string | { readonly host: string; readonly port: number },
  ): Promise<RespClient> {
    return new Promise((resolve, reject) => {
      const socket = typeof where === 'string' ? connect(where) : connect(where)
      socket.once('error', reject)
      socket.once('connect', () => resolve(new RespClient(socket)))
    })
  }

  /** The next reply, byte for byte. */
  raw(): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Error('closed'))
      this.#waiting.push({ resolve, reject })
      this.#deliver()
    })
  }

  /** Sends a command and returns its reply, byte for byte. */
  send(...words: readonly Word[]): Promise<Buffer> {
    this.socket.write(request(...words))
    return this.raw()
  }

  async call(...words: readonly Word[]): Promise<Value> {
    return valueOf(await this.send(...words))
  }

  /** Sends them all at once. */
  async pipeline(commands: readonly (readonly Word[])[]): Promise<Value[]> {
    this.socket.write(Buffer.concat(commands.map(words => request(...words))))
    const replies = await Promise.all(commands.map(() => this.raw()))
    return replies.map(valueOf)
  }

  /** What has come and is no whole reply. */
  get rest(): Buffer {
    return this.#bytes
  }

  close(): void {
    this.socket.destroy()
  }

  #deliver(): void {
    while (this.#waiting.length > 0) {
      const end = endOf(this.#bytes, 0)
      if (end < 0) return
      this.#waiting.shift()!.resolve(this.#bytes.subarray(0, end))
      this.#bytes = this.#bytes.subarray(end)
    }
  }
}

/** Where the reply that starts at `at` ends; -1 when it is not complete. */
function endOf(bytes: Buffer, at: number): number {
  const line = bytes.indexOf('\r\n', at)
  if (line < 0) return -1
  const type = String.fromCharCode(bytes[at]!)
  const length = Number(bytes.toString('latin1', at + 1, line))
  let end = line + 2
  if ('$='.includes(type)) {
    if (length < 0) return end
    return end + length + 2 <= bytes.length ? end + length + 2 : -1
  }
  if (!'*~%>'.includes(type)) return end
  for (let left = type === '%' ? 2 * length : length; left > 0; left--) {
    end = endOf(bytes, end)
    if (end < 0) return -1
  }
  return end
}

export function valueOf(raw: Buffer): Value {
  return take(raw, 0)[0]
}

function take(bytes: Buffer, at: number): [Value, number] {
  const line = bytes.indexOf('\r\n', at)
  const type = String.fromCharCode(bytes[at]!)
  const text = bytes.toString('latin1', at + 1, line)
  let end = line + 2
  switch (type) {
    case '+':
      return [text, end]
    case '-':
      return [new Error(text), end]
    case ':': {
      const number = Number(text)
      return [Number.isSafeInteger(number) ? number : BigInt(text), end]
    }
    case '$':
    case '=': {
      if (text === '-1') return [null, end]
      const value = bytes.toString('latin1', end, end + Number(text))
      return [type === '=' ? value.slice(4) : value, end + Number(text) + 2]
    }
    case '_':
      return [null, end]
    case '#':
      return [text === 't', end]
    case ',':
      return [text, end]
    case '*':
    case '~':
    case '>':
    case '%': {
      if (text === '-1') return [null, end]
      const values: Value[] = []
      for (let left = Number(text); left > 0; left--) {
        const [first, next] = take(bytes, end)
        if (type !== '%') {
          values.push(first)
          end = next
          continue
        }
        const [second, behind] = take(bytes, next)
        values.push([first, second])
        end = behind
      }
      return [values, end]
    }
    default:
      throw new Error(`no reply: ${bytes.toString('latin1', at, at + 20)}`)
  }
}
