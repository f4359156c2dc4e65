// Puts the copy that a slave has taken and checked in the place of its log and database, at the start of the server.
// A crash between any two steps leaves what the next start goes on with:
//
//   1. a copy of an earlier timeline than the log is by now is thrown away: the server was promoted since
//   2. when the slave's own log holds all that the copy's log does, byte by byte, and more, KEEP-LOG says that it
//      stays: what has been acknowledged is never given up for a copy that was made before
//   3. database, then log: the old one is emptied, the new one renamed
//   4. what lies in lost+found is put away: the copy holds it, or the log brings it again
//   5. the rest of seed/ is removed, COMPLETE last
import path from 'node:path'
import { catalogBytesMax, decodeCatalog } from '../../database/catalog.ts'
import { catalogName } from '../../database/checkpoint.ts'
import { isHotBackupError } from '../../errors.ts'
import type { LogPosition } from '../../log/chain.ts'
import { readDurableMark } from '../../log/durable.ts'
import { LogReader } from '../../log/reader.ts'
import { readSegmentHeader, segmentFiles } from '../../log/segments.ts'
import { isNotFound, readFile, writeFileAtomic } from '../../platform/atomic-file.ts'
import type { Disk } from '../../platform/disk.ts'
import { filesBelow } from '../../platform/file-copy.ts'
import { putAwayLost } from '../../slave/lost-found.ts'
import { layoutOf, type Layout } from '../layout.ts'

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
  const keepLog = path.join(seed.directory, keepLogName)
  // As long as the database has not moved nothing has.
  if (await disk.exists(seed.database)) {
    if (await isOutdated(disk, layout, seed)) {
      await disk.remove(complete)
      await disk.syncDirectory(seed.directory)
      await removeBelow(disk, seed.directory)
      return false
    }
    if (await goesFurther(disk, layout, seed)) await writeFileAtomic(disk, keepLog, Buffer.from(''))
    await replace(disk, layout, seed.database, layout.database)
  }
  // The copy's log goes, durably, before KEEP-LOG does: what is left of it must never be taken for the whole.
  if (await disk.exists(keepLog)) await removeBelow(disk, seed.log)
  else if ((await disk.list(seed.log)).length > 0) await replace(disk, layout, seed.log, layout.log)
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

/** The slave's log goes on from the copy's database, passes the end of the copy's log, and is sound up to its end. */
async function goesFurther(disk: Disk, layout: Layout, seed: Layout): Promise<boolean> {
  const ours = await readDurableMark(disk, layout.log)
  const theirs = await readDurableMark(disk, seed.log)
  if (ours === null || theirs === null || ours.txn <= theirs.txn) return false
  const file = path.join(seed.database, catalogName)
  const bytes = await readFile(disk, file, catalogBytesMax)
  if (bytes === null) return false
  try {
    for (const from of [theirs, decodeCatalog(bytes, file).stamp] satisfies LogPosition[]) {
      const reader = await LogReader.open(disk, layout.log, from, { reuse: true })
      try {
        while ((await reader.next(ours)) !== null);
      } finally {
        await reader.close()
      }
    }
    return true
  } catch (error) {
    if (isHotBackupError(error)) return false
    throw error
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
