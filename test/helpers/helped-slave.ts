// A slave at hand with helpers that run in this process: a test slows them, lets them hang, and kills them, at any
// operation of the disk.
import { Helpers } from '../../src/helpers/helpers.ts'
import { parseOrder, type HelperOrder } from '../../src/helpers/messages.ts'
import { doWork } from '../../src/helpers/work.ts'
import type { Disk, DiskFile } from '../../src/platform/disk.ts'
import type { ChildProcess, Processes } from '../../src/platform/processes.ts'
import { hastyClock } from './database-history.ts'
import { SlaveAtHand } from './slave-at-hand.ts'
import { TestClock } from './test-clock.ts'

export const helpersDirectory = '/server/helpers'
export const tries = 3

class HelperAtHand implements ChildProcess {
  readonly pid: number
  readonly order: HelperOrder
  readonly exited: ChildProcess['exited']
  /** Operations of the disk that it may still do; what is beyond waits. */
  #allowed = Infinity
  #killed = false
  #waiting: (() => void)[] = []
  #exit: (how: { code: number | null; signal: string | null }) => void = () => {}

  constructor(pid: number, disk: Disk, argument: string, said: (line: string) => void) {
    this.pid = pid
    this.order = parseOrder(argument)
    this.exited = new Promise(resolve => {
      this.#exit = resolve
    })
    const platform = { disk: this.#slow(disk), clock: hastyClock }
    setImmediate(() => {
      void doWork(platform, this.order, answer => {
        if (!this.#killed) said(JSON.stringify(answer))
      }).then(() => this.#exit({ code: 0, signal: null }))
    })
  }

  kill(): void {
    this.#killed = true
    this.allow(0)
    // What it had begun is done, and nothing more.
    this.#exit({ code: null, signal: 'SIGKILL' })
  }

  /** It hangs after so many operations. */
  allow(operations: number): void {
    this.#allowed = operations
    const waiting = this.#waiting
    this.#waiting = []
    for (const go of waiting) go()
  }

  async #permit(): Promise<void> {
    while (this.#killed || this.#allowed <= 0) {
      await new Promise<void>(resolve => {
        this.#waiting.push(resolve)
      })
    }
    this.#allowed--
  }

  #slow(disk: Disk): Disk {
    const permit = () => this.#permit()
    const files = (file: DiskFile): DiskFile => ({
      path: file.path,
      size: () => file.size(),
      access: () => file.access(),
      read: async (...args) => (await permit(), file.read(...args)),
      write: async (...args) => (await permit(), file.write(...args)),
      sync: async () => (await permit(), file.sync()),
      truncate: async length => (await permit(), file.truncate(length)),
      close: () => file.close(),
      readSync: (...args) => file.readSync(...args),
      writeSync: (...args) => file.writeSync(...args),
      syncSync: () => file.syncSync(),
      closeSync: () => file.closeSync(),
    })
    return {
      open: async (...args) => (await permit(), files(await disk.open(...args))),
      openSync: (...args) => files(disk.openSync(...args)),
      exists: async path => (await permit(), disk.exists(path)),
      access: path => disk.access(path),
      realPath: path => disk.realPath(path),
      list: async path => (await permit(), disk.list(path)),
      makeDirectory: async path => (await permit(), disk.makeDirectory(path)),
      rename: async (...args) => (await permit(), disk.rename(...args)),
      remove: async path => (await permit(), disk.remove(path)),
      syncDirectory: async path => (await permit(), disk.syncDirectory(path)),
      freeBytes: path => disk.freeBytes(path),
    }
  }
}

export class HelpedSlave extends SlaveAtHand {
  helpers!: Helpers
  /** That of the helpers' time-outs: it moves when the test says so. */
  readonly time = new TestClock()
  readonly running = new Set<HelperAtHand>()
  readonly started = { build: 0, remove: 0 }
  #operations = Infinity
  /** Failures of helpers, by level. */
  readonly told: string[] = []
  #seed = 0

  static override async open(on: boolean): Promise<HelpedSlave> {
    const slave = new HelpedSlave()
    await slave.open(on)
    return slave
  }

  override async open(on: boolean): Promise<void> {
    await super.open(on, { longWorkBytes: 0 })
    const random = { bytes: (length: number) => new Uint8Array(length).fill(++this.#seed) }
    const { disk, time: clock, processes } = this
    this.helpers = await Helpers.start({ disk, clock, processes, random }, this.database, {
      directory: helpersDirectory,
      module: 'helper',
      databaseDirectory: '/server/database',
      patienceMs: 30_000,
      tries,
      stopped: () => {},
      say: level => this.told.push(level),
    })
    if (!on) await this.helpers.pause()
  }

  /** The power fails after so many operations of the disk; the helpers die with the server. It is opened again. */
  async powerFails(operations: number): Promise<void> {
    this.powerFailsAfter(operations)
    for (let turns = 0; turns < 30; turns++) await new Promise(setImmediate)
    this.#killAll()
    await this.helpers.stop()
    await this.replayer.stop().catch(() => {})
    await super.crash(true)
    this.said.length = 0
  }

  /** Each helper, those to come as well, hangs after so many operations of the disk. */
  allow(operations: number): void {
    this.#operations = operations
    for (const helper of this.running) helper.allow(operations)
  }

  /** Helpers do what they do to the end, and replayer and drainer, too. */
  async settled(): Promise<void> {
    this.allow(Infinity)
    while (!this.quiet) {
      // Whoever waits for another try.
      await this.time.advance(100, 100)
    }
  }

  get quiet(): boolean {
    const { work } = this.database
    if (this.replayer.appliedTxn < this.log.lastTxn || this.helpers.status().length > 0)
      return false
    return work.holds().length === 0 && work.jobs().length === 0 && !work.checkpointDue
  }

  #killAll(): void {
    for (const helper of this.running) helper.kill()
    this.running.clear()
  }

  override async close(): Promise<void> {
    await this.helpers.stop()
    await super.close()
  }

  private readonly processes: Pick<Processes, 'start'> = {
    start: (_module, [order = ''], { output = () => {} }) => {
      const pid = this.started.build + this.started.remove + 1
      const helper = new HelperAtHand(pid, this.disk, order, output)
      this.started[helper.order.kind]++
      helper.allow(this.#operations)
      this.running.add(helper)
      void helper.exited.then(() => this.running.delete(helper))
      return helper
    },
  }
}
