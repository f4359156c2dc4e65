// "hb save": a full copy of a server, running or not, that is complete in itself: database, log, configuration, key
// and lost-found, and a manifest by which every byte and every item of it can be checked.
import path from 'node:path'
import { Database } from '../database/database.ts'
import { digestTree } from '../database/digest.ts'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { readDurableMark } from '../log/durable.ts'
import { readSegmentHeader, segmentFiles } from '../log/segments.ts'
import { writeFileAtomic } from '../platform/atomic-file.ts'
import { turn } from '../platform/clock.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { filesBelow, isImageFile, ownBelow } from '../config/own-files.ts'
import { isLostFile } from '../slave/lost-found.ts'
import { copyFile } from '../platform/file-copy.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { copyImage, type ImageTempo } from './image.ts'
import { checkSaveTarget } from './save-target.ts'
import { describeFiles, manifestName, writeManifest, type Manifest } from './manifest.ts'

/** It lies in a save until that is complete. */
export const halfSaveName = 'INCOMPLETE'
/** The saved hb.toml goes by this name, so that nobody takes the save for a server and starts it. */
export const savedConfigName = 'hb.toml.saved'
export const savedKeyName = 'hb.key'
export const savedRoleName = 'role'
const savedLostName = 'lost-found'
/** What a digest keeps of the save in memory. */
const digestCacheBytes = 64 * MiB

export type SavePlatform = Pick<Platform, 'disk' | 'clock' | 'localSockets' | 'locks'>

export type SaveStep = 'copying' | 'checking' | 'digesting'

export interface SaveProgress {
  readonly step: SaveStep
  /** Bytes of the step; while digesting, slices of about 1,000 items. */
  readonly done: number
  /** Null when nobody knows. */
  readonly total: number | null
}

export interface SaveOptions {
  readonly progress?: (progress: SaveProgress) => void
}

/**
 * Saves the server in `directory` to `to`, which must not be there, be empty, or hold half a save. Everything is
 * durable when it resolves. Throws ERR_UNSAFE for a target in a server's directory or a save, ERR_NOT_A_SERVER,
 * ERR_CONFIG, ERR_EXISTS, ERR_LOG_CORRUPT, ERR_DISK, ERR_DISK_FULL, ERR_CLOSED.
 */
export async function saveServer(
  platform: SavePlatform,
  directory: string,
  to: string,
  { progress = () => {} }: SaveOptions = {},
): Promise<Manifest> {
  const { disk, clock } = platform
  const layout = layoutOf(directory)
  const config = await loadConfig(disk, layout)
  const target = layoutOf(to)
  await checkSaveTarget(disk, layout, target.directory)
  await beginSave(disk, target)
  const steps = new Steps(progress)
  // Before as well as after: the copied database may lack what is replayed meanwhile, and what is lost meanwhile.
  await copyLost(disk, layout, target, steps)
  await copyImage(platform, layout, target, steps)
  await copyLost(disk, layout, target, steps)
  await copyRest(disk, layout, config, target, steps)
  const manifest = await describe(platform, config, target, steps)
  const written = await writeManifest(disk, target.directory, {
    time: new Date(clock.now()).toISOString(),
    ...manifest,
  })
  await disk.remove(path.join(target.directory, halfSaveName))
  await disk.syncDirectory(target.directory)
  return written
}

/** Counts bytes for whoever watches. */
class Steps implements ImageTempo {
  readonly #progress: (progress: SaveProgress) => void
  #step: SaveStep = 'copying'
  #done = 0
  #total = 0

  constructor(progress: (progress: SaveProgress) => void) {
    this.#progress = progress
  }

  expect(bytes: number): void {
    this.#total += bytes
  }

  begin(step: SaveStep): void {
    this.#step = step
    this.#total = this.#done
    this.#done = 0
  }

  async took(bytes: number): Promise<void> {
    this.#done += bytes
    this.#progress({
      step: this.#step,
      done: this.#done,
      total: this.#step === 'digesting' ? null : Math.max(this.#total, this.#done),
    })
  }
}

/** Whether it is a part of a save, by its path in there. */
export function isSavedFile(name: string): boolean {
  const lost = `${savedLostName}/`
  const single = [halfSaveName, manifestName, savedConfigName, savedKeyName, savedRoleName]
  return (
    isImageFile(name) ||
    (name.startsWith(lost) && isLostFile(name.slice(lost.length))) ||
    single.includes(name.replace(/\.tmp$/, ''))
  )
}

