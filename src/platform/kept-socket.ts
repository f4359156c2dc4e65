// A socket of this machine that a server listens at for as long as it runs: others find the server by the socket's
// path, so one that was deleted or replaced there is made again.
import path from 'node:path'
import type { Clock, Timer } from './clock.ts'
import type { Disk } from './disk.ts'
import type { LocalListener, LocalSockets } from './local-socket.ts'
import type { Connection } from './network.ts'

/** The path is looked at this often. */
const lookMs = 1000

export interface KeptSocketPlatform {
  readonly localSockets: LocalSockets
  readonly clock: Clock
  readonly disk: Pick<Disk, 'exists' | 'makeDirectory'>
}

/** Learns that the socket was made again, or once that it cannot be. */
export type Report = (level: 'warn' | 'error', message: string) => void

export class KeptSocket {
  readonly #platform: KeptSocketPlatform
  readonly #path: string
  readonly #accept: (connection: Connection) => void
  readonly #report: Report
  #listener: LocalListener | null = null
  /** Listeners end with their last connection. */
  readonly #ends: Promise<void>[] = []
  #looking: Promise<void> = Promise.resolve()
  #timer: Timer | null = null
  #closed = false
  #failed = false

  private constructor(
    platform: KeptSocketPlatform,
    path: string,
    accept: (connection: Connection) => void,
    report: Report,
  ) {
    this.#platform = platform
    this.#path = path
    this.#accept = accept
    this.#report = report
  }

  /** Listens at `path`. The caller holds the lock of what it serves. Throws ERR_DISK. */
  static async open(
    platform: KeptSocketPlatform,
    path: string,
    accept: (connection: Connection) => void,
    report: Report,
  ): Promise<KeptSocket> {
    const socket = new KeptSocket(platform, path, accept, report)
    await socket.#listen()
    socket.#lookLater()
    return socket
  }

  async #listen(): Promise<void> {
    this.#listener = await this.#platform.localSockets.listen(this.#path, this.#accept)
  }

  #lookLater(): void {
    if (this.#closed) return
    const look = () => {
      this.#looking = this.#look().then(() => this.#lookLater())
    }
    this.#timer = this.#platform.clock.after(lookMs, look, true)
  }

  async #look(): Promise<void> {
    try {
      if ((await this.#listener?.isThere()) === true || this.#closed) return
      this.#endListener()
      await this.#makeDirectory()
      await this.#listen()
      this.#failed = false
      this.#report('warn', `the socket ${this.#path} was gone, and has been made again`)
    } catch (error) {
      if (!this.#failed) this.#report('error', `this process cannot be reached: ${String(error)}`)
      this.#failed = true
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

  /** Accepts no more connections. Those that there are stay. */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#looking
    this.#endListener()
  }

  /** After `close`: resolves when the last connection has ended. */
  async ended(): Promise<void> {
    await Promise.all(this.#ends)
  }
}
