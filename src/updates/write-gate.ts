// Whether a master may take updates: not when a later timeline has been met (fence.ts), and, with a lease, not when
// no slave has been heard for too long, since one of them may have been promoted. Asked before every update.
import { HotBackupError } from '../errors.ts'
import type { Timer } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { statusNow } from '../control/reach.ts'
import { fencedError, readFenced, type Fenced } from '../config/fence.ts'
import type { Layout } from '../config/layout.ts'

/** The shipper is asked this many times in the length of a lease. */
const asksPerLease = 5

type GatePlatform = Pick<Platform, 'disk' | 'clock' | 'localSockets'>

export class WriteGate {
  readonly #platform: GatePlatform
  readonly #layout: Layout
  readonly #name: string
  /** Milliseconds; 0 for none. */
  readonly #leaseMs: number
  /** By the monotonic clock: a slave was heard less than a lease before. */
  #leasedUntil = Infinity
  #fenced: Fenced | null = null
  #looking: Promise<void> = Promise.resolve()
  #timer: Timer | null = null
  #asking: Promise<void> = Promise.resolve()
  #closed = false

  constructor(platform: GatePlatform, layout: Layout, name: string, leaseMs: number) {
    this.#platform = platform
    this.#layout = layout
    this.#name = name
    this.#leaseMs = leaseMs
    if (leaseMs === 0) return
    // Nobody has been heard by this process: another one may have closed the master a long time ago.
    this.#leasedUntil = -Infinity
  }

  /** Throws ERR_FENCED or ERR_LEASE when no update may be taken now. */
  check(): void {
    const error = this.refusal
    if (error !== null) throw error
  }

  get fenced(): boolean {
    return this.#fenced !== null
  }

  /** Fenced for good: another server is the master. */
  get over(): boolean {
    return this.#fenced !== null && this.#fenced.switching !== true
  }

  get refusal(): HotBackupError | null {
    if (this.#fenced !== null) return fencedError(this.#name, this.#fenced)
    if (this.#leaseMs === 0 || this.#platform.clock.monotonic() <= this.#leasedUntil) return null
    const message = `${this.#name} has heard from no slave for ${this.#leaseMs / 1000} s`
    return new HotBackupError('ERR_LEASE', message)
  }

  /** Before the first update. Throws as `look` does. */
  async open(): Promise<void> {
    await this.look()
    if (this.#leaseMs === 0) return
    await this.#ask()
    this.#arm()
  }

  /** Looks whether the master is fenced. Throws ERR_FENCED for a marker that cannot be read, ERR_DISK. */
  look(): Promise<void> {
    // One after the other: an older answer must not replace a newer one.
    const looked = this.#looking.then(async () => {
      this.#fenced = await readFenced(this.#platform.disk, this.#layout)
    })
    this.#looking = looked.catch(() => {})
    return looked
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#asking
  }

  #arm(): void {
    if (this.#closed) return
    this.#timer = this.#platform.clock.after(
      this.#leaseMs / asksPerLease,
      () => {
        this.#asking = this.#ask().then(() => this.#arm())
      },
      true,
    )
  }

  /** A shipper that does not answer has heard from no slave. */
  async #ask(): Promise<void> {
    const { clock } = this.#platform
    const asked = clock.monotonic()
    const answer = await statusNow(this.#platform, this.#layout, 'shipper').catch(() => null)
    for (const { heardMs } of answer?.shipper?.slaves ?? []) {
      if (heardMs === null) continue
      this.#leasedUntil = Math.max(this.#leasedUntil, asked - heardMs + this.#leaseMs)
    }
  }
}
