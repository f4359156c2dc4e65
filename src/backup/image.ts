// A consistent copy of a server's database and of the log that goes on from it, made while the server works or not:
// what "hb save" writes, and what a slave is seeded with.
//
// With an owner at work (see copy-session.ts):
//
//   1. the data files are copied as they lie there, while checkpoints go on; what is torn by that comes again
//   2. frames that have changed on the disk since are copied again, and again, until few are left
//   3. the owner makes a checkpoint and lets the files stand still; the last changes and the catalog are copied
//   4. the owner goes on; the log is copied from the catalog's stamp on, which the owner keeps until then
//
// Without an owner the files stand still by themselves. Nothing is locked: a server that starts meanwhile is noticed,
// and the copy begins again with its help.
import path from 'node:path'
import { ask } from '../control/operation.ts'
import { catalogBytesMax, decodeCatalog, encodeCopy, type Catalog } from '../database/catalog.ts'
import { catalogName, journalName } from '../database/checkpoint.ts'
import { isDataFileName } from '../database/data-file-name.ts'
import { Database } from '../database/database.ts'
import { filesSignature } from '../database/files-signature.ts'
import { FrameChanges, unpackRanges, type FrameRange } from '../database/frame-changes.ts'
import { frameBytes } from '../database/frame.ts'
import { writeInPlaceMark } from '../database/journal.ts'
import { catalogDataFiles } from '../database/recover.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import type { LogPosition } from '../log/chain.ts'
import {
  durableName,
  encodeDurableMark,
  readDurableMark,
  type DurableMark,
} from '../log/durable.ts'
import { segmentHeaderBytes } from '../log/segment.ts'
import { segmentFiles } from '../log/segments.ts'
import { verifyLog } from '../log/verify.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { isDatabaseFile, isLogFile, removeOwn } from '../config/own-files.ts'
import { copyFile, type CopyTempo } from '../platform/file-copy.ts'
import type { Platform } from '../platform/platform.ts'
import { cacheBytesMin } from '../config/values.ts'
import type { ControlClient } from '../control/control-client.ts'
import { reach } from '../control/reach.ts'
import { type Layout } from '../config/layout.ts'
import { logEnd } from '../log/log-end.ts'
import { copyOperations } from './copy-operations.ts'

/** So few changed bytes are copied while the files stand still. */
const heldBytesMax = 16 * MiB
/** A server that changes faster than it can be copied is not chased for ever. */
const roundsMax = 5
/** How often the copy begins again when a server comes or goes. */
const attemptsMax = 5
/** Changed frames with no more than this between them are copied as one. */
const gapFramesMax = 8

export interface ImageTempo extends CopyTempo {
  /** So many bytes are to be copied in all, as far as can be told now. */
  expect(bytes: number): void
}

/** What the copy holds. */
export interface Image {
  /** Up to here the database files hold. */
  readonly stamp: LogPosition
  /** The last transaction in the log; null for a log without any. */
  readonly end: DurableMark | null
}

type ImagePlatform = Pick<Platform, 'disk' | 'clock' | 'localSockets' | 'locks'>

/**
 * Copies database and log into `target`, whose directories are there and empty. As long as `kept` takes, the owner
 * keeps the log that goes on behind the copy. Throws ERR_LOG_CORRUPT, ERR_DISK, ERR_DISK_FULL, ERR_REOPENING,
 * ERR_CLOSED when the server ends meanwhile time and again.
 */
export async function copyImage(
  platform: ImagePlatform,
  layout: Layout,
  target: Layout,
  tempo: ImageTempo,
  kept: (image: Image) => Promise<void> = async () => {},
): Promise<Image> {
  for (let attempt = 1; ; attempt++) {
    const client = await reach(platform, layout, 'owner')
    const copy = new DatabaseCopy(platform.disk, layout.database, target.database, tempo)
    try {
      const image =
        client === null
          ? await copyStill(platform, layout, target, copy, tempo)
          : await copyMoving(platform.disk, client, layout, target, copy, tempo)
      await kept(image)
      return image
    } catch (error) {
      const again = isHotBackupError(error, 'ERR_CLOSED', 'ERR_DATABASE_CHANGED')
      if (!again || attempt === attemptsMax) throw error
      await removeOwn(platform.disk, target.database, isDatabaseFile)
      await removeOwn(platform.disk, target.log, isLogFile)
    } finally {
      client?.close()
    }
  }
}

