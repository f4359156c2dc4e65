// The network between the machines, and the sockets within one. Bytes arrive in order, in pieces of any size and
// after some time; a connection may be cut at any byte, for both sides or for one that does not notice (half-open),
// and a way between two machines may be closed for a while, in one direction or both.
import { HotBackupError } from '../../../src/errors.ts'
import type {
  Address,
  Connection,
  ConnectionEvents,
  Listener,
  Network,
} from '../../../src/platform/network.ts'
import type { LocalSockets } from '../../../src/platform/local-socket.ts'
import type { Machine } from './machine.ts'
import type { SimProcess } from './process.ts'
import type { World } from './world.ts'

interface Listening {
  readonly machine: Machine
  readonly process: SimProcess
  readonly accept: (connection: Connection) => void
}

/** What is above this waits for `drained`. */
const outputBytesMax = 256 * 1024

/** All addresses, and all connections between machines. */
export class SimNetwork {
  readonly #world: World
  readonly #listening = new Map<string, Listening>()
  readonly #open = new Set<End>()
  /** Ways that are closed: "from>to", by the names of the machines. */
  readonly closedWays = new Set<string>()
  /** Largest piece that arrives at once. */
  pieceBytes = 64 * 1024
  delayMs = 1
  /** Part of the calls that reach a listener twice. */
  twice = 0

  constructor(world: World) {
    this.#world = world
  }

  port(machine: Machine, process: SimProcess): Network {
    return {
      connect: (address, _key, timeoutMs) => this.#connect(machine, process, address, timeoutMs),
      listen: async (address, _key, accept) => this.#listen(machine, process, address, accept),
      listenPlain: async (address, accept) => this.#listen(machine, process, address, accept),
    }
  }

  isClosed(from: Machine, to: Machine): boolean {
    return this.closedWays.has(`${from.name}>${to.name}`)
  }

  /** Cuts a connection between two machines. `heard`: by both sides, or by one of them. */
  cut(heard: 'both' | 'caller' | 'called'): string | null {
    const ends = [...this.#open].filter(end => end.remote && !end.closed && end.caller)
    if (ends.length === 0) return null
    const end = this.#world.random.pick(ends)
    end.cut(heard)
    return `${end.machine.name} to ${end.peer?.machine.name ?? '?'}`
  }

  /** Bytes go again where a way is open again. */
  wake(): void {
    for (const end of this.#open) end.pump()
  }

  #listen(
    machine: Machine,
    process: SimProcess,
    address: Address,
    accept: (connection: Connection) => void,
  ): Listener {
    const key = keyOf(address)
    const there = this.#listening.get(key)
    if (there !== undefined && !there.process.dead) {
      throw new HotBackupError('ERR_LISTEN', `cannot listen at ${key}: EADDRINUSE`)
    }
    const listening = { machine, process, accept }
    this.#listening.set(key, listening)
    const close = () => {
      if (this.#listening.get(key) === listening) this.#listening.delete(key)
    }
    process.onEnd(close)
    return { address, close: async () => close() }
  }

  #connect(
    machine: Machine,
    process: SimProcess,
    address: Address,
    timeoutMs: number,
  ): Promise<Connection> {
    const { random, scheduler } = this.#world
    const key = keyOf(address)
    return new Promise((resolve, reject) => {
      const refuse = (delay: number, why: string) =>
        scheduler.after(delay, process, () => {
          reject(new HotBackupError('ERR_CONNECT', `cannot connect to ${key}: ${why}`))
        })
      // The call is on its way, on whatever the other side does meanwhile.
      scheduler.after(random.between(0, this.delayMs), null, () => {
        const there = this.#listening.get(key)
        const lost =
          there !== undefined &&
          (this.isClosed(machine, there.machine) || this.isClosed(there.machine, machine))
        if (lost) refuse(timeoutMs, 'ETIMEDOUT')
        else if (there === undefined || there.process.dead) refuse(0.1, 'ECONNREFUSED')
        else {
          if (random.chance(this.twice)) this.join([machine, process], there, () => {})
          this.join([machine, process], there, resolve)
        }
      })
    })
  }

  /** Makes a connection: each side gets its end in a turn of its own. */
  join(
    [machine, process]: readonly [Machine, SimProcess],
    there: Listening,
    connected: (connection: Connection) => void,
    remote = true,
  ): void {
    const world = this.#world
    const [near, far] = [
      new End(world, machine, process, there.machine.name, remote, true),
      new End(world, there.machine, there.process, machine.name, remote, false),
    ]
    near.peer = far
    far.peer = near
    for (const end of [near, far]) {
      this.#open.add(end)
      end.ended = () => this.#open.delete(end)
    }
    world.scheduler.after(0, there.process, () => there.accept(far))
    world.scheduler.after(world.random.between(0, this.delayMs), process, () => connected(near))
  }
}

function keyOf({ host, port }: Address): string {
  return `${host}:${port}`
}

/** One side of a connection. */
class End implements Connection {
  readonly remoteAddress: string
  readonly machine: Machine
  readonly process: SimProcess
  readonly remote: boolean
  readonly caller: boolean
  peer: End | null = null
  ended: () => void = () => {}
  closed = false
  readonly #world: World
  #events: ConnectionEvents | null = null
  #outgoing: Uint8Array[] = []
  #pending = 0
  #full = false
  #paused = false
  #finishing = false
  #pumping = false
  #closing: { readonly error: Error | null } | null = null
  /** Nobody is at the other side any more, and this one does not know. */
  #deaf = false

