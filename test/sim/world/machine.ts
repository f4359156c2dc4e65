// A machine: a disk, processes, sockets, locks and a wall clock. It may lose its power, with what its disk had not
// synced, and come back; single processes may be killed or stand still.
import { HotBackupError } from '../../../src/errors.ts'
import type { Clock } from '../../../src/platform/clock.ts'
import type { Lock, LockHolder, Locks } from '../../../src/platform/locks.ts'
import type { Platform } from '../../../src/platform/platform.ts'
import type { ProcessIdentity, Processes } from '../../../src/platform/processes.ts'
import type { Watcher } from '../../../src/platform/watch.ts'
import { diskPort, type DiskCall } from './disk-port.ts'
import { SimDisk, systemError, type Loss } from './disk.ts'
import { SimLocalSockets } from './network.ts'
import { SimProcess } from './process.ts'
import type { World } from './world.ts'

/** A program, as a process of its own; it ends with the code that it resolves with. */
export type Program = (
  process: SimProcess,
  platform: Platform,
  args: readonly string[],
  say: (line: string) => void,
) => Promise<number>

/** A call to the disk that is to fail. */
export interface DiskOrder {
  readonly call: DiskCall
  /** What the path must contain. */
  readonly path: string
  readonly code: 'EIO' | 'ENOSPC'
  /** So many such calls go well before. */
  after: number
}

/** The machine or one of its processes ends at a call to the disk. */
interface Doom {
  after: number
  readonly path: string
  readonly calls: readonly DiskCall[] | null
  readonly strike: () => void
}

interface Watching {
  readonly process: SimProcess
  readonly changed: () => void
  told: boolean
}

export class Machine {
  readonly name: string
  readonly world: World
  readonly disk = new SimDisk()
  readonly processes = new Set<SimProcess>()
  down = false
  /** Wall clock less the world's. */
  wallMs: number
  /** Each call to the disk takes so many times as long. */
  slowness = 1
  readonly orders: DiskOrder[] = []
  doom: Doom | null = null
  #boot = 1
  readonly #sockets: SimLocalSockets
  readonly #locks = new Map<string, { process: SimProcess; purpose: string; token: object }>()
  readonly #watches = new Map<string, Set<Watching>>()
  readonly #underWay = new Map<SimProcess, Set<() => void>>()
  readonly #platforms = new WeakMap<SimProcess, Platform>()

  constructor(world: World, name: string, wallMs: number) {
    this.world = world
    this.name = name
    this.wallMs = wallMs
    this.#sockets = new SimLocalSockets(world, this)
  }

  /** A process with nothing to do yet. */
  spawn(name: string): { readonly process: SimProcess; readonly platform: Platform } {
    const process = new SimProcess(this.world.nextPid(), name)
    this.processes.add(process)
    const platform = this.#platform(process)
    this.#platforms.set(process, platform)
    process.onEnd(() => {
      this.processes.delete(process)
      const left = this.#underWay.get(process)
      this.#underWay.delete(process)
      // What the system was doing for it is done or not.
      for (const finish of left ?? []) finish()
    })
    return { process, platform }
  }

  platformOf(process: SimProcess): Platform | null {
    return this.#platforms.get(process) ?? null
  }

  kill(process: SimProcess): void {
    this.world.note(`${this.name}: kill ${process.name} ${process.pid}`)
    process.end(null, 'SIGKILL')
  }

  stop(process: SimProcess): void {
    this.world.note(`${this.name}: ${process.name} ${process.pid} stands still`)
    process.stopped = true
  }

  goOn(process: SimProcess): void {
    if (process.dead || !process.stopped) return
    this.world.note(`${this.name}: ${process.name} ${process.pid} goes on`)
    process.stopped = false
    for (const run of process.deferred.splice(0)) this.world.scheduler.after(0, process, run)
  }

  powerFails(loss: Loss): void {
    if (this.down) return
    this.world.note(`${this.name}: power fails, what was not synced is lost: ${loss}`)
    this.down = true
    this.doom = null
    for (const process of this.processes) process.end(null, 'SIGKILL')
    this.disk.powerFails(this.world.random, loss)
    this.#watches.clear()
  }

