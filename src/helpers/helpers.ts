// Starts helpers for the long work of a database, checks on them, and takes their results in. A helper that dies, is
// silent for too long or fails is started again, later each time; after so many tries it is an alarm, and goes on
// being tried. What a helper builds lies in a directory of its own until it is taken in.
import { join } from 'node:path'
import { readBuiltSums } from '../database/build.ts'
import type { Database } from '../database/database.ts'
import { frameBytes } from '../database/frame.ts'
import type { HelperJob, LongOperation } from '../database/helper-jobs.ts'
import { MiB } from '../limits.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import type { ChildProcess, Processes } from '../platform/processes.ts'
import type { Random } from '../platform/random.ts'
import { parseAnswer, type HelperAnswer, type HelperOrder } from './messages.ts'

export interface HelpersOptions {
  /** Holds what helpers build; nothing else lies there. */
  readonly directory: string
  /** The program of a helper: it takes an order and answers as messages.ts says. */
  readonly module: string
  /** The database's data files. */
  readonly databaseDirectory: string
  /** A helper that says nothing for so long is killed. */
  readonly patienceMs: number
  /** The number of successive failures of one job that calls `alarm`. */
  readonly tries: number
  /** No helper will be started any more, and none runs. */
  readonly stopped: () => void
  readonly say: (level: 'info' | 'warn' | 'error', message: string, fields: object) => void
}

export interface HelperStatus {
  readonly account: string
  readonly file: string
  readonly operation: LongOperation
  /** Null while it waits for its turn, or for the next try. */
  readonly pid: number | null
  /** From 0 to 1. */
  readonly progress: number
  /** Failures in a row, */
  readonly failures: number
  /** and so many that an operator should look. */
  readonly alarm: boolean
}

type HelpersPlatform = {
  readonly disk: Disk
  readonly clock: Clock
  readonly processes: Pick<Processes, 'start'>
  readonly random: Random
}

/** Where one works: 8 random bytes. */
const directoryPattern = /^[0-9a-f]{16}$/
/** Each takes a core; the server needs one. */
const helpersMax = 2
/** What is to be removed can wait; updates are held for as long as a file is being built. */
const removalsMax = 1
const cacheBytesMin = 1 * MiB
const cacheBytesMax = 64 * MiB
const backoffFirstMs = 1000
const backoffLastMs = 60_000

/** A job, and how far it is. */
interface Attempt {
  readonly job: HelperJob
  child: ChildProcess | null
  directory: string | null
  progress: number
  failures: number
  /** Waits for the next try. */
  backoff: Timer | null
  patience: Timer | null
  /** The helper's last word, to be taken in when updates are applied. */
  result: Exclude<HelperAnswer, { type: 'progress' | 'failed' }> | null
  failure: string | null
}

export class Helpers {
  readonly #platform: HelpersPlatform
  readonly #database: Database
  readonly #options: HelpersOptions
  readonly #attempts = new Map<string, Attempt>()
  #paused = false
  #stopped = false
  #looking: Promise<void> = Promise.resolve()
  #lookAgain = false
  readonly #endings = new Set<Promise<void>>()

  private constructor(platform: HelpersPlatform, database: Database, options: HelpersOptions) {
    this.#platform = platform
    this.#database = database
    this.#options = options
  }

  /** Removes what earlier helpers have left, and begins. Throws ERR_DISK. */
  static async start(
    platform: HelpersPlatform,
    database: Database,
    options: HelpersOptions,
  ): Promise<Helpers> {
    const helpers = new Helpers(platform, database, options)
    for (const { name } of await platform.disk.list(options.directory)) {
      if (directoryPattern.test(name)) await helpers.#removeDirectory(join(options.directory, name))
    }
    database.work.onChange(() => helpers.#look())
    helpers.#look()
    return helpers
  }

  status(): HelperStatus[] {
    return [...this.#attempts.values()].map(({ job, child, progress, failures }) => {
      const { account, file, operation } = job
      const alarm = failures >= this.#options.tries
      return { account, file, operation, pid: child?.pid ?? null, progress, failures, alarm }
    })
  }

  /** Helpers work on; their results wait. Resolves when none is being taken in. */
  async pause(): Promise<void> {
    this.#paused = true
    await this.#looking
  }

  resume(): void {
    this.#paused = false
    this.#look()
  }

