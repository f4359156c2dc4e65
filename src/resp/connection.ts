// One client's connection: chunks come in, requests are executed one after the other, and the replies to all that came
// in one read leave in one write, in order, when everything that they tell of is durable.
import type { Connection } from '../platform/network.ts'
import type { Answer } from './call.ts'
import type { Context } from './context.ts'
import { crowded, errorText, type Executor } from './executor.ts'
import { ProtocolError, RequestParser, type ParserLimits } from './parser.ts'
import type { Reply } from './reply.ts'
import { Session, type Link } from './session.ts'
import { inputBytesMark, outputBytesMark, outputStallMs } from './settings.ts'

/** Replies on their way. */
export interface Output {
  readonly bytes: Buffer
  /** Nothing keeps them here any more. */
  ready: boolean
}

/** The server, as its connections see it. */
export interface Door {
  readonly context: Context
  readonly executor: Executor
  readonly reply: Reply
  readonly parserLimits: ParserLimits
  /** Calls `work` soon, together with that of the others. */
  schedule(connection: ClientConnection): void
  /** Calls `work` when updates may go on. */
  scheduleWhenRoom(connection: ClientConnection): void
  /** Makes the output ready when all writes of this turn are done, or when all that can be read now is durable. */
  hold(connection: ClientConnection, output: Output, what: 'writes' | 'reads'): void
  closed(connection: ClientConnection): void
}

export class ClientConnection implements Link {
  readonly session: Session
  readonly localAddress: string
  /** It is among those that work in the coming turn; the door sees to it. */
  scheduled = false
  readonly #door: Door
  readonly #socket: Connection
  readonly #parser: RequestParser
  /** Chunks that have come and are not with the parser yet. */
  readonly #inputs: Buffer[] = []
  #inputBytes = 0
  #paused = false
  /** The parser has a chunk that is not used up. */
  #parsing = false
  /** The request at the parser could not be executed: it is executed again when updates may go on. */
  #again = false
  /** A command waits for something. */
  #waiting = false
  #answer: Answer | null = null
  /** In order; the first ones that are ready leave. */
  readonly #outputs: Output[] = []
  #outputBytes = 0
  /** The client has not read all that the socket has; since when, by the monotonic clock. */
  #stalledSince: number | null = null
  /** There is so much that nothing is added. */
  #full = false
  /** No more requests are taken; it closes when the replies have left. */
  #ending = false
  #ended = false
  /** It executes requests: their replies are still to come. */
  #working = false
  #closed = false

  constructor(door: Door, socket: Connection, id: number, localAddress: string, stranger: boolean) {
    this.#door = door
    this.#socket = socket
    this.localAddress = localAddress
    this.#parser = new RequestParser(door.parserLimits)
    const { clock } = door.context
    this.session = new Session(id, this, clock.monotonic(), stranger)
    socket.listen({
      data: chunk => this.#take(chunk),
      drained: () => this.#drained(),
      closed: () => this.#gone(),
    })
  }

  get remoteAddress(): string {
    return this.#socket.remoteAddress
  }
  get inputBytes(): number {
    return this.#parser.heldBytes + this.#inputBytes
  }
  get outputBytes(): number {
    return this.#outputBytes + this.#socket.pendingBytes
  }

