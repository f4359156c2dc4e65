// hb switch: master and slave change places, and nothing is lost. Run on the master.
//
//   1. the slave is connected and takes updates, and this server could be a slave: every step is tried
//                                                         else refused, nothing has changed
//   2. DIR/fenced says "handing over": no update is taken, by whoever has the master open
//   3. the slave has stored and applied the last transaction; else everything is as before
//   4. DIR/fenced says "asked"; PROMOTE: the slave has exactly that, and becomes the master on a timeline of its own
//   5. it answers as a master; then this server becomes its slave, as by "hb rejoin", with nothing missing. If it says
//      that it is a slave again it is asked again, and when it refuses now everything is as before
//
// After an error before 4 the master takes updates again; interrupted there, it takes none until "hb switch" is run
// again. Behind it the shipper meets the new timeline like any old master does, and "hb rejoin" (or "hb switch" again)
// completes it. Once the slave has been asked, only its own "no" lets the master take updates again: that it does not
// answer now says nothing of the time before.
import { readPromotion } from '../config/promotion-file.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { readDurableMark } from '../log/durable.ts'
import { sleep } from '../platform/clock.ts'
import type { Address } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import { askHistory, askToPromote, Refused } from '../ship/ask.ts'
import { confirmedAck } from '../ship/confirmed.ts'
import { OwnLog } from '../ship/own-log.ts'
import { addressText } from '../config/address.ts'
import { loadConfig, type Config, type SlaveAddress } from '../config/config.ts'
import { readServerId } from '../config/identity.ts'
import { ControlClient } from '../control/control-client.ts'
import { ask } from '../control/operation.ts'
import { liveHolder, reach, statusNow, statusOf } from '../control/reach.ts'
import { ackSourceOf, layoutOf, type Layout } from '../config/layout.ts'
import { logEnd } from '../log/log-end.ts'
import { serverPurpose } from '../control/owner.ts'
import { fencedError, readFenced, removeFenced, writeFenced } from '../config/fence.ts'
import { failoverOperations } from './failover-operations.ts'
import { ownMark } from './joining.ts'
import { rejoinServer, type RejoinOutcome } from './rejoin-command.ts'
import { listenAsSlave, peerAt, trySlaveAt } from './rejoin.ts'

export interface SwitchOptions {
  /** The slave that is to be the master. */
  readonly to: string
  /** Where this server will listen; null for what hb.toml says. */
  readonly listen: Address | null
  /** How long the slave may take for what it lacks. */
  readonly timeoutMs: number
}

const pollMs = 20
/** A slave that has agreed becomes a master at once; its machine may be busy. */
const promotedWaitMs = 60_000

/**
 * Throws ERR_NO_SLAVE, ERR_WRONG_TYPE, ERR_FENCED for a master that is over, and ERR_UNSAFE with the reason: the
 * master takes updates as before. ERR_TIMEOUT when it is not known how it ended: run it again.
 */
export async function switchServers(
  platform: Platform,
  directory: string,
  options: SwitchOptions,
): Promise<RejoinOutcome> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  // It was interrupted; hb.toml may say already what this server becomes.
  if (await platform.disk.exists(layout.rejoin)) return becomeSlave(platform, layout, null, options)
  const slave = theSlave(config, options.to)
  if (!(await handedOver(platform, layout, slave))) {
    await checkSwitch(platform, layout, config, slave)
    await trySlave(platform, layout, config, slave, options)
    await makeMaster(platform, layout, config, slave, options.timeoutMs)
  }
  try {
    return await becomeSlave(platform, layout, slave.address, options)
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    const message = `${slave.name} is the master now, and ${config.name} not yet its slave: ${error.message}; "hb switch" goes on from there`
    throw new HotBackupError(error.code, message, error.place, error)
  }
}

/** Throws what `switchServers` throws. */
async function makeMaster(
  platform: Platform,
  layout: Layout,
  config: Config,
  slave: SlaveAddress,
  timeoutMs: number,
): Promise<void> {
  const before = (await readFenced(platform.disk, layout))?.asked === true
  let asked = before
  try {
    if (!before) await bar(platform, layout, slave, false, timeoutMs)
    await untilInStep(platform, layout, slave, timeoutMs)
    // Also when it is there: it must be durable, and the process that wrote it may have been killed.
    await bar(platform, layout, slave, true, timeoutMs)
    asked = true
    await handOver(platform, layout, config, slave)
    await untilMaster(platform, layout, config, slave)
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    const refused = error.code === 'ERR_UNSAFE' && (!before || error.cause instanceof Refused)
    if (asked && !refused) throw unknownOutcome(slave, error)
    await unbar(platform, layout, config, error, timeoutMs)
    throw error
  }
}

async function becomeSlave(
  platform: Platform,
  layout: Layout,
  from: Address | null,
  { listen }: SwitchOptions,
): Promise<RejoinOutcome> {
  await closeOwner(platform, layout)
  return rejoinServer(platform, layout.directory, { from, listen, newCopy: false })
}

