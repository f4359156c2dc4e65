// INFO: Redis's sections and fields where the meaning is the same, and what else there is to say under "hotbackup".
import type { Call } from '../call.ts'
import type { Context } from '../context.ts'
import { MiB, KiB } from '../../limits.ts'
import { redisVersion } from './redis-version.ts'

type Field = readonly [string, string | number]
type Section = (context: Context) => Field[]

const sections: ReadonlyMap<string, { readonly title: string; readonly fields: Section }> = new Map(
  Object.entries({
    server: { title: 'Server', fields: server },
    clients: { title: 'Clients', fields: clients },
    memory: { title: 'Memory', fields: memory },
    persistence: { title: 'Persistence', fields: persistence },
    stats: { title: 'Stats', fields: stats },
    replication: { title: 'Replication', fields: replication },
    cpu: { title: 'CPU', fields: cpu },
    modules: { title: 'Modules', fields: (): Field[] => [] },
    commandstats: { title: 'Commandstats', fields: commandstats },
    errorstats: { title: 'Errorstats', fields: errorstats },
    cluster: { title: 'Cluster', fields: (): Field[] => [['cluster_enabled', 0]] },
    keyspace: { title: 'Keyspace', fields: keyspace },
    hotbackup: { title: 'hotbackup', fields: hotbackup },
  }),
)
/** What INFO shows without being asked. */
const byDefault = [...sections.keys()].filter(name => name !== 'commandstats')

export function info({ context, request, reply }: Call): void {
  const wanted = new Set<string>()
  for (let index = 1; index < request.count; index++) {
    const name = request.text(index).toLowerCase()
    if (name === 'all' || name === 'everything')
      for (const each of sections.keys()) wanted.add(each)
    else if (name === 'default') for (const each of byDefault) wanted.add(each)
    else wanted.add(name)
  }
  if (request.count === 1) for (const each of byDefault) wanted.add(each)
  const parts: string[] = []
  for (const [name, { title, fields }] of sections) {
    if (!wanted.has(name)) continue
    const lines = fields(context).map(([key, value]) => `${key}:${value}\r\n`)
    parts.push(`# ${title}\r\n${lines.join('')}`)
  }
  reply.verbatim(parts.join('\r\n'))
}

const dayMs = 24 * 60 * 60 * 1000

function server({ clock, identity, since }: Context): Field[] {
  const upMs = clock.monotonic() - since
  return [
    ['redis_version', redisVersion],
    ['redis_mode', 'standalone'],
    ['hotbackup_version', identity.version],
    ['os', identity.system],
    ['arch_bits', 64],
    ['process_id', identity.pid],
    ['tcp_port', identity.port],
    ['server_time_usec', clock.now() * 1000],
    ['uptime_in_seconds', Math.floor(upMs / 1000)],
    ['uptime_in_days', Math.floor(upMs / dayMs)],
    ['executable', identity.executable],
    ['config_file', identity.configPath],
  ]
}

function clients({ sessions, settings }: Context): Field[] {
  const all = [...sessions.values()]
  return [
    ['connected_clients', all.length],
    ['cluster_connections', 0],
    ['maxclients', settings.maxClients],
    ['client_recent_max_input_buffer', Math.max(0, ...all.map(({ link }) => link.inputBytes))],
    ['client_recent_max_output_buffer', Math.max(0, ...all.map(({ link }) => link.outputBytes))],
    ['blocked_clients', all.filter(({ blocked }) => blocked !== null).length],
    ['tracking_clients', 0],
  ]
}

function memory({ identity, opened }: Context): Field[] {
  const { rssBytes, heapBytes } = identity.usage()
  const frames = opened?.store.database.frameBytes ?? 0
  const limit = opened?.store.database.cacheBytes ?? 0
  return [
    ['used_memory', rssBytes],
    ['used_memory_human', human(rssBytes)],
    ['used_memory_rss', rssBytes],
    ['used_memory_rss_human', human(rssBytes)],
    ['used_memory_dataset', frames],
    ['used_memory_heap', heapBytes],
    ['maxmemory', 0],
    ['maxmemory_human', '0B'],
    ['maxmemory_policy', 'noeviction'],
    ['cache_size', limit],
    ['cache_size_human', human(limit)],
  ]
}

function human(bytes: number): string {
  if (bytes < KiB) return `${bytes}B`
  const units: [number, string][] = [
    [1024 * MiB, 'G'],
    [MiB, 'M'],
    [KiB, 'K'],
  ]
  const [size, unit] = units.find(([size]) => bytes >= size)!
  return `${(bytes / size).toFixed(2)}${unit}`
}