  close(politely: boolean): void {
    if (politely) {
      this.#ending = true
      if (!this.#working) this.#endWhenEmpty()
    } else this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    if (this.#ending) return
    const { context } = this.#door
    context.stats.inputBytes += chunk.length
    this.#inputs.push(chunk)
    this.#inputBytes += chunk.length
    if (this.#inputBytes > inputBytesMark && !this.#paused) {
      this.#paused = true
      this.#socket.pause()
    }
    if (!this.#blocked) this.#door.schedule(this)
  }

  get #blocked(): boolean {
    return this.#waiting || this.#again || this.#full || this.#outputBytes > outputBytesMark
  }

  /** Executes what has come, up to the end of a chunk, or until something has to be waited for. */
  work(): void {
    if (this.#closed || (this.#waiting && this.#answer === null)) return
    this.#working = true
    this.#execute()
    this.#working = false
    if (this.#ending) this.#endWhenEmpty()
    else if (!this.#blocked && (this.#parsing || this.#inputs.length > 0)) this.#door.schedule(this)
  }

  #execute(): void {
    const { executor, reply, context } = this.#door
    const { session } = this
    const { opened } = context
    reply.protocol = session.protocol
    if (this.#answer !== null) {
      const answer = this.#answer
      this.#answer = null
      this.#waiting = false
      answer(reply)
    }
    try {
      while (!this.#ending && !this.#waiting && this.#nextRequest()) {
        const outcome = executor.execute(session, this.#parser.request)
        if (outcome === crowded) {
          this.#again = true
          this.#door.scheduleWhenRoom(this)
          break
        }
        this.#parser.stranger = session.stranger
        if (outcome !== undefined) this.#waitFor(outcome)
        if (reply.end > outputBytesMark) break
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      reply.error(`ERR Protocol error: ${error.message}`)
      this.#ending = true
    }
    session.lastActive = context.clock.monotonic()
    let held: 'writes' | 'reads' | null = null
    if (opened !== null) {
      const { direct, store } = opened
      if (direct.wrote) {
        held = 'writes'
        session.lastTxn = store.writes?.lastTxn ?? 0
      } else if (direct.seenTxn > store.durableTxn) held = 'reads'
      direct.wrote = false
      direct.seenTxn = 0
    }
    if (reply.end > 0) this.#put(reply.take(), held)
  }

  /** True when the parser has a request to execute. */
  #nextRequest(): boolean {
    if (this.#again) {
      this.#again = false
      return true
    }
    if (!this.#parsing) {
      const chunk = this.#inputs.shift()
      if (chunk === undefined) return false
      this.#inputBytes -= chunk.length
      this.#parser.feed(chunk)
      this.#parsing = true
      if (this.#paused && this.#inputBytes <= inputBytesMark / 2) {
        this.#paused = false
        this.#socket.resume()
      }
    }
    if (this.#parser.next()) return true
    this.#parsing = false
    return false
  }

  #waitFor(outcome: Promise<Answer>): void {
    this.#waiting = true
    void outcome.then(answer => {
      this.#answer = answer
      this.#door.schedule(this)
    })
  }

  #put(bytes: Buffer, held: 'writes' | 'reads' | null): void {
    const output = { bytes, ready: held === null }
    this.#outputs.push(output)
    this.#outputBytes += bytes.length
    if (held !== null) this.#door.hold(this, output, held)
    this.flush()
    if (this.outputBytes > this.#door.context.settings.outputBytesMax) this.#socket.destroy()
  }

  /** Sends what is ready, and goes on with requests for which there was no room. */
  flush(): void {
    const wasBlocked = this.#blocked
    while (this.#outputs[0]?.ready === true && !this.#closed) {
      const { bytes } = this.#outputs.shift()!
      this.#outputBytes -= bytes.length
      this.#door.context.stats.outputBytes += bytes.length
      if (this.#socket.write(bytes) || this.#full) continue
      this.#stalledSince ??= this.#door.context.clock.monotonic()
      if (this.#socket.pendingBytes > outputBytesMark) this.#full = true
    }
    if (this.#ending) this.#endWhenEmpty()
    else if (wasBlocked && !this.#blocked) this.#door.schedule(this)
  }

  /** What the output tells of has not become durable, or nobody knows: the client gets the error, and nothing else. */
  fail(output: Output, error: unknown): void {
    const index = this.#outputs.indexOf(output)
    if (index < 0) return
    for (const { bytes } of this.#outputs.splice(index)) this.#outputBytes -= bytes.length
    const bytes = Buffer.from(`-${errorText(error).replace(/[\r\n]/g, ' ')}\r\n`)
    this.#outputs.push({ bytes, ready: true })
    this.#outputBytes += bytes.length
    this.#ending = true
    this.flush()
  }

  #drained(): void {
    this.#stalledSince = null
    if (!this.#full) return
    this.#full = false
    if (!this.#blocked) this.#door.schedule(this)
  }

  /** Closes a connection that has been of no use for too long. */
  look(now: number): void {
    const { idleMs } = this.#door.context.settings
    const stalled = this.#stalledSince !== null && now - this.#stalledSince > outputStallMs
    const idle = idleMs > 0 && !this.#waiting && now - this.session.lastActive > idleMs
    if (stalled || idle) this.#socket.destroy()
  }

  #endWhenEmpty(): void {
    if (this.#outputs.length > 0 || this.#ended || this.#working) return
    this.#ended = true
    this.#socket.end()
  }

  #gone(): void {
    this.#closed = true
    this.#inputs.length = 0
    this.#outputs.length = 0
    this.session.blocked?.unblock(null)
    this.session.watch?.end()
    this.#door.closed(this)
  }
}
