// Waits until a transaction has got somewhere: to the slaves (received, durable or applied there), or, on a
// slave, into its own log or database. Looks at the confirmed positions and asks the slave's server; takes no lock.
import { readCheckpointTxn } from '../database/files-signature.ts'
import { HotBackupError } from '../errors.ts'
import { readDurableMark } from '../log/durable.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { ackReach, readAck, type AckLevel } from '../ship/ack-file.ts'
import { confirmedAck } from '../ship/confirmed.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { liveHolder, statusNow, statusOf } from '../control/reach.ts'
import { ackSourceOf, layoutOf, type Layout } from '../config/layout.ts'
import { logEnd } from '../log/log-end.ts'

export interface WaitOptions {
  /** Only this slave; null for all of them, or for this server itself when it is a slave. */
  readonly slave: string | null
  /** Null: the last one in the log when the wait begins. */
  readonly txn: number | null
  readonly level: AckLevel
  /** Null: for ever. */
  readonly timeoutMs: number | null
}

type WaitPlatform = Pick<Platform, 'disk' | 'clock' | 'localSockets' | 'locks'>

const pollMs = 20
const senderLookMs = 1000
/** A shipper that is started again is waited for. */
const senderPatienceMs = 10_000

/**
 * Resolves with the transaction that was waited for. Throws ERR_TIMEOUT, which says who is where; ERR_NO_SLAVE, also
 * for a slave that the running shipper does not know; ERR_NOT_RUNNING when nothing has run for ten seconds that sends.
 */
export async function waitForTxn(
  platform: WaitPlatform,
  directory: string,
  options: WaitOptions,
): Promise<number> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  const { clock } = platform
  const start = clock.monotonic()
  const txn = options.txn ?? (await lastTxn(platform, layout))
  const sender = new SenderWatch(platform, layout, config, options.slave)
  for (;;) {
    const behind = await whoIsBehind(platform, layout, config, options, txn)
    if (behind === null) return txn
    await sender.check()
    if (options.timeoutMs !== null && clock.monotonic() - start >= options.timeoutMs) {
      const message = `${behind} after ${options.timeoutMs / 1000} s`
      throw new HotBackupError('ERR_TIMEOUT', message, { txn })
    }
    await sleep(clock, pollMs)
  }
}

async function lastTxn(platform: WaitPlatform, layout: Layout): Promise<number> {
  const answer = await statusOf(platform, layout, 'owner')
  const mark = await readDurableMark(platform.disk, layout.log)
  if (answer !== null) return Math.max(answer.master?.lastTxn ?? 0, mark?.txn ?? 0)
  // An owner that died may have written more than log/durable says; the shipper brings that in order.
  return (await logEnd(platform.disk, layout.log))?.txn ?? 0
}

/** For people: the first server that has not got there, and where it is. */
async function whoIsBehind(
  platform: WaitPlatform,
  layout: Layout,
  config: Config,
  options: WaitOptions,
  txn: number,
): Promise<string | null> {
  const { level } = options
  if (options.slave === null && config.type === 'slave') {
    const { reached, answers } = await reachedHere(platform, layout, level)
    if (reached >= txn) return null
    const known = answers ? '' : 'does not answer; by its last checkpoint it '
    return `${config.name} ${known}has ${level} transaction ${reached}, not ${txn},`
  }
  for (const name of slavesToWaitFor(config, options.slave)) {
    const ack = await confirmedAck(platform, ackSourceOf(layout, config.type), name)
    const reached = ack === null ? 0 : ackReach(ack, level)
    if (ack === null) {
      const last = await readAck(platform.disk, layout.slaves, name)
      if (last !== null) return unconfirmed(name, level, txn, ackReach(last, level))
    }
    if (ack === null || reached < txn) {
      return `slave ${name} has ${level} transaction ${reached}, not ${txn},`
    }
  }
  return null
}

/** It had got to `last` when it was connected. */
function unconfirmed(name: string, level: AckLevel, txn: number, last: number): string {
  const known = `its last known position is transaction ${last}`
  return `slave ${name} is not connected and does not confirm to have ${level} transaction ${txn} (${known})`
}