function persistence({ opened }: Context): Field[] {
  const failure = opened?.store.facts().failure ?? null
  return [
    ['loading', opened === null ? 1 : 0],
    ['async_loading', 0],
    ['rdb_bgsave_in_progress', 0],
    ['rdb_last_bgsave_status', 'ok'],
    ['aof_enabled', 1],
    ['aof_rewrite_in_progress', 0],
    ['aof_last_bgrewrite_status', 'ok'],
    ['aof_last_write_status', failure === null ? 'ok' : 'err'],
  ]
}

function stats({ stats }: Context): Field[] {
  return [
    ['total_connections_received', stats.connections],
    ['total_commands_processed', stats.commands],
    ['total_net_input_bytes', stats.inputBytes],
    ['total_net_output_bytes', stats.outputBytes],
    ['rejected_connections', stats.rejectedConnections],
    ['expired_keys', stats.expired],
    ['evicted_keys', 0],
    ['keyspace_hits', stats.hits],
    ['keyspace_misses', stats.misses],
    ['pubsub_channels', 0],
    ['pubsub_patterns', 0],
    ['total_error_replies', stats.errors],
  ]
}

function replication({ opened }: Context): Field[] {
  if (opened === null) return []
  const { store } = opened
  const facts = store.facts()
  const { master, slaves } = facts
  const own: Field[] = [
    ['master_replid', facts.databaseId],
    ['master_repl_offset', store.writes === null ? facts.appliedTxn : facts.lastTxn],
    ['repl_backlog_active', 1],
    ['repl_backlog_first_byte_offset', facts.firstTxn],
    ['repl_backlog_histlen', facts.lastTxn - facts.firstTxn + 1],
  ]
  const following = slaves.map(({ host, port, appliedTxn }, index): Field => {
    const state = appliedTxn === null ? 'offline' : 'online'
    const text = `ip=${host},port=${port},state=${state},offset=${appliedTxn ?? 0},lag=0`
    return [`slave${index}`, text]
  })
  const connected = slaves.filter(({ appliedTxn }) => appliedTxn !== null).length
  if (store.writes !== null) {
    return [['role', 'master'], ['connected_slaves', connected], ...following, ...own]
  }
  return [
    ['role', 'slave'],
    ['master_host', master?.name ?? ''],
    ['master_port', 0],
    ['master_link_status', master?.connected === true ? 'up' : 'down'],
    ['slave_repl_offset', facts.appliedTxn],
    ['slave_read_only', 1],
    ['connected_slaves', connected],
    ...following,
    ...own,
  ]
}

function cpu({ identity }: Context): Field[] {
  const { userSeconds, systemSeconds } = identity.usage()
  return [
    ['used_cpu_sys', systemSeconds.toFixed(6)],
    ['used_cpu_user', userSeconds.toFixed(6)],
  ]
}

function commandstats({ stats }: Context): Field[] {
  return [...stats.byCommand].map(([{ name }, { calls, micros, rejected, failed }]) => {
    const each = calls === 0 ? 0 : micros / calls
    const times = `calls=${calls},usec=${Math.round(micros)},usec_per_call=${each.toFixed(2)}`
    return [`cmdstat_${name}`, `${times},rejected_calls=${rejected},failed_calls=${failed}`]
  })
}

function errorstats({ stats }: Context): Field[] {
  return [...stats.byError].map(([prefix, count]) => [`errorstat_${prefix}`, `count=${count}`])
}

function keyspace({ opened, settings }: Context): Field[] {
  if (opened === null) return []
  const fields: Field[] = []
  for (let index = 0; index < settings.databases; index++) {
    const space = opened.keyspace.space(index)
    let keys = space.strings.file?.itemCount ?? 0
    for (const { place } of space.hashes()) if ((place.file?.itemCount ?? 0) > 0) keys++
    if (keys > 0) fields.push([`db${index}`, `keys=${keys},expires=0,avg_ttl=0`])
  }
  return fields
}

function hotbackup({ identity, opened }: Context): Field[] {
  const fields: Field[] = [
    ['name', identity.name],
    ['directory', identity.directory],
  ]
  if (opened === null) return fields
  const { store } = opened
  const facts = store.facts()
  fields.push(
    ['database_id', facts.databaseId],
    ['timeline', facts.timeline],
    ['first_txn', facts.firstTxn],
    ['last_txn', facts.lastTxn],
    ['durable_txn', store.durableTxn],
    ['applied_txn', facts.appliedTxn],
    ['checkpoint_txn', facts.checkpointTxn],
    ['failure', facts.failure ?? 'none'],
  )
  for (const { name, appliedTxn } of facts.slaves) {
    fields.push([`slave_${name}`, `applied_txn=${appliedTxn ?? 'unknown'}`])
  }
  return fields
}
