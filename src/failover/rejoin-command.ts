// hb rejoin as a command: stops the server, takes both locks, does the work, and starts the server as what it is then.
import type { Platform } from '../platform/platform.ts'
import { standingStill } from '../control/background.ts'
import { loadConfig } from '../config/config.ts'
import { unknownRole } from '../config/role.ts'
import { liveHolder } from '../control/reach.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { masterPurpose, takeOwnership } from '../control/owner.ts'
import { rejoin, type RejoinOptions, type RejoinReport } from './rejoin.ts'

/** The process of the slave's server that was started, if one ran before. */
export type RejoinOutcome = RejoinReport & { readonly pid: number | null }

/** Throws as `rejoin`; ERR_RUNNING when an application has the master open. */
export async function rejoinServer(
  platform: Platform,
  directory: string,
  options: RejoinOptions,
): Promise<RejoinOutcome> {
  const layout = layoutOf(directory)
  // A wrong hb.toml is refused before anything is stopped.
  await loadConfig(platform.disk, layout, unknownRole)
  // An application is not stopped for this: it must leave by itself.
  const owner = await liveHolder(platform, layout.ownerLock)
  if (owner?.purpose === masterPurpose) {
    await (await takeOwnership(platform, layout, purpose, lost)).release()
  }
  const { result, pid } = await standingStill(platform, directory, () =>
    withLocks(platform, layout, () => rejoin(platform, directory, options)),
  )
  return { ...result, pid }
}

const purpose = 'hb rejoin'
const lost = () => {}

async function withLocks<T>(
  platform: Platform,
  layout: Layout,
  work: () => Promise<T>,
): Promise<T> {
  const owner = await takeOwnership(platform, layout, purpose, lost)
  try {
    const shipper = await platform.locks.acquire(layout.shipperLock, purpose, lost)
    try {
      return await work()
    } finally {
      await shipper.release()
    }
  } finally {
    await owner.release()
  }
}
