// The door for programs that speak the Redis protocol: listens, and serves all connections in turns. What has come at
// all sockets in one round of the event loop is executed together, behind the last of them, so that all updates of the
// round share one block of the log and one fsync.
import { fileOfDatabase, type ServePolicy } from '../config/policies.ts'
import { HotBackupError } from '../errors.ts'
import { sleep, type Timer } from '../platform/clock.ts'
import { KeptSocket, type Report } from '../platform/kept-socket.ts'
import { addressText, type Address, type Connection, type Listener } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import type { Command } from './command.ts'
import { CommandTable } from './command-table.ts'
import { allCommands } from './commands/all.ts'
import { ClientConnection, type Door, type Output } from './connection.ts'
import { Context, type Identity } from './context.ts'
import { Executor } from './executor.ts'
import { defaultParserLimits } from './parser.ts'
import { Reply } from './reply.ts'
import { defaultSettings, type Settings } from './settings.ts'
import type { Store } from './store.ts'
import type { Users } from './user.ts'

export interface RespServerOptions {
  readonly platform: Pick<Platform, 'clock' | 'random' | 'localSockets' | 'disk' | 'network'>
  readonly identity: Identity
  /** Null: not open yet. */
  readonly store: Store | null
  readonly settings?: Partial<Settings>
  /** A TCP port of this machine beside the socket of `identity`; null: none. */
  readonly listen?: Address | null
  /** The files of databases that are not in the account REDIS (hb.toml, serve.databases). */
  readonly databases?: ServePolicy['databases']
  /** Ends the server, by order of a client; null where no client may. */
  readonly shutdown?: (() => void) | null
  /** Null: nobody has to log in. */
  readonly users?: Users | null
  /** Hears of faults that no client is to blame for. */
  readonly fault?: (error: unknown) => void
  /** Hears that the socket was deleted and made again. */
  readonly report?: Report
}

/** How often connections are looked at for those that are of no use. */
const lookMs = 1000
const closeMs = 1000
const closeLookMs = 5

/** Errors: ERR_DISK when the socket cannot be made, ERR_LISTEN. */
export async function openRespServer(options: RespServerOptions): Promise<RespServer> {
  const server = new RespServer(options)
  await server.listen()
  return server
}

export class RespServer implements Door {
  readonly context: Context
  readonly executor: Executor
  readonly reply: Reply
  readonly parserLimits = defaultParserLimits
  readonly #platform: RespServerOptions['platform']
  readonly #socketPath: string | null
  readonly #address: Address | null
  #port: Listener | null = null
  #socket: KeptSocket | null = null
  readonly #report: Report
  readonly #connections = new Set<ClientConnection>()
  #nextId = 1
  /** Those that have something to do in the coming turn. */
  #ready: ClientConnection[] = []
  readonly #forRoom = new Set<ClientConnection>()
  /** What this turn has to say, and must not yet. */
  #writes: Held[] = []
  #reads: Held[] = []
  readonly #fault: (error: unknown) => void
  #timer: Timer | null = null
  #closing: Promise<void> | null = null

