// "hb restore": makes a server of a save. Every byte and every item is checked against the manifest on the way. Until
// it is complete, the configuration goes by another name, so that no half of a server is ever started.
import path from 'node:path'
import { catalogBytesMax, decodeCatalog } from '../database/catalog.ts'
import { catalogName } from '../database/checkpoint.ts'
import { leaveOutLocal } from '../database/leave-out.ts'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { readDurableMark } from '../log/durable.ts'
import { readFile, readState, removeState, writeFileAtomic } from '../platform/atomic-file.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { copyFile, type CopyTempo } from '../platform/file-copy.ts'
import type { Lock } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import { checkClosed, checkPathsClosed } from '../config/closed.ts'
import { loadConfig, parseConfig, type Config } from '../config/config.ts'
import { makeServerId } from '../config/identity.ts'
import { isLostFile } from '../slave/lost-found.ts'
import { decodeRole, newRole, readRole, writeRole, type Role } from '../config/role.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import {
  filesBelow,
  isDatabaseFile,
  isLogFile,
  isSlaveFile,
  removeOwn,
  removeOwnBelow,
} from '../config/own-files.ts'
import { checkDigests, fileFault, readManifest, type Manifest } from './manifest.ts'
import {
  contentOf,
  isSavedFile,
  savedConfigName,
  savedKeyName,
  savedRoleName,
  type SaveProgress,
} from './save.ts'

/** The configuration while the server is not complete. */
const pendingConfigName = 'hb.toml.restoring'
const configBytesMax = 1 * MiB

export interface RestoreOptions {
  readonly progress?: (progress: SaveProgress) => void
}

export interface Restored {
  readonly config: Config
  readonly manifest: Manifest
}

type RestorePlatform = Pick<Platform, 'disk' | 'clock' | 'localSockets' | 'random' | 'locks'>

/**
 * Makes the save in `from` a server in `directory`: one that "hb setup" has made and that holds nothing yet keeps
 * its configuration and key; otherwise the directory must not be there, be empty, or hold half a restore, and
 * gets those of the save. Throws ERR_SAVE, ERR_SAVE_CORRUPT, ERR_EXISTS, ERR_WRONG_TYPE, ERR_RUNNING, ERR_CONFIG,
 * ERR_DISK, ERR_DISK_FULL.
 */
export async function restoreServer(
  platform: RestorePlatform,
  from: string,
  directory: string,
  { progress = () => {} }: RestoreOptions = {},
): Promise<Restored> {
  const { disk } = platform
  const layout = layoutOf(directory)
  const source = path.resolve(from)
  await checkClosed(disk, layout, null)
  const manifest = await readManifest(disk, source)
  await checkTarget(disk, layout)
  await disk.makeDirectory(layout.run)
  const locks = await lockBoth(platform, layout)
  try {
    const config = await beginRestore(disk, source, manifest, layout)
    const total = manifest.files.reduce((sum, file) => sum + file.bytes, 0)
    let done = 0
    const tempo: CopyTempo = {
      took: async bytes => {
        done += bytes
        progress({ step: 'copying', done, total })
      },
    }
    await copyChecked(disk, source, manifest, layout, tempo)
    let slices = 0
    const content = await contentOf(platform, layout, async () => {
      progress({ step: 'digesting', done: ++slices, total: null })
    })
    checkDigests(manifest.digests, content.digests, layout.directory)
    if (config.type === 'slave') await leaveOutLocal(platform, layout.directory)
    await finishRestore(platform, source, manifest, layout)
    return { config, manifest }
  } finally {
    for (const lock of locks) await lock.release()
  }
}

const emptyHint = 'Name a directory that is empty, or not there yet.'

/** Nothing that somebody has is written over. */
async function checkTarget(disk: Disk, layout: Layout): Promise<void> {
  const { directory } = layout
  const refuse = (what: string) =>
    new HotBackupError(
      'ERR_EXISTS',
      `${directory} ${what}`,
      { path: directory },
      undefined,
      emptyHint,
    )
  if (await disk.exists(path.join(directory, pendingConfigName))) return
  if (await disk.exists(layout.config)) {
    if (await holdsData(disk, layout)) throw refuse('is a server that holds data')
    return
  }
  const files = await filesBelow(disk, directory)
  if (files.every(name => name.startsWith('run/'))) return
  throw refuse('is there already, and is neither empty nor a server without data')
}

async function holdsData(disk: Disk, { database, log }: Layout): Promise<boolean> {
  if (((await readDurableMark(disk, log))?.txn ?? 0) > 0) return true
  const file = path.join(database, catalogName)
  const bytes = await readState(disk, file, catalogBytesMax)
  return bytes !== null && decodeCatalog(bytes, file).stamp.txn > 0
}

async function lockBoth({ locks }: RestorePlatform, layout: Layout): Promise<Lock[]> {
  const owner = await locks.acquire(layout.ownerLock, 'hb restore', () => {})
  try {
    return [owner, await locks.acquire(layout.shipperLock, 'hb restore', () => {})]
  } catch (error) {
    await owner.release()
    throw error
  }
}

