// A master's shipper as a process of its own: it reads the log, owns the acks, and never needs the application.
// When no process has the master open, at the start or because its owner died, it brings the log in order: the last
// blocks that the owner wrote may be on the disk without `log/durable` saying so, and they belong to the slaves.
import { readPromotion } from '../config/promotion-file.ts'
import { Database } from '../database/database.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { sleep, type Timer } from '../platform/clock.ts'
import type { Lock } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import { OwnLog } from '../ship/own-log.ts'
import { Shipper, type ShipperOptions } from '../ship/shipper.ts'
import { Gatekeeper } from '../slave/gatekeeper.ts'
import type { GroupRange } from '../wire/messages/repair.ts'
import { addressText } from '../config/address.ts'
import type { Config } from '../config/config.ts'
import { readServerId } from '../config/identity.ts'
import { readKey } from '../config/key.ts'
import { LiveConfig } from '../config/live-config.ts'
import { reload } from '../config/reload.ts'
import { reach } from '../control/reach.ts'
import { ask, handler } from '../control/operation.ts'
import { reloadOperation } from '../control/reload-server.ts'
import { status } from '../control/status-operation.ts'
import { seedHandler } from '../backup/seeder.ts'
import { failoverOperations } from '../failover/failover-operations.ts'
import { pageOf, repairOperations } from '../repair/repair-operations.ts'
import { ControlServer } from '../control/control.ts'
import { Seeder, withSeeds } from '../backup/seeder.ts'
import { withSoundLog } from '../repair/log-from-peers.ts'
import { ShipperRepair } from '../repair/shipper-repair.ts'
import {
  checkNotRejoining,
  fencedError,
  readFenced,
  writeFenced,
  type Fenced,
} from '../config/fence.ts'
import { removeSlave } from '../failover/forget.ts'
import { answerJoin, ownMark } from '../failover/joining.ts'
import type { Follower } from '../report/follow-watch.ts'
import { slavesAsFollowers } from '../report/followers.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { openBegunLog } from '../updates/master-log.ts'
import { recoveryPurpose, shipperPurpose } from '../control/owner.ts'
import type { Log } from '../config/messages-log.ts'
import { QueueWatch } from '../updates/queue-watch.ts'
import { withData } from './sessions.ts'
import { statisticsHandler } from '../report/statistics.ts'

/** Reading one small file as often costs nothing. */
const ownerPollMs = 500
/** What keeps the log from being brought in order will not go away by itself: said again, but not all the time. */
const ownerRetryMs = 60_000

/** What works for the shipper, and ends with it. */
interface Parts {
  readonly config: LiveConfig
  readonly lock: Lock
  readonly shipper: Shipper
  readonly seeder: Seeder
  /** Null on a server that was never a slave. */
  readonly gatekeeper: Gatekeeper | null
  readonly fence: Fence
  readonly control: ControlServer
  /** Looks now and then whether the owner has died. */
  readonly watch: OwnerWatch
  readonly queueWatch: QueueWatch
  readonly repair: ShipperRepair
}

export class ShipperServer {
  readonly #parts: Parts
  #stopping: Promise<void> | null = null

