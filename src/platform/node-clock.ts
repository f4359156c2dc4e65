// Time by the system's clocks and Node's timers.
import { type Clock } from './clock.ts'

/** Node fires a timer with a longer delay at once. */
const delayMsMax = 2 ** 31 - 1

export const nodeClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),

  nextTurn: callback => void setImmediate(callback),

  after(delayMs, callback, background = false) {
    const due = performance.now() + delayMs
    let timeout: NodeJS.Timeout
    const arm = () => {
      const remaining = due - performance.now()
      timeout = setTimeout(remaining > delayMsMax ? arm : callback, Math.min(remaining, delayMsMax))
      if (background) timeout.unref()
    }
    arm()
    return { cancel: () => clearTimeout(timeout) }
  },
}
