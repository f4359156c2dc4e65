// What those who serve data commands work on: an open master, a slave, or files that are only looked at.
import type { Database } from '../database/database.ts'
import type { Bytes } from '../log/record.ts'
import type { AckLevel } from '../ship/ack-file.ts'
import type { GroupMends } from '../repair/group-mends.ts'
import type { CommitLevel } from '../config/policies.ts'
import type { Removed } from '../updates/updates.ts'
import type { VerifyPass } from '../repair/continuous-verification.ts'
import type { VerifyMarks } from '../repair/verify-marks.ts'
import type { CommitOutcome } from './commit-operation.ts'
import type { Step } from './packed-commits.ts'

export interface DataSource {
  readonly database: Database
  /** Resolves when everything that readers could have seen so far is durable. Awaited before an answer leaves. */
  settled(): Promise<void>
  /** Null where nothing may be written: ERR_READ_ONLY. */
  readonly writes: DataWrites | null
  /** For "hb verify"; null where nothing may be written. */
  readonly verifier: Verifier | null
  /** For slaves whose groups are damaged; null where nothing may be written. */
  readonly mends: GroupMends | null
  /** Makes one of everything; null where files are only looked at. */
  readonly checkpoint: (() => Promise<void>) | null
}

export interface Verifier {
  readonly marks: VerifyMarks
  /** Wall-clock milliseconds. */
  now(): number
  /** A whole pass has been made. */
  passed(pass: Omit<VerifyPass, 'ended'>): Promise<void>
}

/** Updates by name. Every promise resolves when the update is durable. */
export interface DataWrites {
  createAccount(account: string): Promise<void>
  deleteAccount(account: string): Promise<Removed>
  createFile(account: string, file: string, modulo: number, local: boolean): Promise<void>
  setLocal(account: string, file: string, local: boolean): Promise<void>
  deleteFile(account: string, file: string): Promise<Removed>
  clearFile(account: string, file: string): Promise<Removed>
  resizeFile(account: string, file: string, modulo: number): Promise<void>
  write(account: string, file: string, id: Bytes, value: Bytes): Promise<void>
  /** False when there was no such item. */
  delete(account: string, file: string, id: Bytes): Promise<boolean>
  /** In order, each item an update of its own; resolves when the last is durable. May wait for room in between. */
  writeMany(account: string, file: string, items: Iterable<ItemToWrite>): Promise<void>
  /** Transactions, each by itself and in order; resolves when all are done. `files`: account and name. */
  commit(
    files: readonly (readonly [string, string])[],
    commits: Iterable<readonly Step[]>,
    level: CommitLevel | undefined,
  ): Promise<CommitOutcome[]>
  /** Resolves when enough slaves have got there; see Master.wait. */
  reached(txn: number, level: AckLevel, timeoutMs: number): Promise<void>
  readonly lastTxn: number
}

export interface ItemToWrite {
  readonly id: Bytes
  readonly value: Bytes
}
