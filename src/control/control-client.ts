// The other end of a control socket.
import { HotBackupError } from '../errors.ts'
import type { LocalSockets } from '../platform/local-socket.ts'
import type { Connection } from '../platform/network.ts'
import { errorFromJson } from './error-json.ts'
import { encodeFrame, FrameDecoder, type Frame, type JsonObject } from './frames.ts'
import type { Message } from '../data/operations.ts'

/** Parts of an answer that may wait here before the connection is read no further. */
const partsMax = 4

/** The server closed before it took the request: it may be sent again, to whoever owns the server then. */
export class RequestNotTaken extends HotBackupError {
  constructor() {
    super('ERR_CLOSED', 'the server closed before it took the request')
  }
}

/** The request was sent: it may have been carried out or not. */
export class ConnectionLost extends HotBackupError {
  constructor(cause: Error | null) {
    const reason = cause === null ? '' : `: ${cause.message}`
    super('ERR_CLOSED', `the connection to the server was lost${reason}`, {}, cause ?? undefined)
  }
}

/** An answer on its way: parts for whoever iterates. */
class Answer {
  readonly #parts: Message[] = []
  readonly #changed: (waiting: number) => void
  #outcome: { readonly error: Error | null } | null = null
  #wake: () => void = () => {}
  /** Some of it has come, so the request was taken. */
  begun = false

  constructor(changed: (waiting: number) => void) {
    this.#changed = changed
  }

  part(message: Message): void {
    this.begun = true
    this.#parts.push(message)
    this.#changed(this.#parts.length)
    this.#wake()
  }

  end(error: Error | null): void {
    this.#outcome ??= { error }
    this.#wake()
  }

  async *parts(): AsyncGenerator<Message, void, undefined> {
    for (;;) {
      const next = this.#parts.shift()
      if (next !== undefined) {
        this.#changed(this.#parts.length)
        yield next
      } else if (this.#outcome !== null) {
        if (this.#outcome.error !== null) throw this.#outcome.error
        return
      } else {
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
      }
    }
  }
}

export class ControlClient {
  readonly #connection: Connection
  readonly #decoder = new FrameDecoder()
  /** In the order of the requests, which is the order of the answers. */
  readonly #answers: Answer[] = []
  /** Requests wait for the server's first notice: without it the connection was never accepted. */
  #unsent: Uint8Array[] | null = []
  #closing = false
  #lost: Error | null = null

  private constructor(connection: Connection) {
    this.#connection = connection
    connection.listen({
      data: bytes => this.#take(bytes),
      drained: () => {},
      closed: error => this.#closed(error),
    })
  }

  /** Null when nobody listens at `path`. Throws ERR_DISK when the socket may not be used. */
  static async connect(
    platform: { readonly localSockets: LocalSockets },
    path: string,
  ): Promise<ControlClient | null> {
    const connection = await platform.localSockets.connect(path)
    return connection === null ? null : new ControlClient(connection)
  }

  /**
   * Sends a request and gives the parts of its answer. Throws the server's error, RequestNotTaken, or ERR_CLOSED
   * when the connection is lost and the request may have been carried out or not. Iterate to the end, or close.
   */
  request(operation: string, args: JsonObject, body: Uint8Array = noBytes): AsyncIterable<Message> {
    const answer = new Answer(waiting => {
      if (waiting >= partsMax) this.#connection.pause()
      else if (waiting === 0) this.#connection.resume()
    })
    if (this.#closing || this.#lost !== null) {
      answer.end(this.#closing ? new RequestNotTaken() : this.#lost)
    } else {
      this.#answers.push(answer)
      const frame = encodeFrame({ ...args, operation }, body)
      if (this.#unsent === null) this.#write(frame)
      else this.#unsent.push(...frame)
    }
    return answer.parts()
  }

  close(): void {
    this.#connection.destroy()
  }

  #write(frame: readonly Uint8Array[]): void {
    for (const bytes of frame) this.#connection.write(bytes)
  }

  #take(bytes: Buffer): void {
    try {
      for (const frame of this.#decoder.push(bytes)) this.#deliver(frame)
    } catch (error) {
      this.#connection.destroy(error as Error)
    }
  }

  #deliver({ header, body }: Frame): void {
    if (header['ready'] === true) {
      const unsent = this.#unsent ?? []
      this.#unsent = null
      this.#write(unsent)
      return
    }
    if (header['closing'] === true) {
      this.#closing = true
      return
    }
    const answer = this.#answers[0]
    if (answer === undefined) throw new HotBackupError('ERR_WIRE', 'an answer without a request')
    if (header['part'] !== undefined) {
      answer.part({ header: header['part'] as JsonObject, body })
      return
    }
    this.#answers.shift()
    answer.end(header['error'] === undefined ? null : errorFromJson(header['error'] as JsonObject))
  }

  #closed(error: Error | null): void {
    const untaken = this.#closing || this.#unsent !== null
    this.#lost = untaken ? new RequestNotTaken() : new ConnectionLost(error)
    for (const answer of this.#answers.splice(0)) {
      answer.end(untaken && !answer.begun ? new RequestNotTaken() : this.#lost)
    }
  }
}

const noBytes = new Uint8Array()
