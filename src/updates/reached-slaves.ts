// A master's database files should not run ahead of its slaves. If it dies, and a slave is promoted that lacks its last
// updates, it comes back by cutting its log to the fork (rejoin.ts), and that works as long as the stamp is not behind
// the fork. So a checkpoint waits a moment for the acks; it never waits for slaves that are away.
import { isHotBackupError } from '../errors.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { confirmedAck, type AckSource } from '../ship/confirmed.ts'

/** A slave that has said something in this time is not away. */
const freshMs = 3000
const pollMs = 10

/** As it is at any time. */
interface SlavesConfig {
  readonly slaves: readonly { readonly name: string }[]
}

export class ReachedSlaves {
  readonly #platform: Pick<Platform, 'disk' | 'clock' | 'locks'>
  readonly #source: AckSource
  readonly #config: SlavesConfig

  constructor(
    platform: Pick<Platform, 'disk' | 'clock' | 'locks'>,
    source: AckSource,
    config: SlavesConfig,
  ) {
    this.#platform = platform
    this.#source = source
    this.#config = config
  }

  /** True when no slave lacks the transaction. Waits up to `timeoutMs` for it, while `worth` says so. */
  async wait(txn: number, timeoutMs: number, worth: () => boolean = () => true): Promise<boolean> {
    const { clock } = this.#platform
    const start = clock.monotonic()
    while ((await this.#behind(txn)).length > 0) {
      if (clock.monotonic() - start >= timeoutMs || !worth()) return false
      await sleep(clock, pollMs)
    }
    return true
  }

  /** The same, for slaves that have answered a moment ago. */
  async waitForFresh(txn: number, timeoutMs: number, worth: () => boolean): Promise<void> {
    try {
      const now = this.#platform.clock.now()
      const behind = await this.#behind(txn)
      if (behind.length === 0 || behind.some(time => now - time > freshMs)) return
      await this.wait(txn, timeoutMs, worth)
    } catch (error) {
      // What cannot be read must not keep a checkpoint from being made.
      if (!isHotBackupError(error)) throw error
    }
  }

  /** When the slaves that lack the transaction were heard last, wall-clock milliseconds; 0 for those that are away. */
  async #behind(txn: number): Promise<number[]> {
    const times: number[] = []
    for (const { name } of this.#config.slaves) {
      const ack = await confirmedAck(this.#platform, this.#source, name)
      if (ack === null || ack.durableTxn < txn) times.push(ack?.time ?? 0)
    }
    return times
  }
}
