// Messages both ways over one connection: reads and bounds what comes, queues what goes in pieces so that a slow
// peer can be told from a dead one, answers PING, and ends the connection when the peer is silent, stuck or wrong.
// Sessions on both sides sit on it; it knows nothing of logs.
//
// A channel ends exactly once, with `closed`: null for a peer that hung up, otherwise why.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { messageBytesPerSecondMin, sendQueueBytes, writePieceBytes } from '../limits.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Connection } from '../platform/network.ts'
import { Liveness, type LivenessVerdict } from './liveness.ts'
import { MessageReader } from './message-reader.ts'
import { encodeBlocksHead, encodeMessage, type Message, type SmallMessage } from './messages.ts'
import type { BlocksHead } from './messages/blocks.ts'
import type { Refuse } from './messages/refuse.ts'
import type { MessageName } from './protocol.ts'

export interface ChannelOptions {
  readonly heartbeatMs: number
  readonly timeoutMs: number
  /** What PING and PONG tell the peer: the last durable transaction of this side. */
  readonly durableTxn: () => number
}

export interface ChannelEvents {
  /** Never PING or PONG. A HotBackupError that it throws ends the channel. */
  message(message: Exclude<Message, { name: 'ping' | 'pong' }>): void
  /** `writable` has become true again. */
  writable(): void
  closed(error: HotBackupError | null): void
}

/** Runs up to this size go out with their head in one piece: a copy is cheaper than a packet. */
const joinBytesMax = 16 * 1024

export class Channel {
  readonly #connection: Connection
  readonly #clock: Clock
  readonly #options: ChannelOptions
  readonly #events: ChannelEvents
  readonly #reader: MessageReader
  readonly #liveness: Liveness
  #timer: Timer
  #established = false
  #paused = false
  /** Set when this side has ended it; messages are no longer delivered. */
  #ending = false
  #fault: HotBackupError | null = null
  #closed = false

  readonly #queue: Uint8Array[] = []
  #queuedBytes = 0
  /** The connection has said that it is full. */
  #blocked = false

  #bytesSent = 0
  #bytesHeard = 0
  #heardAt: number
  #messagesHeard = 0
  #pings = 0
  /** When the last PING went out. */
  #pingedAt = 0
  #roundTripMs: number | null = null
  #peerDurableTxn = 0

  /** `first`: the messages that may come first. They are small; runs are accepted after `established`. */
  constructor(
    connection: Connection,
    clock: Clock,
    options: ChannelOptions,
    first: readonly MessageName[],
    events: ChannelEvents,
  ) {
    this.#connection = connection
    this.#clock = clock
    this.#options = options
    this.#events = events
    this.#reader = new MessageReader(message => this.#deliver(message))
    this.#reader.allow(...first)
    this.#heardAt = clock.monotonic()
    this.#liveness = new Liveness({ ...options, messageBytesPerSecondMin }, clock.monotonic())
    this.#timer = this.#nextTick()
    connection.listen({
      data: bytes => this.#data(bytes),
      drained: () => this.#drained(),
      closed: error => this.#connectionClosed(error),
    })
  }

  get remoteAddress(): string {
    return this.#connection.remoteAddress
  }
  /** True while the queue is short: whoever has runs to send reads the next one now. */
  get writable(): boolean {
    return this.#queuedBytes < sendQueueBytes && !this.#ending
  }
  /** Bytes that wait to be taken by the system. */
  get pendingBytes(): number {
    return this.#queuedBytes + this.#connection.pendingBytes
  }
  get bytesSent(): number {
    return this.#bytesSent
  }
  get bytesHeard(): number {
    return this.#bytesHeard
  }
  /** When something was heard last, or the connection was made; by the monotonic clock. */
  get heardAt(): number {
    return this.#heardAt
  }
  /** A message is coming in and not complete. */
  get midMessage(): boolean {
    return this.#reader.begunBytes > 0
  }
  /** From the last PING to its PONG; null before the first. */
  get roundTripMs(): number | null {
    return this.#roundTripMs
  }
  /** The peer's last durable transaction as of its last PING or PONG. */
  get peerDurableTxn(): number {
    return this.#peerDurableTxn
  }

  /** Sets which messages may come from here on, besides PING and PONG. The handshake is complete. */
  established(...names: readonly MessageName[]): void {
    this.#established = true
    this.#reader.allow(...names, 'ping', 'pong')
  }

  send(message: SmallMessage): void {
    this.#enqueue(encodeMessage(message))
  }

  /** Sends a run of whole blocks. Nobody may change its bytes until the peer has acknowledged them. */
  sendBlocks(head: BlocksHead, run: Uint8Array): void {
    const headBytes = encodeBlocksHead(head, run.length)
    if (run.length <= joinBytesMax) {
      this.#enqueue(Buffer.concat([headBytes, run]))
      return
    }
    this.#enqueue(headBytes)
    for (let start = 0; start < run.length; start += writePieceBytes) {
      this.#enqueue(run.subarray(start, start + writePieceBytes))
    }
  }

