// What updates to other files, and reads, feel of long work: the rate of updates while a large file is resized or
// cleared, against the rate just before, and the longest read.
import type { File, Master } from '../src/index.ts'
import { itemId, itemValue, lasting, moduloFor, randomNumbers, sized } from './workload.ts'

export interface LongWorkResult {
  readonly operation: string
  /** Updates of the other file per second: without the work, and beside it. */
  readonly without: number
  readonly beside: number
  readonly seconds: number
  /** Reads without the work, and beside it. */
  readonly readsWithout: ReadTimes
  readonly readsBeside: ReadTimes
}

/** Milliseconds of the longest read, of the large file and of the other one, whose updates are under way. */
export interface ReadTimes {
  readonly large: number
  readonly other: number
}

const otherItems = sized(100_000)
const outstanding = 8192
const sampleSeconds = lasting(4)
const readEveryMs = 3

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
    const control = new Reader(large, other, count)
    const without = await forSeconds(sampleSeconds, done => updates(other, Infinity, done))
    const readsWithout = await control.stop()
    const reader = new Reader(large, other, count)
    await begin()
    const busy = () => master.status().holds.length > 0
    const beside = await forSeconds(sampleSeconds, done =>
      updates(other, Infinity, () => !busy() && done()),
    )
    const readsBeside = await reader.stop()
    results.push({
      operation,
      without: without.count / without.seconds,
      beside: beside.count / beside.seconds,
      seconds: beside.seconds,
      readsWithout,
      readsBeside,
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

/** Reads every few milliseconds, and knows what took longest: from when the read was due, not from when it began. */
class Reader {
  #stopped = false
  readonly #longest = { large: 0, other: 0 }
  readonly #loop: Promise<void>

  constructor(large: File, other: File, items: number) {
    this.#loop = this.#run(large, other, items)
  }

  async stop(): Promise<ReadTimes> {
    this.#stopped = true
    await this.#loop
    return this.#longest
  }

  async #run(large: File, other: File, items: number): Promise<void> {
    const random = randomNumbers(6)
    let due = performance.now()
    while (!this.#stopped) {
      for (const [name, file, limit] of [
        ['large', large, items],
        ['other', other, otherItems],
      ] as const) {
        const waited = performance.now() - due
        const start = performance.now()
        await file.read(itemId(random(limit)))
        const took = performance.now() - start
        this.#longest[name] = Math.max(this.#longest[name], waited + took)
      }
      due = Math.max(performance.now(), due + readEveryMs)
      await new Promise(resolve => setTimeout(resolve, due - performance.now()))
    }
  }
}
