// hb rejoin as a command: stops the shipper, takes both locks, does the work, and starts the server as what it is then.
import type { Platform } from '../platform/platform.ts'
import { startServer, stopServer } from './background.ts'
import { layoutOf } from './layout.ts'
import { mayRejoin, rejoin, type RejoinOptions, type RejoinReport } from './rejoin.ts'
import { liveHolder } from './status.ts'

/** The process of the slave's server that was started, if the shipper ran before. */
export type RejoinOutcome = RejoinReport & { readonly pid: number | null }

/** Throws as `rejoin`; ERR_RUNNING when an application has the master open. */
export async function rejoinServer(
  platform: Platform,
  directory: string,
  options: RejoinOptions,
): Promise<RejoinOutcome> {
  const layout = layoutOf(directory)
  await mayRejoin(platform, layout)
  const owner = await platform.locks.acquire(layout.ownerLock, 'hb rejoin', () => {})
  let report: RejoinReport
  let ran = false
  try {
    ran = (await liveHolder(platform, layout.shipperLock)) !== null
    if (ran) await stopServer(platform, directory)
    const shipper = await platform.locks.acquire(layout.shipperLock, 'hb rejoin', () => {})
    try {
      report = await rejoin(platform, directory, options)
    } finally {
      await shipper.release()
    }
  } catch (error) {
    await owner.release()
    // It goes on as what it was: nothing has changed.
    if (ran) await startServer(platform, directory).catch(() => {})
    throw error
  }
  await owner.release()
  return { ...report, pid: ran ? await startServer(platform, directory) : null }
}