/** The directory of the save, with the note that it is half of one. */
async function beginSave(disk: Disk, target: Layout): Promise<void> {
  const { directory } = target
  const note = path.join(directory, halfSaveName)
  // The directory may be that of a whole disk, with its lost+found.
  const files = await filesBelow(disk, directory)
  const half = files.includes(halfSaveName) && !files.includes(manifestName)
  if (files.length > 0 && !half) {
    const message = `${directory} is there already, and is not empty`
    const hint = 'Name a directory with --to that is empty, or not there yet.'
    throw new HotBackupError('ERR_EXISTS', message, { path: directory }, undefined, hint)
  }
  await disk.makeDirectory(directory)
  await writeFileAtomic(disk, note, Buffer.from('This save was begun and is not complete.\n'))
  for (const file of files.filter(isSavedFile)) {
    if (file !== halfSaveName) await disk.remove(path.join(directory, file))
  }
  for (const made of [target.database, target.log, target.lostAndFound]) {
    await disk.makeDirectory(made)
    await disk.syncDirectory(made)
  }
}

async function copyRest(
  disk: Disk,
  layout: Layout,
  config: Config,
  target: Layout,
  steps: Steps,
): Promise<void> {
  const root = target.directory
  await copyFile(disk, await disk.realPath(layout.config), path.join(root, savedConfigName), steps)
  await copyFile(disk, layout.role, path.join(root, savedRoleName), steps)
  if (config.link.keyPath === layout.key) {
    await copyFile(disk, await disk.realPath(layout.key), path.join(root, savedKeyName), steps)
  }
  await disk.syncDirectory(root)
}

/** Adds to what has been copied before. */
async function copyLost(disk: Disk, layout: Layout, target: Layout, steps: Steps): Promise<void> {
  const made = new Set([target.directory])
  for (const name of await ownBelow(disk, layout.lostAndFound, isLostFile)) {
    const to = path.join(target.lostAndFound, name)
    made.add(path.dirname(to))
    await disk.makeDirectory(path.dirname(to))
    try {
      await copyFile(disk, path.join(layout.lostAndFound, name), to, steps)
    } catch (error) {
      // Replayed or discarded meanwhile.
      if (!isNotFound(error)) throw error
    }
  }
  for (const directory of made) await disk.syncDirectory(directory)
}

async function describe(
  platform: SavePlatform,
  { name, type }: Config,
  target: Layout,
  steps: Steps,
): Promise<Omit<Manifest, 'format' | 'version' | 'time'>> {
  const { disk } = platform
  const root = target.directory
  const saved = await ownBelow(disk, root, isSavedFile)
  const paths = saved.filter(file => file !== halfSaveName)
  steps.begin('checking')
  const files = await describeFiles(disk, root, paths, steps)
  steps.begin('digesting')
  const content = await contentOf(platform, target, () => steps.took(1))
  return { server: { name, type }, ...content, files }
}

/** What a copy holds, found by opening it: it can be opened, and each of its items be read. */
export async function contentOf(
  platform: SavePlatform,
  target: Layout,
  slice: () => Promise<void>,
): Promise<Pick<Manifest, 'databaseId' | 'timeline' | 'stampTxn' | 'lastTxn' | 'digests'>> {
  const { disk, clock } = platform
  const options = { cacheBytes: digestCacheBytes, readOnly: true }
  const database = await Database.open(platform, target.directory, options)
  try {
    const digests = await digestTree(database, async () => {
      await slice()
      await turn(clock)
    })
    const stampTxn = database.stamp.txn
    return { ...(await historyOf(disk, target, stampTxn)), stampTxn, digests }
  } finally {
    await database.close()
  }
}

async function historyOf(
  disk: Disk,
  { log }: Layout,
  stampTxn: number,
): Promise<Pick<Manifest, 'databaseId' | 'timeline' | 'lastTxn'>> {
  const last = (await segmentFiles(disk, log)).at(-1)
  if (last === undefined) return { databaseId: null, timeline: null, lastTxn: stampTxn }
  const file = await disk.open(last.path, 'read')
  try {
    const { header } = await readSegmentHeader(file)
    const mark = await readDurableMark(disk, log)
    const databaseId = Buffer.from(header.databaseId).toString('hex')
    return { databaseId, timeline: header.timeline, lastTxn: mark?.txn ?? stampTxn }
  } finally {
    await file.close()
  }
}