async function copyMoving(
  disk: Disk,
  client: ControlClient,
  layout: Layout,
  target: Layout,
  copy: DatabaseCopy,
  tempo: ImageTempo,
): Promise<Image> {
  const changes = async (): Promise<FrameRange[]> => {
    const ranges: FrameRange[] = []
    await ask(client, copyOperations.changes, {}, ({ body }) => ranges.push(...unpackRanges(body)))
    return ranges
  }
  await ask(client, copyOperations.begin, {})
  await copy.files(await readCatalog(disk, layout), false)
  let left: FrameRange[] = []
  for (let round = 1; round <= roundsMax; round++) {
    await copy.files(await readCatalog(disk, layout), false)
    left = await changes()
    if (bytesOf(left) <= heldBytesMax) break
    await copy.frames(left)
    left = []
  }
  await ask(client, copyOperations.hold, {})
  const changed = joined([...left, ...(await changes())])
  const catalog = await readCatalog(disk, layout)
  await copy.files(catalog, true)
  await copy.frames(changed)
  await ask(client, copyOperations.release, {})
  await copy.finishCopy(catalog)
  const end = await readDurableMark(disk, layout.log)
  if ((end?.txn ?? 0) < catalog.stamp.txn) {
    // A write of it that failed may have left anything. Without the mark the copy's log would end before its database.
    const message = `${path.join(layout.log, durableName)} is not valid: its writer has failed, or is being killed`
    throw new HotBackupError('ERR_DATABASE_CHANGED', message, { path: layout.log })
  }
  await copyLog(disk, layout, target, catalog.stamp, end, tempo)
  return { stamp: catalog.stamp, end }
}

async function copyStill(
  platform: ImagePlatform,
  layout: Layout,
  target: Layout,
  copy: DatabaseCopy,
  tempo: ImageTempo,
): Promise<Image> {
  const { disk } = platform
  const before = await filesSignature(platform.disk, layout.database)
  const checkSame = async (cause?: unknown) => {
    if ((await filesSignature(platform.disk, layout.database)) === before) return
    const message = 'a server changed the database files while they were being copied'
    throw new HotBackupError('ERR_DATABASE_CHANGED', message, { path: layout.database }, cause)
  }
  try {
    const catalog = await readCatalog(disk, layout)
    tempo.expect(
      catalogDataFiles(catalog).reduce((sum, file) => sum + file.diskFrames, 0) * frameBytes,
    )
    await copy.everything()
    await copy.finish(catalog)
    // After a crash the journal may hold the newer state: it is opened as the server itself would open it.
    const options = { cacheBytes: cacheBytesMin, readOnly: true }
    const database = await Database.open(platform, target.directory, options)
    const { stamp } = database
    await database.close()
    const end = await logEnd(disk, layout.log)
    await copyLog(disk, layout, target, stamp, end, tempo)
    await checkSame()
    return { stamp, end }
  } catch (error) {
    await checkSame(error)
    throw error
  }
}

async function readCatalog(disk: Disk, { database }: Layout): Promise<CatalogBytes> {
  const file = path.join(database, catalogName)
  const bytes = await readState(disk, file, catalogBytesMax)
  if (bytes !== null) return { bytes, ...decodeCatalog(bytes, file) }
  const message = `${database} has no catalog: the server has never been started`
  const hint = 'There is nothing to copy before "hb start", or the first update.'
  throw new HotBackupError('ERR_NOT_A_SERVER', message, { path: database }, undefined, hint)
}

interface CatalogBytes extends Catalog {
  readonly bytes: Buffer
}

function bytesOf(ranges: readonly FrameRange[]): number {
  let frames = 0
  for (const { count } of ranges) frames += count
  return frames * frameBytes
}

/** Each frame once, those of a data file in order. */
function joined(ranges: readonly FrameRange[]): FrameRange[] {
  const changes = new FrameChanges()
  for (const { name, first, count } of ranges) changes.note(name, first, count)
  return changes.take()
}

/** The database's part of the copy. */
class DatabaseCopy {
  readonly #disk: Disk
  readonly #from: string
  readonly #to: string
  readonly #tempo: ImageTempo
  /** Data files that have been copied, perhaps with frames that have changed since. */
  readonly #copied = new Set<string>()
  /** Those that have been written since they were synced. */
  readonly #unsynced = new Set<string>()

  constructor(disk: Disk, from: string, to: string, tempo: ImageTempo) {
    this.#disk = disk
    this.#from = from
    this.#to = to
    this.#tempo = tempo
  }

  /**
   * Copies the data files of the catalog that are not copied yet. One that is missing has been given up for another
   * generation, unless the files `stand` still: then nothing is missing.
   */
  async files(catalog: Catalog, stand: boolean): Promise<void> {
    const missing = catalogDataFiles(catalog).filter(
      ({ name, diskFrames }) => diskFrames > 0 && !this.#copied.has(name),
    )
    this.#tempo.expect(missing.reduce((sum, file) => sum + file.diskFrames * frameBytes, 0))
    for (const { name } of missing) {
      try {
        await this.#file(name)
        this.#copied.add(name)
      } catch (error) {
        if (stand || !isNotFound(error)) throw error
      }
    }
  }

