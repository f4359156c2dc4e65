// The configuration of a server, hb.toml: read, checked, and resolved once, at the door. A wrong key or value is
// refused by line and key. hb.toml(5) describes every key; config-text.ts writes the file. Whether the server is the
// master or a slave is not in it: role.ts.
import { isUtf8 } from 'node:buffer'
import path from 'node:path'
import { parse, TomlError } from 'smol-toml'
import * as v from 'valibot'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import type { FsyncPolicy } from '../log/options.ts'
import { isWrongFile, readFile } from '../platform/atomic-file.ts'
import type { Access, Disk } from '../platform/disk.ts'
import type { Address } from '../platform/network.ts'
import { machineMemoryBytes } from '../platform/node-memory.ts'
import type { Layout } from './layout.ts'
import { addressText, isLoopback, portDefault, reaches, samePlace } from './address.ts'
import { checkClosed } from './closed.ts'
import { keyText, lineOf } from './config-lines.ts'
import type { ReplicatePolicy } from './file-patterns.ts'
import {
  type AlarmPolicy,
  type CommitPolicy,
  type QueuePolicy,
  databasesMax,
  fileOfDatabase,
  type ServePolicy,
} from './policies.ts'
import { newRole, readRole, withLearned, type Role, type ServerType } from './role.ts'
import { schema, type Settings } from './schema.ts'
import { cacheBytesMin } from './values.ts'

export interface SlaveAddress {
  readonly name: string
  readonly address: Address
}

/** hb.toml and the role, with everything filled in. Sizes are bytes, times milliseconds, paths absolute. */
export interface Config {
  readonly name: string
  readonly type: ServerType
  readonly log: {
    readonly fsync: FsyncPolicy
    readonly segmentBytes: number
    /** Transactions that nothing needs any more stay this long as history … */
    readonly keepMs: number
    /** … as long as the log has no more bytes than this. */
    readonly keepBytes: number
  }
  readonly database: { readonly cacheBytes: number }
  readonly link: {
    /** Where a slave listens for its master. */
    readonly listen: Address
    /** It is not the default. */
    readonly listenGiven: boolean
    /** Null: no encryption, loopback only. */
    readonly keyPath: string | null
    readonly windowBytes: number
    /** The rate limit for copies for slaves, in bytes a second; 0: none. */
    readonly seedRate: number
    readonly heartbeatMs: number
    readonly timeoutMs: number
  }
  readonly slave: {
    readonly applyUpdates: boolean
    readonly logSlaveUpdates: boolean
    readonly autoCreate: boolean
    /** A slave that is new or too far behind takes a copy from its master by itself. */
    readonly autoSeed: boolean
    /** A block is applied so much later than it was written. */
    readonly applyDelayMs: number
    /** Attempts at a transaction that cannot be applied, before it goes to lost-found. */
    readonly applyTries: number
  }
  readonly helpers: {
    /** Files whose data take at least this many bytes are work for helpers. */
    readonly bytes: number
    /** A helper that is silent for so long is started again. */
    readonly patienceMs: number
    /** So many failures in a row are an alarm. */
    readonly tries: number
  }
  /** On a master: all of the database is verified once in this time; null: by order only. */
  readonly verify: { readonly intervalMs: number | null }
  readonly commit: CommitPolicy
  readonly queue: QueuePolicy
  readonly failover: {
    /** A master that has heard from no slave for so long takes no updates; 0 for no such lease. */
    readonly leaseMs: number
    /** A promoted server keeps its log for the old master until it is larger. */
    readonly keepBytes: number
  }
  readonly alarm: AlarmPolicy
  readonly serve: ServePolicy
  readonly slaves: readonly SlaveAddress[]
  /** On a master: which files are replicated. */
  readonly replicate: ReplicatePolicy
  /** This server has a shipper: a master always, a slave when it hands on what it receives. */
  readonly ships: boolean
}

const configBytesMax = 1 * MiB

/**
 * Reads hb.toml and the role. Throws ERR_NOT_A_SERVER when there is no hb.toml, ERR_CONFIG when it is wrong,
 * ERR_OPEN_TO_OTHERS, and ERR_ROLE when the role is unknown, unless `unknown` stands in for it.
 */
export async function loadConfig(
  disk: Disk,
  layout: Layout,
  unknown: Role | null = null,
): Promise<Config> {
  const text = await readConfigText(disk, layout)
  const role = await readRole(disk, layout).catch((error: unknown) => {
    if (unknown !== null && isHotBackupError(error, 'ERR_ROLE')) return unknown
    throw error
  })
  return parseConfig(text, layout, role)
}

/**
 * The text of hb.toml, without a byte order mark; a symbolic link is followed. Throws ERR_NOT_A_SERVER when there is
 * none, and ERR_OPEN_TO_OTHERS when others could change it, or anything else that the server goes by.
 */
