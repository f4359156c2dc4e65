// Puts the copy that a slave has taken and checked in the place of its log and database, at the start of the server.
// A crash between any two steps leaves what the next start goes on with:
//
//   1. a copy of an earlier timeline than the log is by now is thrown away: the server was promoted since
//   2. when the slave's own log passes the end of the copy's, and is sound, KEEP-LOG says that it stays: what has been
//      acknowledged is never given up for a copy that was made before. What it has removed already, and the copy's
//      database needs, is then moved into it from the copy's log, the newest segment first
//   3. database, then log: the old one is emptied, the new one renamed. What slaves of this server have acknowledged
//      was of the old log, and goes before it
//   4. what lies in lost+found is put away: the copy holds it, or the log brings it again
//   5. the rest of seed/ is removed, COMPLETE last
import path from 'node:path'
import { catalogBytesMax, decodeCatalog } from '../../database/catalog.ts'
import { catalogName } from '../../database/checkpoint.ts'
import { isHotBackupError } from '../../errors.ts'
import type { LogPosition } from '../../log/chain.ts'
import { readDurableMark, type DurableMark } from '../../log/durable.ts'
import { LogReader } from '../../log/reader.ts'
import { readSegmentHeader, segmentFiles } from '../../log/segments.ts'
import { readFile, writeFileAtomic } from '../../platform/atomic-file.ts'
import { isNotFound, isUnreadable, type Disk } from '../../platform/disk.ts'
import { filesBelow } from '../../platform/file-copy.ts'
import { removeAcks } from '../../ship/ack-file.ts'
import { putAwayLost } from '../../slave/lost-found.ts'
import { layoutOf, type Layout } from '../layout.ts'
import { logEnd } from '../log-end.ts'

export const completeName = 'COMPLETE'
const keepLogName = 'KEEP-LOG'

/**
 * The caller owns the server, and has nothing open. True when a copy is in place now that was not before. Throws
 * ERR_DISK.
 */
export async function installSeed(disk: Disk, layout: Layout): Promise<boolean> {
  const seed = layoutOf(layout.seed)
  const complete = path.join(seed.directory, completeName)
  if (!(await disk.exists(complete))) return false
  // Whoever put it there, or KEEP-LOG, may have been killed before it was durable.
  await disk.syncDirectory(seed.directory)
  const keepLog = path.join(seed.directory, keepLogName)
  // As long as the database has not moved nothing has.
  if (await disk.exists(seed.database)) {
    if (await isOutdated(disk, layout, seed)) {
      await disk.remove(complete)
      await disk.syncDirectory(seed.directory)
      await removeBelow(disk, seed.directory)
      return false
    }
    const decided = await disk.exists(keepLog)
    if (!decided && (await goesFurther(disk, layout, seed))) {
      await writeFileAtomic(disk, keepLog, Buffer.from(''))
    }
    if (await disk.exists(keepLog)) await takeOlderSegments(disk, layout, seed)
    await replace(disk, layout, seed.database, layout.database)
  }
  // The copy's log goes, durably, before KEEP-LOG does: what is left of it must never be taken for the whole.
  if (await disk.exists(keepLog)) await removeBelow(disk, seed.log)
  else if ((await disk.list(seed.log)).length > 0) {
    await removeAcks(disk, layout.slaves)
    await replace(disk, layout, seed.log, layout.log)
  }
  await putAwayLost(disk, layout.lostAndFound)
  for (const name of await filesBelow(disk, seed.directory)) {
    if (name !== completeName) await disk.remove(path.join(seed.directory, name))
  }
  await disk.syncDirectory(seed.directory)
  await disk.remove(complete)
  await disk.syncDirectory(seed.directory)
  return true
}

async function replace(disk: Disk, layout: Layout, from: string, to: string): Promise<void> {
  await removeBelow(disk, to)
  await disk.rename(from, to)
  await disk.syncDirectory(layout.directory)
}