  /** Copies whatever lies there, with a journal: what the catalog means is for whoever opens it to find out. */
  async everything(): Promise<void> {
    const names = (await this.#disk.list(this.#from)).map(entry => entry.name)
    for (const name of names) {
      if (isDataFileName(name) || name === journalName) await this.#file(name)
    }
  }

  #file(name: string): Promise<string> {
    const [from, to] = [path.join(this.#from, name), path.join(this.#to, name)]
    return copyFile(this.#disk, from, to, this.#tempo)
  }

  /**
   * Copies frames again, which come in the order of their files, none of them twice. Those of files that have gone, or
   * are not copied yet, are left out.
   */
  async frames(ranges: readonly FrameRange[]): Promise<void> {
    this.#tempo.expect(bytesOf(ranges))
    const piece = Buffer.allocUnsafe(1 * MiB)
    for (let index = 0; index < ranges.length;) {
      const { name } = ranges[index]!
      let end = index
      while (ranges[end]?.name === name) end++
      if (this.#copied.has(name)) await this.#framesOf(name, ranges.slice(index, end), piece)
      index = end
    }
  }

  async #framesOf(name: string, ranges: readonly FrameRange[], piece: Buffer): Promise<void> {
    let source
    try {
      source = await this.#disk.open(path.join(this.#from, name), 'read')
    } catch (error) {
      if (isNotFound(error)) return
      throw error
    }
    const target = await this.#disk.open(path.join(this.#to, name), 'write')
    this.#unsynced.add(name)
    try {
      for (let index = 0; index < ranges.length;) {
        let { first, count } = ranges[index++]!
        for (let next = ranges[index]; next !== undefined; next = ranges[++index]) {
          if (next.first - first - count > gapFramesMax) break
          count = next.first + next.count - first
        }
        for (const end = first + count; first < end;) {
          const wanted = Math.min(piece.length, (end - first) * frameBytes)
          const got = await source.read(piece, 0, wanted, first * frameBytes)
          await target.write(piece, 0, got, first * frameBytes)
          await this.#tempo.took(got)
          if (got < wanted) break
          first += wanted / frameBytes
        }
      }
    } finally {
      await source.close()
      await target.close()
    }
  }

  /** The same, of files that stood still without a journal to be put in place. */
  async finishCopy(catalog: CatalogBytes): Promise<void> {
    const bytes = encodeCopy(catalog)
    const { journal } = decodeCatalog(bytes, this.#to)
    await writeInPlaceMark(this.#disk, path.join(this.#to, journalName), journal)
    await this.finish({ ...catalog, bytes })
  }

  /** Makes the copy durable; the catalog comes last. */
  async finish(catalog: CatalogBytes): Promise<void> {
    const named = new Set(catalogDataFiles(catalog).map(({ name }) => name))
    for (const name of this.#unsynced) {
      const file = await this.#disk.open(path.join(this.#to, name), 'write')
      try {
        await file.sync()
      } finally {
        await file.close()
      }
    }
    for (const name of this.#copied) {
      if (!named.has(name)) await this.#disk.remove(path.join(this.#to, name))
    }
    await this.#disk.syncDirectory(this.#to)
    await writeFileAtomic(this.#disk, path.join(this.#to, catalogName), catalog.bytes)
  }
}

/** The segments from the stamp on up to `end`, and log/durable, which says so. */
async function copyLog(
  disk: Disk,
  from: Layout,
  to: Layout,
  stamp: LogPosition,
  end: DurableMark | null,
  tempo: ImageTempo,
): Promise<void> {
  const segments = await segmentFiles(disk, from.log)
  const holding = Math.max(
    0,
    segments.findLastIndex(segment => segment.firstTxn <= stamp.txn),
  )
  // Without a transaction there is a segment's header at most.
  const lastFirstTxn = end?.segmentFirstTxn ?? 1
  for (const { path: segment, firstTxn } of segments.slice(holding)) {
    if (firstTxn > lastFirstTxn) break
    const length = firstTxn < lastFirstTxn ? Infinity : (end?.offset ?? segmentHeaderBytes)
    await copyFile(disk, segment, path.join(to.log, path.basename(segment)), tempo, length)
  }
  if (end !== null) {
    await writeFileAtomic(disk, path.join(to.log, durableName), encodeDurableMark(end))
  }
  await disk.syncDirectory(to.log)
  await checkCopiedLog(disk, from, to)
}

/** A copy of a damaged log would be found to be useless only by the server that is made of it. */
async function checkCopiedLog(disk: Disk, from: Layout, to: Layout): Promise<void> {
  const { fault } = await verifyLog(disk, to.log, { ownPromises: false })
  if (fault === null || fault.torn) return
  const message = fault.message.replaceAll(to.log, from.log)
  const place = { path: path.join(from.log, path.basename(fault.path)), offset: fault.offset }
  throw new HotBackupError('ERR_LOG_CORRUPT', message, { ...place, txn: fault.txn })
}
