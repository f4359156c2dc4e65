// A log that is damaged is repaired with the bytes of a peer before anybody gives up: a master asks its slaves, a slave
// the slaves that it feeds, and then its master, which it must wait for, since a slave calls nobody.
//
// While a server works only sealed segments are repaired, beside it; what it writes itself is looked at when it opens.
import { Database } from '../database/database.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { databaseIdOf, repairLog, type RepairedSegment, type PieceSource } from '../log/repair.ts'
import type { Platform } from '../platform/platform.ts'
import { listAcks } from '../ship/ack-file.ts'
import { withSlavesLog } from '../ship/ask-log.ts'
import { withMastersLog } from '../slave/repair-port.ts'
import type { Config } from '../config/config.ts'
import { readServerId } from '../config/identity.ts'
import { readKey } from '../config/key.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'
import type { Retention } from '../updates/retention.ts'

/** Somewhere that a peer's log can be had: runs the work with it, or throws why not. */
export type Peers = <T>(work: (source: PieceSource) => Promise<T>) => Promise<T>

/**
 * Opens what needs the log; if that is damaged, repairs it and opens again. The caller owns the server. Throws what
 * `open` throws, with the reason if the log could not be repaired.
 */
export async function withSoundLog<T>(
  platform: Platform,
  layout: Layout,
  config: Config,
  say: Log,
  open: () => Promise<T>,
): Promise<T> {
  try {
    return await open()
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_LOG_CORRUPT') || !mayAsk(config)) throw error
    say('error', `the log is damaged: ${error.message}`, { code: error.code, ...error.place })
    const repaired = await repairStopped(platform, layout, config, say).catch((reason: unknown) => {
      throw unrepaired(error, reason)
    })
    if (repaired.length === 0) throw error
    return open()
  }
}

/** There is one: a slave without a master yet has an empty log. */
function mayAsk({ type, slaves }: Config): boolean {
  return type === 'slave' || slaves.length > 0
}

function unrepaired(damage: HotBackupError, reason: unknown): unknown {
  if (!isHotBackupError(reason)) return reason
  const why = reason.message === damage.message ? 'no peer holds it' : reason.message
  const message = `${damage.message}; it could not be repaired: ${why}`
  return new HotBackupError('ERR_LOG_CORRUPT', message, damage.place, reason)
}

/** Repairs the log of a server that only the caller has open. Throws why it cannot be repaired. */
export async function repairStopped(
  platform: Platform,
  layout: Layout,
  config: Config,
  say: Log,
): Promise<readonly RepairedSegment[]> {
  const { disk } = platform
  const databaseId = await ownDatabaseId(platform, layout)
  const database = await Database.open(platform, layout.directory, {
    ...config.database,
    readOnly: true,
  })
  const acks = await listAcks(disk, layout.slaves)
  const ownPromises = config.type === 'master'
  const acknowledged = ownPromises ? acks.map(ack => ack.durableTxn) : []
  const knownDurableTxn = Math.max(database.stamp.txn, ...acknowledged)
  await database.close()
  const bounds = { knownDurableTxn, ownPromises, sealedOnly: false }
  const repair = (source: PieceSource) => repairLog(disk, layout.log, bounds, source)
  const repaired = await firstOf([
    ...slavePeers(platform, config, databaseId, say),
    ...(config.type === 'slave' ? [masterPeer(platform, layout, config, databaseId, say)] : []),
  ])(repair)
  tell(repaired, say)
  return repaired
}

/** Repairs the sealed segments of a server that works. `peers`: see `slavePeers`; on a slave, its link. */
export async function repairRunning(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
  retention: Retention,
  peers: readonly Peers[],
  say: Log,
): Promise<readonly RepairedSegment[]> {
  const release = retention.hold()
  try {
    const bounds = { knownDurableTxn: 0, ownPromises: false, sealedOnly: true }
    const repaired = await firstOf(peers)(source => repairLog(disk, layout.log, bounds, source))
    tell(repaired, say)
    return repaired
  } finally {
    release()
  }
}

function tell(repaired: readonly RepairedSegment[], say: Log): void {
  for (const { path, kept, offset, txn, bytes } of repaired) {
    const copy = kept === null ? 'it was missing' : `what was there lies in ${kept}`
    const text = `${path} has been repaired from byte ${offset} on, with ${bytes} bytes of a peer; ${copy}`
    say('warn', text, { path, offset, txn, bytes })
  }
}

/** The peers one after the other, until one of them can help. */
function firstOf(peers: readonly Peers[]): Peers {
  return async work => {
    let first: HotBackupError | null = null
    for (const peer of peers) {
      try {
        return await peer(work)
      } catch (error) {
        if (!isHotBackupError(error) || error.code === 'ERR_DISK_FULL') throw error
        // What is wrong with the log says more than that somebody is away.
        if (first?.code !== 'ERR_LOG_CORRUPT') first = error
      }
    }
    throw first ?? new HotBackupError('ERR_NO_SLAVE', 'there is no peer that holds the same log')
  }
}

/** The slaves of this server, which are called. */
export function slavePeers(
  platform: Platform,
  { link, slaves }: Config,
  databaseId: Uint8Array,
  say: Log,
): Peers[] {
  return slaves.map(({ name, address }) => async work => {
    const key = link.keyPath === null ? null : await readKey(platform, link.keyPath)
    const peer = { address, key, timeoutMs: link.timeoutMs }
    say('info', `"${name}" is asked for what is damaged in the log`, { slave: name })
    return withSlavesLog(platform, peer, databaseId, work)
  })
}

/** The master of a slave that cannot let it in. */
function masterPeer(
  platform: Platform,
  layout: Layout,
  { link }: Config,
  databaseId: Uint8Array,
  say: Log,
): Peers {
  return async work => {
    const waitMs = link.timeoutMs
    say('info', `its master is waited for, at most ${waitMs / 1000} s`)
    const options = {
      serverId: await readServerId(platform.disk, layout),
      databaseId,
      key: link.keyPath === null ? null : await readKey(platform, link.keyPath),
      listen: link.listen,
      heartbeatMs: link.heartbeatMs,
      timeoutMs: link.timeoutMs,
      waitMs,
      logger: say,
    }
    return withMastersLog(platform, options, work)
  }
}

/** Throws ERR_LOG_CORRUPT when nothing of the log can be read. */
export async function ownDatabaseId(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
): Promise<Uint8Array> {
  const id = await databaseIdOf(disk, layout.log)
  if (id !== null) return id
  const message = `nothing in ${layout.log} tells whose log it is`
  throw new HotBackupError('ERR_LOG_CORRUPT', message, { path: layout.log })
}