/** From here on until the end the directory is no server. Returns what it will be. */
async function beginRestore(
  disk: Disk,
  source: string,
  manifest: Manifest,
  layout: Layout,
): Promise<Config> {
  const pending = path.join(layout.directory, pendingConfigName)
  if (await disk.exists(layout.config)) {
    checkType(await loadConfig(disk, layout), manifest)
    await disk.rename(layout.config, pending)
    await disk.syncDirectory(layout.directory)
  } else if (!(await disk.exists(pending))) {
    // Whoever could change it could name commands that this server would run.
    const config = path.join(source, savedConfigName)
    await checkPathsClosed(disk, source, [source, config])
    const saved = await textOf(disk, config)
    await writeRole(disk, layout, await savedRole(disk, source, manifest))
    await writeFileAtomic(disk, pending, Buffer.from(saved))
  }
  const config = parseConfig(await textOf(disk, pending), layout, await readRole(disk, layout))
  checkType(config, manifest)
  for (const made of [layout.database, layout.log]) await disk.makeDirectory(made)
  await removeOwn(disk, layout.database, isDatabaseFile)
  await removeOwn(disk, layout.log, isLogFile)
  for (const [made, isOwn] of [
    [layout.slaves, isSlaveFile],
    [layout.lostAndFound, isLostFile],
  ] as const) {
    await disk.makeDirectory(made)
    await removeOwnBelow(disk, made, isOwn)
  }
  // They tell of the history that has just been removed. A master that another one has followed stays fenced.
  const stale = config.type === 'slave' ? [layout.promotion, layout.fenced] : []
  for (const marker of [...stale, layout.rejoin]) await removeState(disk, marker)
  await disk.syncDirectory(layout.directory)
  return config
}

async function savedRole(disk: Disk, source: string, { server }: Manifest): Promise<Role> {
  const bytes = await readState(disk, path.join(source, savedRoleName), configBytesMax)
  return decodeRole(bytes?.toString() ?? '') ?? newRole(server.type)
}

/** A slave's copy becomes a master only by a promotion, which begins a history of its own. */
function checkType(config: Config, { server }: Manifest): void {
  if (config.type === 'slave' || server.type === 'master') return
  const message = `the save is that of the slave ${server.name}, and ${config.name} is a master`
  throw new HotBackupError('ERR_WRONG_TYPE', message)
}

async function textOf(disk: Disk, file: string): Promise<string> {
  const bytes = await readFile(disk, await disk.realPath(file), configBytesMax)
  if (bytes !== null) return bytes.toString().replace(/^\uFEFF/, '')
  throw new HotBackupError('ERR_SAVE_CORRUPT', `${file} is missing`, { path: file })
}

/** What is copied as it lies in the save; configuration, role and key have their own ways. */
function isData({ path: name }: { readonly path: string }): boolean {
  return isSavedFile(name) && name.includes('/')
}

async function copyChecked(
  disk: Disk,
  source: string,
  manifest: Manifest,
  layout: Layout,
  tempo: CopyTempo,
): Promise<void> {
  const made = new Set([layout.database, layout.log, layout.lostAndFound])
  for (const file of manifest.files.filter(isData)) {
    const to = path.join(layout.directory, file.path)
    // A manifest that has its checksum was still written by somebody: no name leads out of the directory.
    if (!to.startsWith(layout.directory + path.sep)) throw fileFault(source, file, 'no such file')
    if (!made.has(path.dirname(to))) await disk.makeDirectory(path.dirname(to))
    made.add(path.dirname(to))
    let sha256
    try {
      sha256 = await copyFile(disk, path.join(source, file.path), to, tempo)
    } catch (error) {
      if (!isNotFound(error)) throw error
      const message = `${path.join(source, file.path)} is missing`
      throw new HotBackupError('ERR_SAVE_CORRUPT', message, { path: source }, error)
    }
    if (sha256 !== file.sha256) throw fileFault(source, file, sha256)
  }
  for (const directory of made) await disk.syncDirectory(directory)
}

async function finishRestore(
  platform: RestorePlatform,
  source: string,
  manifest: Manifest,
  layout: Layout,
): Promise<void> {
  const { disk } = platform
  const key = manifest.files.find(file => file.path === savedKeyName)
  if (key !== undefined && !(await disk.exists(layout.key))) {
    const sha256 = await copyFile(disk, path.join(source, key.path), layout.key, {
      took: async () => {},
    })
    if (sha256 !== key.sha256) throw fileFault(source, key, sha256)
  }
  // Another server than the one that was saved, which may live on: cascades tell loops by it.
  if (!(await disk.exists(layout.serverId))) await makeServerId(platform, layout)
  await disk.rename(path.join(layout.directory, pendingConfigName), layout.config)
  await disk.syncDirectory(layout.directory)
}
