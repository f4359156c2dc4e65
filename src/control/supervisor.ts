// Keeps the parts of a server running, each a process of its own: on a master the resident server and the shipper, on a
// slave its server. It looks again and again at what should run by the server's role and what does, and starts what is
// missing; so a failover, a part that died, and a program that has the master open are one case.
//
//   it does not run                              started; after a death with back-off
//   another process has its lock                 left alone, and started when that process has ended
//   a command has the directory to itself        all parts end, and are started again behind it (run/pause)
//   the role no longer asks for it               ended
//   it ended well, and nobody here ended it      it was told to: the whole server ends
//   it cannot start, and nothing did so far      the whole server ends, with its exit status
//   it died, and was all that ran                the whole server ends: its service manager starts it again
//   its disk has failed                          left alone until "hb start": the log takes nothing more
import { isHotBackupError } from '../errors.ts'
import { writeFileAtomic } from '../platform/atomic-file.ts'
import type { Timer } from '../platform/clock.ts'
import type { Lock } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import type { ChildProcess } from '../platform/processes.ts'
import { programPath, type Program } from '../programs.ts'
import { readRole, type ServerType } from '../config/role.ts'
import { liveHolder } from './reach.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'
import { supervisorPurpose } from './owner.ts'

/** Tells a part that it is one: it says on its standard output when it is ready. */
export const partVariable = 'HB_PART'

/** A server's disk has failed: it has stopped for good. No command ends with it. */
export const stoppedExitCode = 7

const lookMs = 1000
/** While something is missing. */
const missingLookMs = 100
const backoffMsMin = 250
const backoffMsMax = 30_000
/** A part that ran for so long begins with the shortest back-off again. */
const steadyMs = 60_000

type SupervisorPlatform = Pick<Platform, 'disk' | 'clock' | 'locks' | 'processes'>

interface Exit {
  readonly code: number | null
  readonly signal: string | null
}

export class Supervisor {
  readonly #platform: SupervisorPlatform
  readonly #layout: Layout
  readonly #say: Log
  readonly #lock: Lock
  readonly #parts: readonly Part[]
  #type: ServerType
  #looking: Promise<void> | null = null
  #lookAgain = false
  #timer: Timer | null = null
  /** All that should run has been ready once: from then on a part that fails is started again. */
  #begun = false
  #exitCode: number | null = null
  #end: (exitCode: number) => void = () => {}
  /** Resolves with the exit status when all parts have ended. */
  readonly ended = new Promise<number>(resolve => {
    this.#end = resolve
  })

