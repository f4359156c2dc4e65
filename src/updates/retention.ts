// Which segments may go: only what every registered slave has stored, what the checkpoint is past, and what the
// operator does not want to keep for other reasons.
import type { LogWriter } from '../log/writer.ts'
import type { Clock } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import { neededAfter } from '../ship/needed.ts'

export interface RetentionPolicy {
  /** Sealed segments younger than this stay; milliseconds, 0 for no such wish. */
  readonly keepMs: number
  /** This many bytes of sealed segments stay; 0 for no such wish. */
  readonly keepBytes: number
}

/** As it is at any time. */
interface RetentionConfig {
  readonly log: RetentionPolicy
  readonly slaves: readonly { readonly name: string }[]
  /** Whether the log is sent to them. */
  readonly ships: boolean
}

export class Retention {
  readonly #platform: { readonly disk: Disk; readonly clock: Clock }
  readonly #log: LogWriter
  readonly #acksDirectory: string
  readonly #config: RetentionConfig
  /** What else must stay: everything behind the transaction that it answers. */
  readonly #needed: (logBytes: number) => Promise<number>
  #running: Promise<void> | null = null
  #holds = 0

  constructor(
    platform: { readonly disk: Disk; readonly clock: Clock },
    log: LogWriter,
    acksDirectory: string,
    config: RetentionConfig,
    needed: (logBytes: number) => Promise<number> = () => Promise.resolve(Infinity),
  ) {
    this.#platform = platform
    this.#log = log
    this.#acksDirectory = acksDirectory
    this.#config = config
    this.#needed = needed
  }

  /** Removes what may go. `stampTxn`: the database needs the transactions behind it for its own recovery. */
  apply(stampTxn: number): Promise<void> {
    this.#running ??= this.#remove(stampTxn).finally(() => {
      this.#running = null
    })
    return this.#running
  }

  /** Nothing is removed until the answer is called: somebody copies the log. */
  hold(): () => void {
    this.#holds++
    let held = true
    return () => {
      if (held) this.#holds--
      held = false
    }
  }

  async #remove(stampTxn: number): Promise<void> {
    let needed = stampTxn
    const { disk } = this.#platform
    const { slaves, ships } = this.#config
    for (const { name } of ships ? slaves : []) {
      needed = Math.min(needed, await neededAfter(disk, this.#acksDirectory, name))
    }
    const bytes = this.#log.segments().reduce((sum, segment) => sum + segment.bytes, 0)
    needed = Math.min(needed, await this.#needed(bytes))
    if (this.#holds > 0) return
    const kept = this.#keptFrom()
    await this.#log.removeBefore(Math.min(needed + 1, kept))
  }

  /** The first transaction that the operator's own wishes keep. */
  #keptFrom(): number {
    const { keepMs, keepBytes } = this.#config.log
    if (keepMs === 0 && keepBytes === 0) return Infinity
    const segments = this.#log.segments()
    const oldest = this.#platform.clock.now() - keepMs
    let bytes = 0
    let kept = Infinity
    for (const segment of [...segments].reverse()) {
      bytes += segment.bytes
      if (bytes > keepBytes && segment.created < oldest) break
      kept = segment.firstTxn
    }
    return kept
  }
}
