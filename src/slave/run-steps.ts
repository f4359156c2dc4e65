// Applies the transactions of a run one after the other and can stand between any two of them: at a limit, or at one
// that cannot be applied. So a run, even a block, may be applied in parts; a transaction never is. What lies in
// lost-found is passed over.
import type { Database } from '../database/database.ts'
import type { LogPosition } from '../log/chain.ts'
import type { BlockRun } from '../log/reader.ts'
import type { SegmentHeader } from '../log/segment.ts'
import { TransactionCursor } from '../log/transactions.ts'
import type { Clock } from '../platform/clock.ts'
import type { LostAndFound, TransactionName } from './lost-found.ts'

/** How far to apply: up to this transaction, and while the blocks were written at this time or before. */
export interface StepLimit {
  readonly txn: number
  /** Wall-clock milliseconds, by the master's clock. */
  readonly time: number
}

export function isBeyond({ txn, time }: StepLimit, at: number, blockTime: number): boolean {
  return at > txn || blockTime > time
}

export const noLimit: StepLimit = { txn: Infinity, time: Infinity }

/** `held`: the next transaction is beyond the limit. `turn`: it is time for others. `end`: the run is applied. */
export type Standing = 'held' | 'turn' | 'end'

/** Others wait for no more than this, and one transaction. */
const turnMs = 4
/** So often it is looked at the clock. */
const lookEvery = 32

/** A transaction in the log that could not be applied. */
export interface FailedTransaction extends TransactionName {
  /** Its records lie in `bytes` from `start` to `end`. */
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
  /** Of its block, wall-clock milliseconds. */
  readonly time: number
  readonly segment: SegmentHeader
}

/** Steps over transactions, of which one may throw. */
export interface FailingSteps {
  /** The one at which `step` has thrown. */
  readonly failed: FailedTransaction | null
  /** Applies these records in place of it. Throws as `step` does. */
  applyInstead(records: Uint8Array): void
  /** Goes past it. */
  passOver(): void
}

export class RunSteps implements FailingSteps {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #database: Database
  readonly #lost: LostAndFound
  readonly #cursor = new TransactionCursor()
  #run: BlockRun | null = null
  /** The cursor stands on a transaction that has not been applied. */
  #waiting = false
  #position: LogPosition
  #time = 0
  #applied = 0

  constructor(database: Database, lost: LostAndFound, clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
    this.#database = database
    this.#lost = lost
    this.#position = database.stamp
  }

  /** Behind the last transaction that has been applied: what a checkpoint would stamp. */
  get position(): LogPosition {
    return this.#position
  }
  /** Wall-clock time of its block, by the master's clock; 0 before the first. */
  get time(): number {
    return this.#time
  }
  /** Transactions that have been applied here. */
  get applied(): number {
    return this.#applied
  }
  /** There is more to apply in the run. */
  get busy(): boolean {
    return this.#run !== null
  }
  /** Time of the block of the transaction at which `step` has held. */
  get heldTime(): number {
    return this.#cursor.blockTime
  }

  /** The run's bytes must stay as they are until `step` has come to its end, or `drop`. */
  take(run: BlockRun): void {
    this.#cursor.reset(run)
    this.#run = run
    this.#waiting = false
  }

  /** Leaves what is not applied of the run to another reader. */
  drop(): void {
    this.#run = null
    this.#waiting = false
  }

  /**
   * Applies up to `limit`, or until others should have their turn: nobody sees the database between two records of one
   * transaction. Throws what the database throws; the transaction is then the next one still.
   */
  step(limit: StepLimit): Standing {
    const cursor = this.#cursor
    const database = this.#database
    const run = this.#run
    if (run === null) return 'end'
    const before = database.appliedTxn
    let { txn, chain } = this.#position
    const clock = this.#clock
    const until = clock.monotonic() + turnMs
    let count = 0
    try {
      while (this.#waiting || cursor.next()) {
        this.#waiting = true
        if (++count % lookEvery === 0 && clock.monotonic() >= until) return 'turn'
        if (cursor.txn > before) {
          if (isBeyond(limit, cursor.txn, cursor.blockTime)) return 'held'
          if (this.#lost.has(cursor.txn, cursor.blockCrc)) database.passOver(cursor.txn)
          else database.apply(run.bytes, cursor.start, cursor.end, cursor.txn)
          this.#time = cursor.blockTime
          this.#applied++
        }
        txn = cursor.txn
        chain = cursor.blockCrc
        this.#waiting = false
      }
    } finally {
      if (txn !== this.#position.txn) this.#position = { txn, chain }
    }
    this.#run = null
    return 'end'
  }

  get failed(): FailedTransaction | null {
    const run = this.#run
    if (run === null || !this.#waiting) return null
    const { txn, blockCrc: chain, start, end, blockTime: time } = this.#cursor
    return { txn, chain, bytes: run.bytes, start, end, time, segment: run.segment }
  }

  applyInstead(records: Uint8Array): void {
    const { txn } = this.#cursor
    this.#database.apply(records, 0, records.length, txn)
    this.#applied++
    this.#moveOn()
  }

  passOver(): void {
    this.#database.passOver(this.#cursor.txn)
    this.#applied++
    this.#moveOn()
  }

  #moveOn(): void {
    const { txn, blockCrc: chain, blockTime } = this.#cursor
    this.#waiting = false
    this.#time = blockTime
    this.#position = { txn, chain }
  }
}
