// Who may update a master now. While too much is under way, or somebody has the database to himself, updates wait, and
// take effect in the order of the calls: memory is bounded by settings and not by eagerness.

export interface Room {
  /** No update is to be let in now. */
  full(this: void): boolean
  /** Resolves when it may be so no more; what it throws does not count. */
  emptied(this: void): Promise<void>
  /** Nothing will be taken any more: those who wait, and who come, are let in, and hear of it. */
  stopped(this: void): boolean
}

export class Turns {
  readonly #room: Room
  /** In the order of the calls. */
  readonly #waiting: (() => void)[] = []
  /** Settles when a caller that has the database to itself is done. */
  #alone: Promise<void> | null = null
  /** That caller makes an update now. */
  #his = false

  constructor(room: Room) {
    this.#room = room
  }

  /** The next update has to wait, for room or behind others. */
  get crowded(): boolean {
    return !this.#his && (this.#alone !== null || this.#waiting.length > 0 || this.#full)
  }

  /** Where nothing will be taken any more, no caller waits for room. */
  get #full(): boolean {
    return this.#room.full() && !this.#room.stopped()
  }

  /** Resolves when the next update would not wait. */
  room(): Promise<void> {
    return this.take(() => settledAlready)
  }

  /** Calls `update`, at once or in its turn. */
  take<T>(update: () => Promise<T>): Promise<T> {
    return this.crowded ? this.#wait(update) : update()
  }

  /**
   * For work that decides by what others have written, and must not be overtaken: the updates of everybody else wait
   * until it is done, so it must be short. Its own are made by what is handed to it, at once.
   */
  async alone<T>(work: (now: <U>(update: () => U) => U) => Promise<T>): Promise<T> {
    while (this.crowded) await this.room()
    let done = () => {}
    this.#alone = new Promise(resolve => {
      done = resolve
    })
    try {
      return await work(update => {
        this.#his = true
        try {
          return update()
        } finally {
          this.#his = false
        }
      })
    } finally {
      this.#alone = null
      done()
    }
  }

  #wait<T>(update: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          resolve(update())
        } catch (error) {
          reject(error as Error)
        }
      })
      if (this.#waiting.length === 1) void this.#admit()
    })
  }

  /** Lets in those who wait, in order, while there is room. */
  async #admit(): Promise<void> {
    while (this.#waiting.length > 0) {
      await this.#alone
      try {
        await this.#room.emptied()
      } catch {
        // The log has stopped, or the disk is full: each of them hears of it by its own update.
      }
      let admitted = 0
      for (const update of this.#waiting) {
        if (this.#alone !== null || this.#full) break
        update()
        admitted++
      }
      this.#waiting.splice(0, admitted)
    }
  }
}

const settledAlready = Promise.resolve()