  private constructor(
    platform: SupervisorPlatform,
    layout: Layout,
    say: Log,
    lock: Lock,
    type: ServerType,
  ) {
    this.#platform = platform
    this.#layout = layout
    this.#say = say
    this.#lock = lock
    this.#type = type
    this.#parts = [
      new Part('server', 'cli/server-process', layout.ownerLock),
      new Part('shipper', 'cli/hb-shipper', layout.shipperLock),
    ]
  }

  /** Throws ERR_RUNNING when the directory has a supervisor already, ERR_ROLE, ERR_DISK. */
  static async start(platform: SupervisorPlatform, layout: Layout, say: Log): Promise<Supervisor> {
    const { type } = await readRole(platform.disk, layout)
    // Losing it is no reason to end: each part has a lock of its own.
    const lock = await platform.locks.acquire(layout.supervisorLock, supervisorPurpose, error =>
      say('warn', error.message),
    )
    await platform.disk.remove(layout.diedMark)
    const supervisor = new Supervisor(platform, layout, say, lock, type)
    supervisor.#look()
    return supervisor
  }

  /** Looks now, and starts what waits for its turn. */
  wake(): void {
    for (const part of this.#parts) part.notBefore = -Infinity
    this.#look()
  }

  /** hb.toml is to be read again, and messages.log opened again. */
  hangUp(): void {
    for (const { child } of this.#parts) child?.kill('SIGHUP')
  }

  /** Ends all parts; see `ended`. */
  stop(exitCode = 0): void {
    this.#exitCode ??= exitCode
    this.#look()
  }

  #look(): void {
    this.#timer?.cancel()
    this.#timer = null
    if (this.#looking !== null) {
      this.#lookAgain = true
      return
    }
    this.#looking = this.#act()
      .catch((error: unknown) => {
        this.#say('error', `the server's parts cannot be looked after: ${String(error)}`)
        return lookMs
      })
      .then(delayMs => {
        this.#looking = null
        if (delayMs === null) return
        if (this.#lookAgain) {
          this.#lookAgain = false
          this.#look()
        } else this.#timer = this.#platform.clock.after(delayMs, () => this.#look())
      })
  }

  /** Resolves with when to look again, null for never. */
  async #act(): Promise<number | null> {
    await this.#readType()
    const paused = (await liveHolder(this.#platform, this.#layout.pauseLock)) !== null
    let missing = false
    for (const part of this.#parts) {
      const wanted = this.#wants(part)
      if (paused || !wanted) part.tellToEnd()
      else if (this.#exitCode === null) missing = (await this.#provide(part)) || missing
    }
    if (this.#exitCode !== null) return this.#ending(this.#exitCode)
    if (!missing && !paused) this.#begun = true
    return missing || paused ? missingLookMs : lookMs
  }

  async #readType(): Promise<void> {
    try {
      this.#type = (await readRole(this.#platform.disk, this.#layout)).type
    } catch (error) {
      // The parts say so, as soon as they start.
      if (!isHotBackupError(error, 'ERR_ROLE')) throw error
    }
  }

  #wants({ name }: Part): boolean {
    return name === 'server' || this.#type === 'master'
  }

  /** Whether the part is missing yet. */
  async #provide(part: Part): Promise<boolean> {
    if (part.child !== null) return !part.ready
    if (part.failedForGood && part.notBefore !== -Infinity) return false
    if (this.#platform.clock.monotonic() < part.notBefore) return true
    const holder = await liveHolder(this.#platform, part.lock)
    if (holder !== null) {
      const { identity, purpose } = holder
      part.waitsFor(identity.pid, () =>
        this.#say('info', `process ${identity.pid} (${purpose}) is there: the ${part.name} waits`),
      )
      return false
    }
    this.#start(part)
    return true
  }

  #start(part: Part): void {
    const { clock, processes } = this.#platform
    const startedAt = clock.monotonic()
    const child = processes.start(programPath(part.program), ['-d', this.#layout.directory], {
      environment: { [partVariable]: part.name },
      output: () => {
        part.ready = true
        this.#look()
      },
    })
    part.started(child)
    void child.exited.then(exit => {
      const ranMs = clock.monotonic() - startedAt
      void this.#partEnded(part, exit, ranMs).then(() => this.#look())
    })
  }

  async #partEnded(part: Part, exit: Exit, ranMs: number): Promise<void> {
    const { clock } = this.#platform
    const told = part.told
    part.ended()
    if (told || this.#exitCode !== null) return
    await this.#readType()
    const how = exit.signal ?? `exit status ${exit.code}`
    if (exit.code === 0) {
      if (this.#wants(part)) this.#exitCode = 0
      return
    }
    part.notBefore = clock.monotonic() + part.backoffMs
    // Somebody else was faster.
    if ((await liveHolder(this.#platform, part.lock)) !== null) return
    const alone = this.#parts.every(({ child }) => child === null)
    if (!this.#begun || (alone && this.#parts.filter(other => this.#wants(other)).length === 1)) {
      if (this.#begun) this.#say('error', `the ${part.name} has died (${how})`)
      this.#exitCode = exit.code ?? 1
      return
    }
    await this.#markDeath()
    part.failedForGood = exit.code === stoppedExitCode
    part.backoffMs = ranMs >= steadyMs ? backoffMsMin : part.backoffMs
    part.notBefore = clock.monotonic() + part.backoffMs
    const next = part.failedForGood
      ? 'its disk has failed: it starts with "hb start"'
      : `it starts again in ${part.backoffMs / 1000} s`
    this.#say('error', `the ${part.name} has died (${how}); ${next}`)
    part.backoffMs = Math.min(part.backoffMs * 2, backoffMsMax)
  }

  /** The next "hb start" is no mistake, even if this process has been faster. */
  async #markDeath(): Promise<void> {
    try {
      await writeFileAtomic(this.#platform.disk, this.#layout.diedMark, Buffer.alloc(0))
    } catch (error) {
      this.#say('warn', `the mark of a death cannot be made: ${String(error)}`)
    }
  }

  async #ending(exitCode: number): Promise<number | null> {
    for (const part of this.#parts) part.tellToEnd()
    if (this.#parts.some(({ child }) => child !== null)) return lookMs
    await this.#lock.release()
    this.#end(exitCode)
    return null
  }
}

class Part {
  readonly name: 'server' | 'shipper'
  readonly program: Program
  readonly lock: string
  child: ChildProcess | null = null
  ready = false
  /** Its end is ordered by this process. */
  told = false
  /** By the monotonic clock: not to be started before. */
  notBefore = -Infinity
  backoffMs = backoffMsMin
  failedForGood = false
  #waitsFor: number | null = null

  constructor(name: Part['name'], program: Program, lock: string) {
    this.name = name
    this.program = program
    this.lock = lock
  }

  started(child: ChildProcess): void {
    this.child = child
    this.ready = false
    this.told = false
    this.#waitsFor = null
  }

  ended(): void {
    this.child = null
    this.ready = false
    this.told = false
  }

  tellToEnd(): void {
    if (this.child === null || this.told) return
    this.told = true
    this.child.kill('SIGTERM')
  }

  /** Calls back once for each process. */
  waitsFor(pid: number, begins: () => void): void {
    if (this.#waitsFor === pid) return
    this.#waitsFor = pid
    begins()
  }
}
