// What all commands share: the server's settings, counts and clients, and what it has open.
import type { Clock, Timer } from '../platform/clock.ts'
import type { Usage } from '../platform/processes.ts'
import type { Random } from '../platform/random.ts'
import { DirectAccess } from './access.ts'
import type { CommandInfo } from './command-info.ts'
import type { CommandTable } from './command-table.ts'
import { Feed } from './feed.ts'
import { Keyspace, type DatabaseFile } from './keyspace.ts'
import type { Session } from './session.ts'
import type { Settings } from './settings.ts'
import { Slowlog } from './slowlog.ts'
import { Stats } from './stats.ts'
import type { Store } from './store.ts'
import type { Users } from './user.ts'
import { Watches } from './watches.ts'

/** What there is while the server has its database open. */
export interface Opened {
  readonly store: Store
  readonly keyspace: Keyspace
  readonly direct: DirectAccess
  readonly watches: Watches
  readonly feed: Feed
}

export interface ContextParts {
  readonly clock: Clock
  readonly random: Random
  readonly settings: Settings
  readonly table: CommandTable<CommandInfo>
  /** The file of database n. */
  readonly fileOf: (index: number) => DatabaseFile
  readonly identity: Identity
  /** Ends the server; null where no client may. */
  readonly shutdown: (() => void) | null
  /** Null: nobody has to log in. */
  readonly users: Users | null
}

/** Of the server, for INFO. */
export interface Identity {
  readonly name: string
  readonly version: string
  readonly directory: string
  readonly pid: number
  /** 0: none. */
  readonly port: number
  readonly socketPath: string | null
  readonly configPath: string
  /** The operating system, and the program. */
  readonly system: string
  readonly executable: string
  usage(this: void): Usage
}

interface Paused {
  readonly writesOnly: boolean
  readonly end: Promise<void>
  readonly timer: Timer
  readonly resume: () => void
}

export class Context {
  readonly clock: Clock
  readonly random: Random
  readonly settings: Settings
  readonly table: CommandTable<CommandInfo>
  readonly identity: Identity
  readonly shutdown: (() => void) | null
  readonly users: Users | null
  readonly stats = new Stats()
  readonly slowlog: Slowlog
  readonly sessions = new Map<number, Session>()
  /** By the monotonic clock. */
  readonly since: number
  readonly #fileOf: (index: number) => DatabaseFile
  #opened: Opened | null = null
  #unavailable = loading
  #paused: Paused | null = null

  constructor(parts: ContextParts) {
    this.clock = parts.clock
    this.random = parts.random
    this.settings = parts.settings
    this.table = parts.table
    this.identity = parts.identity
    this.shutdown = parts.shutdown
    this.users = parts.users
    this.slowlog = new Slowlog(parts.settings)
    this.since = parts.clock.monotonic()
    this.#fileOf = parts.fileOf
  }

  /** Null while the server opens its database, or changes its role. */
  get opened(): Opened | null {
    return this.#opened
  }

  /** Resolves when commands are executed again; null while they are. Of some commands: those that write. */
  get paused(): { readonly writesOnly: boolean; readonly end: Promise<void> } | null {
    return this.#paused
  }

  /** Commands wait from now on, for so long. */
  pause(ms: number, writesOnly: boolean): void {
    this.unpause()
    let resume = () => {}
    const end = new Promise<void>(resolve => {
      resume = resolve
    })
    const timer = this.clock.after(ms, () => this.unpause(), true)
    this.#paused = { writesOnly, end, timer, resume }
  }

  unpause(): void {
    const paused = this.#paused
    this.#paused = null
    paused?.timer.cancel()
    paused?.resume()
  }

  /** The error of commands that need the database while it is not open. */
  get unavailable(): string {
    return this.#unavailable
  }

  /** Commands work on this from now on; none: they fail with `unavailable`. What was watched counts as changed. */
  use(store: Store | null, unavailable: string = loading): void {
    this.#unavailable = unavailable
    for (const session of this.sessions.values()) {
      if (session.watch !== null) session.watch.touched = true
      session.blocked?.unblock(unblocked)
    }
    const before = this.#opened
    // What is being read there ends by itself.
    void before?.feed.close()
    this.#opened =
      store === null
        ? null
        : {
            store,
            keyspace: new Keyspace(store.database, this.#fileOf),
            direct: new DirectAccess(store),
            watches: new Watches(store.database),
            feed: new Feed(store.log),
          }
  }
}

const loading = 'LOADING the server is opening its database'
const unblocked = 'UNBLOCKED the server changes its role'
