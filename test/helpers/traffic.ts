// An application under test: a process that writes into a master (writer-process.ts), what has been acknowledged to
// it, and whether all of that is there, whole.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { isThere } from './faults.ts'
import { ok, startHelper, type Pair } from './servers.ts'

export class Traffic {
  readonly process: ChildProcess
  readonly #prefix: string
  /** By writer, the number that was acknowledged last: each waits for one before it makes the next. */
  readonly #acknowledged = new Map<number, number>()
  #count = 0
  readonly #refusals: string[] = []
  readonly #ended: Promise<unknown>
  #over = false
  #wake: () => void = () => {}

  private constructor(process: ChildProcess, prefix: string) {
    this.process = process
    this.#prefix = prefix
    if (process.stdout === null) throw new Error('no output')
    const lines = createInterface({ input: process.stdout })
    lines.on('line', line => {
      if (line.startsWith('refused ')) {
        this.#refusals.push(line.slice('refused '.length))
        this.#wake()
        return
      }
      const [writer = Number.NaN, number = Number.NaN] = line.split(' ').map(Number)
      this.#acknowledged.set(writer, number)
      this.#count++
      this.#wake()
    })
    this.#ended = Promise.all([once(process, 'exit'), once(lines, 'close')]).then(() => {
      this.#over = true
      this.#wake()
    })
  }

  /** `prefix` is that of all its item-ids; each of its writers rests for so long in between. */
  static start(directory: string, prefix: string, restMs = 0): Traffic {
    return new Traffic(startHelper('writer-process', directory, prefix, String(restMs)), prefix)
  }

  /** Updates that were acknowledged so far. */
  get count(): number {
    return this.#count
  }

  /** The process is gone, or is going. */
  get dead(): boolean {
    const { exitCode, signalCode, pid = 0 } = this.process
    return exitCode !== null || signalCode !== null || !isThere(pid)
  }

  /** The item-ids of all updates that were acknowledged. */
  get ids(): string[] {
    return [...this.#acknowledged].flatMap(([writer, last]) =>
      Array.from({ length: last + 1 }, (_, number) => `${this.#prefix}*${writer}*${number}`),
    )
  }

  /** Resolves when so many more have been acknowledged; rejects when the process ends before. */
  async more(count: number): Promise<void> {
    const target = this.#count + count
    while (this.#count < target) {
      if (this.#over) throw new Error(`the application ended after ${this.#count} updates`)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  /** Codes of the errors with which updates failed, without repetitions in a row. */
  get refusals(): readonly string[] {
    return this.#refusals
  }

  /** Resolves when an update has failed since so many refusals. */
  async refused(since: number): Promise<void> {
    while (this.#refusals.length <= since) {
      if (this.#over) throw new Error(`the application ended after ${this.#count} updates`)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }

  /** Resolves when it is gone, and all that it has said has been heard. */
  async ended(): Promise<void> {
    await this.#ended
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL')
    await this.#ended
  }
}

/** The items that the applications have written, as they are in `directory`. */
export async function writtenItems(directory: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const line of (await ok('export', '-d', directory, 'KILL', 'ITEMS')).split('\n')) {
    if (line === '') continue
    const { id, value } = JSON.parse(line) as { id: string; value: string }
    found.set(id, value)
  }
  return found
}

/** Transactions that are there in part, and items with another value than was written; none, or something is broken. */
export function brokenItems(items: ReadonlyMap<string, string>): string[] {
  return [...items].flatMap(([id, value]) => {
    if (id.endsWith('*TWIN')) return items.has(id.slice(0, -'*TWIN'.length)) ? [] : [id]
    const whole = Number(id.split('*')[2]) % 7 !== 3 || items.get(`${id}*TWIN`) === `twin of ${id}`
    return whole && value === `value of ${id}` ? [] : [id]
  })
}

/** Both sides are equal, and everything that was acknowledged is there, whole. */
export async function checkPair(
  t: Test,
  pair: Pair,
  acknowledged: readonly string[],
): Promise<void> {
  const { master, slave } = await pair.digests()
  t.equal(slave, master)
  const found = await writtenItems(pair.master)
  const missing = acknowledged.filter(id => !found.has(id))
  t.strictSame(missing, [], 'everything that was acknowledged is there')
  t.strictSame(brokenItems(found), [])
}
