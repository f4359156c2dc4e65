// The control socket of a running process: how commands reach the server that it has open. A socket that was deleted
// is made again. Requests of one connection are carried out one after the other, in order; each is answered by some
// parts and an end.
//
//   request  { operation, …arguments } and bytes
//   answers  { part: … } and bytes, any number; then { end: true } or { error: { code, message, place } }
//   notice   { ready: true }, first of all: a request that was sent to a connection without it was never taken
//   notice   { closing: true }: the server closes; requests that have no answer yet have not been carried out
import path from 'node:path'
import { HotBackupError } from '../errors.ts'
import type { Timer } from '../platform/clock.ts'
import type { LocalListener } from '../platform/local-socket.ts'
import type { Connection } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import type { DifferencesPage } from '../wire/messages/differences.ts'
import type { ReloadReport } from '../config/live-config.ts'
import { CopySession, type CopySource } from '../backup/copy-session.ts'
import type { Log } from '../config/messages-log.ts'
import type { DataSource } from '../data/data-source.ts'
import { differencesToJson } from './differences-json.ts'
import { errorToJson } from './error-json.ts'
import { encodeFrame, FrameDecoder, textOf, type Frame, type JsonObject } from './frames.ts'
import { Arguments, operations, type Message } from '../data/operations.ts'

/** What a process offers on its control socket. */
export interface ControlServices {
  /** Answers "status" with what JSON can hold. */
  status(): Promise<object>
  /** Resolves when it is known whether updates may be taken: all but "status" and "fence" wait for that. */
  opened?(): Promise<void>
  /** The data commands. */
  readonly data?: DataSource
  /** Why there are no data to be served or copied; null when there are. */
  readonly damage?: HotBackupError | null
  /** On a slave: switches "apply updates". Off resolves when the database stands still at a checkpoint. */
  applyUpdates?(on: boolean): Promise<void>
  /** On a master: another server may be the master now. Resolves when no update is taken any more if it is so. */
  fence?(): Promise<void>
  /** On a master that is fenced: it is closed soon, since it becomes a slave. */
  handOver?(): void
  /** On a slave: applies by hand, see hb-replay(1). */
  replay?(request: JsonObject): AsyncGenerator<Message>
  /** On a master: takes in updates that an old master had and this one never got, see hb-replay(1). */
  replayMissing?(request: JsonObject): AsyncGenerator<Message>
  /** On a slave: makes a master of it, and says how; a dry run tries what that needs. */
  promote?(dryRun: boolean): Promise<object>
  /** Lets others copy the directory while the server works. */
  readonly copying?: CopySource
  /** Gives a slave a copy of the database, and tells how far that is. */
  seed?(slave: string): AsyncIterable<object>
  /** On a master: a slave that had joined is one no longer. */
  forget?(slave: string): Promise<void>
  /** What this slave has done since its start, or one that this server ships to. */
  statistics?(slave: string | null): Promise<object>
  /** Mends what is damaged in the log, beside the server's work, and tells what that was. */
  mend?(): Promise<readonly object[]>
  /** Reads hb.toml again. */
  reload?(): Promise<ReloadReport>
  /** Where a slave that this server ships to knows itself to be different, from some line on. */
  differences?(slave: string, start: number): Promise<DifferencesPage>
}

/** Requests that a connection may have waiting before it is read no further. */
const waitingMax = 4
/** A client that has heard that the server closes, and does not hang up, is cut off after this. */
const goodbyeMs = 1000

/** The path of the socket is looked at this often. */
const lookMs = 1000

type ControlPlatform = Pick<Platform, 'localSockets' | 'clock' | 'disk'>

export class ControlServer {
  readonly #platform: ControlPlatform
  readonly #path: string
  readonly #services: ControlServices
  readonly #say: Log
  readonly #peers = new Set<Peer>()
  #listener: LocalListener | null = null
  /** Listeners end with their last connection. */
  readonly #ends: Promise<void>[] = []
  #looking: Promise<void> = Promise.resolve()
  #timer: Timer | null = null
  #closed = false
  /** It has been reported that commands cannot reach this process. */
  #reported = false