export async function readConfigText(disk: Disk, layout: Layout): Promise<string> {
  const place = await disk.realPath(layout.config)
  const seen: Access[] = []
  const bytes = await readFile(disk, place, configBytesMax, access => seen.push(access)).catch(
    (error: unknown) => {
      if (!isWrongFile(error)) throw error
      throw new HotBackupError('ERR_CONFIG', error.message, { path: layout.config }, error)
    },
  )
  const [access] = seen
  if (bytes !== null && access !== undefined) {
    await checkClosed(disk, layout, { path: place, access })
    // Other names would be read, and different ones as the same.
    if (!isUtf8(bytes)) {
      const message = `${layout.config} is not UTF-8`
      throw new HotBackupError('ERR_CONFIG', message, { path: layout.config })
    }
    return bytes.toString().replace(/^\uFEFF/, '')
  }
  throw new HotBackupError('ERR_NOT_A_SERVER', `${layout.directory} has no hb.toml`, {
    path: layout.directory,
  })
}

/** Checks the text of an hb.toml for a server with that role. Throws ERR_CONFIG. */
export function parseConfig(source: string, layout: Layout, role: Role): Config {
  const { settings, mistake } = check(source, role)
  if (settings !== null) return resolve(settings, layout, role)
  const { keys, message } = mistake
  const line = mistake.line ?? lineOf(source, keys)
  const place = line === null ? 'hb.toml' : `hb.toml line ${line}`
  const key = keys.length === 0 ? '' : `${keyText(keys)}: `
  throw new HotBackupError('ERR_CONFIG', `${place}: ${key}${message}`, { path: layout.config })
}

/** What is wrong in an hb.toml. */
export interface Mistake {
  /** Of the second slave ["slaves", "1", "address"]; empty when it is no TOML. */
  readonly keys: readonly string[]
  readonly message: string
  readonly line?: number
}

/** The first mistake in the text of an hb.toml; null when there is none. */
export function mistakeIn(source: string, role: Role): Mistake | null {
  return check(source, role).mistake
}

/** The addresses in the text of a valid hb.toml, as the operator has written them. */
export function addressesIn(source: string): {
  readonly listen: string | null
  readonly slaves: ReadonlyMap<string, string>
} {
  const { settings } = check(source, newRole('slave'))
  const listen = settings?.link.listen
  const slaves = settings?.slaves.map(({ name, address }) => [name, addressText(address)] as const)
  return {
    listen: listen === undefined ? null : addressText(listen),
    slaves: new Map(slaves),
  }
}

type Checked =
  | { readonly settings: Settings; readonly mistake: null }
  | { readonly settings: null; readonly mistake: Mistake }

function check(source: string, role: Role): Checked {
  let document: unknown
  try {
    document = parse(source)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const message = error.message.split('\n', 1)[0]?.replace(/^Invalid TOML document: /, '') ?? ''
    return { settings: null, mistake: { keys: [], message, line: error.line } }
  }
  const result = v.safeParse(schema, document)
  if (!result.success) {
    const issue = result.issues[0]
    const keys = (issue.path ?? []).map(item => String(item.key))
    return { settings: null, mistake: { keys, message: issueText(issue) } }
  }
  const { link, slaves } = result.output
  const known = withLearned({ listen: link.listen, slaves }, role)
  const settings: Settings = {
    ...result.output,
    link: { ...link, listen: known.listen },
    slaves: [...known.slaves],
  }
  const mistake =
    checkSlaves(settings) ??
    checkLink(settings) ??
    checkCommit(settings, role) ??
    checkServe(settings)
  return mistake === null ? { settings, mistake } : { settings: null, mistake }
}

function issueText(issue: v.InferIssue<typeof schema>): string {
  if (issue.type === 'strict_object') {
    return issue.received === 'undefined'
      ? 'is missing'
      : issue.expected === 'never'
        ? 'is no key of hb.toml'
        : `expected a table, got ${issue.received}`
  }
  if (issue.type === 'array') {
    return issue.path?.[0]?.key === 'slaves' ? 'expected [[slaves]] tables' : 'expected [ … ]'
  }
  return issue.message
}

function checkSlaves({ name: own, link, slaves }: Settings): Mistake | null {
  const names = new Set<string>([own])
  const addresses = new Map<string, string>()
  for (const [index, slave] of slaves.entries()) {
    const mistake = (key: string, message: string) => ({
      keys: ['slaves', String(index), key],
      message,
    })
    if (names.has(slave.name)) return mistake('name', `the name ${slave.name} is taken already`)
    names.add(slave.name)
    const text = addressText(slave.address)
    if (link.listen !== undefined && reaches(slave.address, link.listen)) {
      return mistake('address', `${text} is where this server itself listens (link.listen)`)
    }
    const place = samePlace(slave.address)
    const other = addresses.get(place)
    if (other !== undefined) return mistake('address', `${text} is the address of ${other} already`)
    addresses.set(place, slave.name)
  }
  return null
}

