// A clock for links: waits in the foreground (backoff, polling) are over in the next turn of the event loop, and those
// in the background (heartbeats) when the test moves the time on.
import type { Clock, Timer } from '../../src/platform/clock.ts'

export class TestClock implements Clock {
  #timeMs = 0
  readonly #waiting = new Set<{ readonly dueMs: number; readonly callback: () => void }>()
  /** Every foreground wait that was asked for, in milliseconds. */
  readonly waits: number[] = []

  now(): number {
    return 1_700_000_000_000 + this.#timeMs
  }

  monotonic(): number {
    return this.#timeMs
  }

  nextTurn(callback: () => void): void {
    setImmediate(callback)
  }

  after(delayMs: number, callback: () => void, background = false): Timer {
    if (!background) {
      this.waits.push(delayMs)
      const immediate = setImmediate(callback)
      return { cancel: () => clearImmediate(immediate) }
    }
    const entry = { dueMs: this.#timeMs + delayMs, callback }
    this.#waiting.add(entry)
    return { cancel: () => this.#waiting.delete(entry) }
  }

  /** Moves the time on by small steps, with turns of the event loop between them. */
  async advance(ms: number, stepMs = 250): Promise<void> {
    const end = this.#timeMs + ms
    while (this.#timeMs < end) {
      this.#timeMs = Math.min(end, this.#timeMs + stepMs)
      for (const entry of this.#waiting) {
        if (entry.dueMs > this.#timeMs) continue
        this.#waiting.delete(entry)
        entry.callback()
      }
      for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
    }
  }
}
