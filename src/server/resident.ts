// The process that owns the log and the database of a server, whatever the server is at the time. Its door for clients
// of the Redis protocol stays open while the server is opened again or changes its role: their connections stay too.
import { layoutOf } from '../config/layout.ts'
import type { Config } from '../config/config.ts'
import type { Log } from '../config/messages-log.ts'
import type { ServePolicy } from '../config/policies.ts'
import { readRole } from '../config/role.ts'
import type { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import { version } from '../programs.ts'
import { openRespServer, type RespServer } from '../resp/server.ts'
import type { Settings } from '../resp/settings.ts'
import type { LiveConfig } from '../config/live-config.ts'
import type { Follower } from '../report/follow-watch.ts'
import { MasterServer } from './master-server.ts'
import { SlaveServer } from './slave-server.ts'
import { SlaveStore } from './slave-store.ts'

const damaged = 'LOADING the database is damaged and waits for a copy from the master'

const never = new Promise<never>(() => {})

export class ResidentServer {
  readonly #server: MasterServer | SlaveServer
  readonly #door: RespServer
  readonly config: LiveConfig
  /** As a slave's (slave-server.ts); never resolved on a master. */
  readonly promoted: Promise<HotBackupError | null>
  readonly reseeded: Promise<void>
  readonly reopen: Promise<void>

  constructor(server: MasterServer | SlaveServer, door: RespServer) {
    this.#server = server
    this.#door = door
    this.config = server.config
    const {
      promoted = never,
      reseeded = never,
      reopen = never,
    } = server instanceof SlaveServer ? server : {}
    this.promoted = promoted
    this.reseeded = reseeded
    this.reopen = reopen
  }

  following(): Follower[] {
    return this.#server.following()
  }

  /** Clients wait for what follows when the process goes on, and are disconnected otherwise. */
  async stop(goesOn: boolean): Promise<void> {
    if (goesOn) this.#door.use(null)
    else await this.#door.close()
    await this.#server.stop()
  }
}

/**
 * Opens the server that is in a directory. One of these serves a process: it keeps the door from one opening to the
 * next. Throws as SlaveServer.start and MasterServer.start, and ERR_DISK or ERR_LISTEN when the door cannot be opened.
 */
export function residentServer(): (
  platform: Platform,
  directory: string,
  say: Log,
  lost: (error: HotBackupError) => void,
) => Promise<ResidentServer> {
  let door: RespServer | null = null
  return async (platform, directory, say, lost) => {
    const { type } = await readRole(platform.disk, layoutOf(directory))
    const start = type === 'master' ? MasterServer : SlaveServer
    const server = await start.start(platform, directory, say, lost)
    try {
      door ??= await openDoor(platform, directory, server.config, say)
    } catch (error) {
      await server.stop()
      throw error
    }
    serve(door, platform, directory, server)
    const { config } = server
    config.onChange(() => door?.configure(settingsOf(config.serve)))
    return new ResidentServer(server, door)
  }
}

function serve(
  door: RespServer,
  { disk }: Platform,
  directory: string,
  server: MasterServer | SlaveServer,
): void {
  if (server instanceof MasterServer) return door.use(server.master.store)
  const { data } = server
  if (data.damage !== null) return door.use(null, damaged)
  door.use(new SlaveStore(data, disk, layoutOf(directory).log, () => server.status()))
}

function settingsOf({
  clientsMax,
  idleMs,
  outputBytesMax,
  flushAll,
}: ServePolicy): Partial<Settings> {
  return { maxClients: clientsMax, idleMs, outputBytesMax, flushAll }
}

function openDoor(
  platform: Platform,
  directory: string,
  { name, serve }: Config,
  say: Log,
): Promise<RespServer> {
  const layout = layoutOf(directory)
  const { processes } = platform
  return openRespServer({
    platform,
    store: null,
    listen: serve.listen,
    databases: serve.databases,
    settings: settingsOf(serve),
    identity: {
      name,
      version,
      directory: layout.directory,
      pid: processes.self().pid,
      port: serve.listen?.port ?? 0,
      socketPath: layout.respSocket,
      configPath: layout.config,
      ...processes.host,
      usage: () => processes.usage(),
    },
    fault: error => say('error', `a fault while serving clients: ${String(error)}`),
    report: say,
  })
}