  private constructor(
    platform: ControlPlatform,
    socket: string,
    say: Log,
    services: ControlServices,
  ) {
    this.#platform = platform
    this.#path = socket
    this.#services = services
    this.#say = say
  }

  /**
   * Listens at the path `socket`, also after that was deleted. The caller holds the lock of what it serves. Throws
   * ERR_DISK.
   */
  static async start(
    platform: ControlPlatform,
    socket: string,
    say: Log,
    services: ControlServices,
  ): Promise<ControlServer> {
    const server = new ControlServer(platform, socket, say, services)
    await server.#listen()
    server.#lookLater()
    return server
  }

  async #listen(): Promise<void> {
    this.#listener = await this.#platform.localSockets.listen(this.#path, connection => {
      const peer = new Peer(connection, this.#services, () => this.#peers.delete(peer))
      this.#peers.add(peer)
    })
  }

  #lookLater(): void {
    if (this.#closed) return
    const look = () => {
      this.#looking = this.#look().then(() => this.#lookLater())
    }
    this.#timer = this.#platform.clock.after(lookMs, look, true)
  }

  /** Commands find this process by the path: what was deleted there is made again. */
  async #look(): Promise<void> {
    try {
      if ((await this.#listener?.isThere()) === true || this.#closed) return
      this.#endListener()
      await this.#makeDirectory()
      await this.#listen()
      this.#reported = false
      this.#say('warn', `the socket ${this.#path} was gone, and has been made again`)
    } catch (error) {
      if (!this.#reported) {
        this.#say('error', `commands cannot reach this process: ${String(error)}`)
      }
      this.#reported = true
    }
  }

  /** Its connections stay. The system removes what lies at the path when a listener is closed. */
  #endListener(): void {
    if (this.#listener !== null) this.#ends.push(this.#listener.close())
    this.#listener = null
  }

  /** Not that of a server which was moved away. */
  async #makeDirectory(): Promise<void> {
    const { disk } = this.#platform
    const directory = path.dirname(this.#path)
    if (await disk.exists(path.dirname(directory))) await disk.makeDirectory(directory)
  }

  /** Finishes the requests that are being carried out (but breaks off a long answer) and takes no others. */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#looking
    this.#endListener()
    const peers = [...this.#peers]
    await Promise.all(peers.map(peer => peer.close()))
    const patience = this.#platform.clock.after(goodbyeMs, () => {
      for (const peer of peers) peer.drop()
    })
    await Promise.all(this.#ends)
    patience.cancel()
  }
}

