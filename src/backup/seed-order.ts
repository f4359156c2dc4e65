// "hb seed": asks the process that ships, and follows how far it is.
import { ask } from '../control/operation.ts'
import { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import type { SeedStatus } from '../ship/status.ts'
import { loadConfig } from '../config/config.ts'
import { reach, type ReachPlatform } from '../control/reach.ts'
import { layoutOf } from '../config/layout.ts'
import { seed } from './copy-operations.ts'

/**
 * Resolves when the slave holds a checked copy. Throws ERR_NO_SLAVE, ERR_NOT_RUNNING, ERR_REOPENING, and why the slave
 * does not take one: ERR_LINK_DIVERGED, ERR_LINK_FOREIGN, ERR_CONNECT, ERR_DISK_FULL and so on.
 */
export async function seedSlave(
  platform: ReachPlatform & Pick<Platform, 'disk'>,
  directory: string,
  slave: string,
  progress: (status: SeedStatus) => void,
): Promise<void> {
  const layout = layoutOf(directory)
  const { name, type } = await loadConfig(platform.disk, layout)
  const client = await reach(platform, layout, type === 'master' ? 'shipper' : 'owner')
  if (client === null) throw new HotBackupError('ERR_NOT_RUNNING', `${name} is not running`)
  try {
    await ask(client, seed, { slave }, progress)
  } finally {
    client.close()
  }
}
