// Applies the slave's own log to its database, in order, as far as it is durable. It is the only writer of
// that database. Apply updates off: it stands still, at a checkpoint, and the log takes everything.
//
// States: running → (pause) → pausing → paused → (resume) → running; failed and stopped are final.
import { Checkpointer, type CheckpointLog } from '../database/checkpointer.ts'
import type { Database } from '../database/database.ts'
import { applyRun, openBehindStamp } from '../database/replay.ts'
import { HotBackupError } from '../errors.ts'
import type { LogPosition } from '../log/chain.ts'
import type { DurableMark } from '../log/durable.ts'
import type { BlockRun } from '../log/reader.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Platform } from '../platform/platform.ts'

export interface ReplayerEvents {
  /** `appliedTxn` has moved. */
  applied(): void
  /** A checkpoint has been made. */
  checkpointed(): void
  /** The replayer stands still for good: its database cannot be trusted to go on. The log goes on. */
  failed(error: HotBackupError): void
}

export class Replayer {
  readonly #directory: string
  readonly #database: Database
  readonly #platform: Pick<Platform, 'disk' | 'clock'>
  readonly #events: ReplayerEvents
  readonly #checkpointer: Checkpointer
  #on: boolean
  #stopped = false
  #failure: HotBackupError | null = null
  #mark: DurableMark | null
  #position: LogPosition
  #time = 0
  #bytes = 0
  /** Resolves the wait for more log, for resume, or for stop. */
  #wake: () => void = () => {}
  #loop: Promise<void>

  constructor(
    platform: Pick<Platform, 'disk' | 'clock'>,
    log: LogWriter,
    logDirectory: string,
    database: Database,
    on: boolean,
    events: ReplayerEvents,
  ) {
    this.#platform = platform
    this.#directory = logDirectory
    this.#database = database
    this.#mark = log.durableMark
    this.#on = on
    this.#events = events
    this.#position = database.stamp
    this.#checkpointer = new Checkpointer(
      database,
      this.#checkpointLog(),
      platform.clock,
      () => events.checkpointed(),
      error => this.#fail(error),
    )
    log.onDurable(durable => {
      this.#mark = durable
      this.#wake()
    })
    this.#loop = this.#run()
  }

  get on(): boolean {
    return this.#on
  }
  get appliedTxn(): number {
    return this.#database.appliedTxn
  }
  /** Wall-clock time, by the master's clock, of the last block that has been applied; 0 before the first. */
  get appliedTime(): number {
    return this.#time
  }
  get failure(): HotBackupError | null {
    return this.#failure
  }

  /** Apply updates off. Resolves when the database stands still at a checkpoint: its files may be copied. */
  async pause(): Promise<void> {
    this.#on = false
    this.#wake()
    await this.#loop
    await this.#checkpointer.now()
  }

  /** Apply updates on. The backlog is applied from here on. */
  async resume(): Promise<void> {
    if (this.#on || this.#stopped) return
    await this.#loop
    this.#on = true
    this.#loop = this.#run()
  }

  /** Stands still for good; with a checkpoint, so that the next start has little to replay. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#wake()
    await this.#loop
    if (this.#failure === null) await this.#checkpointer.now()
    await this.#checkpointer.stop()
  }

  async #run(): Promise<void> {
    if (!this.#on) return
    try {
      await this.#apply()
    } catch (error) {
      this.#fail(error)
    }
  }

  get #standing(): boolean {
    return this.#stopped || !this.#on || this.#failure !== null
  }

  async #apply(): Promise<void> {
    await this.#firstBlock()
    if (this.#standing) return
    const reader = await openBehindStamp(this.#platform.disk, this.#directory, this.#database)
    try {
      while (!this.#standing) {
        const mark = this.#mark
        const run = mark === null ? null : await reader.next(mark)
        if (run === null) await this.#more(mark)
        else await this.#take(run)
      }
    } finally {
      await reader.close()
    }
  }

  async #take(run: BlockRun): Promise<void> {
    applyRun(this.#database, run)
    this.#position = run.position
    this.#time = run.time
    this.#bytes += run.end - run.start
    this.#events.applied()
    this.#checkpointer.note()
    if (this.#database.overfull) await this.#checkpointer.room()
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
      cut: () => ({ position: this.#position, durable: Promise.resolve() }),
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
    // The database may stand in the middle of a run: no stamp would be true.
    void this.#checkpointer.stop()
    this.#events.failed(this.#failure)
  }
}
