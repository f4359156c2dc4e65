// What a replayer is told, and what it tells.
import type { HotBackupError } from '../errors.ts'
import type { Spare } from '../log/disk-room.ts'

export interface ReplayerEvents {
  /** `appliedTxn` has moved. */
  applied(): void
  /** A checkpoint has been made. */
  checkpointed(): void
  /**
   * The replayer stands still for good: its database cannot be trusted to go on. The log goes on. `reopen`: half a
   * transaction is in memory, and everything goes on when the database is opened again.
   */
  failed(error: HotBackupError, reopen: boolean): void
  /** What is given up for room on the disk first. */
  readonly spare?: Spare
  /**
   * The disk is full (ERR_DISK_FULL), and room is waited for; null: there is room again. Without it a full disk is a
   * failure.
   */
  readonly diskRoom?: (lack: HotBackupError | null) => void
}

/** Where applying by hand ends: the last transaction or time that is still applied. Without either: what is there. */
export interface ApplyLimit {
  readonly txn?: number
  /**
   * Wall-clock milliseconds of blocks, by the master's clock: it ends before the first block that is later. A block
   * that was written after the master's clock was put back is not looked for behind it.
   */
  readonly time?: number
}

export interface ApplyProgress {
  readonly appliedTxn: number
  /** Transactions that have been applied by this call. */
  readonly count: number
}

/** How the log is followed. */
export interface ApplyMode {
  /** Apply updates is on. */
  readonly on: boolean
  /** Milliseconds from the time of a block, by the master's clock, until it is applied, by this one's. */
  readonly delayMs: number
  /** Why it stands still for good; null, or nothing, when it does not. */
  readonly failure?: HotBackupError | null
}
