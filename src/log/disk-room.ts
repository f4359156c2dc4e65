// While a disk is full: who is told, and when to try again. What waits meanwhile, and what is refused, is the business
// of those who write: the log, and checkpoints.
import { isHotBackupError, type HotBackupError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'

type Listener = (lack: HotBackupError | null) => void

export class DiskRoom {
  readonly #clock: Clock
  readonly #retryMs: number
  readonly #tryAgain: () => void
  readonly #listeners: Listener[] = []
  #lack: HotBackupError | null = null
  #timer: Timer | null = null
  #patient = true
  #resume: () => void = () => {}

  /** `tryAgain` is called that long after each `lacks`; it tells what came of it by `lacks` or `found`. */
  constructor(clock: Clock, retryMs: number, tryAgain: () => void = () => {}) {
    this.#clock = clock
    this.#retryMs = retryMs
    this.#tryAgain = tryAgain
  }

  /** ERR_DISK_FULL; null while there is room, as far as is known. */
  get lack(): HotBackupError | null {
    return this.#lack
  }

  /** It is no time to try again yet. */
  get waiting(): boolean {
    return this.#timer !== null
  }

  /** False when a full disk is waited for no more. */
  get patient(): boolean {
    return this.#patient
  }

  /** Calls back with the error when the disk is full, and with null when there is room again. */
  onChange(listener: Listener): void {
    this.#listeners.push(listener)
  }

  lacks(error: HotBackupError): void {
    const before = this.#lack
    this.#lack = error
    this.#timer ??= this.#clock.after(this.#retryMs, () => this.#next())
    if (before === null) for (const listener of this.#listeners) listener(error)
  }

  found(): void {
    this.stop()
    if (this.#lack === null) return
    this.#lack = null
    for (const listener of this.#listeners) listener(null)
  }

  /** One more try, and no other. */
  endPatience(): void {
    this.#patient = false
    if (this.#timer !== null) this.#next()
  }

  /** Does work that may be done again: while the disk is full, again and again. Rejects with any other error. */
  async persist<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        const done = await work()
        this.found()
        return done
      } catch (error) {
        if (!isHotBackupError(error, 'ERR_DISK_FULL') || !this.#patient) throw error
        this.lacks(error)
        await new Promise<void>(resolve => {
          this.#resume = resolve
        })
      }
    }
  }

  /** Nothing is tried any more. */
  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  #next(): void {
    this.stop()
    this.#resume()
    this.#tryAgain()
  }
}
