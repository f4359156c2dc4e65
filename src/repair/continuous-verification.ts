// Goes over all of a master's database once in every interval of hb.toml, and writes into the log what is there (see
// verify-marks.ts), so slowly that nobody feels it: it works for a hundredth of the time, or as much as it takes to be
// done within half of the interval. Where it stands is kept in DIR/verify, so that a pass outlives the process: who has
// the master open goes on with it. While nobody has, nobody verifies.
import * as v from 'valibot'
import type { VerificationStatus, VerifyPass } from '../control/server-status.ts'
import { hashEnd } from '../database/hash.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { sliceAt, sliceCount } from '../database/range-digest.ts'
import { isHotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import type { VerifyMarks } from './verify-marks.ts'

/** For each unit of time at work it rests this many. */
const restParts = 99
/** A pass is to be over in this part of the interval. */
const passPart = 0.5
/** Updates are not taken now: later they may be. */
const retryMs = 10_000
/** A system's timer takes no more than 24 days. */
const restMaxMs = 3_600_000
/** Where a pass stands is written this often. */
const keepMs = 60_000
const stateBytesMax = 4 * KiB

const whole = v.pipe(v.number(), v.integer(), v.minValue(0))
const passSchema = v.object({ begun: whole, ended: whole, firstTxn: whole, lastTxn: whole })
const placeSchema = v.object({ begun: whole, firstTxn: whole, fileNumber: whole, hash: whole })
const stateSchema = v.object({
  /** The next pass is due an interval after this. */
  since: whole,
  last: v.nullable(passSchema),
  place: v.nullable(placeSchema),
})
type State = v.InferOutput<typeof stateSchema>

export interface ContinuousOptions {
  /** Null: off. */
  readonly intervalMs: number | null
  /** Of DIR/verify. */
  readonly path: string
  /** A part of a file could not be read. */
  readonly failed: (message: string) => void
}

/** The last whole pass, for those who only look; null when there was none. */
export async function readLastPass(disk: Disk, file: string): Promise<VerifyPass | null> {
  return (await readKept(disk, file))?.last ?? null
}

async function readKept(disk: Disk, file: string): Promise<State | null> {
  const bytes = await readState(disk, file, stateBytesMax)
  if (bytes === null) return null
  try {
    return v.parse(stateSchema, JSON.parse(bytes.toString()))
  } catch {
    return null
  }
}

export class ContinuousVerification {
  readonly #platform: { readonly disk: Disk; readonly clock: Clock }
  readonly #marks: VerifyMarks
  readonly #options: ContinuousOptions
  #state: State = { since: 0, last: null, place: null }
  #keptAt = -Infinity
  #work: Promise<void> = Promise.resolve()
  #stopped = false
  #timer: Timer | null = null
  #wake: () => void = () => {}

  constructor(
    platform: { readonly disk: Disk; readonly clock: Clock },
    marks: VerifyMarks,
    options: ContinuousOptions,
  ) {
    this.#platform = platform
    this.#marks = marks
    this.#options = options
  }

  get status(): VerificationStatus {
    const { last, place } = this.#state
    const { intervalMs } = this.#options
    if (place === null) return { intervalMs, last, running: null }
    const left = this.#marks.compared().filter(({ number }) => number >= place.fileNumber)
    return { intervalMs, last, running: { begun: place.begun, filesLeft: left.length } }
  }

  /** Reads where the last pass stands, and goes on in the background. */
  async begin(): Promise<void> {
    const { clock } = this.#platform
    const state = await this.#read()
    // A clock that was put back must not put it off for ever.
    const since = Math.min(state?.since ?? clock.now(), clock.now())
    this.#state = { since, last: state?.last ?? null, place: state?.place ?? null }
    if (this.#options.intervalMs === null) return
    if (state === null) await this.#keep()
    this.#work = this.#run(this.#options.intervalMs)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    this.#wake()
    await this.#work
  }

  /** Somebody has made a whole pass by order: the next one is due an interval later. */
  async passed(pass: Omit<VerifyPass, 'ended'>): Promise<void> {
    this.#state = { since: pass.begun, last: { ...pass, ended: this.#now }, place: null }
    await this.#keep()
  }

  async #run(intervalMs: number): Promise<void> {
    while (!this.#stopped) {
      try {
        const wait = this.#state.place === null ? this.#state.since + intervalMs - this.#now : 0
        if (wait > 0) await this.#rest(Math.min(wait, restMaxMs))
        else await this.#pass(intervalMs * passPart)
      } catch (error) {
        if (!isHotBackupError(error)) throw error
        // Whoever updates hears of a log that has failed, and of a master that is no more.
        if (isHotBackupError(error, 'ERR_CLOSED', 'ERR_STOPPED', 'ERR_FENCED')) break
        await this.#rest(retryMs)
      }
    }
    if (this.#state.place !== null) await this.#keep()
  }

  /** All that is left of the pass, or a new one. */
  async #pass(withinMs: number): Promise<void> {
    if (this.#state.place === null) {
      const begun = this.#now
      const firstTxn = await this.#marks.files(true)
      this.#state = {
        ...this.#state,
        since: begun,
        place: { begun, firstTxn, fileNumber: 0, hash: 0 },
      }
      await this.#keep()
    }
    const slices = this.#marks.compared().reduce((sum, file) => sum + sliceCount(file), 0)
    const sliceMs = withinMs / slices
    for (;;) {
      const { place } = this.#state
      if (this.#stopped || place === null) return
      const file = this.#marks.nextFile(place.fileNumber)
      if (file === null) break
      const start = this.#platform.clock.monotonic()
      const hash = await this.#slice(file, file.number === place.fileNumber ? place.hash : 0)
      const done = hash === hashEnd
      const next = { fileNumber: done ? file.number + 1 : file.number, hash: done ? 0 : hash }
      // Unless somebody else has made a pass meanwhile.
      if (this.#state.place === place)
        this.#state = { ...this.#state, place: { ...place, ...next } }
      const worked = this.#platform.clock.monotonic() - start
      await this.#rest(Math.min(worked * restParts, sliceMs))
      if (this.#platform.clock.monotonic() - this.#keptAt > keepMs) await this.#keep()
    }
    const { begun, firstTxn } = this.#state.place!
    const lastTxn = await this.#marks.end(firstTxn)
    this.#state = {
      since: begun,
      last: { begun, ended: this.#now, firstTxn, lastTxn },
      place: null,
    }
    await this.#keep()
  }

  /** Where the next slice begins. What cannot be read is told and passed over. */
  async #slice(file: HashedFile, hash: number): Promise<number> {
    try {
      return (await this.#marks.slice(file, hash)).next
    } catch (error) {
      const unreadable = ['ERR_DATABASE_CORRUPT', 'ERR_GROUP_DAMAGED', 'ERR_DISK'] as const
      if (!isHotBackupError(error, ...unreadable)) throw error
      this.#options.failed(`${file.account} ${file.name} cannot be verified: ${error.message}`)
      return file.deleted ? hashEnd : sliceAt(file, hash).to
    }
  }

  get #now(): number {
    return this.#platform.clock.now()
  }

  #rest(ms: number): Promise<void> {
    if (this.#stopped) return Promise.resolve()
    return new Promise(resolve => {
      this.#wake = resolve
      this.#timer = this.#platform.clock.after(ms, resolve, true)
    })
  }

  /** What lies there otherwise is as good as nothing. */
  #read(): Promise<State | null> {
    return readKept(this.#platform.disk, this.#options.path)
  }

  /** A disk that is full, say, takes only the memory of where it stands. */
  async #keep(): Promise<void> {
    this.#keptAt = this.#platform.clock.monotonic()
    try {
      const bytes = Buffer.from(JSON.stringify(this.#state))
      await writeFileAtomic(this.#platform.disk, this.#options.path, bytes)
    } catch (error) {
      if (!isHotBackupError(error)) throw error
    }
  }
}