/** One connection, on the server's side. */
class Peer {
  readonly #connection: Connection
  readonly #services: ControlServices
  readonly #decoder = new FrameDecoder()
  readonly #waiting: Frame[] = []
  #copy: CopySession | null = null
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
        this.#copy?.end()
        left()
      },
    })
    this.#notify({ ready: true })
  }

  async close(): Promise<void> {
    this.#closing = true
    this.#copy?.end()
    // A client that does not read must not hold up the server.
    this.#room()
    await this.#work
    if (this.#gone) return
    this.#notify({ closing: true })
    this.#connection.end()
    // Bytes that were never read would make the system forget what has just been written.
    this.#connection.resume()
  }

  #notify(notice: JsonObject): void {
    for (const bytes of encodeFrame(notice, noBytes)) this.#connection.write(bytes)
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
      for await (const { header, body } of this.#run(request)) {
        // Only reading gives more than one part: nothing is left half done.
        if (this.#closing && parts > 0) throw new HotBackupError('ERR_CLOSED', 'the server closes')
        await this.#send({ part: header }, body ?? noBytes)
        parts++
        if (this.#gone) return
      }
      await this.#send({ end: true }, noBytes)
    } catch (error) {
      await this.#send({ error: errorToJson(error) }, noBytes)
    }
  }

  async *#run({ header, body }: Frame): AsyncGenerator<Message> {
    const name = textOf(header['operation'])
    const services = this.#services
    const { data } = services
    if (name !== 'status' && name !== 'fence') await services.opened?.()
    if (name === 'status') {
      yield { header: (await services.status()) as JsonObject }
    } else if (name === 'apply-updates') {
      if (services.applyUpdates === undefined) {
        throw new HotBackupError('ERR_WRONG_TYPE', 'only a slave applies updates')
      }
      await services.applyUpdates(header['on'] === true)
      yield { header: {} }
    } else if (name === 'fence') {
      await services.fence?.()
      yield { header: {} }
    } else if (name === 'hand-over') {
      services.handOver?.()
      yield { header: {} }
    } else if (name === 'replay') {
      if (services.replay === undefined) throw notHere(name)
      yield* services.replay(header)
    } else if (name === 'replay-missing') {
      if (services.replayMissing === undefined) throw notHere(name)
      yield* services.replayMissing(header)
    } else if (name === 'promote') {
      if (services.promote === undefined) {
        throw new HotBackupError('ERR_WRONG_TYPE', 'only a slave is promoted')
      }
      yield { header: (await services.promote(header['dryRun'] === true)) as JsonObject }
    } else if (name === 'seed') {
      if (services.seed === undefined) {
        throw new HotBackupError('ERR_WRONG_TYPE', 'this server sends nothing to slaves')
      }
      for await (const step of services.seed(textOf(header['slave']))) {
        yield { header: step as JsonObject }
      }
    } else if (name === 'forget') {
      if (services.forget === undefined) throw notHere(name)
      await services.forget(textOf(header['slave']))
    } else if (name === 'statistics') {
      if (services.statistics === undefined) throw notHere(name)
      const slave = header['slave'] ?? null
      const answer = await services.statistics(slave === null ? null : textOf(slave))
      yield { header: answer as JsonObject }
    } else if (name === 'mend') {
      if (services.mend === undefined) throw notHere(name)
      yield { header: { mended: (await services.mend()) as readonly JsonObject[] } }
    } else if (name === 'reload') {
      if (services.reload === undefined) throw notHere(name)
      const { applied, needsRestart } = await services.reload()
      yield { header: { applied, needsRestart } }
    } else if (name === 'differences') {
      if (services.differences === undefined) throw notHere(name)
      const start = Number(header['start'])
      const page = await services.differences(textOf(header['slave']), start)
      yield { header: differencesToJson(page) }
    } else if (name.startsWith('copy-')) {
      yield* this.#copying(name)
    } else {
      const operation = Object.hasOwn(operations, name) ? operations[name] : undefined
      if (operation === undefined || data === undefined) {
        throw notHere(name)
      }
      checkSound(services)
      yield* operation(data, new Arguments(header, body))
    }
  }

  /** copy-begin, then copy-changes, copy-hold and copy-release in any order; hanging up ends it. */
  async *#copying(name: string): AsyncGenerator<Message> {
    const source = this.#services.copying
    if (source === undefined) {
      throw new HotBackupError('ERR_WIRE', 'this process does not own what is to be copied')
    }
    checkSound(this.#services)
    const copy = (this.#copy ??= new CopySession(source))
    if (name === 'copy-hold') await copy.hold()
    else if (name === 'copy-release') copy.release()
    else if (name === 'copy-changes') for (const body of copy.changes()) yield { header: {}, body }
    yield { header: {} }
  }

  async #send(header: JsonObject, body: Uint8Array): Promise<void> {
    if (this.#gone) return
    let room = true
    for (const bytes of encodeFrame(header, body)) room = this.#connection.write(bytes)
    if (room || this.#closing) return
    await new Promise<void>(resolve => {
      this.#room = resolve
    })
  }
}

const noBytes = new Uint8Array()

function checkSound({ damage = null }: ControlServices): void {
  if (damage !== null) throw damage
}

function notHere(name: string): HotBackupError {
  return new HotBackupError('ERR_WIRE', `this process has no operation "${name}"`)
}
