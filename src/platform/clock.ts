// The port to time. Wall time is data (it is stored and shown); every time-out uses the monotonic clock.

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Wall-clock time, milliseconds since 1970. May jump either way. */
  now(): number
  /** Milliseconds since some start; never goes back. */
  monotonic(): number
  /** Calls back once, after at least `delayMs`. Does not keep the process alive by itself when `background`. */
  after(delayMs: number, callback: () => void, background?: boolean): Timer
}

/** Resolves after at least `delayMs`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise(resolve => {
    clock.after(delayMs, resolve)
  })
}