  boots(): void {
    if (!this.down) return
    this.world.note(`${this.name}: power is back`)
    this.down = false
    this.#boot++
    this.#locks.clear()
  }

  // ---- The disk ----

  /** The path's file has changed: whoever watches it may hear of it. */
  changed(path: string): void {
    const watches = this.#watches.get(path)
    if (watches === undefined) return
    const { random, scheduler } = this.world
    for (const watch of watches) {
      if (watch.told || watch.process.dead || random.chance(0.05)) continue
      watch.told = true
      scheduler.after(random.between(0, 3), watch.process, () => {
        watch.told = false
        if (watches.has(watch)) watch.changed()
      })
    }
  }

  diskDelay(mostMs: number): number {
    return this.world.random.fraction() * mostMs * this.slowness
  }

  /** Strikes when it is time. */
  countCall(call: DiskCall, path: string): void {
    const { doom } = this
    if (doom === null || !path.includes(doom.path)) return
    if (doom.calls !== null && !doom.calls.includes(call)) return
    if (doom.after-- > 0) return
    this.doom = null
    this.world.note(`${this.name}: at ${call} ${path}`)
    doom.strike()
  }

  /** Throws when the call was ordered to fail; `part` of it may have been done. */
  failIfOrdered(call: DiskCall, path: string, part?: () => void): void {
    if (this.orders.length === 0) return
    const index = this.orders.findIndex(
      order => order.call === call && path.includes(order.path) && order.after-- <= 0,
    )
    const [order] = index < 0 ? [] : this.orders.splice(index, 1)
    if (order === undefined) return
    this.world.note(`${this.name}: ${order.code} at ${call} ${path}`)
    if (part !== undefined && (call === 'sync' || this.world.random.chance(0.5))) part()
    throw systemError(order.code, call, path)
  }

  /** `finish` is called if the process ends before the answer is. */
  underWay(process: SimProcess, finish: () => void): () => void {
    let left = this.#underWay.get(process)
    if (left === undefined) this.#underWay.set(process, (left = new Set()))
    const there = left
    there.add(finish)
    return () => there.delete(finish)
  }

  // ---- The ports ----

