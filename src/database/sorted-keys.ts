// Sorts many numbers without holding up the event loop: short runs are sorted one at a time, as they come,
// and merged when they are read.

export class SortedKeys {
  readonly #runs: Float64Array[] = []
  /** Next index in each run. */
  #next: number[] = []
  /** A heap of the runs that have keys left, the one with the smallest key on top. */
  #heap: number[] = []

  /** Adds a run and sorts it; the array belongs to this from now on. */
  add(run: Float64Array): void {
    if (run.length > 0) this.#runs.push(run.sort())
  }

  /** Starts to read: to be called once, after the last `add`. */
  rewind(): void {
    this.#next = this.#runs.map(() => 0)
    // An array in order is a heap.
    this.#heap = this.#runs.map((_, run) => run).sort((a, b) => this.#key(a) - this.#key(b))
  }

  /** The smallest key that has not been taken; -1 at the end. */
  take(): number {
    const heap = this.#heap
    const run = heap[0]
    if (run === undefined) return -1
    const key = this.#key(run)
    this.#next[run]!++
    if (this.#next[run] === this.#runs[run]!.length) {
      const last = heap.pop()!
      if (heap.length > 0) heap[0] = last
    }
    this.#sink()
    return key
  }

  #key(run: number): number {
    return this.#runs[run]![this.#next[run]!]!
  }

  #sink(): void {
    const heap = this.#heap
    for (let at = 0; ;) {
      let least = at
      for (let child = 2 * at + 1; child <= 2 * at + 2 && child < heap.length; child++) {
        if (this.#key(heap[child]!) < this.#key(heap[least]!)) least = child
      }
      if (least === at) return
      const run = heap[at]!
      heap[at] = heap[least]!
      heap[least] = run
      at = least
    }
  }
}
