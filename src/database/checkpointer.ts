// Decides when a checkpoint is made, on either side: one at a time, when it pays, when memory runs short, or
// when somebody asks for it. While the disk is full it is tried again now and then.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import type { LogPosition } from '../log/chain.ts'
import { DiskRoom } from '../log/disk-room.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Database } from './database.ts'

/** A checkpoint at least this often while there are updates, so that a quiet server's log can be removed. */
const intervalMs = 5 * 60_000

/**
 * Log since the cut of the running checkpoint, above which it pauses no more: pauses are for quiet servers, and at
 * full speed they would make the log that a crash has to replay several times as long.
 */
const hurryLogBytes = 8 * MiB
const roomRetryMs = 2000

/** What a checkpoint needs of the log. */
export interface CheckpointLog {
  /** Where the database stands now, at the end of a block, and when the log is durable up to there. */
  cut(): { readonly position: LogPosition; readonly durable: Promise<void> }
  /** Bytes of log that the database has taken in since some start. */
  bytes(): number
}

export class Checkpointer {
  readonly #database: Database
  readonly #log: CheckpointLog
  readonly #clock: Clock
  readonly #made: () => void
  readonly #failed: (error: HotBackupError) => void
  #bytesAtCut: number
  #running: Promise<void> | null = null
  /** The running one for those who wait for it: rejected already while it waits for room on the disk. */
  #attempt: Promise<void> | null = null
  #rejectAttempt: (error: HotBackupError) => void = () => {}
  /** No checkpoint can be made, for want of it. */
  readonly diskRoom: DiskRoom
  /** The files are held as they are until it resolves. */
  #held: Promise<void> | null = null
  #timer: Timer | null = null
  #stopped = false