  constructor(
    world: World,
    machine: Machine,
    process: SimProcess,
    remoteAddress: string,
    remote: boolean,
    caller: boolean,
  ) {
    this.#world = world
    this.machine = machine
    this.process = process
    this.remoteAddress = remoteAddress
    this.remote = remote
    this.caller = caller
    process.onEnd(() => this.#processEnded())
  }

  get pendingBytes(): number {
    return this.#pending
  }

  listen(events: ConnectionEvents): void {
    this.#events = events
    if (this.#closing !== null) this.#tellClosed(this.#closing.error)
    this.peer?.pump()
  }

  write(bytes: Uint8Array): boolean {
    if (this.closed || this.#finishing || this.process.dead) return true
    this.#outgoing.push(bytes)
    this.#pending += bytes.length
    this.pump()
    this.#full = this.#pending >= outputBytesMax
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
    this.#finishing = true
    this.pump()
  }

  destroy(error?: Error): void {
    if (this.closed || this.process.dead) return
    this.#close(error ?? null)
    this.#hangUp()
  }

  cut(heard: 'both' | 'caller' | 'called'): void {
    const { peer } = this
    this.#world.note(`cut: ${this.machine.name} to ${this.remoteAddress}, heard by ${heard}`)
    const reset = new Error('ECONNRESET')
    for (const [end, hears] of [
      [this, heard !== 'called'],
      [peer, heard !== 'caller'],
    ] as const) {
      if (end === null) continue
      if (hears) this.#world.scheduler.after(this.#delay(), end.process, () => end.#close(reset))
      else end.#deaf = true
    }
  }

  /** Moves bytes to the peer, a piece at a time. */
  pump(): void {
    if (this.#pumping || this.closed) return
    if (this.#outgoing.length === 0 && !this.#finishing) return
    this.#pumping = true
    // The system sends what a process has written, also when that stands still.
    this.#world.scheduler.after(this.#delay(), null, () => {
      this.#pumping = false
      this.#deliver()
    })
  }

  #delay(): number {
    const { random, network } = this.#world
    return random.between(0, this.remote ? network.delayMs : 0.1)
  }

  #deliver(): void {
    const { peer } = this
    if (this.closed || peer === null || this.#deaf) return
    if (this.remote && this.#world.network.isClosed(this.machine, peer.machine)) return
    if (peer.closed) {
      // Somebody is there and knows nothing of this connection.
      if (!peer.machine.down) this.#resetBy()
      return
    }
    if (peer.#deaf) return
    const first = this.#outgoing[0]
    if (first === undefined) {
      if (this.#finishing || this.process.dead) this.#finish()
      return
    }
    if (!peer.#receptive || peer.process.stopped) {
      if (peer.process.stopped) peer.process.deferred.push(() => this.pump())
      return
    }
    const { pieceBytes } = this.#world.network
    const length = Math.min(first.length, this.#world.random.int(1, 4) === 1 ? pieceBytes : 262_144)
    const piece = Buffer.from(first.subarray(0, length))
    if (length === first.length) this.#outgoing.shift()
    else this.#outgoing[0] = first.subarray(length)
    this.#pending -= length
    this.#world.trace(peer.process, 'data', `${length}`)
    this.#world.scheduler.after(0, peer.process, () => {
      if (!peer.closed) peer.#events?.data(piece)
    })
    if (this.#pending === 0 && this.#full) {
      this.#full = false
      this.#world.scheduler.after(0, this.process, () => {
        if (!this.closed) this.#events?.drained()
      })
    }
    if (this.process.dead && this.#outgoing.length === 0) this.#finish()
    else this.pump()
  }

  get #receptive(): boolean {
    return this.#events !== null && !this.#paused && !this.closed
  }

  /** All that was queued has arrived: both sides end. */
  #finish(): void {
    const { peer } = this
    this.#close(null)
    if (peer !== null) peer.#hearEnd()
  }

  #hearEnd(): void {
    this.#world.scheduler.after(this.#delay(), this.process, () => this.#close(null))
  }

