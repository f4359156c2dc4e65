// What is worth saying about a queue that grows towards its limit: at which fractions, and how long it will take.
import { sizeText } from '../config/sizes-and-times.ts'

/** Of the limit. */
const alarms = [0.5, 0.75, 0.9, 1] as const
/** An alarm is given again only when the queue was smaller than this part of it in between. */
const rearmedBelow = 0.9
/** The growth is an average of about so long. */
const averagedMs = 10_000

/** The highest alarm that holds at `fraction` of the limit, given the one that held before; 0 for none. */
export function passedAlarm(fraction: number, before: number): number {
  const passed = alarms.findLast(alarm => fraction >= alarm) ?? 0
  if (passed >= before || fraction >= before * rearmedBelow) return Math.max(passed, before)
  return passed
}

export function queueText(bytes: number, limitBytes: number): string {
  const percent = Math.floor((100 * bytes) / limitBytes)
  return `the transaction log queue has ${sizeText(bytes)}, ${percent} % of its limit of ${sizeText(limitBytes)}`
}

/** How fast something grows. */
export class Growth {
  #bytes = 0
  #time: number | null = null
  #bytesPerMs = 0

  /** `time` by the monotonic clock, milliseconds. */
  note(bytes: number, time: number): void {
    if (this.#time !== null && time > this.#time) {
      const elapsed = time - this.#time
      const rate = (bytes - this.#bytes) / elapsed
      const weight = Math.min(1, elapsed / averagedMs)
      this.#bytesPerMs += (rate - this.#bytesPerMs) * weight
    }
    this.#bytes = bytes
    this.#time = time
  }

  /** Seconds until `bytes` are `limitBytes` at the present rate; null when that will not be. */
  secondsTo(bytes: number, limitBytes: number): number | null {
    if (limitBytes === 0 || this.#bytesPerMs <= 0) return null
    return Math.max(0, (limitBytes - bytes) / this.#bytesPerMs / 1000)
  }
}
