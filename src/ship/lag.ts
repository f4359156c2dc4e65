// How many seconds a slave is behind: the age, by the master's clock, of the oldest update that it has not applied.
// The times are the master's own, from the blocks that it sent, so no two clocks are compared.

/** Beyond this many runs neighbours are merged: the answer stays right to within one merged run. */
const entriesMax = 1024

export class LagMeter {
  /** Last transaction of each run sent and not applied, and the time of the oldest block known in it. */
  #lastTxns: number[] = []
  #times: number[] = []

  sent(lastTxn: number, time: number): void {
    if (this.#lastTxns.length === entriesMax) this.#merge()
    this.#lastTxns.push(lastTxn)
    this.#times.push(time)
  }

  applied(txn: number): void {
    const count = this.#lastTxns.findIndex(last => last > txn)
    if (count === 0) return
    this.#lastTxns.splice(0, count < 0 ? this.#lastTxns.length : count)
    this.#times.splice(0, count < 0 ? this.#times.length : count)
  }

  clear(): void {
    this.#lastTxns = []
    this.#times = []
  }

  /** When the oldest update that was sent and not applied was made; null when there is none. */
  get oldestTime(): number | null {
    return this.#times[0] ?? null
  }

  #merge(): void {
    // Of each pair, how far the later one reaches, and how old the older one is.
    this.#lastTxns = this.#lastTxns.filter((_, index) => index % 2 === 1)
    this.#times = this.#times.filter((_, index) => index % 2 === 0)
  }
}

/** Seconds, never negative: wall clocks jump. */
export function secondsSince(time: number, now: number): number {
  return Math.max(0, now - time) / 1000
}
