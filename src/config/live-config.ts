// The configuration in force in a running process. It is a Config whose values change when hb.toml is read again:
// those that can change while the process works. The others stay as they were, all through the process.
import type { Disk } from '../platform/disk.ts'
import type { Layout } from './layout.ts'
import { addressText } from './address.ts'
import { loadConfig, type Config } from './config.ts'

/** What runs in a process: a program that has the master open, a master's shipper, or a slave's server. */
export type ConfigUser = 'master' | 'shipper' | 'slave'

/** What has become of a new hb.toml, by its keys. */
export interface ReloadReport {
  readonly applied: readonly string[]
  readonly needsRestart: readonly string[]
}

interface Key {
  readonly key: string
  readonly users: readonly ConfigUser[]
  readonly value: (config: Config) => unknown
}

const everybody: readonly ConfigUser[] = ['master', 'shipper', 'slave']
const owners: readonly ConfigUser[] = ['master', 'slave']
const links: readonly ConfigUser[] = ['shipper', 'slave']

function key(name: string, users: readonly ConfigUser[], value: Key['value']): Key {
  return { key: name, users, value }
}

/** Every key of hb.toml but the slaves, and the role that stands beside it; and which processes use them. */
const keys: readonly Key[] = [
  key('name', everybody, config => config.name),
  key('the role', everybody, config => config.type),
  key('log.fsync', owners, config => config.log.fsync.kind),
  key('log.fsync_interval', owners, ({ log: { fsync } }) =>
    fsync.kind === 'interval' ? fsync.intervalMs : null,
  ),
  key('log.segment_size', owners, config => config.log.segmentBytes),
  key('log.keep_time', owners, config => config.log.keepMs),
  key('log.keep_size', owners, config => config.log.keepBytes),
  key('database.cache_size', owners, config => config.database.cacheBytes),
  key('link.listen', links, config => addressText(config.link.listen)),
  key('link.key', links, config => config.link.keyPath),
  key('link.window_size', links, config => config.link.windowBytes),
  key('link.seed_rate', links, config => config.link.seedRate),
  key('link.heartbeat', links, config => config.link.heartbeatMs),
  key('link.timeout', links, config => config.link.timeoutMs),
  key('slave.apply_updates', ['slave'], config => config.slave.applyUpdates),
  key('slave.log_slave_updates', ['slave'], config => config.slave.logSlaveUpdates),
  key('slave.auto_create', ['slave'], config => config.slave.autoCreate),
  key('slave.auto_seed', ['slave'], config => config.slave.autoSeed),
  key('slave.apply_delay', ['slave'], config => config.slave.applyDelayMs),
  key('slave.apply_tries', ['slave'], config => config.slave.applyTries),
  key('helpers.size', owners, config => config.helpers.bytes),
  key('helpers.patience', owners, config => config.helpers.patienceMs),
  key('helpers.tries', owners, config => config.helpers.tries),
  key('verify.interval', ['master'], config => config.verify.intervalMs),
  key('commit.level', ['master'], config => config.commit.level),
  key('commit.slaves', ['master'], config => config.commit.slaves),
  key('commit.timeout', ['master'], config => config.commit.timeoutMs),
  key('commit.on_timeout', ['master'], config => config.commit.onTimeout),
  key('queue.limit', ['master', 'shipper'], config => config.queue.limitBytes),
  key('queue.on_limit', ['master', 'shipper'], config => config.queue.onLimit),
  key('failover.lease', ['master'], config => config.failover.leaseMs),
  key('failover.keep_size', owners, config => config.failover.keepBytes),
  key('replicate.include', ['master'], config => config.replicate.include),
  key('replicate.exclude', ['master'], config => config.replicate.exclude),
  key('alarm.command', links, config => config.alarm.command),
  key('alarm.level', links, config => config.alarm.level),
  key('alarm.after', links, config => config.alarm.afterMs),
  key('alarm.timeout', links, config => config.alarm.timeoutMs),
  key('serve.listen', owners, ({ serve: { listen } }) => listen && addressText(listen)),
  key('serve.max_clients', owners, config => config.serve.clientsMax),
  key('serve.idle_timeout', owners, config => config.serve.idleMs),
  key('serve.output_size', owners, config => config.serve.outputBytesMax),
  key('serve.flushall', owners, config => config.serve.flushAll),
  key('serve.databases', owners, config => config.serve.databases),
]

