// Applies the slave's own log to its database, in order, as far as it is durable; with a delay, a block that much
// later than it was written. It is the only writer of that database. Apply updates off: it stands still, at a
// checkpoint, and the log takes everything; it can then be told to go on up to some transaction or time by hand.
//
// States: following → (pause) → paused → (resume) → following, and while paused → (applyUntil) → paused; failed and
// stopped are final, and so is drained. One pass over the log runs at a time.
import { Checkpointer, type CheckpointLog } from '../database/checkpointer.ts'
import type { Database } from '../database/database.ts'
import { Drainer } from '../database/drainer.ts'
import { openBehindStamp } from '../database/replay.ts'
import { HotBackupError } from '../errors.ts'
import { quickReplayBytes } from '../limits.ts'
import { DiskRoom, noSpare } from '../log/disk-room.ts'
import type { DurableMark } from '../log/durable.ts'
import type { BlockRun, LogReader } from '../log/reader.ts'
import type { LogWriter } from '../log/writer.ts'
import { turn, type Timer } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import type { ApplyFailures } from './apply-failures.ts'
import type { ApplyLimit, ApplyMode, ApplyProgress, ReplayerEvents } from './replayer-terms.ts'
import { noLimit, RunSteps, type FailingSteps, type Standing, type StepLimit } from './run-steps.ts'
import { SelectedPlan, SelectedSteps, type Filter, type SelectedCount } from './selected.ts'

/** How often the wall clock is looked at, which may be put right meanwhile; and a full disk. */
const [lookMs, roomRetryMs] = [30_000, 1000]

export class Replayer {
  readonly delayMs: number
  readonly #directory: string
  readonly #database: Database
  readonly #platform: Pick<Platform, 'disk' | 'clock'>
  readonly #events: ReplayerEvents
  readonly #checkpointer: Checkpointer
  readonly #drainer: Drainer
  readonly #failures: ApplyFailures
  readonly #steps: RunSteps
  #on: boolean
  /** `applyUntil` is at work: nothing follows the log meanwhile. */
  #byHandNow = false
  #stopped = false
  #failure: HotBackupError | null = null
  /** Half of a transaction that was applied out of its turn is in the database. */
  #reopen = false
  /** Something must be written before it can go on. */
  readonly #diskRoom: DiskRoom
  #mark: DurableMark | null
  #bytes = 0
  /** Resolves the wait for more log, for resume, or for stop. */
  #wake: () => void = () => {}
  #loop: Promise<void>
  /** One pause, resume or applyUntil after the other. */
  #orders: Promise<unknown> = Promise.resolve()