  /** Stops reading, so that the peer's window fills up. */
  pause(): void {
    if (this.#paused || this.#closed) return
    this.#paused = true
    this.#connection.pause()
  }

  resume(): void {
    if (!this.#paused || this.#closed) return
    this.#paused = false
    this.#connection.resume()
  }

  /** Ends the channel with a last word to the peer; `closed` tells `error`. */
  refuse(refusal: Refuse, error: HotBackupError): void {
    if (this.#ending) return
    this.send(refusal)
    this.#end(error)
    if (this.#queue.length === 0) this.#connection.end()
  }

  /** Ends the channel at once; `closed` tells `error`. */
  destroy(error: HotBackupError | null): void {
    if (this.#closed) return
    this.#end(error)
    this.#connection.destroy()
  }

  #end(error: HotBackupError | null): void {
    if (this.#ending) return
    this.#ending = true
    this.#fault = error
    this.#reader.stop()
    // A paused connection would never hear that the peer has closed too.
    this.resume()
  }

  #enqueue(bytes: Uint8Array): void {
    if (this.#ending || this.#closed) return
    this.#bytesSent += bytes.length
    if (this.#queue.length === 0 && !this.#blocked) {
      this.#blocked = !this.#connection.write(bytes)
      return
    }
    this.#queue.push(bytes)
    this.#queuedBytes += bytes.length
  }

  #drained(): void {
    const wasWritable = this.writable
    this.#blocked = false
    while (!this.#blocked) {
      const bytes = this.#queue.shift()
      if (bytes === undefined) break
      this.#queuedBytes -= bytes.length
      this.#blocked = !this.#connection.write(bytes)
    }
    if (this.#ending && this.#queue.length === 0) this.#connection.end()
    else if (!wasWritable && this.writable) this.#events.writable()
  }

  #data(bytes: Buffer): void {
    this.#bytesHeard += bytes.length
    this.#heardAt = this.#clock.monotonic()
    if (this.#ending) return
    try {
      this.#reader.push(bytes)
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      this.#faulty(error)
    }
  }

  /**
   * The peer does not keep to the protocol. One that speaks another version of it is told so; to anybody else
   * not a byte is sent.
   */
  #faulty(error: HotBackupError): void {
    if (error.code === 'ERR_WIRE') {
      this.destroy(error)
      return
    }
    const nowhere = { txn: 0, chain: 0 }
    const { code, message: text } = error
    this.refuse({ name: 'refuse', code, text, sender: nowhere, peer: nowhere }, error)
  }

  #deliver(message: Message): void {
    this.#messagesHeard++
    if (message.name === 'ping') {
      this.#peerDurableTxn = message.durableTxn
      const durableTxn = this.#options.durableTxn()
      // A peer that does not read gets no pile of answers.
      if (this.writable) this.send({ name: 'pong', token: message.token, durableTxn })
    } else if (message.name === 'pong') {
      this.#peerDurableTxn = message.durableTxn
      if (message.token === this.#pings) {
        this.#roundTripMs = this.#clock.monotonic() - this.#pingedAt
      }
    } else {
      this.#events.message(message)
    }
  }

  #nextTick(): Timer {
    return this.#clock.after(this.#liveness.tickMs, () => this.#tick(), true)
  }

  #tick(): void {
    this.#timer = this.#nextTick()
    const now = this.#clock.monotonic()
    const verdict = this.#liveness.tick(now, {
      established: this.#established && !this.#ending,
      paused: this.#paused,
      bytesHeard: this.#bytesHeard,
      messagesHeard: this.#messagesHeard,
      begunBytes: this.#ending ? 0 : this.#reader.begunBytes,
      bytesQueued: this.#bytesSent,
      bytesPending: this.pendingBytes,
    })
    if (verdict === 'well') return
    if (verdict === 'ping') this.#ping(now)
    else if (this.#ending)
      this.#connection.destroy() // The last word was not read.
    else this.destroy(this.#timeoutError(verdict))
  }

  #ping(now: number): void {
    // What waits to be sent is sign of life enough, and a peer that does not read gets no pile of questions.
    if (!this.writable) return
    this.#pings++
    this.#pingedAt = now
    this.send({ name: 'ping', token: this.#pings, durableTxn: this.#options.durableTxn() })
  }

  #timeoutError(verdict: Exclude<LivenessVerdict, 'well' | 'ping'>): HotBackupError {
    const span = `${this.#options.timeoutMs / 1000} s`
    const texts = {
      handshake: `the handshake with ${this.remoteAddress} was not complete after ${span}`,
      silent: `${this.remoteAddress} was silent for ${span}`,
      half: `${this.remoteAddress} began a message and did not complete it`,
      stuck: `${this.remoteAddress} did not read for ${span}`,
    }
    return new HotBackupError('ERR_WIRE_TIMEOUT', texts[verdict])
  }

  #connectionClosed(error: Error | null): void {
    this.#closed = true
    this.#reader.stop()
    this.#timer.cancel()
    this.#queue.length = 0
    this.#queuedBytes = 0
    this.#events.closed(this.#fault ?? closeError(error, this.remoteAddress))
  }
}

function closeError(error: Error | null, remoteAddress: string): HotBackupError | null {
  if (error === null || error instanceof HotBackupError) return error
  const text = `the connection to ${remoteAddress} broke: ${error.message}`
  return new HotBackupError('ERR_WIRE', text, {}, error)
}
