// A program's way to the server of a directory: one connection to the process that owns it, made again when that
// process dies, is started again, or changes its role. What was not taken is sent again, and so is what only reads. An
// update that was sent and not answered never is.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { ConnectionLost, ControlClient, RequestNotTaken } from '../control/control-client.ts'
import {
  ask,
  type Answer,
  type Caller,
  type Operation,
  type Part,
  type Request,
} from '../control/operation.ts'
import { liveHolder } from '../control/reach.ts'
import type { Layout } from '../config/layout.ts'

const pollMs = 50
/** A server that is killed is back within about a second, and one that is promoted or restarted within a few. */
const patienceMs = 30_000

export type LinePlatform = Pick<Platform, 'clock' | 'localSockets' | 'locks'>

export class Line implements Caller {
  readonly #platform: LinePlatform
  readonly #layout: Layout
  #client: ControlClient | null = null
  #connecting: Promise<ControlClient> | null = null
  #closed = false

  constructor(platform: LinePlatform, layout: Layout) {
    this.#platform = platform
    this.#layout = layout
  }

  /**
   * Sends a request and gives its answer as a whole. `repeatable`: it only reads. Throws the server's error,
   * ERR_NOT_RUNNING when no server comes, ERR_OUTCOME for an update that may have been made, and ERR_CLOSED.
   */
  async answer<O extends Operation>(
    repeatable: boolean,
    operation: O,
    request: Request<O>,
  ): Promise<{ readonly parts: readonly Part<O>[]; readonly answer: Answer<O> }> {
    for (;;) {
      const parts: Part<O>[] = []
      let client: ControlClient | null = null
      try {
        client = await this.connect()
        const answer = await ask(client, operation, request, part => parts.push(part))
        return { parts, answer }
      } catch (error) {
        await this.#recover(error, client)
        if (error instanceof ConnectionLost && !repeatable) throw unknownOutcome(error)
      }
    }
  }

  /** The same for an answer of any length: its parts, which are not sent twice. */
  async *call<O extends Operation>(
    operation: O,
    request: Request<O>,
  ): AsyncGenerator<Part<O>, Answer<O>, undefined> {
    for (let begun = false; ;) {
      let client: ControlClient | null = null
      try {
        client = await this.connect()
        const answer = client.call(operation, request)
        for (;;) {
          const next = await answer.next()
          if (next.done === true) return next.value
          begun = true
          yield next.value
        }
      } catch (error) {
        if (begun) throw error
        await this.#recover(error, client)
      }
    }
  }

  /** Resolves when the request may be sent again. */
  async #recover(error: unknown, client: ControlClient | null): Promise<void> {
    if (this.#closed) throw error
    if (error instanceof ConnectionLost || error instanceof RequestNotTaken) {
      client?.close()
      if (this.#client === client) this.#client = null
    } else if (!isRefusal(error)) throw error
    await this.pause()
  }

  /** Throws ERR_NOT_RUNNING, ERR_CLOSED, ERR_DISK. */
  connect(): Promise<ControlClient> {
    if (this.#closed) return Promise.reject(closed())
    if (this.#client !== null) return Promise.resolve(this.#client)
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null
    })
    return this.#connecting
  }

  async #connect(): Promise<ControlClient> {
    const { clock } = this.#platform
    const start = clock.monotonic()
    for (;;) {
      const client = await ControlClient.connect(this.#platform, this.#layout.ownerSocket)
      if (this.#closed) {
        client?.close()
        throw closed()
      }
      if (client !== null) return (this.#client = client)
      if (clock.monotonic() - start > patienceMs || (await this.#stopped())) {
        const message = `no server runs in ${this.#layout.directory}`
        throw new HotBackupError('ERR_NOT_RUNNING', message, { path: this.#layout.directory })
      }
      await sleep(clock, pollMs)
    }
  }

  /** Nothing runs, and nothing is there that would start it again. */
  async #stopped(): Promise<boolean> {
    const { ownerLock, supervisorLock } = this.#layout
    if ((await liveHolder(this.#platform, ownerLock)) !== null) return false
    return (await liveHolder(this.#platform, supervisorLock)) === null
  }

  /** Before what was refused is sent again. */
  pause(): Promise<void> {
    return sleep(this.#platform.clock, pollMs)
  }

  close(): void {
    this.#closed = true
    this.#client?.close()
    this.#client = null
  }
}

function closed(): HotBackupError {
  return new HotBackupError(
    'ERR_CLOSED',
    'the connection was closed',
    {},
    undefined,
    'Connect again.',
  )
}

function unknownOutcome(cause: HotBackupError): HotBackupError {
  const message = `it is not known whether the update was made: ${cause.message}`
  return new HotBackupError('ERR_OUTCOME', message, cause.place, cause)
}

/** The server has stopped taking updates before this one. */
export function isRefusal(error: unknown): boolean {
  return isHotBackupError(error, 'ERR_CLOSED') && !(error instanceof ConnectionLost)
}