/** `running` with what of `wanted` can be applied while the process works. */
function applicable(running: Config, wanted: Config): Config {
  const { keepMs, keepBytes } = wanted.log
  const { seedRate } = wanted.link
  const { autoSeed } = wanted.slave
  const { slaves, alarm, queue, commit, serve } = wanted
  const { listen, databases } = running.serve
  return {
    ...running,
    log: { ...running.log, keepMs, keepBytes },
    link: { ...running.link, seedRate },
    slave: { ...running.slave, autoSeed },
    failover: { ...running.failover, keepBytes: wanted.failover.keepBytes },
    serve: { ...serve, listen, databases },
    slaves,
    alarm,
    queue,
    commit,
    ships: running.type === 'master' || (running.slave.logSlaveUpdates && slaves.length > 0),
  }
}

/** The keys that differ, as far as `user` uses them; slaves by their names. */
export function changedKeys(user: ConfigUser, before: Config, after: Config): string[] {
  const changed = keys.filter(
    ({ users, value }) =>
      users.includes(user) && JSON.stringify(value(before)) !== JSON.stringify(value(after)),
  )
  return [...changed.map(({ key: name }) => name), ...changedSlaves(before, after)]
}

function changedSlaves(before: Config, after: Config): string[] {
  const addresses = (config: Config) =>
    new Map(config.slaves.map(({ name, address }) => [name, addressText(address)]))
  const [old, now] = [addresses(before), addresses(after)]
  return [...new Set([...old.keys(), ...now.keys()])]
    .filter(name => old.get(name) !== now.get(name))
    .map(name => {
      const [was, is] = [old.get(name), now.get(name)]
      if (was === undefined) return `slaves (${name} added)`
      return is === undefined ? `slaves (${name} removed)` : `slaves (${name} is at ${is})`
    })
}

export class LiveConfig implements Config {
  readonly #disk: Disk
  readonly #layout: Layout
  readonly #user: ConfigUser
  #current: Config
  readonly #changed: (() => void | Promise<void>)[] = []
  #reloading: Promise<unknown> = Promise.resolve()

  private constructor(disk: Disk, layout: Layout, user: ConfigUser, current: Config) {
    this.#disk = disk
    this.#layout = layout
    this.#user = user
    this.#current = current
  }

  /** Throws ERR_NOT_A_SERVER, ERR_CONFIG. */
  static async load(disk: Disk, layout: Layout, user: ConfigUser): Promise<LiveConfig> {
    return new LiveConfig(disk, layout, user, await loadConfig(disk, layout))
  }

  get name() {
    return this.#current.name
  }
  get type() {
    return this.#current.type
  }
  get log() {
    return this.#current.log
  }
  get database() {
    return this.#current.database
  }
  get link() {
    return this.#current.link
  }
  get slave() {
    return this.#current.slave
  }
  get helpers() {
    return this.#current.helpers
  }
  get verify() {
    return this.#current.verify
  }
  get commit() {
    return this.#current.commit
  }
  get queue() {
    return this.#current.queue
  }
  get failover() {
    return this.#current.failover
  }
  get alarm() {
    return this.#current.alarm
  }
  get serve() {
    return this.#current.serve
  }
  get slaves() {
    return this.#current.slaves
  }
  get replicate() {
    return this.#current.replicate
  }
  get ships() {
    return this.#current.ships
  }

  /** For those who keep something that follows from the configuration. */
  onChange(changed: () => void | Promise<void>): void {
    this.#changed.push(changed)
  }

  /**
   * Reads hb.toml again and applies what can be applied. Throws ERR_CONFIG or ERR_NOT_A_SERVER when it is wrong;
   * nothing has changed then.
   */
  reload(): Promise<ReloadReport> {
    const reloaded = this.#reloading.then(() => this.#reload())
    this.#reloading = reloaded.catch(() => {})
    return reloaded
  }

  async #reload(): Promise<ReloadReport> {
    const wanted = await loadConfig(this.#disk, this.#layout)
    const before = this.#current
    const now = applicable(before, wanted)
    const applied = changedKeys(this.#user, before, now)
    this.#current = now
    for (const changed of this.#changed) await changed()
    return { applied, needsRestart: changedKeys(this.#user, now, wanted) }
  }
}
