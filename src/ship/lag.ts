// How many seconds a slave is behind: the age, by the master's clock, of the oldest update that it has not applied.
// The times are the master's own, from the blocks that it sent, so no two clocks are compared.

/** When there would be more, neighbours are merged, all of them alike: the answer is right to within one entry. */
const entriesMax = 1024

export class LagMeter {
  /** For each entry of runs that were sent and not applied: the last transaction, and the time of the oldest block. */
  #lastTxns: number[] = []
  #times: number[] = []
  /** Runs that an entry takes, and those that the last one has. */
  #runsPerEntry = 1
  #lastRuns = 0

  sent(lastTxn: number, time: number): void {
    if (this.#lastRuns < this.#runsPerEntry && this.#lastTxns.length > 0) {
      this.#lastTxns[this.#lastTxns.length - 1] = lastTxn
      this.#lastRuns++
      return
    }
    if (this.#lastTxns.length === entriesMax) this.#merge()
    this.#lastTxns.push(lastTxn)
    this.#times.push(time)
    this.#lastRuns = 1
  }

  applied(txn: number): void {
    const first = this.#lastTxns.findIndex(last => last > txn)
    if (first === 0) return
    const count = first < 0 ? this.#lastTxns.length : first
    this.#lastTxns.splice(0, count)
    this.#times.splice(0, count)
    if (this.#lastTxns.length === 0) this.#runsPerEntry = 1
  }

  /** When the oldest update that was sent and not applied was made, or a little earlier; null when there is none. */
  get oldestTime(): number | null {
    return this.#times[0] ?? null
  }

  #merge(): void {
    // Of each pair, how far the later one reaches, and how old the older one is.
    this.#lastTxns = this.#lastTxns.filter((_, index) => index % 2 === 1)
    this.#times = this.#times.filter((_, index) => index % 2 === 0)
    this.#runsPerEntry *= 2
  }
}

/** Seconds, never negative: wall clocks jump. */
export function secondsSince(time: number, now: number): number {
  return Math.max(0, now - time) / 1000
}
