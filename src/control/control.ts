// The control socket of a running process: how commands reach the server that it has open. Requests of one connection
// are carried out one after the other, in order (envelope.ts).
import { HotBackupError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import { KeptSocket, type KeptSocketPlatform } from '../platform/kept-socket.ts'
import type { Connection } from '../platform/network.ts'
import type { Log } from '../config/messages-log.ts'
import { decodeRequest, encodeError, encodeMessage, encodeNotice } from './envelope.ts'
import { FrameDecoder, type Frame } from './frames.ts'
import type { Handler, Peer } from './handler.ts'
import { unknownOperation } from './operation.ts'

/** What a process offers on its control socket. */
export interface ControlServices {
  readonly handlers: readonly Handler[]
  /** Resolves when it is known whether updates may be taken: all operations but the early ones wait for that. */
  opened?(): Promise<void>
  /** Why there are no data to be served or copied; null when there are. */
  readonly damage?: HotBackupError | null
}

/** Requests that a connection may have waiting before it is read no further. */
const waitingMax = 4
/** A client that has heard that the server closes, and does not hang up, is cut off after this. */
const goodbyeMs = 1000

export class ControlServer {
  readonly #clock: Clock
  readonly #services: ControlServices
  readonly #peers = new Set<ControlConnection>()
  #socket: KeptSocket | null = null

  private constructor(clock: Clock, services: ControlServices) {
    this.#clock = clock
    this.#services = services
  }

  /**
   * Listens at the path `socket`, also after that was deleted. The caller holds the lock of what it serves. Throws
   * ERR_DISK.
   */
  static async start(
    platform: KeptSocketPlatform,
    socket: string,
    say: Log,
    services: ControlServices,
  ): Promise<ControlServer> {
    const server = new ControlServer(platform.clock, services)
    server.#socket = await KeptSocket.open(
      platform,
      socket,
      connection => server.#accept(connection),
      say,
    )
    return server
  }

  #accept(connection: Connection): void {
    const peer = new ControlConnection(connection, this.#services, () => this.#peers.delete(peer))
    this.#peers.add(peer)
  }

  /** Finishes the requests that are being carried out (but breaks off a long answer) and takes no others. */
  async close(): Promise<void> {
    await this.#socket?.close()
    const peers = [...this.#peers]
    await Promise.all(peers.map(peer => peer.close()))
    const patience = this.#clock.after(goodbyeMs, () => {
      for (const peer of peers) peer.drop()
    })
    await this.#socket?.ended()
    patience.cancel()
  }
}

/** One connection, on the server's side. */
class ControlConnection implements Peer {
  readonly #connection: Connection
  readonly #services: ControlServices
  readonly #decoder = new FrameDecoder()
  readonly #waiting: Frame[] = []
  /** To be called when the connection ends. */
  readonly #ends: (() => void)[] = []
  #work: Promise<void> = Promise.resolve()
  #busy = false
  #closing = false
  #gone = false
  /** Resolves the wait for room in the connection's buffer. */
  #room: () => void = () => {}

  constructor(connection: Connection, services: ControlServices, left: () => void) {
    this.#connection = connection
    this.#services = services
    connection.listen({
      data: bytes => this.#take(bytes),
      drained: () => this.#room(),
      closed: () => {
        this.#gone = true
        this.#room()
        this.#end()
        left()
      },
    })
    this.#notify('ready')
  }

  async close(): Promise<void> {
    this.#closing = true
    this.#end()
    // A client that does not read must not hold up the server.
    this.#room()
    await this.#work
    if (this.#gone) return
    this.#notify('closing')
    this.#connection.end()
    // Bytes that were never read would make the system forget what has just been written.
    this.#connection.resume()
  }

  #notify(notice: 'ready' | 'closing'): void {
    for (const bytes of encodeNotice(notice)) this.#connection.write(bytes)
  }

  drop(): void {
    this.#connection.destroy()
  }

  #take(bytes: Buffer): void {
    if (this.#closing) return
    try {
      this.#waiting.push(...this.#decoder.push(bytes))
    } catch (error) {
      this.#connection.destroy(error as Error)
      return
    }
    if (this.#waiting.length > waitingMax) this.#connection.pause()
    if (this.#busy || this.#waiting.length === 0) return
    this.#busy = true
    this.#work = this.#serve()
  }

  async #serve(): Promise<void> {
    for (;;) {
      const request = this.#closing || this.#gone ? undefined : this.#waiting.shift()
      if (request === undefined) break
      if (this.#waiting.length <= waitingMax) this.#connection.resume()
      await this.#answer(request)
    }
    this.#busy = false
  }

  async #answer(request: Frame): Promise<void> {
    let parts = 0
    try {
      const answer = await this.#run(request)
      try {
        for (;;) {
          const next = await answer.next()
          // Only reading gives parts: nothing is left half done.
          if (this.#closing && parts > 0) {
            throw new HotBackupError('ERR_CLOSED', 'the server closes')
          }
          await this.#send(encodeMessage(next.done === true ? 'answer' : 'part', next.value))
          if (next.done === true || this.#gone) return
          parts++
        }
      } finally {
        await answer.return({})
      }
    } catch (error) {
      await this.#send(encodeError(error))
    }
  }

  async #run(request: Frame): Promise<AsyncGenerator<object, object, undefined>> {
    const { operation, message } = decodeRequest(request)
    const handler = this.#services.handlers.find(({ name }) => name === operation)
    if (handler?.early !== true) await this.#services.opened?.()
    if (handler === undefined) throw unknownOperation(operation)
    const { damage = null } = this.#services
    if (handler.data && damage !== null) throw damage
    return handler.run(message, this)
  }

  onEnd(ended: () => void): void {
    this.#ends.push(ended)
    if (this.#gone || this.#closing) ended()
  }

  #end(): void {
    for (const ended of this.#ends.splice(0)) ended()
  }

  async #send(frame: readonly Uint8Array[]): Promise<void> {
    if (this.#gone) return
    let room = true
    for (const bytes of frame) room = this.#connection.write(bytes)
    if (room || this.#closing) return
    await new Promise<void>(resolve => {
      this.#room = resolve
    })
  }
}
