// Gives orders to the fault injector in the processes that a test starts (fault-injector.ts), and sees whether they
// were carried out: a fault that did not happen proves nothing.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { hitMark, ordersVariable, type Order } from './fault-orders.ts'
import { Pair } from './servers.ts'

const patienceMs = 180_000

interface Hit {
  readonly name: string
  readonly pid: number
}

export class Faults {
  readonly #file: string

  private constructor(file: string) {
    this.#file = file
  }

  /** All processes that are started from here on are under orders, which lie in `directory`. */
  static prepare(directory: string): Faults {
    const file = path.join(directory, 'fault-orders')
    const injector = new URL('fault-injector.js', import.meta.url).href
    process.env[ordersVariable] = file
    const options = process.env['NODE_OPTIONS'] ?? ''
    if (!options.includes(injector)) process.env['NODE_OPTIONS'] = `${options} --import=${injector}`
    return new Faults(file)
  }

  /** These and no others stand from here on. */
  order(...orders: readonly Order[]): void {
    for (const { name } of orders) {
      rmSync(hitMark(this.#file, name), { force: true })
    }
    rmSync(`${this.#file}.hits`, { force: true })
    writeFileSync(`${this.#file}.new`, JSON.stringify(orders))
    renameSync(`${this.#file}.new`, this.#file)
  }

  withdraw(): void {
    this.order()
  }

  get hits(): readonly Hit[] {
    let text
    try {
      text = readFileSync(`${this.#file}.hits`, 'utf8')
    } catch {
      return []
    }
    return text
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as Hit)
  }

  /** Resolves when the order was carried out; when it was to end a process, that is gone. */
  async hit({ name, act }: Order): Promise<void> {
    const ends = act === 'kill' || act === 'tear'
    const start = Date.now()
    for (;;) {
      const found = this.hits.find(hit => hit.name === name)
      if (found !== undefined && !(ends && isThere(found.pid))) return
      if (Date.now() - start > patienceMs) throw new Error(`the failpoint was not hit: ${name}`)
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  }
}

/** Master and slave with small segments and early helpers, under orders. */
export async function preparedPair(t: Test): Promise<{ pair: Pair; faults: Faults }> {
  const pair = await Pair.make(t)
  for (const directory of [pair.master, pair.slave]) {
    const toml = path.join(directory, 'hb.toml')
    const text = readFileSync(toml, 'utf8')
      .replace(/^(# )?segment_size = .*$/m, 'segment_size = "64KiB"')
      .replace('[helpers]\n', '[helpers]\nsize = "64KiB"\n')
    writeFileSync(toml, text)
  }
  return { pair, faults: Faults.prepare(pair.root) }
}

/** A process that runs, is stopped, or is not quite gone. */
export function isThere(pid: number): boolean {
  try {
    // The name, in parentheses, may hold anything. A dead one may have threads for a moment.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [state = '', ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' ? Number(fields[16]) > 1 : state !== 'X'
  } catch {
    return false
  }
}