  #platform(process: SimProcess): Platform {
    const { world } = this
    return {
      disk: diskPort(this, process),
      network: world.network.port(this, process),
      clock: this.#clock(process),
      random: { bytes: length => world.secrets.bytes(length) },
      processes: this.#processesPort(process),
      watcher: this.#watcher(process),
      locks: this.#locksPort(process),
      localSockets: this.#sockets.port(process),
    }
  }

  #clock(process: SimProcess): Clock {
    const { scheduler } = this.world
    const monotonic = () => Math.max(scheduler.now, process.clockMs)
    return {
      now: () => Math.floor(scheduler.now + this.wallMs),
      monotonic,
      after: (delayMs, callback) => {
        const ahead = monotonic() - scheduler.now
        return scheduler.after(ahead + Math.max(delayMs, 0.01), process, callback)
      },
      nextTurn: callback => void scheduler.after(0.001, process, callback),
    }
  }

  #watcher(process: SimProcess): Watcher {
    return {
      watch: (path, changed) => {
        const watch: Watching = { process, changed, told: false }
        let watches = this.#watches.get(path)
        if (watches === undefined) this.#watches.set(path, (watches = new Set()))
        const there = watches
        there.add(watch)
        process.onEnd(() => there.delete(watch))
        return { close: async () => void there.delete(watch) }
      },
    }
  }

  #identity(process: SimProcess): ProcessIdentity {
    return {
      pid: process.pid,
      startTicks: process.pid,
      bootId: `${this.name}-${this.#boot}`,
      pidNamespace: '',
      machineId: this.name,
      host: this.name,
    }
  }

  #processesPort(self: SimProcess): Processes {
    const alive = (pid: number) => [...this.processes].find(process => process.pid === pid)
    return {
      self: () => this.#identity(self),
      user: () => null,
      becomeUser: () => {},
      mayBeAlive: ({ pid, bootId, host }) =>
        host !== this.name || (bootId === `${this.name}-${this.#boot}` && alive(pid) !== undefined),
      start: (modulePath, args, { detached, output }) => {
        const name = modulePath.slice(modulePath.lastIndexOf('/') + 1).replace(/\.js$/, '')
        const { process, exited } = this.run(name, args, line => {
          if (output !== undefined) this.world.scheduler.after(0.05, self, () => output(line))
        })
        const told = new Promise<{ code: number | null; signal: string | null }>(resolve => {
          void exited.then(end => this.world.scheduler.after(0.1, self, () => resolve(end)))
        })
        // A child that is not detached has a pipe from its parent.
        if (detached === undefined) {
          self.onEnd(() => {
            this.world.scheduler.after(this.world.random.between(0, 5), null, () =>
              process.end(1, null),
            )
          })
        }
        const kill = (signal: string) => this.#signal(process, signal)
        return { pid: process.pid, exited: told, kill }
      },
      host: { system: 'simulation', executable: 'node' },
      usage: () => ({ rssBytes: 0, heapBytes: 0, userSeconds: 0, systemSeconds: 0 }),
      prepare: () => () => {},
      runCommand: () => Promise.resolve(null),
      output: () => Promise.resolve(null),
      yieldToOthers: () => {},
      onParentGone: () => {},
      signal: (pid, signal) => {
        const process = alive(pid)
        if (process === undefined) return false
        this.#signal(process, signal)
        return true
      },
    }
  }

  #signal(process: SimProcess, signal: string): void {
    if (signal === 'SIGKILL') {
      this.world.scheduler.after(0, null, () => process.end(null, 'SIGKILL'))
    } else if (signal === 'SIGTERM') {
      this.world.scheduler.after(0, process, () => process.onTerminate())
    }
  }

  /** Starts a program of the world. */
  run(
    name: string,
    args: readonly string[],
    say: (line: string) => void = () => {},
  ): {
    readonly process: SimProcess
    readonly exited: Promise<{ code: number | null; signal: string | null }>
  } {
    const program = this.world.programs.get(name)
    if (program === undefined) throw new TypeError(`there is no program ${name}`)
    const { process, platform } = this.spawn(name)
    const exited = new Promise<{ code: number | null; signal: string | null }>(resolve => {
      process.onEnd(() => resolve({ code: process.code, signal: process.signal }))
    })
    this.world.scheduler.after(this.world.random.between(0.1, 2), process, () => {
      program(process, platform, args, say).then(
        code => process.end(code, null),
        (error: unknown) => this.world.fail(error),
      )
    })
    return { process, exited }
  }

  #locksPort(process: SimProcess): Locks {
    const locks = this.#locks
    const holderOf = (path: string): LockHolder | null => {
      const held = locks.get(path)
      if (held === undefined) return null
      const identity = this.#identity(held.process)
      return { identity, purpose: held.purpose, alive: !held.process.dead, elsewhere: false }
    }
    const soon = <T>(look: () => T) =>
      new Promise<T>((resolve, reject) => {
        this.world.scheduler.after(this.world.random.between(0, 0.5), process, () => {
          try {
            resolve(look())
          } catch (error) {
            reject(error as Error)
          }
        })
      })
    return {
      acquire: (path, purpose) =>
        soon((): Lock => {
          const holder = holderOf(path)
          if (holder?.alive === true) {
            const message = `${path} is held by process ${holder.identity.pid} (${holder.purpose})`
            throw new HotBackupError('ERR_RUNNING', message, { path })
          }
          const token = {}
          locks.set(path, { process, purpose, token })
          const release = () =>
            soon(() => {
              if (locks.get(path)?.token === token) locks.delete(path)
            })
          return { release }
        }),
      holder: path => soon(() => holderOf(path)),
    }
  }
}
