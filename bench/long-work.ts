// What updates to other files, and reads, feel of long work: the rate of updates while a large file is resized or
// cleared, against the rate just before, and the longest read.
import type { File, Master } from '../src/index.ts'
import { itemId, itemValue, moduloFor, randomNumbers } from './workload.ts'

export interface LongWorkResult {
  readonly operation: string
  /** Updates of the other file per second: without the work, and beside it. */
  readonly without: number
  readonly beside: number
  readonly seconds: number
  /** Milliseconds, of the large file and of the other one. */
  readonly longestRead: number
}

const otherItems = 100_000
const outstanding = 8192
const sampleSeconds = 4

/** `large` is full; nobody else uses the master. */
export async function measureLongWork(master: Master, large: File): Promise<LongWorkResult[]> {
  const account = master.account('BENCH')
  const other = await account.createFile('OTHER', { modulo: moduloFor(otherItems) })
  const count = large.itemCount
  await updates(other, otherItems, () => false)
  await master.checkpoint()
  const results: LongWorkResult[] = []
  const operations = [
    ['resize', () => large.resize((moduloFor(count) * 2) | 1)],
    ['clear', () => large.clear()],
  ] as const
  for (const [operation, begin] of operations) {
    const without = await forSeconds(sampleSeconds, done => updates(other, Infinity, done))
    const reader = new Reader(large, other, count)
    await begin()
    const busy = () => master.status().holds.length > 0
    const beside = await forSeconds(sampleSeconds, done =>
      updates(other, Infinity, () => !busy() && done()),
    )
    const longestRead = await reader.stop()
    results.push({
      operation,
      without: without.count / without.seconds,
      beside: beside.count / beside.seconds,
      seconds: beside.seconds,
      longestRead,
    })
  }
  return results
}

async function forSeconds(seconds: number, work: (done: () => boolean) => Promise<number>) {
  const start = performance.now()
  const count = await work(() => performance.now() - start > seconds * 1000)
  return { count, seconds: (performance.now() - start) / 1000 }
}

/** Random updates with many under way, until `done` or so many. Returns how many. */
async function updates(file: File, max: number, done: () => boolean): Promise<number> {
  const random = randomNumbers(5)
  let older = Promise.resolve()
  let newer = Promise.resolve()
  for (let i = 0; ; i++) {
    newer = file.write(itemId(max === Infinity ? random(otherItems) : i), itemValue(i))
    const half = i % (outstanding / 2) === 0
    if (half) {
      await older
      older = newer
    }
    if (i + 1 === max || (half && done())) {
      await newer
      return i + 1
    }
  }
}

/** Reads now and then, and knows what took longest. */
class Reader {
  #stopped = false
  #longest = 0
  readonly #loop: Promise<void>

  constructor(large: File, other: File, items: number) {
    this.#loop = this.#run(large, other, items)
  }

  async stop(): Promise<number> {
    this.#stopped = true
    await this.#loop
    return this.#longest
  }

  async #run(large: File, other: File, items: number): Promise<void> {
    const random = randomNumbers(6)
    while (!this.#stopped) {
      for (const [file, limit] of [
        [large, items],
        [other, otherItems],
      ] as const) {
        const start = performance.now()
        await file.read(itemId(random(limit)))
        this.#longest = Math.max(this.#longest, performance.now() - start)
      }
      await new Promise(resolve => setTimeout(resolve, 3))
    }
  }
}
