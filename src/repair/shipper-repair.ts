// Repairs damage that a master's shipper meets in the log. The process that has the master open does it; when there
// is none, this one owns the directory until the log is repaired.
import { ask } from '../control/operation.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import type { Config } from '../config/config.ts'
import { reach } from '../control/reach.ts'
import type { Layout } from '../config/layout.ts'
import { recoveryPurpose } from '../control/owner.ts'
import type { Log } from '../config/messages-log.ts'
import { repairStopped } from './log-from-peers.ts'
import { repairOperations } from './repair-operations.ts'

/** Damage that could not be repaired is not tried again at every call of a link. */
const retryMs = 10_000

export class ShipperRepair {
  readonly #platform: Platform
  readonly #layout: Layout
  readonly #config: Config
  readonly #say: Log
  #running: Promise<void> | null = null
  #triedAt = -Infinity

  constructor(platform: Platform, layout: Layout, config: Config, say: Log) {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    this.#say = say
  }

  damaged(error: HotBackupError): void {
    const now = this.#platform.clock.monotonic()
    if (this.#running !== null || now - this.#triedAt < retryMs) return
    this.#triedAt = now
    this.#say('error', `the log is damaged: ${error.message}`, { code: error.code, ...error.place })
    this.#running = this.#repair()
      .catch((reason: unknown) => {
        this.#say('error', `the log could not be repaired: ${String(reason)}`)
      })
      .finally(() => {
        this.#running = null
      })
  }

  async stop(): Promise<void> {
    await this.#running
  }

  async #repair(): Promise<void> {
    const { locks } = this.#platform
    let lock
    try {
      lock = await locks.acquire(this.#layout.ownerLock, recoveryPurpose, () => {})
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_RUNNING')) throw error
      await this.#askOwner()
      return
    }
    try {
      await repairStopped(this.#platform, this.#layout, this.#config, this.#say)
    } finally {
      await lock.release()
    }
  }

  async #askOwner(): Promise<void> {
    const client = await reach(this.#platform, this.#layout, 'owner')
    if (client === null) throw new HotBackupError('ERR_CLOSED', 'the master does not answer')
    try {
      const answer = await ask(client, repairOperations.repair, {})
      this.#say('warn', 'the log has been repaired by the process that has the master open', answer)
    } finally {
      client.close()
    }
  }
}
