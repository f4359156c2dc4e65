// A master's shipper as a process of its own: it reads the log, owns the acks, and never needs the application.
// When it starts and nobody has the master open, it first brings the log in order after a crash.
import { Database } from '../database/database.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { acquireLock, type Lock } from '../platform/lock.ts'
import type { Platform } from '../platform/platform.ts'
import type { ShipStatus } from '../ship/status.ts'
import { Shipper, type ShipperOptions } from '../ship/shipper.ts'
import { loadConfig, type Config } from './config.ts'
import { ControlServer } from './control.ts'
import { readServerId } from './identity.ts'
import { readKey } from './key.ts'
import { layoutOf, type Layout } from './layout.ts'
import { openMasterLog, recoveryPurpose } from './master-log.ts'
import type { Log } from './messages-log.ts'

/** What the control socket answers to "status". */
export interface ShipperStatus {
  readonly pid: number
  readonly slaves: readonly ShipStatus[]
}

export class ShipperServer {
  readonly #lock: Lock
  readonly #shipper: Shipper
  readonly #control: ControlServer
  #stopping: Promise<void> | null = null

  private constructor(lock: Lock, shipper: Shipper, control: ControlServer) {
    this.#lock = lock
    this.#shipper = shipper
    this.#control = control
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
    const config = await loadConfig(platform.disk, layout)
    if (config.type !== 'master') {
      const message = `${directory} is a slave: its server ships by itself when it logs slave updates`
      throw new HotBackupError('ERR_WRONG_TYPE', message, { path: directory })
    }
    const self = platform.processes.self()
    const lock = await acquireLock(layout.shipperLock, self, platform.processes, 'shipper', lost)
    try {
      await recoverLog(platform, layout, config, say)
      const options = await shipperOptions(platform, layout, config, say)
      const shipper = await Shipper.start(platform, options)
      const control = await ControlServer.start(platform, layout.shipperSocket, {
        status: () =>
          Promise.resolve({ pid: self.pid, slaves: shipper.status() } satisfies ShipperStatus),
      })
      return new ShipperServer(lock, shipper, control)
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  async #stop(): Promise<void> {
    await this.#control.close()
    await this.#shipper.stop()
    await this.#lock.release()
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
 * After a crash `log/durable` may be older than the log is. Opening the log mends that; nobody but the owner may do
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
    const self = platform.processes.self()
    lock = await acquireLock(layout.ownerLock, self, platform.processes, recoveryPurpose, () => {})
  } catch (error) {
    if (isHotBackupError(error, 'ERR_RUNNING')) return
    throw error
  }
  try {
    const database = await Database.open(platform, layout.directory, {
      ...config.database,
      readOnly: true,
    })
    const log = await openMasterLog(platform, layout, config, database.stamp.txn)
    await database.close()
    if (log.durableTxn > 0) say('info', 'the log is in order', { durableTxn: log.durableTxn })
    await log.close()
  } finally {
    await lock.release()
  }
}