/** Checks that a shipper sends to the slaves that are waited for: else the wait would never end. */
class SenderWatch {
  readonly #platform: WaitPlatform
  readonly #layout: Layout
  readonly #config: Config
  readonly #slaves: readonly string[]
  #lookedAt = -Infinity
  /** By the monotonic clock: nothing runs since then. */
  #goneSince: number | null = null
  /** At the last look the running server did not know them. */
  #unknown: readonly string[] = []

  constructor(platform: WaitPlatform, layout: Layout, config: Config, slave: string | null) {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    const itself = slave === null && config.type === 'slave'
    this.#slaves = itself ? [] : slavesToWaitFor(config, slave)
  }

  /** Looks once a second. Throws ERR_NO_SLAVE, ERR_NOT_RUNNING. */
  async check(): Promise<void> {
    const { clock } = this.#platform
    const now = clock.monotonic()
    if (this.#slaves.length === 0 || now - this.#lookedAt < senderLookMs) return
    this.#lookedAt = now
    const { name, type } = this.#config
    const { ownerLock, shipperLock } = this.#layout
    const [lock, resident] =
      type === 'master' ? ([shipperLock, 'shipper'] as const) : ([ownerLock, 'owner'] as const)
    const answer = await statusNow(this.#platform, this.#layout, resident)
    const runs = answer !== null || (await liveHolder(this.#platform, lock)) !== null
    this.#goneSince = runs ? null : (this.#goneSince ?? now)
    if (this.#goneSince !== null && now - this.#goneSince >= senderPatienceMs) {
      const what = type === 'master' ? 'no shipper runs' : 'the server does not run'
      throw new HotBackupError('ERR_NOT_RUNNING', `${what} for ${name}: no slave is sent anything`)
    }
    const links = answer?.shipper ?? answer?.slave
    const known = links?.slaves.map(slave => slave.name)
    const unknown = this.#slaves.filter(slave => known?.includes(slave) === false)
    // A link that is just opened again is not there for a moment.
    const slave = unknown.find(missing => this.#unknown.includes(missing))
    this.#unknown = unknown
    if (slave === undefined) return
    const message = `the running server ${name} does not send to slave ${slave}; if it is new in hb.toml, run "hb reload"`
    throw new HotBackupError('ERR_NO_SLAVE', message, { slave })
  }
}

function slavesToWaitFor(config: Config, slave: string | null): string[] {
  if (config.type === 'slave' && !config.slave.logSlaveUpdates) {
    const message = `${config.name} is a slave and forwards nothing: log_slave_updates in hb.toml is off`
    const hint = 'Wait on the master, or without --slave until this server has it itself.'
    throw new HotBackupError('ERR_NO_SLAVE', message, {}, undefined, hint)
  }
  const names = config.slaves.map(({ name }) => name)
  if (slave === null) {
    if (names.length > 0) return names
    throw new HotBackupError('ERR_NO_SLAVE', `${config.name} has no slaves to wait for`)
  }
  if (names.includes(slave)) return [slave]
  throw new HotBackupError('ERR_NO_SLAVE', `${config.name} has no slave ${slave}`, { slave })
}

/** `answers`: false when a server is at work here that does not say how far it is. */
async function reachedHere(
  platform: WaitPlatform,
  layout: Layout,
  level: AckLevel,
): Promise<{ readonly reached: number; readonly answers: boolean }> {
  if (level !== 'applied') {
    // What a slave has received and what is durable there differ by one fsync; only the latter is in a file.
    const mark = await readDurableMark(platform.disk, layout.log)
    return { reached: mark?.txn ?? 0, answers: true }
  }
  const slave = (await statusNow(platform, layout, 'owner'))?.slave
  if (slave !== undefined) return { reached: slave.apply.appliedTxn, answers: true }
  const reached = await readCheckpointTxn(platform.disk, layout.database)
  return { reached, answers: (await liveHolder(platform, layout.ownerLock)) === null }
}
