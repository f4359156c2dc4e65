// Puts the copy that a slave has taken and checked in the place of its log and database, at the start of the server.
// A crash, or an error, between any two steps leaves what the next start goes on with:
//
//   1. a copy of an earlier timeline than the log is by now is thrown away: the server was promoted since
//   2. INSTALLING says, durably, whether the slave's own log stays: it does when it passes the end of the copy's, and
//      is sound, since what has been acknowledged is never given up for a copy that was made before. What it has
//      removed already, and the copy's database needs, is then moved into it from there, the newest segment first
//   3. database, then log: the server's own files are removed, the copy's moved in one by one, the catalog last.
//      What slaves of this server have acknowledged was of the old log, and goes before it
//   4. what lies in lost-found is put away: the copy holds it, or the log brings it again
//   5. the manifest is removed: everything is in its place. Then the rest of seed/, COMPLETE last
//
// The directories stay, since they may be mount points or symbolic links, and so does whatever else lies in them. In 3
// a file is the copy's when the manifest names it and it does not wait in seed/ any more.
import path from 'node:path'
import { catalogBytesMax, decodeCatalog } from '../database/catalog.ts'
import { catalogName } from '../database/checkpoint.ts'
import { isHotBackupError } from '../errors.ts'
import type { LogPosition } from '../log/chain.ts'
import { readDurableMark, type DurableMark } from '../log/durable.ts'
import { LogReader } from '../log/reader.ts'
import { readSegmentHeader, segmentFiles } from '../log/segments.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import { isUnreadable, systemErrorOf, type Disk } from '../platform/disk.ts'
import { copyFile } from '../platform/file-copy.ts'
import { removeAcks } from '../ship/ack-file.ts'
import { putAwayLost } from '../slave/lost-found.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { logEnd } from '../log/log-end.ts'
import {
  isDatabaseFile,
  isLogFile,
  ownBelow,
  removeOwn,
  removeOwnBelow,
  type IsOwn,
} from '../config/own-files.ts'
import { manifestName, readManifest } from './manifest.ts'
import { completeName, installingName, isSeedFile } from './seed-files.ts'

const keepsLogText = "the slave's log stays\n"

/**
 * The caller owns the server, and has nothing open. True when a copy is in place now that was not before. Throws
 * ERR_DISK, ERR_DISK_FULL; ERR_SAVE_CORRUPT for a manifest that was changed.
 */
export async function installSeed(disk: Disk, layout: Layout): Promise<boolean> {
  const seed = layoutOf(layout.seed)
  const complete = path.join(seed.directory, completeName)
  if (!(await disk.exists(complete))) return false
  // The process that put it there, or the next mark, may have been killed before it was durable.
  await disk.syncDirectory(seed.directory)
  const manifest = path.join(seed.directory, manifestName)
  if (await disk.exists(manifest)) {
    const decided = await readDecision(disk, seed)
    if (decided === null && (await isOutdated(disk, layout, seed))) {
      await disk.remove(complete)
      await disk.syncDirectory(seed.directory)
      await removeOwnBelow(disk, seed.directory, isSeedFile)
      return false
    }
    const keepsLog = decided ?? (await decide(disk, layout, seed))
    const { files } = await readManifest(disk, seed.directory)
    const names = files.map(file => file.path)
    const there = await disk.exists(path.join(seed.database, catalogName))
    if (keepsLog && there) await takeOlderSegments(disk, layout, seed)
    await moveIn(disk, seed.database, layout.database, names, isDatabaseFile)
    if (!keepsLog) {
      await removeAcks(disk, layout.slaves)
      await moveIn(disk, seed.log, layout.log, names, isLogFile)
    }
    await putAwayLost(disk, layout.lostAndFound)
    await disk.remove(manifest)
    await disk.syncDirectory(seed.directory)
  }
  for (const name of await ownBelow(disk, seed.directory, isSeedFile)) {
    if (name !== completeName) await disk.remove(path.join(seed.directory, name))
  }
  await disk.syncDirectory(seed.directory)
  await disk.remove(complete)
  await disk.syncDirectory(seed.directory)
  return true
}

/** Whether the slave's own log stays; null when that was not decided yet. */
async function readDecision(disk: Disk, seed: Layout): Promise<boolean | null> {
  const bytes = await readState(disk, path.join(seed.directory, installingName), 64)
  return bytes === null ? null : bytes.toString() === keepsLogText
}

async function decide(disk: Disk, layout: Layout, seed: Layout): Promise<boolean> {
  const keepsLog = await goesFurther(disk, layout, seed)
  const text = keepsLog ? keepsLogText : "the copy's log is taken\n"
  await writeFileAtomic(disk, path.join(seed.directory, installingName), Buffer.from(text))
  return keepsLog
}

/** `names`: of all files of the copy, from its directory. */
async function moveIn(
  disk: Disk,
  from: string,
  to: string,
  names: readonly string[],
  isOwn: IsOwn,
): Promise<void> {
  await disk.makeDirectory(to)
  const waiting = (await disk.list(from))
    .filter(entry => !entry.directory && isOwn(entry.name))
    .map(({ name }) => name)
  const moved = names
    .filter(name => path.dirname(name) === path.basename(from))
    .map(name => path.basename(name))
    .filter(name => !waiting.includes(name))
  await removeOwn(disk, to, isOwn, new Set(moved))
  // Without a catalog a database is none.
  const last = waiting.filter(name => name === catalogName)
  for (const name of [...waiting.filter(name => name !== catalogName), ...last]) {
    await move(disk, path.join(from, name), path.join(to, name))
  }
  await disk.syncDirectory(to)
  if (waiting.length > 0) await disk.syncDirectory(from)
}

/** The target may lie on another disk. */
async function move(disk: Disk, from: string, to: string): Promise<void> {
  try {
    return await disk.rename(from, to)
  } catch (error) {
    if (systemErrorOf(error)?.code !== 'EXDEV') throw error
  }
  await copyFile(disk, from, `${to}.tmp`, { took: async () => {} })
  await disk.rename(`${to}.tmp`, to)
  await disk.syncDirectory(path.dirname(to))
  await disk.remove(from)
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
    await move(disk, older.path, path.join(layout.log, path.basename(older.path)))
    await disk.syncDirectory(layout.log)
  }
}

async function stampOf(disk: Disk, { database }: Layout): Promise<LogPosition> {
  const file = path.join(database, catalogName)
  return decodeCatalog((await readState(disk, file, catalogBytesMax)) ?? Buffer.of(), file).stamp
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
