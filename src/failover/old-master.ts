// What a master must keep so that servers can come back to it without a full copy: log for an old master that has not
// rejoined yet, and for slaves that were entered in hb.toml while an application has the master open.
import { readPromotion } from '../config/promotion-file.ts'
import { isHotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import { neededAfter } from '../ship/needed.ts'
import { loadConfig } from '../config/config.ts'
import type { Layout } from '../config/layout.ts'

type ReturnPlatform = Pick<Platform, 'disk'>

/**
 * Transactions behind the answer must stay in the log; Infinity for none, 0 when that cannot be found out. `logBytes`:
 * its size; above the limit in hb.toml an old master is waited for no longer.
 */
export async function neededForReturn(
  platform: ReturnPlatform,
  layout: Layout,
  logBytes: number,
): Promise<number> {
  try {
    return await needed(platform, layout, logBytes)
  } catch (error) {
    // Somebody may be editing hb.toml.
    if (isHotBackupError(error)) return 0
    throw error
  }
}

async function needed({ disk }: ReturnPlatform, layout: Layout, logBytes: number): Promise<number> {
  const config = await loadConfig(disk, layout)
  let least = Infinity
  for (const { name } of config.slaves) {
    least = Math.min(least, await neededAfter(disk, layout.slaves, name))
  }
  if (logBytes > config.failover.keepBytes) return least
  const promotion = await readPromotion(disk, layout)
  return promotion?.awaited === true ? Math.min(least, promotion.fork.txn) : least
}
