// The switch "apply updates" of a slave, running or not. It lies in a file of its own, goes before hb.toml, and
// stays as it is across restarts.
import { ask } from '../control/operation.ts'
import { HotBackupError } from '../errors.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { byOwner } from '../control/owner.ts'
import { replayOperations } from './replay-operations.ts'

/** Whether the slave applies updates: by the switch, by hb.toml as long as nobody has touched the switch. */
export async function readApplyUpdates(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
  config: Config,
): Promise<boolean> {
  const word = (await readState(disk, layout.applySwitch, 16))?.toString().trim()
  if (word === undefined) return config.slave.applyUpdates
  // One that cannot be read may have been off, and what was not to be applied cannot be taken back.
  return word === 'on'
}

/** The caller owns the server. */
export async function writeApplyUpdates(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
  on: boolean,
): Promise<void> {
  await writeFileAtomic(disk, layout.applySwitch, Buffer.from(on ? 'on\n' : 'off\n'))
}

/**
 * Switches. Off resolves when the database of a running slave stands still at a checkpoint. Throws ERR_WRONG_TYPE
 * on a master.
 */
export async function switchApplyUpdates(
  platform: Platform,
  directory: string,
  on: boolean,
): Promise<void> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  if (config.type !== 'slave') {
    const message = `${config.name} is a master: only a slave applies updates`
    throw new HotBackupError('ERR_WRONG_TYPE', message, { path: layout.directory })
  }
  await byOwner(
    platform,
    layout,
    async client => {
      await ask(client, replayOperations.applyUpdates, { on })
    },
    () => switchStopped(platform, layout, on),
  )
}

async function switchStopped(platform: Platform, layout: Layout, on: boolean): Promise<void> {
  const lock = await platform.locks.acquire(layout.ownerLock, 'hb apply', () => {})
  try {
    await writeApplyUpdates(platform, layout, on)
  } finally {
    await lock.release()
  }
}