  /** `made` hears of each checkpoint (the log may be removed up to it), `failed` of the error that ends them all. */
  constructor(
    database: Database,
    log: CheckpointLog,
    clock: Clock,
    made: () => void,
    failed: (error: HotBackupError) => void,
  ) {
    this.#database = database
    this.#log = log
    this.#clock = clock
    this.#made = made
    this.#failed = failed
    this.#bytesAtCut = log.bytes()
    this.diskRoom = new DiskRoom(clock, roomRetryMs, () => this.#tryAgain())
    this.#arm()
  }

  /** Bytes of log that no checkpoint holds: what a start would have to replay. */
  get logBytes(): number {
    return this.#log.bytes() - this.#bytesAtCut + this.#database.replayedBytes
  }

  /**
   * Call it after updates: starts a checkpoint in the background when one is due, and hurries the running one when
   * the log grows fast. Cheap when there is nothing to do.
   */
  note(): void {
    if (this.#stopped || this.diskRoom.lack !== null) return
    const logBytes = this.#log.bytes() - this.#bytesAtCut
    if (this.#held !== null) return
    if (this.#running !== null) {
      if (logBytes > hurryLogBytes) this.#database.hurry()
    } else if (this.#database.checkpointDue(logBytes + this.#database.replayedBytes)) {
      this.#run(true).catch(() => {}) // `failed` has heard of it.
    }
  }

  /**
   * Resolves when there is room for more changed frames. Whoever waits for that must not wait for pauses. Rejects with
   * ERR_DISK_FULL when there will be none before the disk has room.
   */
  async room(): Promise<void> {
    while (this.#database.overfull) {
      if (this.diskRoom.lack !== null) throw this.diskRoom.lack
      this.#database.hurry()
      await (this.#attempt ?? this.#held ?? this.#run(false))
    }
  }

  /** A checkpoint of everything that is applied now. Resolves when it is durable. Rejects with ERR_DISK_FULL, too. */
  async now(): Promise<void> {
    this.#database.hurry()
    await this.#attempt
    while (this.#held !== null) await this.#held
    if (this.#database.unchanged) return
    await (this.#attempt ?? this.#run(false))
  }

  /**
   * A checkpoint of what is applied now, and no other until `release` is called: the files on the disk stand still,
   * and may be copied, while updates go on in memory. Keep it short: writers wait when their memory is full. One
   * holds at a time, others wait for their turn. Rejects with ERR_STOPPED behind a checkpoint that has failed: what it
   * has written in place belongs to its journal.
   */
  async hold(): Promise<() => void> {
    while (this.#held !== null) await this.#held
    let release: () => void = () => {}
    this.#held = new Promise(resolve => {
      release = () => {
        this.#held = null
        resolve()
      }
    })
    try {
      this.#database.hurry()
      await this.#attempt
      const { failure } = this.#database
      if (failure !== null) {
        throw new HotBackupError('ERR_STOPPED', `the database stopped: ${failure.message}`)
      }
      if (!this.#database.unchanged && !this.#stopped) await this.#run(false)
      return release
    } catch (error) {
      release()
      throw error
    }
  }

  /** No more checkpoints; resolves when the running one is done, or would wait for room on the disk. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    if (this.diskRoom.lack !== null) this.#database.endCheckpoint()
    this.diskRoom.stop()
    await this.#running?.catch(() => {})
  }

  /** Resolves, or rejects, when that is known: while it waits for room on the disk it goes on behind the rejection. */
  #run(paced: boolean): Promise<void> {
    const running = this.#checkpoint(paced)
      .then(() => this.diskRoom.found())
      .catch((error: unknown) => {
        this.#fail(error)
        throw error
      })
      .finally(() => {
        this.#running = null
        this.#attempt = null
        // Long work may have begun behind its capture, and waits for the next one.
        if (this.#database.work.checkpointDue) this.note()
      })
    this.#running = running
    this.#attempt = new Promise((resolve, reject) => {
      this.#rejectAttempt = reject
      running.then(resolve, reject)
    })
    this.#attempt.catch(() => {})
    return this.#attempt
  }

  async #checkpoint(paced: boolean): Promise<void> {
    const { position, durable } = this.#log.cut()
    if (this.#database.unchanged) return
    this.#bytesAtCut = this.#log.bytes()
    const noRoom = (error: HotBackupError) => this.#lacksRoom(error)
    try {
      await this.#database.checkpoint(position, durable, { paced, noRoom })
    } catch (error) {
      const full = isHotBackupError(error, 'ERR_DISK_FULL') && this.#database.failure === null
      // Those who wait for the checkpoint hear nothing of what is given up for it.
      if (!full || this.#stopped || !(await this.diskRoom.giveUp())) throw error
      return this.#checkpoint(paced)
    }
    this.#made()
  }

  #lacksRoom(error: HotBackupError): void {
    if (this.#stopped) this.#database.endCheckpoint()
    else if (!this.diskRoom.lacks(error)) return
    this.#rejectAttempt(error)
  }

  #tryAgain(): void {
    if (this.#running === null && this.#held === null) this.#run(true).catch(() => {})
    else if (this.diskRoom.lack !== null) this.diskRoom.lacks(this.diskRoom.lack)
  }

  #fail(error: unknown): void {
    if (isHotBackupError(error, 'ERR_DISK_FULL') && this.#database.failure === null) {
      if (!this.#stopped) this.diskRoom.lacks(error)
      return
    }
    this.diskRoom.stop()
    if (this.#stopped && isHotBackupError(error, 'ERR_DISK_FULL')) return
    this.#stopped = true
    if (isHotBackupError(error)) this.#failed(error)
    else
      this.#failed(
        new HotBackupError('ERR_DISK', `a checkpoint failed: ${String(error)}`, {}, error),
      )
  }

  #arm(): void {
    this.#timer = this.#clock.after(
      intervalMs,
      () => {
        const busy = this.#running !== null || this.#held !== null || this.diskRoom.lack !== null
        if (!busy) this.#run(true).catch(() => {})
        if (!this.#stopped) this.#arm()
      },
      true,
    )
  }
}
