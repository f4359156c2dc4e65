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
  /** Calls back when the event loop has been round: timers, disks and connections have had their turn. */
  nextTurn(callback: () => void): void
}

/** Resolves when others have had their turn: for long work on a thread that serves others, too. */
export function turn(clock: Pick<Clock, 'nextTurn'>): Promise<void> {
  return new Promise(resolve => {
    clock.nextTurn(resolve)
  })
}

/** Resolves after at least `delayMs`. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise(resolve => {
    clock.after(delayMs, resolve)
  })
}

/** Rests as long as the work has taken: others, whose disk it is, too, have half of it. */
export async function restful(clock: Clock, work: () => Promise<void>): Promise<void> {
  const start = clock.monotonic()
  await work()
  await sleep(clock, clock.monotonic() - start)
}