  constructor(options: RespServerOptions) {
    const settings = { ...defaultSettings, ...options.settings }
    const table = new CommandTable<Command>(allCommands)
    const { clock, random } = options.platform
    this.#platform = options.platform
    this.#socketPath = options.identity.socketPath
    this.#address = options.listen ?? null
    this.reply = new Reply(settings.outputBytesMax)
    this.context = new Context({
      clock,
      random,
      settings,
      table,
      fileOf: index => fileOfDatabase(options.databases ?? {}, index),
      identity: options.identity,
      shutdown: options.shutdown ?? null,
      users: options.users ?? null,
    })
    this.#fault = options.fault ?? (() => {})
    this.#report = options.report ?? (() => {})
    this.executor = new Executor(this.context, table, this.reply, this.#fault)
    this.context.use(options.store)
  }

  async listen(): Promise<void> {
    const path = this.#socketPath
    if (path !== null) {
      const accept = (socket: Connection) => this.#accept(socket, path)
      this.#socket = await KeptSocket.open(this.#platform, path, accept, this.#report)
    }
    const address = this.#address
    if (address !== null) {
      const here = addressText(address)
      this.#port = await this.#platform.network
        .listenPlain(address, socket => this.#accept(socket, here))
        .catch(async (error: unknown) => {
          await this.#socket?.close()
          throw error
        })
    }
    this.#look()
  }

  /** Settings that hb.toml gives anew. */
  configure(settings: Partial<Settings>): void {
    Object.assign(this.context.settings, settings)
  }

  /** What commands work on from now on; null: their error is `unavailable`, or LOADING while the server opens it. */
  use(store: Store | null, unavailable?: string): void {
    this.context.use(store, unavailable)
  }

  /** Takes no more requests, lets replies leave that are under way, and closes all connections. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#timer?.cancel()
    const { clock } = this.#platform
    await this.#socket?.close()
    await this.#port?.close()
    const end = clock.monotonic() + closeMs
    for (const connection of this.#connections) connection.close(true)
    while (this.#connections.size > 0 && clock.monotonic() < end) await sleep(clock, closeLookMs)
    for (const connection of this.#connections) connection.close(false)
    await this.#socket?.ended()
  }

  #accept(socket: Connection, localAddress: string): void {
    const { context } = this
    context.stats.connections++
    if (this.#connections.size >= context.settings.maxClients || this.#closing !== null) {
      context.stats.rejectedConnections++
      socket.listen({ data: () => {}, drained: () => {}, closed: () => {} })
      socket.write(Buffer.from('-ERR max number of clients reached\r\n'))
      socket.end()
      return
    }
    const connection = new ClientConnection(this, socket, this.#nextId++, localAddress, false)
    this.#connections.add(connection)
    context.sessions.set(connection.session.id, connection.session)
  }

  closed(connection: ClientConnection): void {
    this.#connections.delete(connection)
    this.context.sessions.delete(connection.session.id)
  }

  schedule(connection: ClientConnection): void {
    if (connection.scheduled) return
    connection.scheduled = true
    if (this.#ready.push(connection) === 1) this.#platform.clock.nextTurn(this.#turn)
  }

  readonly #turn = (): void => {
    const ready = this.#ready
    this.#ready = []
    for (const connection of ready) {
      connection.scheduled = false
      try {
        connection.work()
      } catch (error) {
        this.reply.cutBack(0)
        this.#fault(error)
        connection.close(false)
      }
    }
    this.#release()
  }

  hold(connection: ClientConnection, output: Output, what: 'writes' | 'reads'): void {
    const held = { connection, output }
    if (what === 'writes') this.#writes.push(held)
    else this.#reads.push(held)
  }

  /** One promise for all that were held in this turn. */
  #release(): void {
    const store = this.context.opened?.store
    if (this.#writes.length > 0) {
      const done = store?.writes?.done() ?? closedMeanwhile()
      release(this.#writes, done)
      this.#writes = []
    }
    if (this.#reads.length > 0) {
      release(this.#reads, store?.settled() ?? closedMeanwhile())
      this.#reads = []
    }
  }

  scheduleWhenRoom(connection: ClientConnection): void {
    this.#forRoom.add(connection)
    if (this.#forRoom.size > 1) return
    const { paused, opened } = this.context
    const room = paused?.end ?? opened?.store.writes?.room() ?? Promise.resolve()
    const go = () => {
      const waiting = [...this.#forRoom]
      this.#forRoom.clear()
      for (const each of waiting) this.schedule(each)
    }
    // Where there will be no room any more, each of them hears of it by its own update.
    room.then(go, go)
  }

  #look(): void {
    this.#timer = this.#platform.clock.after(lookMs, () => this.#look(), true)
    const now = this.#platform.clock.monotonic()
    for (const connection of this.#connections) connection.look(now)
  }
}

interface Held {
  readonly connection: ClientConnection
  readonly output: Output
}

function release(held: readonly Held[], done: Promise<void>): void {
  done.then(
    () => {
      for (const { output } of held) output.ready = true
      for (const { connection } of held) connection.flush()
    },
    (error: unknown) => {
      for (const { connection, output } of held) connection.fail(output, error)
    },
  )
}

function closedMeanwhile(): Promise<void> {
  return Promise.reject(new HotBackupError('ERR_CLOSED', 'the server was closed meanwhile'))
}