  #resetBy(): void {
    const reset = new Error('ECONNRESET')
    this.#world.scheduler.after(this.#delay(), this.process, () => this.#close(reset))
  }

  /** The other side hears of it, if it can. */
  #hangUp(): void {
    const { peer } = this
    if (peer === null || this.#deaf || peer.#deaf) return
    if (this.remote && this.#world.network.isClosed(this.machine, peer.machine)) return
    peer.#hearEnd()
  }

  #close(error: Error | null): void {
    if (this.closed) return
    this.closed = true
    this.#outgoing = []
    this.#pending = 0
    this.ended()
    this.#closing = { error }
    if (this.#events !== null) this.#tellClosed(error)
  }

  #tellClosed(error: Error | null): void {
    const events = this.#events
    this.#world.scheduler.after(0, this.process, () => events?.closed(error))
  }

  /** The system closes what a dead process had open; what it had written may still arrive. A machine that is down says
   * nothing. */
  #processEnded(): void {
    if (this.closed) return
    if (this.machine.down) {
      this.closed = true
      this.ended()
      return
    }
    if (this.#outgoing.length > 0 && this.#world.random.chance(0.5)) {
      this.pump()
      return
    }
    this.closed = true
    this.ended()
    this.#hangUp()
  }
}

/** Sockets within one machine, by path. */
export class SimLocalSockets {
  readonly #world: World
  readonly #machine: Machine
  readonly #listening = new Map<string, Listening>()

  constructor(world: World, machine: Machine) {
    this.#world = world
    this.#machine = machine
  }

  port(process: SimProcess): LocalSockets {
    const { scheduler, network } = this.#world
    const machine = this.#machine
    return {
      listen: async (path, accept) => {
        const listening = { machine, process, accept }
        this.#listening.set(path, listening)
        const close = () => {
          if (this.#listening.get(path) === listening) this.#listening.delete(path)
        }
        process.onEnd(close)
        return {
          close: async () => close(),
          isThere: async () => this.#listening.get(path) === listening,
        }
      },
      connect: path =>
        new Promise(resolve => {
          scheduler.after(0.05, process, () => {
            const there = this.#listening.get(path)
            if (there === undefined || there.process.dead) resolve(null)
            else network.join([machine, process], there, resolve, false)
          })
        }),
    }
  }
}
