// The workload of every benchmark: ids like CUST*1234567890, values of 100 bytes, a repeatable random order.

export const valueBytes = 100

/** "npm run bench:tiny": every benchmark runs to its end, in a minute for all; its figures mean nothing. */
export const tiny = process.env['HB_BENCH_TINY'] === '1'

/** How many items, updates or bytes. */
export function sized(count: number): number {
  return tiny ? Math.min(count, Math.max(200, Math.ceil(count / 2000))) : count
}

/** How many rounds, seconds or milliseconds. */
export function lasting(count: number): number {
  return tiny ? Math.ceil(count / 20) : count
}

/** What a log reader would call the update's payload: item-id and value. */
export const updateBytes = 15 + valueBytes

export function itemId(number: number): string {
  return `CUST*${String(number).padStart(10, '0')}`
}

/** A value that differs from update to update. */
export function itemValue(number: number): string {
  return String(number).padStart(10, '0').repeat(10)
}

/** mulberry32: small, fast, the same on every machine. Returns whole numbers below `limit`. */
export function randomNumbers(seed: number): (limit: number) => number {
  let state = seed
  return limit => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit)
  }
}

/** About 17 items of this size a group: frames three quarters full. */
export function moduloFor(items: number): number {
  return Math.max(101, Math.ceil(items / 20) | 1)
}

/** The value at fraction `p` of sorted `samples`. */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] ?? Number.NaN
}