async function isOutdated(disk: Disk, layout: Layout, seed: Layout): Promise<boolean> {
  const [ours, theirs] = [await timelineOf(disk, layout.log), await timelineOf(disk, seed.log)]
  return ours > theirs
}

/** Of the last segment; 0 for a log without any. */
async function timelineOf(disk: Disk, log: string): Promise<number> {
  const last = (await segmentFiles(disk, log)).at(-1)
  if (last === undefined) return 0
  const file = await disk.open(last.path, 'read')
  try {
    return (await readSegmentHeader(file)).header.timeline
  } catch (error) {
    // A log that cannot be read is what a copy is for.
    if (isHotBackupError(error, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION')) return 0
    throw error
  } finally {
    await file.close()
  }
}

/** The slave's log is sound, passes the end of the copy's, and goes on from the copy's database, or from its log. */
async function goesFurther(disk: Disk, layout: Layout, seed: Layout): Promise<boolean> {
  const theirs = await readDurableMark(disk, seed.log)
  try {
    // Behind a power failure log/durable may name less than what was acknowledged.
    const ours = await logEnd(disk, layout.log)
    if (ours === null || theirs === null || ours.txn <= theirs.txn) return false
    const stamp = await stampOf(disk, seed)
    const begin = await beginOf(disk, layout)
    // Both logs are cut at the same places. That both have the same chain value at one of them makes them the same.
    const copied = await segmentFiles(disk, seed.log)
    // The copy may end where its last segment does, and ours begin with the next.
    const follows =
      theirs.txn === begin.txn || copied.some(({ firstTxn }) => firstTxn === begin.txn + 1)
    for (const from of [theirs, stamp.txn < begin.txn && follows ? begin : stamp]) {
      await readTo(disk, layout.log, from, ours)
    }
    return true
  } catch (error) {
    // What cannot be read now may be readable at the next start: only what is wrong is given up.
    if (!isHotBackupError(error) || error.code === 'ERR_DISK' || isUnreadable(error)) throw error
    return false
  }
}

/** As far back as the copy's database needs. */
async function takeOlderSegments(disk: Disk, layout: Layout, seed: Layout): Promise<void> {
  const stamp = await stampOf(disk, seed)
  for (;;) {
    const begin = await beginOf(disk, layout)
    const older = (await segmentFiles(disk, seed.log)).findLast(it => it.firstTxn <= begin.txn)
    if (stamp.txn >= begin.txn || older === undefined) return
    await disk.rename(older.path, path.join(layout.log, path.basename(older.path)))
    await disk.syncDirectory(layout.log)
  }
}

async function stampOf(disk: Disk, { database }: Layout): Promise<LogPosition> {
  const file = path.join(database, catalogName)
  return decodeCatalog((await readFile(disk, file, catalogBytesMax)) ?? Buffer.of(), file).stamp
}

/** Where the log begins. */
async function beginOf(disk: Disk, layout: Layout): Promise<LogPosition> {
  const [first] = await segmentFiles(disk, layout.log)
  const file = await disk.open(first!.path, 'read')
  try {
    const { firstTxn, chain } = (await readSegmentHeader(file)).header
    return { txn: firstTxn - 1, chain }
  } finally {
    await file.close()
  }
}

async function readTo(disk: Disk, log: string, from: LogPosition, to: DurableMark): Promise<void> {
  const reader = await LogReader.open(disk, log, from, { reuse: true })
  try {
    while ((await reader.next(to)) !== null);
  } finally {
    await reader.close()
  }
}

/** Empties a directory, which need not be there; what is empty inside stays. */
export async function removeBelow(disk: Disk, directory: string): Promise<void> {
  for (const name of await filesBelow(disk, directory)) {
    await disk.remove(path.join(directory, name))
  }
  try {
    await disk.syncDirectory(directory)
  } catch (error) {
    if (!isNotFound(error)) throw error
  }
}