function theSlave({ name, type, slaves }: Config, to: string): SlaveAddress {
  if (type !== 'master') {
    throw new HotBackupError('ERR_WRONG_TYPE', `${name} is a slave: run it on the master`)
  }
  const slave = slaves.find(other => other.name === to)
  if (slave !== undefined) return slave
  throw new HotBackupError('ERR_NO_SLAVE', `${name} has no slave ${to}`, { slave: to })
}

/** The command was interrupted behind 4: that server is the master already. */
async function handedOver(
  { disk }: Platform,
  layout: Layout,
  { address }: SlaveAddress,
): Promise<boolean> {
  const fenced = await readFenced(disk, layout)
  if (fenced === null || fenced.switching === true) return false
  return fenced.address === addressText(address)
}

async function checkSwitch(
  platform: Platform,
  layout: Layout,
  { name }: Config,
  { name: to, address }: SlaveAddress,
): Promise<void> {
  const fenced = await readFenced(platform.disk, layout)
  const other = fenced?.asked === true && fenced.address !== addressText(address)
  if (fenced !== null && (fenced.switching !== true || other)) throw fencedError(name, fenced)
  const status = (await statusOf(platform, layout, 'shipper'))?.shipper
  if (status === undefined) throw unsafe(`the shipper of ${name} does not run: "hb start"`)
  const row = status.slaves.find(other => other.name === to)
  if (row === undefined || row.heardMs === null) {
    const why = row?.lastError?.message ?? 'no connection'
    throw unsafe(`${to} takes no updates from ${name}: ${why}`)
  }
}

/** Whether this server could be a slave afterwards. A server that was a slave before may have the port already. */
async function trySlave(
  platform: Platform,
  layout: Layout,
  config: Config,
  { address }: SlaveAddress,
  { listen }: SwitchOptions,
): Promise<void> {
  const wanted = listenAsSlave(config, listen, address) ?? config.link.listen
  const had = addressText(wanted) === addressText(config.link.listen)
  const taken = had && (await readPromotion(platform.disk, layout)) !== null
  await trySlaveAt(platform, layout, config, taken ? null : wanted)
}

function unsafe(message: string, cause?: unknown): HotBackupError {
  return new HotBackupError('ERR_UNSAFE', message, {}, cause)
}

/** From here on no update is taken. */
async function bar(
  platform: Platform,
  layout: Layout,
  slave: SlaveAddress,
  asked: boolean,
  patienceMs: number,
): Promise<void> {
  const { disk, clock } = platform
  const by = { by: slave.name, address: addressText(slave.address) }
  const nothing = { timeline: 0, lineage: '', time: clock.now(), switching: true, asked }
  await writeFenced(disk, layout, { ...nothing, ...by })
  await tellOwner(platform, layout, patienceMs)
}

/** It takes updates again. `reason`: why. */
async function unbar(
  platform: Platform,
  layout: Layout,
  { name }: Config,
  reason: HotBackupError,
  patienceMs: number,
): Promise<void> {
  try {
    await removeFenced(platform.disk, layout)
    await tellOwner(platform, layout, patienceMs)
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    const message = `${reason.message}; and ${name} takes no updates until "hb switch" is run again: ${error.message}`
    throw new HotBackupError(error.code, message, error.place, reason)
  }
}

/**
 * The process that has the master open looks at the marker; one that opens it later does so by itself. Throws
 * ERR_REOPENING, ERR_CLOSED when it cannot be told.
 */
async function tellOwner(platform: Platform, layout: Layout, patienceMs: number): Promise<void> {
  const { clock } = platform
  const start = clock.monotonic()
  for (;;) {
    const client = await reach(platform, layout, 'owner', patienceMs)
    if (client === null) return
    try {
      await tell(client, 'fence')
      return
    } catch (error) {
      // It is being closed, and still takes updates if it is not.
      const late = clock.monotonic() - start >= patienceMs
      if (late || !isHotBackupError(error, 'ERR_CLOSED')) throw error
    }
    await sleep(clock, pollMs)
  }
}

async function tell(client: ControlClient, what: 'fence' | 'handOver'): Promise<void> {
  try {
    await ask(client, failoverOperations[what], {})
  } finally {
    client.close()
  }
}

/** Throws ERR_UNSAFE when the slave does not get there in time. */
async function untilInStep(
  platform: Platform,
  layout: Layout,
  { name }: SlaveAddress,
  timeoutMs: number,
): Promise<void> {
  const { disk, clock } = platform
  const start = clock.monotonic()
  for (;;) {
    const last = await lastTxnOf(platform, layout)
    const mark = await readDurableMark(disk, layout.log)
    const ack = await confirmedAck(platform, ackSourceOf(layout, 'master'), name)
    const { durableTxn = 0, appliedTxn = 0 } = ack ?? {}
    // An owner that died may have left more than log/durable says; the shipper brings that in order.
    const reached = last !== null && mark?.txn === last && durableTxn >= last && appliedTxn >= last
    if (reached) return
    if (clock.monotonic() - start >= timeoutMs) {
      if (last === null) throw unsafe(`an application keeps the master open and does not answer`)
      const far =
        ack === null
          ? `${name} is not connected`
          : `${name} has stored transaction ${durableTxn} and applied ${appliedTxn} of ${last}`
      throw unsafe(`${far}, after ${timeoutMs / 1000} s`)
    }
    await sleep(clock, pollMs)
  }
}

