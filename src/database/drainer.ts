// Drains holds and examines files in the background, between updates, as memory allows. Standing still, it changes
// nothing: a database whose files may be copied must be left alone.
import { isHotBackupError } from '../errors.ts'
import { turn, type Clock } from '../platform/clock.ts'
import type { Checkpointer } from './checkpointer.ts'
import type { Database } from './database.ts'

/** Held updates in one turn of the event loop: about 2 ms. */
const sliceItems = 1000
/** When the disk is full there is no checkpoint, and so no memory: it goes on later. */
const roomRetryMs = 2000

export class Drainer {
  readonly #database: Database
  readonly #checkpointer: Checkpointer
  readonly #clock: Clock
  readonly #failed: (error: unknown) => void
  #on = true
  #woken = false
  #running: Promise<void> | null = null

  /** `failed` hears of an error that a drain has met; it stands still for good then. */
  constructor(
    database: Database,
    checkpointer: Checkpointer,
    clock: Clock,
    failed: (error: unknown) => void,
  ) {
    this.#database = database
    this.#checkpointer = checkpointer
    this.#clock = clock
    this.#failed = failed
  }

  /** Call it when there may be something to drain: in the middle of a transaction, too. */
  wake(): void {
    if (this.#woken) return
    this.#woken = true
    this.#clock.nextTurn(() => {
      this.#woken = false
      this.#begin()
    })
  }

  #begin(): void {
    if (!this.#on || this.#running !== null) return
    // A base may wait for a checkpoint though no update comes any more.
    this.#checkpointer.note()
    if (!this.#database.work.busy) return
    this.#running = this.#drain()
      .catch((error: unknown) => {
        if (isHotBackupError(error, 'ERR_DISK_FULL')) {
          this.#clock.after(roomRetryMs, () => this.wake(), true)
          return
        }
        this.#on = false
        this.#failed(error)
      })
      .finally(() => {
        this.#running = null
      })
  }

  /** Resolves when it stands still. */
  async pause(): Promise<void> {
    this.#on = false
    await this.#running
  }

  resume(): void {
    this.#on = true
    this.wake()
  }

  async #drain(): Promise<void> {
    while (this.#on && this.#database.work.busy) {
      await this.#checkpointer.room()
      if (!this.#on) return
      this.#database.work.step(sliceItems)
      this.#checkpointer.note()
      await turn(this.#clock)
    }
  }
}
