// How a command gets at the data of a server, whatever state it is in.
//
//   a process owns the server      its control socket carries the operation out
//   none does, and it is read      the files are looked at, and the end of the log is replayed in memory;
//                                  nothing is locked, held up or changed
//   none does, and it is written   this process opens the master for the moment (others wait for it, or use it)
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { sleep } from '../platform/clock.ts'
import type { LockHolder } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { ControlClient, RequestNotTaken } from '../control/control-client.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import type { Answer, Caller, Operation, Part, Request } from '../control/operation.ts'
import { updateOperations } from '../data/data-operations.ts'
import type { Access } from './local-access.ts'
import { OwnerPatience } from '../control/owner.ts'

const ownerPollMs = 25
/** How often a request that was taken starts anew when its owner goes meanwhile. */
const attemptsMax = 5

/** Runs `work` with the server's data at hand. Throws ERR_NOT_A_SERVER, ERR_READ_ONLY, ERR_RUNNING and so on. */
export async function withData<T>(
  platform: Platform,
  directory: string,
  mode: 'read' | 'write',
  work: (data: Caller) => Promise<T>,
): Promise<T> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  const session = new Session(platform, layout, config, mode)
  try {
    const result = await work(session)
    await session.finish()
    return result
  } finally {
    await session.close()
  }
}

/** Keeps a way to the data open, and finds another one when the server's owner comes or goes. */
class Session implements Caller {
  readonly #platform: Platform
  readonly #layout: Layout
  readonly #config: Config
  readonly #mode: 'read' | 'write'
  /** For all attempts together: what was not taken is tried again for as long as owners come and go. */
  readonly #patience: OwnerPatience
  #access: Access | null = null

  constructor(platform: Platform, layout: Layout, config: Config, mode: 'read' | 'write') {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    this.#mode = mode
    this.#patience = new OwnerPatience(platform.clock)
  }

  async *call<O extends Operation>(
    operation: O,
    request: Request<O>,
  ): AsyncGenerator<Part<O>, Answer<O>, undefined> {
    for (let attempt = 1; ; attempt++) {
      let begun = false
      try {
        this.#access ??= await this.#open()
        const noted = () => {
          begun = true
        }
        return yield* noting(this.#access.call(operation, request), noted)
      } catch (error) {
        const untaken = error instanceof RequestNotTaken
        if (
          begun ||
          (!untaken && (attempt >= attemptsMax || !this.#mayStartAnew(error, operation)))
        ) {
          throw error
        }
        if (untaken && this.#patience.isOver(await this.#owner())) throw error
        await this.close()
      }
    }
  }

  /** An update is sent again only when it was not carried out, or when carrying it out twice is the same. */
  #mayStartAnew(error: unknown, operation: Operation): boolean {
    if (isHotBackupError(error, 'ERR_DATABASE_CHANGED')) return this.#access?.files !== false
    const repeatable = this.#mode === 'read' || operation === updateOperations.writeItems
    return repeatable && isHotBackupError(error, 'ERR_CLOSED')
  }

  #owner(): Promise<LockHolder | null> {
    return this.#platform.locks.holder(this.#layout.ownerLock)
  }

  async finish(): Promise<void> {
    await this.#access?.finish?.()
  }

  async close(): Promise<void> {
    const access = this.#access
    this.#access = null
    await access?.close()
  }

  async #open(): Promise<Access> {
    const { clock } = this.#platform
    for (;;) {
      const client = await ControlClient.connect(this.#platform, this.#layout.ownerSocket)
      if (client !== null) return remoteAccess(client)
      // The database is loaded by who needs it: with a server that runs, most commands start in half the time.
      const local = await import('./local-access.ts')
      if (this.#mode === 'read') {
        return local.readFiles(this.#platform, this.#layout, this.#config)
      }
      if (this.#config.type === 'slave') {
        const message = `${this.#config.name} is a slave`
        throw new HotBackupError('ERR_READ_ONLY', message, { path: this.#layout.directory })
      }
      try {
        return await local.openMaster(this.#platform, this.#layout)
      } catch (error) {
        // The owner may be about to listen, or about to leave.
        if (!isHotBackupError(error, 'ERR_RUNNING')) throw error
        if (this.#patience.isOver(await this.#owner())) throw error
        await sleep(clock, ownerPollMs)
      }
    }
  }
}

function remoteAccess(client: ControlClient): Access {
  return {
    files: false,
    call: (operation, request) => client.call(operation, request),
    close: () => {
      client.close()
      return Promise.resolve()
    },
  }
}

/** Tells of each part before it is given on. */
async function* noting<P, A>(
  answer: AsyncGenerator<P, A, undefined>,
  noted: () => void,
): AsyncGenerator<P, A, undefined> {
  try {
    for (;;) {
      const next = await answer.next()
      if (next.done === true) return next.value
      noted()
      yield next.value
    }
  } finally {
    // It has ended, or is of no interest any more.
    await answer.return(undefined as A)
  }
}
