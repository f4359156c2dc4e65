// A master's shipper that meets damage in the log. Mending is the owner's: an application that has the master open is
// asked to; when nobody has, this process owns the directory for as long as it takes.
import { ask } from '../control/operation.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import type { Config } from '../config/config.ts'
import { reach } from '../control/reach.ts'
import type { Layout } from '../config/layout.ts'
import { recoveryPurpose } from '../control/owner.ts'
import type { Log } from '../config/messages-log.ts'
import { mendStopped } from './mend.ts'
import { repairOperations } from './repair-operations.ts'

/** Damage that could not be mended is not tried again at every call of a link. */
const retryMs = 10_000

export class ShipperMending {
  readonly #platform: Platform
  readonly #layout: Layout
  readonly #config: Config
  readonly #say: Log
  #mending: Promise<void> | null = null
  #triedAt = -Infinity

  constructor(platform: Platform, layout: Layout, config: Config, say: Log) {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    this.#say = say
  }

  damaged(error: HotBackupError): void {
    const now = this.#platform.clock.monotonic()
    if (this.#mending !== null || now - this.#triedAt < retryMs) return
    this.#triedAt = now
    this.#say('error', `the log is damaged: ${error.message}`, { code: error.code, ...error.place })
    this.#mending = this.#mend()
      .catch((reason: unknown) => {
        this.#say('error', `the log could not be mended: ${String(reason)}`)
      })
      .finally(() => {
        this.#mending = null
      })
  }

  async stop(): Promise<void> {
    await this.#mending
  }

  async #mend(): Promise<void> {
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
      await mendStopped(this.#platform, this.#layout, this.#config, this.#say)
    } finally {
      await lock.release()
    }
  }

  async #askOwner(): Promise<void> {
    const client = await reach(this.#platform, this.#layout, 'owner')
    if (client === null) throw new HotBackupError('ERR_CLOSED', 'the master does not answer')
    try {
      const answer = await ask(client, repairOperations.mend, {})
      this.#say('warn', 'the log has been mended by the process that has the master open', answer)
    } finally {
      client.close()
    }
  }
}
