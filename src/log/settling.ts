// One promise for all who wait for the same event, made when the first of them asks: a block that nobody waits
// for costs none.

const settled = Promise.resolve()

export class Settling {
  #outcome: 'pending' | 'done' | Error = 'pending'
  #promise: Promise<void> | null = null
  #resolve: (() => void) | null = null
  #reject: ((error: Error) => void) | null = null

  get promise(): Promise<void> {
    if (this.#outcome === 'done') return settled
    if (this.#promise === null) {
      const outcome = this.#outcome
      this.#promise = new Promise((resolve, reject) => {
        if (outcome !== 'pending') return reject(outcome)
        this.#resolve = resolve
        this.#reject = reject
      })
      // A failure is also told by whatever is called next: one who no longer listens must not end the process.
      this.#promise.catch(() => {})
    }
    return this.#promise
  }

  /** The first outcome counts. */
  resolve(): void {
    if (this.#outcome !== 'pending') return
    this.#outcome = 'done'
    this.#resolve?.()
  }

  reject(error: Error): void {
    if (this.#outcome !== 'pending') return
    this.#outcome = error
    this.#reject?.(error)
  }
}
