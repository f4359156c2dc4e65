// Brings a database forward by the log: crash recovery on the master, and on the slave the work itself.
import { isHotBackupError, HotBackupError } from '../errors.ts'
import { readDurableMark, type DurableMark } from '../log/durable.ts'
import { KiB } from '../limits.ts'
import { LogReader, type BlockRun } from '../log/reader.ts'
import { TransactionCursor } from '../log/transactions.ts'
import type { Disk } from '../platform/disk.ts'
import { Misfit } from './check.ts'
import type { Database } from './database.ts'

/** One run is applied without a pause: 2,000 updates or so, a few milliseconds in which no other client is served. */
const readBytes = 256 * KiB

const cursor = new TransactionCursor()

/**
 * Applies the transactions of a run that the database does not hold yet, in order. Returns how many.
 * Synchronous: nobody sees the database between two records of one transaction.
 */
export function applyRun(database: Database, run: BlockRun, options: ReplayOptions = {}): number {
  const { left = nothingLeft, passMisfits = false } = options
  const applied = database.appliedTxn
  let count = 0
  cursor.reset(run)
  while (cursor.next()) {
    if (cursor.txn <= applied) continue
    if (left(cursor.txn, cursor.blockCrc)) database.passOver(cursor.txn)
    else if (passMisfits) applyIfFit(database, run, cursor)
    else database.apply(run.bytes, cursor.start, cursor.end, cursor.txn)
    count++
  }
  return count
}

/** What a caller may do between two runs of a long replay: show progress, start a checkpoint, wait for room. */
export type BetweenRuns = (run: BlockRun) => Promise<void> | void

function applyIfFit(database: Database, { bytes }: BlockRun, at: TransactionCursor): void {
  try {
    database.apply(bytes, at.start, at.end, at.txn)
  } catch (error) {
    if (!(error instanceof Misfit)) throw error
    database.passOver(at.txn)
  }
}

/** A slave could not apply the transaction of a block with this CRC: it is no part of the database. */
export type LeftOut = (txn: number, chain: number) => boolean

const nothingLeft: LeftOut = () => false

export interface ReplayOptions {
  readonly between?: BetweenRuns
  readonly left?: LeftOut
  /** Leave out what does not fit: a slave's, which would go to lost-found. */
  readonly passMisfits?: boolean
}

/** Replays the log in `directory` from the database's stamp up to `limit`. Returns the number of transactions. */
export async function replayLog(
  disk: Disk,
  directory: string,
  database: Database,
  limit: DurableMark,
  options: ReplayOptions = {},
): Promise<number> {
  let count = 0
  const reader = await openBehindStamp(disk, directory, database, { reuse: false })
  // The next run is read and checked while this one is applied.
  let coming = reader.next(limit)
  try {
    for (;;) {
      const run = await coming
      if (run === null) return count
      coming = reader.next(limit)
      count += applyRun(database, run, options)
      database.noteReplayed(run.end - run.start)
      await options.between?.(run)
    }
  } finally {
    await coming.catch(() => {})
    await reader.close()
  }
}

/**
 * A reader that starts where the database stands, which is made ready for what is there to replay. A log that does
 * not lead there is corrupt, and said so.
 */
export async function openBehindStamp(
  disk: Disk,
  directory: string,
  database: Database,
  options: { readonly reuse: boolean } = { reuse: true },
): Promise<LogReader> {
  const { stamp } = database
  const mark = await readDurableMark(disk, directory)
  if (mark !== null) await database.preload(mark.txn - stamp.txn)
  try {
    return await LogReader.open(disk, directory, stamp, { ...options, readBytes })
  } catch (error) {
    if (!isHotBackupError(error, 'ERR_LOG_GAP', 'ERR_LOG_REMOVED', 'ERR_LOG_FOREIGN')) throw error
    throw new HotBackupError(
      'ERR_LOG_CORRUPT',
      `the database holds transaction ${stamp.txn}, and the log does not go on from there: ${error.message}`,
      { path: directory, txn: stamp.txn },
      error,
    )
  }
}
