// A world: machines, the network between them, and one clock, all by one seed. What happens in it is written down,
// the latest of it at least, for whoever wants to know how it came to what it came to.
import { createHash, type Hash } from 'node:crypto'
import { Machine, type Program } from './machine.ts'
import { SimNetwork } from './network.ts'
import type { SimProcess } from './process.ts'
import { SeededRandom } from './random.ts'
import { Scheduler } from './scheduler.ts'

const notesMax = 100_000

export interface WorldOptions {
  /** Write down every call to a disk and every piece of bytes as well. */
  readonly traced: boolean
  /** Take a hash of all of it. */
  readonly hashed: boolean
}

export class World {
  readonly seed: number
  readonly scheduler = new Scheduler()
  /** Decides what the world does. */
  readonly random: SeededRandom
  /** What processes get as random bytes. */
  readonly secrets: SeededRandom
  readonly network: SimNetwork
  readonly machines: Machine[] = []
  /** By the name of their module. */
  readonly programs = new Map<string, Program>()
  /** How often what was done to the world. */
  readonly counts = new Map<string, number>()
  /** The checker reads, which is nothing that happens in this world. */
  onlooking = false
  readonly #options: WorldOptions
  readonly #hash: Hash | null
  #notes: string[] = []
  #pid = 1000
  #fail: (error: Error) => void = () => {}
  /** Rejects with the first fault of a program. */
  readonly failed: Promise<never>

  constructor(seed: number, options: WorldOptions) {
    this.seed = seed
    this.random = new SeededRandom(seed, 'world')
    this.secrets = new SeededRandom(seed, 'secrets')
    this.network = new SimNetwork(this)
    this.#options = options
    this.#hash = options.hashed ? createHash('sha256') : null
    this.failed = new Promise((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
  }

  machine(name: string): Machine {
    const wallMs = 1_700_000_000_000 + this.random.int(-3000, 3000)
    const machine = new Machine(this, name, wallMs)
    this.machines.push(machine)
    return machine
  }

  nextPid(): number {
    return this.#pid++
  }

  fail(error: unknown): void {
    this.#fail(error instanceof Error ? error : new Error(String(error)))
  }

  /** Something that a reader of the history wants to know. */
  note(text: string): void {
    this.#add(`${this.scheduler.now.toFixed(3).padStart(10)}  ${text}`)
  }

  /** The same, of what was done to the world: it is counted by its kind. */
  fault(kind: string, text: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    this.note(text === '' ? kind : `${kind}: ${text}`)
  }

  /** Every single step, if somebody wants to know it. */
  trace(process: SimProcess, what: string, of: string): void {
    if (!this.#options.traced && this.#hash === null) return
    const line = `${this.scheduler.now.toFixed(3).padStart(10)}    ${process.name} ${process.pid} ${what} ${of}`
    if (this.#options.traced) this.#add(line)
    else this.#hash?.update(line)
  }

  #add(line: string): void {
    this.#notes.push(line)
    this.#hash?.update(line)
    if (this.#notes.length > 2 * notesMax) this.#notes = this.#notes.slice(-notesMax)
  }

  get history(): readonly string[] {
    return this.#notes
  }

  /** Of everything that has happened. */
  digest(): string {
    return this.#hash?.digest('hex') ?? ''
  }
}
