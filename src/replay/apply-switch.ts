// Turns "apply updates" of a slave at work on and off, for the replayer and the helpers together; it stays so across
// restarts.
import type { Helpers } from '../helpers/helpers.ts'
import type { Platform } from '../platform/platform.ts'
import type { Replayer } from '../slave/replayer.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'
import { writeApplyUpdates } from './apply-updates.ts'

export interface ApplySwitchParts {
  readonly platform: Platform
  readonly layout: Layout
  readonly replayer: Replayer
  readonly helpers: () => Helpers | null
  readonly say: Log
}

export class ApplySwitch {
  readonly #parts: ApplySwitchParts
  /** One order after the other. */
  #orders: Promise<void> = Promise.resolve()

  constructor(parts: ApplySwitchParts) {
    this.#parts = parts
  }

  /**
   * Off resolves when the database stands still at a checkpoint, so that its files may be copied, while the log goes on
   * taking everything.
   */
  turn(on: boolean): Promise<void> {
    const turned = this.#orders.then(() => this.#turn(on))
    this.#orders = turned.catch(() => {})
    return turned
  }

  /** Resolves when nobody is about to turn it. */
  settled(): Promise<void> {
    return this.#orders
  }

  async #turn(on: boolean): Promise<void> {
    const { platform, layout, replayer, say } = this.#parts
    const before = replayer.on
    try {
      await this.#switchTo(on)
      await writeApplyUpdates(platform, layout, on)
    } catch (error) {
      // Whoever is told that it failed must find it as it was.
      await this.#switchTo(before)
      throw error
    }
    const { appliedTxn } = replayer
    say('info', `apply updates: ${on ? 'on' : 'off'}`, { appliedTxn })
  }

  async #switchTo(on: boolean): Promise<void> {
    const { replayer, helpers } = this.#parts
    // While nothing is applied helpers may work, but the database stands still.
    if (!on) await helpers()?.pause()
    if (on) await replayer.resume()
    else await replayer.pause()
    if (on) helpers()?.resume()
  }
}
