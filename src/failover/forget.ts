// hb forget: a server that has joined this one with "hb rejoin" is its slave no longer, and no log is kept for it. The
// shipper carries it out when it runs.
import { ask } from '../control/operation.ts'
import { HotBackupError } from '../errors.ts'
import type { Disk } from '../platform/disk.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig } from '../config/config.ts'
import { changeRole } from '../config/role-change.ts'
import { reach } from '../control/reach.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { failoverOperations } from './failover-operations.ts'

/** Throws ERR_NO_SLAVE; ERR_CONFIG for a slave of hb.toml, and when hb.toml needs it; ERR_RUNNING, ERR_DISK. */
export async function forgetSlave(
  platform: Platform,
  directory: string,
  slave: string,
): Promise<void> {
  const layout = layoutOf(directory)
  const { type } = await loadConfig(platform.disk, layout)
  const master = type === 'master'
  const client = master ? await reach(platform, layout, 'shipper') : null
  if (client !== null) {
    try {
      await ask(client, failoverOperations.forget, { slave })
    } finally {
      client.close()
    }
    return
  }
  const path = master ? layout.shipperLock : layout.ownerLock
  const lock = await platform.locks.acquire(path, 'hb forget', () => {})
  try {
    await removeSlave(platform.disk, layout, slave)
  } finally {
    await lock.release()
  }
}

/** The caller may write the role. Throws as above. */
export async function removeSlave(disk: Disk, layout: Layout, slave: string): Promise<void> {
  await changeRole(disk, layout, (role, written) => {
    if (written.slaves.has(slave)) {
      const message = `${slave} has a table [[slaves]] in hb.toml: remove it there`
      const hint = 'Take that table out of hb.toml, then run "hb reload".'
      throw new HotBackupError('ERR_CONFIG', message, { path: layout.config }, undefined, hint)
    }
    const slaves = role.slaves.filter(({ name }) => name !== slave)
    if (slaves.length < role.slaves.length) return { ...role, slaves }
    throw new HotBackupError('ERR_NO_SLAVE', `no slave ${slave} has joined this server`, { slave })
  })
}