  constructor(
    platform: Pick<Platform, 'disk' | 'clock'>,
    log: LogWriter,
    logDirectory: string,
    database: Database,
    mode: ApplyMode,
    failures: ApplyFailures,
    events: ReplayerEvents,
  ) {
    this.#platform = platform
    this.#directory = logDirectory
    this.#database = database
    this.#mark = log.durableMark
    this.#on = mode.on
    this.delayMs = mode.delayMs
    this.#failure = mode.failure ?? null
    this.#events = events
    this.#failures = failures
    this.#steps = new RunSteps(database, failures.lostAndFound, platform.clock)
    this.#checkpointer = new Checkpointer(
      database,
      this.#checkpointLog(),
      platform.clock,
      () => events.checkpointed(),
      error => this.#fail(error),
    )
    this.#drainer = new Drainer(database, this.#checkpointer, platform.clock, error =>
      this.#fail(error),
    )
    this.#diskRoom = new DiskRoom(platform.clock, roomRetryMs)
    for (const room of [this.#checkpointer.diskRoom, this.#diskRoom]) {
      room.spare = events.spare ?? noSpare
      if (events.diskRoom === undefined) room.endPatience()
      else room.onChange(events.diskRoom)
    }
    if (!this.#on) void this.#drainer.pause()
    database.work.onChange(() => this.#drainer.wake())
    this.#drainer.wake()
    log.onDurable(durable => {
      this.#mark = durable
      this.#wake()
    })
    this.#loop = this.#follow()
  }

  get on(): boolean {
    return this.#on
  }
  get appliedTxn(): number {
    return this.#database.appliedTxn
  }
  /** Wall-clock time, by the master's clock, of the last block that has been applied; 0 before the first. */
  get appliedTime(): number {
    return this.#steps.time
  }
  get failure(): HotBackupError | null {
    return this.#failure
  }
  /** The disk is full, and room is waited for. */
  get diskLack(): HotBackupError | null {
    return this.#checkpointer.diskRoom.lack ?? this.#diskRoom.lack
  }

  /** Apply updates off. Resolves when the database stands still at a checkpoint: its files may be copied. */
  pause(): Promise<void> {
    return this.#order(async () => {
      this.#on = false
      await this.#drainer.pause()
      await this.#stand()
    })
  }

  /** Apply updates on. The backlog is applied from here on. */
  resume(): Promise<void> {
    return this.#order(async () => {
      if (this.#on) return
      this.#on = true
      this.#drainer.resume()
      this.#loop = this.#follow()
    })
  }

  /**
   * Applies by hand what is durable now, up to and including `limit`, in order; then the database stands still at a
   * checkpoint again, or goes on when apply updates is on. `signal` ends it earlier, between two transactions.
   * `progress` hears of each run. Rejects with the failure of the replayer (ERR_STOPPED when it was stopped).
   */
  applyUntil(
    limit: ApplyLimit,
    progress: (progress: ApplyProgress) => void = () => {},
    signal?: AbortSignal,
  ): Promise<ApplyProgress> {
    return this.#manually(async () => {
      const before = this.#steps.applied
      const soFar = () => ({ appliedTxn: this.appliedTxn, count: this.#steps.applied - before })
      const { txn = Infinity, time = Infinity } = limit
      await this.#guarded(() => this.#byHand({ txn, time }, () => progress(soFar()), signal))
      return soFar
    })
  }

  /**
   * Applies, of what `applyUntil` would, only the transactions about some account or file, ahead of the others: where
   * the slave stands stays as it is, and it passes over them later. Rejects with ERR_UNSAFE, and nothing has changed,
   * when one of them is about others as well.
   */
  applySelected(
    filter: Filter,
    limit: ApplyLimit,
    progress: (applied: number, count: SelectedCount) => void,
    signal?: AbortSignal,
  ): Promise<SelectedCount & { readonly applied: number }> {
    return this.#manually(async () => {
      const plan = await this.#plan(filter, limit)
      const { lostAndFound } = this.#failures
      const steps = new SelectedSteps(plan, this.#database, (...name) => lostAndFound.has(...name))
      await this.#guarded(() =>
        this.#read(async run => {
          steps.take(run)
          const more = await this.#settled(steps, () => steps.step())
          await this.#noted()
          progress(steps.applied, plan.count)
          return more && signal?.aborted !== true
        }),
      )
      return () => ({ ...plan.count, applied: steps.applied })
    })
  }

  /** What `applySelected` would find, and leave. */
  async countSelected(filter: Filter, limit: ApplyLimit): Promise<SelectedCount> {
    const plan = await this.#plan(filter, limit)
    await this.#read(async run => plan.seek(run))
    return plan.count
  }

  async #plan(filter: Filter, { txn = Infinity, time = Infinity }: ApplyLimit) {
    const plan = new SelectedPlan(filter, this.#database, { txn, time })
    while (plan.again()) await this.#read(async run => plan.look(run))
    return plan
  }

  /** Goes over what is durable now and not in a checkpoint, until `work` answers false. */
  async #read(work: (run: BlockRun) => Promise<boolean>): Promise<void> {
    const mark = this.#mark
    if (mark === null) return
    const reader = await openBehindStamp(this.#platform.disk, this.#directory, this.#database)
    try {
      while (!this.#stopped) {
        const run = await reader.next(mark)
        if (run === null || !(await work(run))) return
      }
    } finally {
      await reader.close()
    }
  }

  /** One after the other, while the database stands at a checkpoint, as it does again when this resolves. */
  #manually<T>(work: () => Promise<() => T>): Promise<T> {
    return this.#order(async () => {
      this.#byHandNow = true
      try {
        await this.#stand()
        const outcome = await work()
        if (this.#failure === null) await this.#checkpointer.now()
        if (this.#failure !== null) throw this.#failure
        if (this.#stopped) throw new HotBackupError('ERR_STOPPED', 'the replayer has been stopped')
        return outcome()
      } finally {
        this.#byHandNow = false
        this.#loop = this.#follow()
      }
    })
  }

  /**
   * Applies a transaction out of its turn, creating what it needs; it lies in a checkpoint when this resolves. Rejects
   * with ERR_APPLY, and nothing has changed, or with the failure of the replayer.
   */
  applyAside(records: Uint8Array): Promise<void> {
    return this.#order(async () => {
      if (this.#stopped) throw new HotBackupError('ERR_STOPPED', 'the replayer has been stopped')
      if (this.#failure !== null) throw this.#failure
      try {
        this.#database.applyAside(records)
      } catch (error) {
        if (!this.#database.broken) throw error
        this.#reopen = true
        this.#fail(error)
        throw error
      }
      await this.#checkpointer.now()
    })
  }

  /** The replayer stands still until the database is opened again. */
  get mustReopen(): boolean {
    return this.#reopen || this.#failures.mustReopen
  }

  /**
   * The slave is being promoted: applies everything that is durable now, in any case, and stands still for good,
   * without a checkpoint unless it must be. Rejects with the failure of the replayer.
   */
  drain(): Promise<void> {
    return this.#order(async () => {
      this.#byHandNow = true
      this.#diskRoom.endPatience()
      this.#wake()
      await this.#drainer.pause()
      await this.#loop
      this.#loop = this.#guarded(() => this.#byHand(noLimit, () => {}))
      await this.#loop
      // A master would replay into them what the slave has left out.
      if (this.#holdsAbsentFiles && this.#failure === null) await this.#checkpointer.now()
      this.#stopped = true
      this.#database.hurry()
      await this.#checkpointer.stop()
      if (this.#failure !== null) throw this.#failure
    })
  }

  /** See Checkpointer.hold: the files may be copied; updates go on in memory. */
  hold(): Promise<() => void> {
    return this.#checkpointer.hold()
  }

  /**
   * Stands still for good. With a checkpoint if the next start had much to replay otherwise; a stamp that stays behind
   * lets the slave go back to a fork, when another one that had less is promoted.
   */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#diskRoom.endPatience()
    this.#wake()
    await this.#drainer.pause()
    await this.#orders
    await this.#loop
    const long = this.#checkpointer.logBytes > quickReplayBytes && this.diskLack === null
    if (this.#failure === null && long) await this.#checkpointer.now()
    await this.#checkpointer.stop()
  }

  #order<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#orders.then(work)
    this.#orders = done.catch(() => {})
    return done
  }

  /** Resolves when nothing is being applied, and all of it lies in a checkpoint. */
  async #stand(): Promise<void> {
    this.#wake()
    await this.#loop
    if (this.#failure === null) await this.#checkpointer.now()
  }

  #follow(): Promise<void> {
    return this.#guarded(async () => {
      if (this.#standing) return
      await this.#firstBlock()
      if (this.#standing) return
      await this.#pass(async reader => {
        while (!this.#standing) {
          const mark = this.#mark
          const run = mark === null ? null : await reader.next(mark)
          if (run === null) {
            await this.#more(mark)
            continue
          }
          this.#steps.take(run)
          const ended = () => this.#standing
          while ((await this.#step(this.#due, ended)) === 'held' && !ended()) await this.#ripen()
          if (!this.#steps.busy) this.#bytes += run.end - run.start
        }
      })
    })
  }

  /** What is old enough. */
  get #due(): StepLimit {
    if (this.delayMs === 0) return noLimit
    return { txn: Infinity, time: this.#platform.clock.now() - this.delayMs }
  }

  /** Resolves when the block at which the replayer holds may be old enough, or when it is time to stand still. */
  async #ripen(): Promise<void> {
    if (this.#standing) return
    const { clock } = this.#platform
    const wait = this.#steps.heldTime + this.delayMs - clock.now()
    let timer: Timer | null = null
    await new Promise<void>(resolve => {
      this.#wake = resolve
      timer = clock.after(Math.min(Math.max(wait, 1), lookMs), resolve, true)
    })
    timer!.cancel()
  }

  async #byHand(limit: StepLimit, progress: () => void, signal?: AbortSignal): Promise<void> {
    const mark = this.#mark
    if (mark === null || this.appliedTxn >= Math.min(mark.txn, limit.txn)) return
    const ended = () => this.#stopped || this.#failure !== null || signal?.aborted === true
    await this.#pass(async reader => {
      while (!ended()) {
        const run = await reader.next(mark)
        if (run === null || ended()) return
        this.#steps.take(run)
        const standing = await this.#step(limit, ended)
        this.#bytes += run.end - run.start
        progress()
        if (standing === 'held' || this.appliedTxn >= limit.txn) return
      }
    })
  }

  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#fail(error)
    }
  }

  async #pass(work: (reader: LogReader) => Promise<void>): Promise<void> {
    const reader = await openBehindStamp(this.#platform.disk, this.#directory, this.#database)
    try {
      await work(reader)
    } finally {
      this.#steps.drop()
      await reader.close()
    }
  }

  get #holdsAbsentFiles(): boolean {
    const database = this.#database
    return database.accounts().some(account => database.absentFiles(account).length > 0)
  }

  get #standing(): boolean {
    return this.#stopped || !this.#on || this.#byHandNow || this.#failure !== null
  }

  /** Others have their turn meanwhile; `turn` is the answer only when it has `ended` then. */
  async #step(limit: StepLimit, ended: () => boolean): Promise<Standing> {
    for (;;) {
      const standing = await this.#settled(this.#steps, () => this.#steps.step(limit))
      await this.#noted()
      if (standing === 'turn') await turn(this.#platform.clock)
      if (standing !== 'turn' || ended()) return standing
    }
  }

  #settled<T>(steps: FailingSteps, step: () => T): Promise<T> {
    return this.#diskRoom.persist(() => this.#failures.settled(steps, this.#database, step))
  }

  /** Something has been applied. */
  async #noted(): Promise<void> {
    this.#events.applied()
    this.#checkpointer.note()
    if (this.#database.overfull) await this.#diskRoom.persist(() => this.#checkpointer.room())
  }

  /** A slave that is new has no segment to read yet. */
  async #firstBlock(): Promise<void> {
    while (this.#mark === null && !this.#standing) await this.#more(null)
  }

  /** Resolves when the log is durable further than `mark`, or when it is time to stand still. */
  #more(mark: DurableMark | null): Promise<void> {
    if (this.#standing || (this.#mark?.txn ?? 0) > (mark?.txn ?? 0)) return Promise.resolve()
    return new Promise(resolve => {
      this.#wake = resolve
    })
  }

  #checkpointLog(): CheckpointLog {
    return {
      // Only what is durable is ever applied, so there is nothing to wait for.
      cut: () => ({ position: this.#steps.position, durable: Promise.resolve() }),
      bytes: () => this.#bytes,
    }
  }

  #fail(error: unknown): void {
    if (this.#failure !== null) return
    this.#failure =
      error instanceof HotBackupError
        ? error
        : new HotBackupError('ERR_APPLY', `the replayer failed: ${String(error)}`, {}, error)
    this.#wake()
    this.#diskRoom.stop()
    // The database may stand in the middle of a run: no stamp would be true.
    void this.#checkpointer.stop()
    this.#events.failed(this.#failure, this.mustReopen)
  }
}
