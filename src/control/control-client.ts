// The other end of a control socket.
import { HotBackupError } from '../errors.ts'
import type { LocalSockets } from '../platform/local-socket.ts'
import type { Connection } from '../platform/network.ts'
import { decodeReply, encodeRequest } from './envelope.ts'
import { FrameDecoder, type Frame } from './frames.ts'
import {
  received,
  type Answer,
  type Caller,
  type Operation,
  type Part,
  type Request,
} from './operation.ts'

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

/** An answer on its way: parts and an end for whoever iterates. */
class PendingAnswer {
  readonly #parts: object[] = []
  readonly #changed: (waiting: number) => void
  #outcome: { readonly answer: object } | { readonly error: Error } | null = null
  #wake: () => void = () => {}
  /** Some of it has come, so the request was taken. */
  begun = false

  constructor(changed: (waiting: number) => void) {
    this.#changed = changed
  }

  part(part: object): void {
    this.begun = true
    this.#parts.push(part)
    this.#changed(this.#parts.length)
    this.#wake()
  }

  end(answer: object): void {
    this.#outcome ??= { answer }
    this.#wake()
  }

  fail(error: Error): void {
    this.#outcome ??= { error }
    this.#wake()
  }

  async *parts(): AsyncGenerator<object, object, undefined> {
    for (;;) {
      const next = this.#parts.shift()
      if (next !== undefined) {
        this.#changed(this.#parts.length)
        yield next
      } else if (this.#outcome === null) {
        await new Promise<void>(resolve => {
          this.#wake = resolve
        })
      } else if ('answer' in this.#outcome) {
        return this.#outcome.answer
      } else {
        throw this.#outcome.error
      }
    }
  }
}

export class ControlClient implements Caller {
  readonly #connection: Connection
  readonly #decoder = new FrameDecoder()
  /** In the order of the requests, which is the order of the answers. */
  readonly #answers: PendingAnswer[] = []
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
   * Sends a request at once, and gives its answer. Throws the server's error, ERR_WIRE, RequestNotTaken, or ERR_CLOSED
   * when the connection is lost and the request may have been carried out or not. Iterate to the end, or close.
   */
  call<O extends Operation>(
    operation: O,
    request: Request<O>,
  ): AsyncGenerator<Part<O>, Answer<O>, undefined> {
    const answer = new PendingAnswer(waiting => {
      if (waiting >= partsMax) this.#connection.pause()
      else if (waiting === 0) this.#connection.resume()
    })
    if (this.#closing || this.#lost !== null) {
      answer.fail(this.#lost ?? new RequestNotTaken())
    } else {
      this.#answers.push(answer)
      const frame = encodeRequest(operation.name, request)
      if (this.#unsent === null) this.#write(frame)
      else this.#unsent.push(...frame)
    }
    return received(operation, answer.parts())
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

  #deliver(frame: Frame): void {
    const reply = decodeReply(frame)
    if (reply.kind === 'ready') {
      const unsent = this.#unsent ?? []
      this.#unsent = null
      this.#write(unsent)
      return
    }
    if (reply.kind === 'closing') {
      this.#closing = true
      return
    }
    const answer = this.#answers[0]
    if (answer === undefined) throw new HotBackupError('ERR_WIRE', 'an answer without a request')
    if (reply.kind === 'part') {
      answer.part(reply.message)
      return
    }
    this.#answers.shift()
    if (reply.kind === 'answer') answer.end(reply.message)
    else answer.fail(reply.error)
  }

  #closed(error: Error | null): void {
    const untaken = this.#closing || this.#unsent !== null
    this.#lost = untaken ? new RequestNotTaken() : new ConnectionLost(error)
    for (const answer of this.#answers.splice(0)) {
      answer.fail(untaken && !answer.begun ? new RequestNotTaken() : this.#lost)
    }
  }
}
