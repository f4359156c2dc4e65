// A slave's directory, opened by the one process that owns it: receiver, replayer, control socket, checkpoints,
// removal of old segments, and, when it logs slave updates, a shipper to the next slaves. Promoted, it ends: the
// process goes on as the master's shipper.
import { unfinishedPromotion } from '../config/promotion-file.ts'
import { type SlaveStatus } from '../control/server-status.ts'
import type { Database } from '../database/database.ts'
import { HotBackupError } from '../errors.ts'
import { type PromoteReport } from '../failover/failover-operations.ts'
import type { Helpers } from '../helpers/helpers.ts'
import { readPiece } from '../log/pieces.ts'
import type { LogWriter } from '../log/writer.ts'
import { removeState } from '../platform/atomic-file.ts'
import type { Lock } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import { GroupAnswers } from '../slave/group-answers.ts'
import { Receiver } from '../slave/receiver.ts'
import type { Replayer } from '../slave/replayer.ts'
import { readServerId, readUpstream, writeUpstream } from '../config/identity.ts'
import { readKey } from '../config/key.ts'
import { LiveConfig } from '../config/live-config.ts'
import { ControlServer } from '../control/control.ts'
import { installSeed } from '../backup/seed-install.ts'
import { DirectorySeedTaker } from '../backup/seed-taker.ts'
import { ownDatabaseId, slavePeers, withSoundLog } from '../repair/log-from-peers.ts'
import { SlaveGroups } from '../repair/slave-groups.ts'
import { SlaveRepair } from '../repair/slave-repair.ts'
import { checkNotRejoining } from '../config/fence.ts'
import {
  checkPromotable,
  promoteParts,
  handOverTrouble,
  promotionError,
} from '../failover/promote.ts'
import { tryPromotion } from '../failover/promotion.ts'
import type { Follower } from '../report/follow-watch.ts'
import { slaveAsFollower, slavesAsFollowers } from '../report/followers.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'
import { slavePurpose } from '../control/owner.ts'
import type { Retention } from '../updates/retention.ts'
import { reload } from '../config/reload.ts'
import { ApplySwitch } from '../replay/apply-switch.ts'
import { readApplyUpdates } from '../replay/apply-updates.ts'
import { ManualReplays } from '../replay/manual-replays.ts'
import { startHelpers } from './server-helpers.ts'
import { slaveHandlers } from './slave-handlers.ts'
import { SlaveShipping } from './slave-shipping.ts'
import {
  closeSlaveData,
  openServedData,
  sayDiskRoom,
  slaveRetention,
  startReplayer,
  type SlaveData,
} from '../replay/slave-parts.ts'
import { applyingOf, slaveStatus } from './slave-status.ts'

export class SlaveServer {
  readonly #platform: Platform
  readonly #layout: Layout
  /** What of hb.toml is in force. */
  readonly config: LiveConfig
  readonly #say: Log
  readonly #lock: Lock
  /** Until it stops. */
  readonly data: SlaveData
  readonly #database: Database
  readonly #log: LogWriter
  readonly #retention: Retention
  readonly #seeds: DirectorySeedTaker
  readonly #replayer: Replayer
  #helpers: Helpers | null = null
  #receiver: Receiver | null = null
  #shipping: SlaveShipping | null = null
  #reseeded: () => void = () => {}
  /** Resolves when a copy of the master's database is to take the place of this one: stop, and start anew. */
  readonly reseeded = new Promise<void>(resolve => {
    this.#reseeded = resolve
  })
  #control: ControlServer | null = null
  #stopping: Promise<void> | null = null
  #keeping: Promise<void> = Promise.resolve()
  /** Set when the slave is over: its replayer stands still for good. */
  #promoting: Promise<PromoteReport> | null = null
  #promoted: (error: HotBackupError | null) => void = () => {}
  /** Resolves when the slave has been promoted, or half so, with the reason; then it must be stopped. */
  readonly promoted = new Promise<HotBackupError | null>(resolve => {
    this.#promoted = resolve
  })
  #reopen: () => void = () => {}
  /**
   * Resolves when the database holds half of a transaction that cannot be applied: the slave must be stopped and
   * started again, then it goes on, and in the end past that transaction.
   */
  readonly reopen = new Promise<void>(resolve => {
    this.#reopen = resolve
  })
  readonly #replays: ManualReplays
  readonly #repair: SlaveRepair
  readonly #groups: SlaveGroups
  readonly #applySwitch: ApplySwitch