  private constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Starts shipping the log in `directory` to its slaves. `lost` is called when the process must end: it has lost
   * its lock. Errors: ERR_NOT_A_SERVER, ERR_CONFIG, ERR_WRONG_TYPE, ERR_RUNNING, ERR_KEY, ERR_LOG_CORRUPT, ERR_DISK.
   */
  static async start(
    platform: Platform,
    directory: string,
    say: Log,
    lost: (error: HotBackupError) => void,
  ): Promise<ShipperServer> {
    const layout = layoutOf(directory)
    const config = await LiveConfig.load(platform.disk, layout, 'shipper')
    if (config.type !== 'master') {
      const message = `${directory} is a slave: its server ships by itself when it logs slave updates`
      const hint = 'Start it with "hb start" or "hb-slave".'
      throw new HotBackupError('ERR_WRONG_TYPE', message, { path: directory }, undefined, hint)
    }
    const self = platform.processes.self()
    const lock = await platform.locks.acquire(layout.shipperLock, shipperPurpose, lost)
    try {
      await checkNotRejoining(platform.disk, layout, config.name)
      await recoverLog(platform, layout, config, say)
      const seeder: Seeder = new Seeder(platform, layout, config, say, slave => shipper.add(slave))
      await seeder.forget()
      const repair = new ShipperRepair(platform, layout, config, say)
      const fence = new Fence(platform, layout, config, say, seeder, repair)
      const shipper = await fence.shipper()
      config.onChange(() => fence.slavesChanged())
      const gatekeeper = await startGatekeeper(platform, layout, config, shipper, say)
      const control = await ControlServer.start(platform, layout.shipperSocket, say, {
        handlers: [
          handler(status, async () => ({
            shipper: { pid: self.pid, slaves: withSeeds(shipper.status(), seeder) },
          })),
          seedHandler(slave => seeder.order(slave)),
          statisticsHandler(null, () => shipper),
          handler(repairOperations.differences, async ({ slave, start }) =>
            pageOf(await shipper.differences(slave, start)),
          ),
          handler(failoverOperations.forget, async ({ slave }) => {
            await removeSlave(platform.disk, layout, slave)
            await shipper.remove(slave)
            say('info', `"${slave}" is a slave no longer`, { slave })
            return {}
          }),
          handler(reloadOperation, () => reload(config, say)),
        ],
      })
      const watch = new OwnerWatch(platform, layout, config, say)
      const queueWatch = new QueueWatch(platform, layout, config, say)
      const links = { shipper, seeder, gatekeeper, fence, repair }
      return new ShipperServer({ config, lock, control, watch, queueWatch, ...links })
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  /** What of hb.toml is in force. */
  get config(): LiveConfig {
    return this.#parts.config
  }

  /** The slaves. */
  following(): Follower[] {
    const { shipper, seeder } = this.#parts
    return slavesAsFollowers(withSeeds(shipper.status(), seeder))
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    const { watch, queueWatch, control, gatekeeper, fence, shipper, repair, lock } = this.#parts
    await watch.stop()
    await queueWatch.stop()
    await control.close()
    await gatekeeper?.stop()
    await fence.stop()
    await shipper.stop()
    await repair.stop()
    await lock.release()
  }
}

async function startGatekeeper(
  platform: Platform,
  layout: Layout,
  config: Config,
  shipper: Shipper,
  say: Log,
): Promise<Gatekeeper | null> {
  const { disk } = platform
  if ((await readPromotion(disk, layout)) === null) return null
  const { link, name } = config
  const log = new OwnLog(disk, layout.log)
  try {
    return await Gatekeeper.start(platform, {
      name,
      serverId: await readServerId(disk, layout),
      key: link.keyPath === null ? null : await readKey(platform, link.keyPath),
      listen: link.listen,
      heartbeatMs: link.heartbeatMs,
      timeoutMs: link.timeoutMs,
      describe: async () => log.describe(await ownMark(platform, layout)),
      join: (join, host) => answerJoin(platform, layout, name, log, shipper, say, join, host),
      logger: say,
    })
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_LISTEN')) throw error
    // Its own work does not need the port.
    say('error', `the old master cannot be told that it is over: ${error.message}`)
    return null
  }
}

/**
 * Sends the log while this is the master. When a slave tells of a later timeline nothing more is sent: the marker is
 * written, durably, and then whoever has the master open is told, until he has heard it.
 */
class Fence {
  readonly #platform: Platform
  readonly #layout: Layout
  readonly #config: Config
  readonly #say: Log
  readonly #seeder: Seeder
  readonly #repair: ShipperRepair
  #shipper: Shipper | null = null
  #met = false
  #telling: Promise<void> = Promise.resolve()
  #repairs: Promise<unknown> = Promise.resolve()
  #stopped = false

  constructor(
    platform: Platform,
    layout: Layout,
    config: Config,
    say: Log,
    seeder: Seeder,
    repair: ShipperRepair,
  ) {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    this.#say = say
    this.#seeder = seeder
    this.#repair = repair
  }

  async shipper(): Promise<Shipper> {
    const fenced = await readFenced(this.#platform.disk, this.#layout)
    // While it is handing over the slave still needs what it has not got.
    const over = fenced !== null && fenced.switching !== true
    if (over) {
      this.#met = true
      this.#say('error', fencedError(this.#config.name, fenced).message)
      // The process before this one may have ended before it was heard.
      this.#telling = this.#untilDone(() => this.#tellOwner())
    }
    const options = await shipperOptions(this.#platform, this.#layout, this.#config, this.#say)
    this.#shipper = await Shipper.start(this.#platform, {
      ...options,
      slaves: over ? [] : options.slaves,
      needsSeed: slave => this.#seeder.needed(slave),
      damaged: error => this.#repair.damaged(error),
      repair: range => this.#repairGroup(range),
      fenced: ({ timeline, lineageId, serverName }, { address }) => {
        const lineage = Buffer.from(lineageId).toString('hex')
        const time = this.#platform.clock.now()
        const by = { by: serverName, address: addressText(address) }
        if (!this.#met) this.#telling = this.#tell({ timeline, lineage, ...by, time })
        this.#met = true
      },
    })
    return this.#shipper
  }

  /** Of hb.toml, while the shipper works; but nothing is sent to anybody when this master is over. */
  async slavesChanged(): Promise<void> {
    if (!this.#met) await this.#shipper?.setSlaves(this.#config.slaves)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#seeder.stop()
    await this.#telling
    await this.#repairs
  }

  /** By the process that has the master open, or else by this one; one after the other. */
  #repairGroup(range: GroupRange): Promise<number> {
    const { directory } = this.#layout
    const repaired = this.#repairs.then(() =>
      withData(this.#platform, directory, 'write', async data => {
        const { txn } = await ask(data, repairOperations.repairGroup, range)
        return txn
      }),
    )
    this.#repairs = repaired.catch(() => {})
    return repaired
  }

  async #tell(fenced: Fenced): Promise<void> {
    const { message } = fencedError(this.#config.name, fenced)
    this.#say('error', `updates are not taken any more: ${message}`)
    let written = false
    await this.#untilDone(async () => {
      if (!written) await writeFenced(this.#platform.disk, this.#layout, fenced)
      written = true
      await this.#seeder.stop()
      await this.#shipper?.stop()
      await this.#tellOwner()
    })
  }