function checkLink({ link, slaves, failover }: Settings): Mistake | null {
  const twice = 'expected at least twice link.heartbeat'
  if (link.timeout < 2 * link.heartbeat) return { keys: ['link', 'timeout'], message: twice }
  if (failover.lease > 0 && failover.lease < 2 * link.heartbeat) {
    return { keys: ['failover', 'lease'], message: twice }
  }
  if (link.key !== undefined) return null
  const rule = 'without a key nothing is encrypted, and only addresses of this machine are allowed'
  if (link.listen !== undefined && !isLoopback(link.listen)) {
    const message = `${rule}, got "${addressText(link.listen)}"`
    return { keys: ['link', 'listen'], message }
  }
  const index = slaves.findIndex(slave => !isLoopback(slave.address))
  const outside = slaves[index]
  if (outside === undefined) return null
  const keys = ['slaves', String(index), 'address']
  return { keys, message: `${rule}, got "${addressText(outside.address)}"` }
}

function checkCommit({ commit, slaves }: Settings, { type }: Role): Mistake | null {
  if (type !== 'master' || commit.level === 'local' || commit.slaves <= slaves.length) return null
  const [key, what] = slaves.length === 0 ? ['level', 'local'] : ['slaves', String(slaves.length)]
  const message = `expected "${what}": this master has ${slaves.length} slaves`
  return { keys: ['commit', key], message }
}

function checkServe({ serve }: Settings): Mistake | null {
  if (serve.listen !== undefined && !isLoopback(serve.listen)) {
    const rule =
      'clients are neither encrypted nor known, and only addresses of this machine are allowed'
    const message = `${rule}, got "${addressText(serve.listen)}"`
    return { keys: ['serve', 'listen'], message }
  }
  const places = new Map<string, number>()
  for (let index = 0; index < databasesMax; index++) {
    const { account, file } = fileOfDatabase(serve.databases, index)
    const text = `${account}/${file}`
    const other = places.get(text)
    if (other !== undefined) {
      const key = String(String(index) in serve.databases ? index : other)
      return {
        keys: ['serve', 'databases', key],
        message: `${text} holds another database already`,
      }
    }
    places.set(text, index)
  }
  return null
}

function resolve(settings: Settings, layout: Layout, { type, master }: Role): Config {
  const { log, link, slave, commit, queue, helpers, verify, failover, alarm, serve } = settings
  // A slave sends nothing to its own master, which is entered for the time when they have changed places.
  const slaves = settings.slaves.filter(({ name }) => type === 'master' || name !== master)
  const { cache_size: cache } = settings.database
  const cacheBytes =
    'bytes' in cache
      ? cache.bytes
      : Math.max(cacheBytesMin, Math.floor(machineMemoryBytes() * cache.share))
  const keyPath = link.key === undefined ? null : path.resolve(layout.directory, link.key)
  return {
    name: settings.name,
    type,
    log: {
      fsync:
        log.fsync === 'interval'
          ? { kind: 'interval', intervalMs: log.fsync_interval }
          : { kind: log.fsync },
      segmentBytes: log.segment_size,
      keepMs: log.keep_time,
      keepBytes: log.keep_size,
    },
    database: { cacheBytes },
    link: {
      listen: link.listen ?? { host: keyPath === null ? '127.0.0.1' : '*', port: portDefault },
      listenGiven: link.listen !== undefined,
      keyPath,
      windowBytes: link.window_size,
      seedRate: link.seed_rate,
      heartbeatMs: link.heartbeat,
      timeoutMs: link.timeout,
    },
    slave: {
      applyUpdates: slave.apply_updates,
      logSlaveUpdates: slave.log_slave_updates,
      autoCreate: slave.auto_create,
      autoSeed: slave.auto_seed,
      applyDelayMs: slave.apply_delay,
      applyTries: slave.apply_tries,
    },
    helpers: { bytes: helpers.size, patienceMs: helpers.patience, tries: helpers.tries },
    verify: { intervalMs: verify.interval.ms },
    queue: { limitBytes: queue.limit, onLimit: queue.on_limit },
    commit: {
      level: commit.level,
      slaves: commit.slaves,
      timeoutMs: commit.timeout,
      onTimeout: commit.on_timeout,
    },
    failover: { leaseMs: failover.lease, keepBytes: failover.keep_size },
    alarm: {
      command: alarm.command === '' ? null : alarm.command,
      level: alarm.level,
      afterMs: alarm.after,
      timeoutMs: alarm.timeout,
    },
    serve: {
      listen: serve.listen ?? null,
      clientsMax: serve.max_clients,
      idleMs: serve.idle_timeout,
      outputBytesMax: serve.output_size,
      flushAll: serve.flushall,
      databases: serve.databases,
    },
    slaves,
    replicate: settings.replicate,
    ships: type === 'master' || (slave.log_slave_updates && slaves.length > 0),
  }
}
