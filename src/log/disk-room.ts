// While a disk is full: what is given up for room, who is told, and when to try again. What waits meanwhile, and what
// is refused, is the business of those who write: the log, and checkpoints.
import { isHotBackupError, type HotBackupError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'

type Listener = (lack: HotBackupError | null) => void

/** What takes room on the disk and is kept only as long as there is room. */
export interface Spare {
  /** False when there was nothing when it was looked at last. */
  readonly any: boolean
  /** Gives some of it up, durably; false when there was nothing. */
  giveUp(): Promise<boolean>
}

export const noSpare: Spare = { any: false, giveUp: () => Promise.resolve(false) }

export class DiskRoom {
  readonly #clock: Clock
  readonly #retryMs: number
  readonly #tryAgain: () => void
  readonly #listeners: Listener[] = []
  /** Given up before anything waits for room, or is refused. */
  spare: Spare = noSpare
  /** Something is being given up; another object each time. */
  #giving: object | null = null
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
    return this.#timer !== null || this.#giving !== null
  }

  /** False when a full disk is waited for no more. */
  get patient(): boolean {
    return this.#patient
  }

  /** Calls back with the error when the disk is full, and with null when there is room again. */
  onChange(listener: Listener): void {
    this.#listeners.push(listener)
  }

  /** False when something is given up first, and then it is tried again at once: there is no lack yet. */
  lacks(error: HotBackupError): boolean {
    if (this.#giving !== null) return false
    if (this.#lack === null && this.spare.any) {
      void this.#give(error)
      return false
    }
    this.#wait(error)
    return true
  }

  #wait(error: HotBackupError): void {
    const before = this.#lack
    this.#lack = error
    this.#timer ??= this.#clock.after(this.#retryMs, () => {
      this.#timer = null
      if (this.spare === noSpare) this.#next()
      else void this.#give(error)
    })
    if (before === null) for (const listener of this.#listeners) listener(error)
  }

  async #give(error: HotBackupError): Promise<void> {
    const giving = {}
    this.#giving = giving
    const given = await this.giveUp()
    if (this.#giving !== giving) return
    this.#giving = null
    if (given || this.#lack !== null) this.#next()
    else this.#wait(error)
  }

  /** True when something has been given up, so it is worth while to try again. */
  async giveUp(): Promise<boolean> {
    try {
      return await this.spare.giveUp()
    } catch {
      return false // The disk says more to those who write.
    }
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
        const resumed = new Promise<void>(resolve => {
          this.#resume = resolve
        })
        this.lacks(error)
        await resumed
      }
    }
  }

  /** Nothing is tried any more. */
  stop(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#giving = null
  }

  #next(): void {
    this.stop()
    this.#resume()
    this.#tryAgain()
  }
}
