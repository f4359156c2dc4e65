// The copy that a slave is seeded with, on the master: DIR/seed/SLAVE holds a consistent image of the database without
// what is not replicated, the log from its stamp on, and the manifest. It is made once, and sent from there as often
// as the connection breaks, so that neither database nor log are held up by a slow slave.
import path from 'node:path'
import { leaveOutLocal } from '../database/leave-out.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { identityBytes } from '../log/segment.ts'
import { segmentFiles } from '../log/segments.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import { type CopyTempo } from '../platform/file-copy.ts'
import type { Platform } from '../platform/platform.ts'
import { writeSeedHold } from '../ship/seed-hold.ts'
import type { Config } from '../config/config.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import {
  isDatabaseFile,
  isImageFile,
  ownBelow,
  removeOwnBelow,
  sizeOfOwn,
} from '../config/own-files.ts'
import { copyImage, type ImageTempo } from './image.ts'
import {
  describeFiles,
  manifestName,
  readManifest,
  writeManifest,
  type Manifest,
} from './manifest.ts'
import { contentOf } from './save.ts'
import { idName, isSeedFile } from './seed-files.ts'

const manifestBytesMax = 256 * 1024 * 1024

export interface StagedImage {
  readonly id: Uint8Array
  readonly manifest: Manifest
  readonly manifestBytes: Buffer
  /** Manifest and files. */
  readonly totalBytes: number
  readonly directory: string
}

export type SeedPlatform = Pick<
  Platform,
  'disk' | 'clock' | 'localSockets' | 'locks' | 'random' | 'network'
>

function stageOf(layout: Layout, slave: string): Layout {
  return layoutOf(path.join(layout.seed, slave))
}

/** The copy made before for this slave, if it is whole and the log still goes on from it; null otherwise. */
export async function readStaged(
  disk: Disk,
  layout: Layout,
  slave: string,
): Promise<StagedImage | null> {
  const stage = stageOf(layout, slave)
  const id = await readState(disk, path.join(stage.directory, idName), identityBytes)
  if (id === null || id.length !== identityBytes) return null
  const image = await openStaged(disk, stage, id).catch((error: unknown) => {
    if (isHotBackupError(error, 'ERR_SAVE', 'ERR_SAVE_CORRUPT')) return null
    throw error
  })
  if (image === null) return null
  const first = (await segmentFiles(disk, layout.log))[0]?.firstTxn ?? Infinity
  return first <= image.manifest.lastTxn + 1 ? image : null
}

async function openStaged(disk: Disk, stage: Layout, id: Uint8Array): Promise<StagedImage> {
  const { directory } = stage
  const manifest = await readManifest(disk, directory)
  const file = path.join(directory, manifestName)
  const manifestBytes = await readState(disk, file, manifestBytesMax)
  if (manifestBytes === null) throw new TypeError('a manifest that was there a moment ago')
  const data = manifest.files.reduce((sum, { bytes }) => sum + bytes, 0)
  return { id, manifest, manifestBytes, totalBytes: manifestBytes.length + data, directory }
}

/** Makes the copy, and keeps the log behind it for the slave. Throws what copyImage throws. */
export async function stageImage(
  platform: SeedPlatform,
  layout: Layout,
  config: Config,
  slave: string,
  tempo: ImageTempo,
  checking: CopyTempo,
): Promise<StagedImage> {
  const { disk, clock, random } = platform
  const stage = stageOf(layout, slave)
  const { directory } = stage
  await removeStaged(disk, layout, slave)
  for (const made of [directory, stage.database, stage.log]) await disk.makeDirectory(made)
  const needed = await sizeOfOwn(disk, layout.database, isDatabaseFile)
  const free = await disk.freeBytes(directory)
  if (needed > free) {
    const message = `a copy of the database takes up to ${needed} bytes, and ${free} are free`
    throw new HotBackupError('ERR_DISK_FULL', message, { path: directory })
  }
  await copyImage(platform, layout, stage, tempo, image =>
    writeSeedHold(disk, layout.slaves, slave, image.end?.txn ?? 0),
  )
  await leaveOutLocal(platform, directory)
  const copied = await ownBelow(disk, directory, isImageFile)
  const files = await describeFiles(disk, directory, copied, checking)
  const content = await contentOf(platform, stage, () => checking.took(0))
  const { name, type } = config
  const time = new Date(clock.now()).toISOString()
  await writeManifest(disk, directory, { time, server: { name, type }, ...content, files })
  const id = random.bytes(identityBytes)
  await writeFileAtomic(disk, path.join(directory, idName), id)
  return openStaged(disk, stage, id)
}

/** Throws ERR_DISK. */
export async function removeStaged(disk: Disk, layout: Layout, slave: string): Promise<void> {
  const { directory } = stageOf(layout, slave)
  // Without it the rest is nothing.
  await disk.remove(path.join(directory, idName))
  await removeOwnBelow(disk, directory, isSeedFile)
}
