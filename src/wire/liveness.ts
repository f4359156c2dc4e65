// Decides when a peer is taken for dead. Pure: it is told what happened and what time it is, and answers.
//
// Time is counted in ticks, and one tick never counts for more than two of its intervals: a process that was
// stopped for a minute gets the chance to read what came meanwhile, before it calls its peer dead.

export interface LivenessOptions {
  /** A PING goes out this often. Milliseconds. */
  readonly heartbeatMs: number
  /** Silence, standstill or a handshake of this length is the end. Milliseconds. */
  readonly timeoutMs: number
  /** Bytes per second below which a begun message is taken for a peer's trick or a dead line. */
  readonly messageBytesPerSecondMin: number
}

/** What the connection looks like at a tick. */
export interface LivenessView {
  /** The handshake is complete. */
  readonly established: boolean
  /** This side does not read at the moment: the peer's silence says nothing. */
  readonly paused: boolean
  /** Bytes that came in, since the start. */
  readonly bytesHeard: number
  /** Messages that came in, since the start. */
  readonly messagesHeard: number
  /** Length of the message that has begun to come in; 0 when none has. */
  readonly begunBytes: number
  /** Bytes that were handed over for sending, since the start. */
  readonly bytesQueued: number
  /** Those of them that wait for the peer to read. */
  readonly bytesPending: number
}

/** `handshake`, `silent`, `half` message and `stuck` (does not read) end the connection. */
export type LivenessVerdict = 'well' | 'ping' | 'handshake' | 'silent' | 'half' | 'stuck'

export class Liveness {
  readonly #options: LivenessOptions
  /** Milliseconds between ticks. */
  readonly tickMs: number
  #lastTick: number
  #lastHeard = 0
  #lastMessages = 0
  #lastSent = 0
  #handshakeMs = 0
  #silentMs = 0
  #halfMs = 0
  #stuckMs = 0
  #sincePingMs = 0

  /** `now`: monotonic milliseconds, as in `tick`. */
  constructor(options: LivenessOptions, now: number) {
    this.#options = options
    this.tickMs = Math.max(1, Math.min(options.heartbeatMs, options.timeoutMs) / 4)
    this.#lastTick = now
  }

  tick(now: number, view: LivenessView): LivenessVerdict {
    const elapsed = Math.min(Math.max(0, now - this.#lastTick), 2 * this.tickMs)
    this.#lastTick = now
    this.#count(elapsed, view)
    const { timeoutMs, heartbeatMs, messageBytesPerSecondMin } = this.#options
    if (!view.established && this.#handshakeMs >= timeoutMs) return 'handshake'
    if (this.#silentMs >= timeoutMs) return 'silent'
    const messageMs = (view.begunBytes * 1000) / messageBytesPerSecondMin
    if (this.#halfMs >= timeoutMs + messageMs) return 'half'
    if (this.#stuckMs >= timeoutMs) return 'stuck'
    if (view.established && this.#sincePingMs >= heartbeatMs) {
      this.#sincePingMs = 0
      return 'ping'
    }
    return 'well'
  }

  #count(elapsed: number, view: LivenessView): void {
    if (!view.established) this.#handshakeMs += elapsed
    this.#sincePingMs += elapsed

    if (!view.paused) this.#silentMs += elapsed
    if (view.bytesHeard > this.#lastHeard) this.#silentMs = 0
    this.#lastHeard = view.bytesHeard

    if (!view.paused) this.#halfMs += elapsed
    if (view.begunBytes === 0 || view.messagesHeard > this.#lastMessages) this.#halfMs = 0
    this.#lastMessages = view.messagesHeard

    this.#stuckMs += elapsed
    const sent = view.bytesQueued - view.bytesPending
    if (view.bytesPending === 0 || sent > this.#lastSent) this.#stuckMs = 0
    this.#lastSent = sent
  }
}