  async #untilDone(work: () => Promise<void>): Promise<void> {
    while (!this.#stopped) {
      try {
        await work()
        return
      } catch (error) {
        this.#say('error', `the master could not be stopped from taking updates: ${String(error)}`)
        await sleep(this.#platform.clock, ownerPollMs)
      }
    }
  }

  /** A process that opens the master later reads the marker itself. */
  async #tellOwner(): Promise<void> {
    const client = await reach(this.#platform, this.#layout, 'owner')
    if (client === null) return
    try {
      await ask(client, failoverOperations.fence, {})
    } finally {
      client.close()
    }
  }
}

export async function shipperOptions(
  platform: Platform,
  layout: Layout,
  config: Config,
  say: Log,
): Promise<ShipperOptions> {
  const { link } = config
  return {
    directory: layout.directory,
    name: config.name,
    serverId: await readServerId(platform.disk, layout),
    slaves: config.slaves,
    key: link.keyPath === null ? null : await readKey(platform, link.keyPath),
    upstream: [],
    windowBytes: link.windowBytes,
    heartbeatMs: link.heartbeatMs,
    timeoutMs: link.timeoutMs,
    log: say,
  }
}

/**
 * After a crash `log/durable` may be older than the log is. Opening the log repairs that; only the owner may do
 * it, so this process is the owner for a moment, unless somebody is already.
 */
async function recoverLog(
  platform: Platform,
  layout: Layout,
  config: Config,
  say: Log,
): Promise<void> {
  let lock: Lock
  try {
    lock = await platform.locks.acquire(layout.ownerLock, recoveryPurpose, () => {})
  } catch (error) {
    if (isHotBackupError(error, 'ERR_RUNNING')) return
    throw error
  }
  try {
    const database = await Database.open(platform, layout.directory, {
      ...config.database,
      readOnly: true,
    })
    const { txn } = database.stamp
    await database.close()
    const log = await withSoundLog(platform, layout, config, say, () =>
      openBegunLog(platform, layout, config, txn),
    )
    if (log.durableTxn > 0) say('info', 'the log is in order', { durableTxn: log.durableTxn })
    await log.close()
  } finally {
    await lock.release()
  }
}

/** Recovers the log when its owner has died, as soon as that is certain. */
class OwnerWatch {
  readonly #platform: Platform
  readonly #layout: Layout
  readonly #config: Config
  readonly #say: Log
  #timer: Timer
  #looking: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(platform: Platform, layout: Layout, config: Config, say: Log) {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    this.#say = say
    this.#timer = this.#arm()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer.cancel()
    await this.#looking
  }

  #arm(delayMs = ownerPollMs): Timer {
    return this.#platform.clock.after(delayMs, () => {
      this.#looking = this.#look()
    })
  }

  async #look(): Promise<void> {
    let delayMs = ownerPollMs
    try {
      const holder = await this.#platform.locks.holder(this.#layout.ownerLock)
      if (holder?.alive === false) {
        this.#say('warn', 'the owner of the master has died', { pid: holder.identity.pid })
        await recoverLog(this.#platform, this.#layout, this.#config, this.#say)
      }
    } catch (error) {
      this.#say('error', `the log is not in order: ${String(error)}`)
      delayMs = ownerRetryMs
    }
    if (!this.#stopped) this.#timer = this.#arm(delayMs)
  }
}