/**
 * The last transaction that there will be, since no update is taken any more. Null while that is not known: an
 * application that is closing the master answers no request, and may still be writing what it has taken.
 */
async function lastTxnOf(platform: Platform, layout: Layout): Promise<number | null> {
  const answer = await statusNow(platform, layout, 'owner')
  if (answer?.master !== undefined) return answer.master.lastTxn
  if ((await liveHolder(platform, layout.ownerLock)) !== null) return null
  return (await logEnd(platform.disk, layout.log))?.txn ?? 0
}

/** Throws ERR_UNSAFE when the slave is certain not to have been promoted, ERR_TIMEOUT when that is not known. */
async function handOver(
  platform: Platform,
  layout: Layout,
  config: Config,
  slave: SlaveAddress,
): Promise<void> {
  const { disk } = platform
  const mark = await ownMark(platform, layout)
  const { databaseId } = await new OwnLog(disk, layout.log).describe(mark)
  const question = {
    name: 'promote',
    serverName: config.name,
    serverId: await readServerId(disk, layout),
    databaseId,
    end: { txn: mark.txn, chain: mark.chain },
  } as const
  try {
    await askToPromote(platform, await peerAt(platform, config, slave.address), question)
  } catch (error) {
    if (error instanceof Refused) throw unsafe(`${slave.name} refuses: ${error.message}`, error)
    if (isHotBackupError(error, 'ERR_CONNECT', 'ERR_KEY')) throw unsafe(error.message, error)
    throw unknownOutcome(slave, error)
  }
}

function unknownOutcome({ name }: SlaveAddress, error: unknown): HotBackupError {
  if (isHotBackupError(error, 'ERR_TIMEOUT')) return error
  const reason = error instanceof Error ? error.message : String(error)
  const message = `it is not known whether ${name} has become the master: ${reason}; see "hb status" there, then run "hb switch" again`
  return new HotBackupError('ERR_TIMEOUT', message, {}, error)
}

/**
 * It has agreed: it drops all links, becomes a master, and listens again. One that could not, and runs as a slave
 * again, is asked again. Throws ERR_UNSAFE when it does not agree any more, ERR_TIMEOUT.
 */
async function untilMaster(
  platform: Platform,
  layout: Layout,
  config: Config,
  slave: SlaveAddress,
): Promise<void> {
  const { clock, disk } = platform
  const mark = await ownMark(platform, layout)
  const { databaseId } = await new OwnLog(disk, layout.log).describe(mark)
  const peer = await peerAt(platform, config, slave.address)
  const { name: serverName } = config
  const serverId = await readServerId(disk, layout)
  const self = { serverName, serverId, databaseId, host: '', port: 0 }
  const start = clock.monotonic()
  for (;;) {
    try {
      await askHistory(platform, peer, { name: 'join', register: false, ...self })
      return
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      if (clock.monotonic() - start > promotedWaitMs) {
        const message = `${slave.name} was to become the master and does not answer as one: ${error.message}; see "hb status" there, then run "hb switch" again`
        throw new HotBackupError('ERR_TIMEOUT', message, {}, error)
      }
      const aSlave = error instanceof Refused && error.code === 'ERR_WRONG_TYPE'
      if (aSlave) await askAgain(platform, layout, config, slave)
    }
    await sleep(clock, pollMs)
  }
}

/** Throws ERR_UNSAFE when it says no; whether it has heard the question otherwise, its next answers tell. */
async function askAgain(
  platform: Platform,
  layout: Layout,
  config: Config,
  slave: SlaveAddress,
): Promise<void> {
  try {
    await handOver(platform, layout, config, slave)
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_UNSAFE', 'ERR_TIMEOUT')) throw error
    if (!(error.cause instanceof Refused)) return
    const text = `${slave.name} has agreed, could not become the master, and is a slave again: its messages say why`
    throw unsafe(text, error.cause)
  }
}

/** An application that has the master open loses it. The server's own process is stopped with the others. */
async function closeOwner(platform: Platform, layout: Layout): Promise<void> {
  const { clock, locks } = platform
  if ((await liveHolder(platform, layout.ownerLock))?.purpose === serverPurpose) return
  const start = clock.monotonic()
  for (;;) {
    const client = await ControlClient.connect(platform, layout.ownerSocket)
    try {
      if (client !== null) await tell(client, 'handOver')
    } catch (error) {
      // It is being closed.
      if (!isHotBackupError(error, 'ERR_CLOSED')) throw error
    }
    const holder = await locks.holder(layout.ownerLock)
    if (holder === null || !holder.alive || clock.monotonic() - start > promotedWaitMs) return
    await sleep(clock, pollMs)
  }
}