  /** Kills the helpers: their work is begun anew by the next start. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#looking
    for (const attempt of this.#attempts.values()) this.#end(attempt)
    await Promise.all(this.#endings)
    this.#options.stopped()
  }

  #look(): void {
    if (this.#lookAgain) return
    this.#lookAgain = true
    this.#looking = this.#looking.then(async () => {
      this.#lookAgain = false
      if (!this.#stopped) await this.#act()
    })
  }

  async #act(): Promise<void> {
    const jobs = new Map(this.#database.work.jobs().map(job => [job.id, job]))
    for (const [id, attempt] of this.#attempts) {
      if (jobs.has(id)) continue
      // A file of its was cleared, deleted or resized again.
      this.#end(attempt)
      this.#attempts.delete(id)
    }
    for (const [id, job] of jobs)
      if (!this.#attempts.has(id)) this.#attempts.set(id, newAttempt(job))
    for (const attempt of this.#attempts.values()) {
      const { job, result } = attempt
      // A file that is gone was the database's no more.
      if (result === null || (this.#paused && job.kind === 'build')) continue
      await this.#takeIn(attempt, result)
    }
    for (const attempt of this.#attempts.values()) {
      const { job, child, backoff, result } = attempt
      if (child !== null || backoff !== null || result !== null) continue
      const running = [...this.#attempts.values()].filter(other => other.child !== null)
      if (running.length >= helpersMax) break
      const removals = running.filter(other => other.job.kind === 'remove').length
      if (job.kind === 'build' || removals < removalsMax) await this.#start(attempt)
    }
  }

  async #start(attempt: Attempt): Promise<void> {
    const { disk, processes, random } = this.#platform
    const { job } = attempt
    attempt.progress = 0
    attempt.failure = null
    try {
      const name = Buffer.from(random.bytes(8)).toString('hex')
      const directory = join(this.#options.directory, name)
      if (job.kind === 'build') {
        await disk.makeDirectory(directory)
        attempt.directory = directory
      }
      const args = [JSON.stringify(this.#orderOf(job, directory))]
      const child = processes.start(this.#options.module, args, {
        output: line => this.#hear(attempt, child, line),
      })
      attempt.child = child
      this.#wait(attempt)
      void child.exited.then(({ code, signal }) => this.#exited(attempt, child, code, signal))
      const { account, file, operation } = job
      const fields = { account, file, operation }
      this.#options.say('info', `helper started: ${operation} ${account} ${file}`, fields)
    } catch (error) {
      this.#failed(attempt, String(error))
    }
  }

  #orderOf(job: HelperJob, targetDirectory: string): HelperOrder {
    if (job.kind === 'remove') return { kind: 'remove', path: job.path }
    const { number, modulo } = job.target
    // What it builds is about as large as what it reads.
    const wanted = 4 * job.source.state.diskFrames * frameBytes
    const cacheBytes = Math.min(cacheBytesMax, Math.max(cacheBytesMin, wanted))
    const sourceDirectory = this.#options.databaseDirectory
    const { sumsPlaces: _, ...source } = job.source.state
    return { kind: 'build', sourceDirectory, source, targetDirectory, number, modulo, cacheBytes }
  }

  #hear(attempt: Attempt, child: ChildProcess, line: string): void {
    if (attempt.child !== child) return
    this.#wait(attempt)
    try {
      const answer = parseAnswer(line)
      if (answer.type === 'progress') attempt.progress = answer.progress
      else if (answer.type === 'failed') {
        attempt.failure = answer.message
        if (answer.damaged === true) this.#database.work.suspectSource(attempt.job)
      } else attempt.result = answer
    } catch (error) {
      attempt.failure = String(error)
      child.kill('SIGKILL')
    }
  }

  /** From now on it must say something within the time. */
  #wait(attempt: Attempt): void {
    const { patienceMs } = this.#options
    attempt.patience?.cancel()
    attempt.patience = this.#platform.clock.after(
      patienceMs,
      () => {
        attempt.failure = `it has said nothing for ${patienceMs / 1000} s`
        attempt.child?.kill('SIGKILL')
      },
      true,
    )
  }

  #exited(attempt: Attempt, child: ChildProcess, code: number | null, signal: string | null): void {
    if (attempt.child !== child) return
    attempt.child = null
    attempt.patience?.cancel()
    if (attempt.result === null) {
      const how = signal === null ? `it ended with ${code}` : `it was ended by ${signal}`
      this.#failed(attempt, attempt.failure ?? how)
    }
    this.#look()
  }

  #failed(attempt: Attempt, reason: string): void {
    const { account, file, operation } = attempt.job
    attempt.failures++
    attempt.result = null
    void this.#clear(attempt)
    const { failures } = attempt
    const alarm = failures >= this.#options.tries
    const text = `${operation} ${account} ${file}: the helper has failed, try ${failures}: ${reason}`
    this.#options.say(alarm ? 'error' : 'warn', text, { account, file, operation, failures })
    const delayMs = Math.min(backoffLastMs, backoffFirstMs * 2 ** (failures - 1))
    attempt.backoff = this.#platform.clock.after(
      delayMs,
      () => {
        attempt.backoff = null
        this.#look()
      },
      true,
    )
  }

  async #takeIn(attempt: Attempt, result: NonNullable<Attempt['result']>): Promise<void> {
    const { job } = attempt
    try {
      if (job.kind === 'build' && result.type === 'built') {
        const { path, state, sumsPages } = result
        const sumsPlaces = await readBuiltSums(this.#platform.disk, path, state, sumsPages)
        await this.#database.work.adopt(job, path, { ...state, sumsPlaces })
      } else if (job.kind === 'remove' && result.type === 'removed') {
        this.#database.work.removed(job)
      } else throw new TypeError(`${result.type} is no answer to ${job.kind}`)
      this.#attempts.delete(job.id)
      this.#end(attempt)
    } catch (error) {
      this.#failed(attempt, String(error))
    }
  }

  /** Nothing more is expected of it. */
  #end(attempt: Attempt): void {
    const { child } = attempt
    attempt.child = null
    attempt.patience?.cancel()
    attempt.backoff?.cancel()
    child?.kill('SIGKILL')
    // What a process has open must be closed before its directory goes.
    const ending = (child?.exited ?? Promise.resolve())
      .then(() => this.#clear(attempt))
      .finally(() => this.#endings.delete(ending))
    this.#endings.add(ending)
  }

  #clear(attempt: Attempt): Promise<void> {
    const { directory } = attempt
    attempt.directory = null
    if (directory === null) return Promise.resolve()
    // What cannot be removed now is removed at the next start.
    return this.#removeDirectory(directory).catch(() => {})
  }

  async #removeDirectory(path: string): Promise<void> {
    const { disk } = this.#platform
    for (const { name, directory } of await disk.list(path)) {
      if (!directory) await disk.remove(join(path, name))
    }
    // It stays when something else has been put into it, as network storage does.
    await disk.remove(path).catch(() => {})
  }
}

function newAttempt(job: HelperJob): Attempt {
  return {
    job,
    child: null,
    directory: null,
    progress: 0,
    failures: 0,
    backoff: null,
    patience: null,
    result: null,
    failure: null,
  }
}
