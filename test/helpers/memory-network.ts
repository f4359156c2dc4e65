// A network in memory: connections that deliver in order, in chunks of any size, and can be cut after so many bytes
// or stand still. Everything happens in turns of the event loop; nothing takes time.
import { HotBackupError } from '../../src/errors.ts'
import type {
  Address,
  Connection,
  ConnectionEvents,
  Listener,
  Network,
  SharedKey,
} from '../../src/platform/network.ts'

/** What a connection's bytes in one direction go through. */
export interface Weather {
  /** The largest piece that arrives at once. */
  chunkBytes: number
  /** The connection breaks when so many bytes have arrived in this direction; Infinity: never. */
  cutAfter: number
  /** Nothing arrives while it is true. */
  stalled: boolean
  /** May change bytes on their way. `offset` counts from the start of the connection. */
  damage: (bytes: Buffer, offset: number) => void
}

export function fairWeather(): Weather {
  return { chunkBytes: 64 * 1024, cutAfter: Infinity, stalled: false, damage: () => {} }
}

const pendingBytesMark = 1024 * 1024

class MemoryConnection implements Connection {
  readonly remoteAddress: string
  /** Of what this end sends. */
  readonly weather: Weather
  peer: MemoryConnection | null = null
  #events: ConnectionEvents | null = null
  readonly #outgoing: Buffer[] = []
  #pendingBytes = 0
  #delivered = 0
  #full = false
  #paused = false
  #ended = false
  #closed = false
  #closeTold = false
  #pumping = false

  constructor(remoteAddress: string, weather: Weather) {
    this.remoteAddress = remoteAddress
    this.weather = weather
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }
  get closed(): boolean {
    return this.#closed
  }

  listen(events: ConnectionEvents): void {
    this.#events = events
    if (this.#closed) this.#tellClosed(null)
    this.peer?.pump()
  }

  write(bytes: Uint8Array): boolean {
    if (this.#closed || this.#ended) return true
    this.#outgoing.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
    this.#pendingBytes += bytes.length
    this.pump()
    this.#full = this.#pendingBytes >= pendingBytesMark
    return !this.#full
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.peer?.pump()
  }

  end(): void {
    this.#ended = true
    this.pump()
  }

  destroy(error?: Error): void {
    this.close(error ?? null)
  }

  close(error: Error | null): void {
    if (this.#closed) return
    this.#closed = true
    this.#outgoing.length = 0
    this.#pendingBytes = 0
    this.#tellClosed(error)
    const peer = this.peer
    setImmediate(() => peer?.close(null))
  }

  get receptive(): boolean {
    return this.#events !== null && !this.#paused && !this.#closed
  }

  take(bytes: Buffer): void {
    this.#events?.data(bytes)
  }

  /** Moves bytes to the peer, a chunk a turn. */
  pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    setImmediate(() => {
      this.#pumping = false
      this.#deliver()
    })
  }

  #deliver(): void {
    if (this.#closed || this.weather.stalled) return
    const peer = this.peer
    const first = this.#outgoing[0]
    if (first === undefined) {
      if (this.#ended) this.close(null)
      return
    }
    if (peer === null || !peer.receptive) return
    const length = Math.min(
      first.length,
      this.weather.chunkBytes,
      this.weather.cutAfter - this.#delivered,
    )
    // A copy: the reader may keep it, and it is damaged on the way only.
    const chunk = Buffer.from(first.subarray(0, length))
    this.weather.damage(chunk, this.#delivered)
    this.#delivered += length
    this.#pendingBytes -= length
    if (length === first.length) this.#outgoing.shift()
    else this.#outgoing[0] = first.subarray(length)
    if (length > 0) peer.take(chunk)
    if (this.#delivered >= this.weather.cutAfter) {
      this.close(new Error('cut'))
      return
    }
    if (this.#pendingBytes === 0 && this.#full) {
      this.#full = false
      this.#events?.drained()
    }
    this.pump()
  }

  #tellClosed(error: Error | null): void {
    const events = this.#events
    if (events === null || this.#closeTold) return
    this.#closeTold = true
    setImmediate(() => events.closed(error))
  }
}

/** A connection as a test sees it from outside. */
export interface Wire {
  /** Of what the side that called sends, and of what it gets. */
  readonly there: Weather
  readonly back: Weather
  readonly cut: () => void
  readonly closed: boolean
}

export class MemoryNetwork implements Network {
  readonly #listeners = new Map<string, (connection: Connection) => void>()
  #nextPort = 40_000
  /** All connections that were made, oldest first. */
  readonly wires: Wire[] = []
  /** Called for each new connection: sets its weather. */
  prepare: (there: Weather, back: Weather) => void = () => {}
  /** Connections are refused while it is true. */
  down = false

  async connect(address: Address, _key: SharedKey | null, _timeoutMs: number): Promise<Connection> {
    const name = `${address.host}:${address.port}`
    const accept = this.#listeners.get(name)
    if (accept === undefined || this.down) {
      throw new HotBackupError('ERR_CONNECT', `cannot connect to ${name}: nobody listens`)
    }
    const there = fairWeather()
    const back = fairWeather()
    this.prepare(there, back)
    const near = new MemoryConnection(name, there)
    const far = new MemoryConnection(`caller:${this.wires.length}`, back)
    near.peer = far
    far.peer = near
    this.wires.push({
      there,
      back,
      cut: () => near.close(new Error('cut')),
      get closed() {
        return near.closed
      },
    })
    accept(far)
    return near
  }

  listenPlain(address: Address, accept: (connection: Connection) => void): Promise<Listener> {
    return this.listen(address, null, accept)
  }

  async listen(
    address: Address,
    _key: SharedKey | null,
    accept: (connection: Connection) => void,
  ): Promise<Listener> {
    const bound = { host: address.host, port: address.port === 0 ? this.#nextPort++ : address.port }
    const name = `${bound.host}:${bound.port}`
    this.#listeners.set(name, accept)
    return {
      address: bound,
      close: async () => {
        if (this.#listeners.get(name) === accept) this.#listeners.delete(name)
      },
    }
  }
}