  private constructor(
    platform: Platform,
    layout: Layout,
    config: LiveConfig,
    say: Log,
    lock: Lock,
    data: SlaveData,
    replayer: (server: SlaveServer) => Replayer,
  ) {
    this.#platform = platform
    this.#layout = layout
    this.config = config
    this.#say = say
    this.#lock = lock
    this.data = data
    this.#database = data.database
    this.#log = data.log
    this.#seeds = new DirectorySeedTaker(platform, layout, {
      name: config.name,
      auto: () => config.slave.autoSeed,
      log: data.log,
      damaged: () => this.#databaseDamaged,
      completed: () => {
        if (this.#promoting === null) this.#reseeded()
      },
    })
    this.#retention = slaveRetention(platform, layout, config, data, this.#seeds, say)
    this.#replayer = replayer(this)
    this.#replays = new ManualReplays({
      platform,
      layout,
      config,
      database: data.database,
      log: data.log,
      replayer: this.#replayer,
      master: () => this.#receiver?.status().master?.name ?? null,
    })
    this.#repair = new SlaveRepair({
      platform,
      layout,
      retention: this.#retention,
      mastersLog: () => this.#receiver?.mastersLog ?? null,
      peers: async () => slavePeers(platform, config, await ownDatabaseId(platform, layout), say),
      standsStill: () => this.#replayer.failure !== null,
      reopen: () => this.#reopen(),
      say,
    })
    const helpers = () => this.#helpers
    this.#applySwitch = new ApplySwitch({
      platform,
      layout,
      replayer: this.#replayer,
      helpers,
      say,
    })
    const master = () => this.#receiver?.repairs ?? null
    this.#groups = new SlaveGroups({ clock: platform.clock, database: data.database, master, say })
  }

  /**
   * Opens the slave in `directory`, recovers what a crash has left, and listens for its master. `lost` is called when
   * the process must end: its lock is lost, or its disk has failed (ERR_STOPPED). Errors: ERR_NOT_A_SERVER, ERR_CONFIG,
   * ERR_WRONG_TYPE, ERR_RUNNING, ERR_KEY, ERR_LISTEN, ERR_LOG_CORRUPT, ERR_DATABASE_CORRUPT, ERR_DISK.
   */
  static async start(
    platform: Platform,
    directory: string,
    say: Log,
    lost: (error: HotBackupError) => void,
  ): Promise<SlaveServer> {
    const layout = layoutOf(directory)
    const config = await LiveConfig.load(platform.disk, layout, 'slave')
    if (config.type !== 'slave') {
      const text = `${directory} is a ${config.type}`
      throw new HotBackupError('ERR_WRONG_TYPE', text, { path: directory })
    }
    const lock = await platform.locks.acquire(layout.ownerLock, slavePurpose, lost)
    // Before the database takes memory.
    const prepared = platform.processes.prepare()
    let server: SlaveServer
    try {
      server = await SlaveServer.#open(platform, layout, config, say, lock, lost)
    } catch (error) {
      prepared()
      await lock.release()
      throw error
    }
    try {
      server.#helpers = await startHelpers(
        platform,
        layout,
        config,
        server.#database,
        say,
        prepared,
      )
      if (!server.#replayer.on) await server.#helpers.pause()
      await server.#listen()
      return server
    } catch (error) {
      await server.stop()
      throw error
    }
  }

  static async #open(
    platform: Platform,
    layout: Layout,
    config: LiveConfig,
    say: Log,
    lock: Lock,
    lost: (error: HotBackupError) => void,
  ): Promise<SlaveServer> {
    await checkNotRejoining(platform.disk, layout, config.name)
    if (await installSeed(platform.disk, layout)) {
      await removeState(platform.disk, layout.differences)
      say('info', 'log and database are those of the copy that the master has given')
    }
    const data = await withSoundLog(platform, layout, config, say, () =>
      openServedData(platform, layout, config, say),
    )
    try {
      if ((await unfinishedPromotion(platform.disk, layout, config, data.log)) !== null) {
        const message = `the promotion of ${config.name} has begun and is not complete`
        throw new HotBackupError('ERR_PROMOTING', message, { path: layout.directory })
      }
    } catch (error) {
      await closeSlaveData(data)
      throw error
    }
    data.log.onFailure(lost)
    const on = await readApplyUpdates(platform, layout, config)
    const replayer = (server: SlaveServer) =>
      startReplayer(platform, layout, config, data, on, say, {
        applied: () => server.#receiver?.ackSoon(),
        checkpointed: () => server.#removeSegments(),
        failed: (error, reopen) => {
          const what = reopen ? 'the database is opened again' : 'updates are not applied any more'
          // When it lasts it is an alarm (followers.ts).
          say('error', `${what}: ${error.message}`, { code: error.code, alarm: reopen })
          server.#receiver?.ackSoon()
          if (reopen) server.#reopen()
          else if (error.code === 'ERR_LOG_CORRUPT') server.#repair.damaged(error)
          else if (error.code === 'ERR_DATABASE_CORRUPT') server.#receiver?.askForCopy()
          else if (error.code === 'ERR_DISK') data.log.fail(error)
        },
        spare: server.#retention.spareFor(layout.database),
        diskRoom: lack => sayDiskRoom(say, 'files are not brought up to date', lack),
      })
    return new SlaveServer(platform, layout, config, say, lock, data, replayer)
  }

  async #listen(): Promise<void> {
    const [platform, layout] = [this.#platform, this.#layout]
    const { link } = this.config
    const key = link.keyPath === null ? null : await readKey(platform, link.keyPath)
    const serverId = await readServerId(platform.disk, layout)
    const answers = new GroupAnswers(this.config.name, this.#database, this.#log)
    this.#receiver = await Receiver.start(this.#platform, {
      name: this.config.name,
      serverId,
      key,
      listen: link.listen,
      log: this.#log,
      appliedTxn: () => this.#replayer.appliedTxn,
      appliedTime: () => this.#replayer.appliedTime,
      applying: () => applyingOf(this.#replayer),
      statistics: () => this.#database.operations.totals(),
      differences: start => this.data.differences.page(start),
      heartbeatMs: link.heartbeatMs,
      timeoutMs: link.timeoutMs,
      handOver: {
        refusal: () =>
          handOverTrouble(platform, layout, this.config, this.data, this.#replayer.failure),
        begin: () => {
          this.#say('info', 'the master hands over', { lastTxn: this.#log.lastTxn })
          this.promote().catch((error: unknown) => {
            this.#say('error', `this server has not become the master: ${String(error)}`)
          })
        },
      },
      piece: question => readPiece(this.#platform.disk, this.#layout.log, question),
      group: question => answers.piece(question),
      streaming: () => this.#groups.look(),
      refusal: () => this.#replays.refusal,
      needsCopy: () => this.#needsCopy,
      logger: this.#say,
      upstream: await readUpstream(this.#platform.disk, this.#layout),
      upstreamChanged: upstream => this.#keepUpstream(upstream),
      seeds: this.#seeds,
    })
    this.#log.diskRoom.onChange(lack => sayDiskRoom(this.#say, 'updates are not stored', lack))
    this.#shipping = await SlaveShipping.start(
      this.#platform,
      this.#layout,
      this.config,
      this.#say,
      {
        receiver: this.#receiver,
        damaged: error => this.#repair.damaged(error),
        repair: range => this.#groups.passOn(range),
      },
    )
    const shipping = this.#shipping
    this.#control = await ControlServer.start(this.#platform, this.#layout.ownerSocket, this.#say, {
      damage: this.data.damage,
      handlers: slaveHandlers({
        database: this.#database,
        clock: this.#platform.clock,
        retention: this.#retention,
        replayer: this.#replayer,
        applySwitch: this.#applySwitch,
        replays: this.#replays,
        receiver: this.#receiver,
        shipping,
        repair: this.#repair,
        status: () => this.status(),
        promote: () => this.promote(),
        tryPromotion: () => this.#tryPromotion(),
        reload: () => reload(this.config, this.#say),
      }),
    })
  }

  get #databaseDamaged(): boolean {
    return this.#replayer.failure?.code === 'ERR_DATABASE_CORRUPT'
  }

  /** Only with auto_seed: else the log is taken all the same, and an operator orders the copy. */
  get #needsCopy(): HotBackupError | null {
    if (!this.config.slave.autoSeed || !this.#databaseDamaged) return null
    const text = `the database of this slave is damaged: ${this.#replayer.failure?.message}`
    return new HotBackupError('ERR_LINK_SEED', text)
  }

  #keepUpstream(upstream: Parameters<typeof writeUpstream>[2]): void {
    // One write after the other.
    this.#keeping = this.#keeping
      .then(() => writeUpstream(this.#platform.disk, this.#layout, upstream))
      .catch((error: unknown) => {
        this.#say('error', `the servers above this one cannot be kept: ${String(error)}`)
      })
  }

  status(): SlaveStatus {
    if (this.#receiver === null) throw new TypeError('the slave is not started')
    return slaveStatus({
      pid: this.#platform.processes.self().pid,
      receiver: this.#receiver,
      slaves: this.#shipping?.status() ?? [],
      helpers: this.#helpers,
      replayer: this.#replayer,
      ...this.data,
    })
  }

  async #tryPromotion(): Promise<void> {
    checkPromotable(this.config, this.#log.identity !== null, this.#replayer.failure)
    await tryPromotion(this.#platform, this.#layout)
  }

  /** Itself, and the slaves that it hands the log on to. */
  following(): Follower[] {
    const status = this.status()
    return [slaveAsFollower(this.config, status), ...slavesAsFollowers(status.slaves)]
  }

  /**
   * Makes a master of this server; resolves when applications could open it but for this process, which must then
   * be stopped (see `promoted`). Throws ERR_UNSAFE, and nothing has changed; ERR_PROMOTING ends the slave; after any
   * other error it is the slave that it was, and opens itself anew.
   */
  async promote(): Promise<PromoteReport> {
    if (this.#promoting === null) await this.#tryPromotion()
    this.#promoting ??= this.#promote().then(
      report => {
        this.#promoted(null)
        return report
      },
      (error: unknown) => {
        const known = promotionError(error)
        if (known.code === 'ERR_PROMOTING') this.#promoted(known)
        else this.#reopen()
        throw known
      },
    )
    return this.#promoting
  }

  async #promote(): Promise<PromoteReport> {
    const { receiver } = this.status()
    const master = {
      masterTxn: receiver.masterDurableTxn,
      connected: receiver.master?.name ?? null,
      shipping: true,
    }
    await this.#replays.ended()
    await this.#applySwitch.settled()
    await this.#endLinks()
    const parts = { config: this.config, replayer: this.#replayer, ...this.data }
    const report = await promoteParts(this.#platform, this.#layout, parts, master)
    const { timeline, lineage, lastTxn, drained } = report
    const fields = { timeline, lineage, lastTxn, drained }
    this.#say('info', `promoted: a master now, on timeline ${timeline}`, fields)
    return report
  }

  /** Ends the links, stores and applies what has come, makes a checkpoint and gives the directory free. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    this.#replays.end()
    await this.#control?.close()
    await this.#replays.ended()
    await this.#endLinks()
    try {
      // A checkpoint would keep the applications out for as long as it takes; they replay faster.
      if (this.#promoting === null) await this.#replayer.stop()
    } finally {
      await this.#retention.settled()
      await closeSlaveData(this.data)
      await this.#lock.release()
    }
  }

  async #endLinks(): Promise<void> {
    this.#groups.stop()
    await this.#repair.stop()
    await this.#helpers?.stop()
    await this.#receiver?.stop()
    await this.#keeping
    await this.#shipping?.stop()
  }

  #removeSegments(): void {
    const failed = (error: unknown) =>
      this.#say('error', `old segments could not be removed: ${String(error)}`)
    this.#retention.apply().catch(failed)
  }
}
