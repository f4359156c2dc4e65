// Progress on standard error, on a terminal, for what takes longer than two seconds: one line that is written over.
import type { Clock, Timer } from '../platform/clock.ts'
import { harmlessLine } from '../text/harmless-text.ts'

const silentMs = 2000
const intervalMs = 250

/** Standard error. */
interface ErrorStream {
  readonly isTTY?: boolean
  write(text: string): unknown
}

export class Progress {
  readonly #clock: Clock
  readonly #stream: ErrorStream
  readonly #start: number
  #next: number
  #shown = false
  #timer: Timer | null = null

  constructor(clock: Clock, stream: ErrorStream) {
    this.#clock = clock
    this.#stream = stream
    this.#start = clock.monotonic()
    this.#next = stream.isTTY === true ? this.#start + silentMs : Infinity
  }

  /** `text` is asked for when it is time to show it; it gets the seconds since the start. */
  update(text: (seconds: number) => string): void {
    const now = this.#clock.monotonic()
    if (now < this.#next) return
    this.#next = now + intervalMs
    this.#shown = true
    this.#stream.write(`\r${harmlessLine(text((now - this.#start) / 1000))}\u001b[K`)
  }

  /** Shows `text` again and again until the end, also while nothing comes that could call for an update. */
  watch(text: (seconds: number) => string): void {
    if (this.#stream.isTTY !== true) return
    const show = () => {
      this.update(text)
      this.#timer = this.#clock.after(intervalMs, show, true)
    }
    show()
  }

  /** Takes the line away. */
  end(): void {
    this.#timer?.cancel()
    this.#timer = null
    if (this.#shown) this.#stream.write('\r\u001b[K')
    this.#shown = false
    this.#next = Infinity
  }
}
