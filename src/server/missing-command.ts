// "hb-replay --missing" on a master's directory: asks whoever has the master open, or opens it for the moment.
import { askUntil } from '../control/progress-answer.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import {
  failoverOperations,
  type MissingProgress,
  type MissingReport,
  type MissingRequest,
} from '../failover/failover-operations.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig } from '../config/config.ts'
import { ControlClient } from '../control/control-client.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { Master } from './master.ts'

/** Another command that has the master open for a moment is waited for this long. */
const ownerWaitMs = 10_000
const ownerPollMs = 25

/** Throws ERR_WRONG_TYPE on a slave, and what Master.open and replayMissing throw. */
export async function replayMissingOn(
  platform: Platform,
  directory: string,
  request: MissingRequest,
  progress: (progress: MissingProgress) => void,
  signal: AbortSignal,
): Promise<MissingReport> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  if (config.type !== 'master') {
    const message = `${config.name} is a slave: missing updates are brought to its master`
    throw new HotBackupError('ERR_WRONG_TYPE', message, { path: layout.directory })
  }
  const { client, master } = await reach(platform, layout)
  try {
    return await askUntil(client, failoverOperations.replayMissing, request, progress, signal)
  } finally {
    await master?.close()
  }
}

/** Whoever owns the master answers at its socket, this process as well. */
async function reach(
  platform: Platform,
  { ownerSocket, directory }: Layout,
): Promise<{ readonly client: ControlClient; readonly master: Master | null }> {
  const { clock } = platform
  const deadline = clock.monotonic() + ownerWaitMs
  let master: Master | null = null
  for (;;) {
    const client = await ControlClient.connect(platform, ownerSocket)
    if (client !== null) return { client, master }
    if (master !== null && clock.monotonic() > deadline) {
      await master.close()
      throw new HotBackupError('ERR_TIMEOUT', `no process answers at ${ownerSocket}`, {
        path: ownerSocket,
      })
    }
    try {
      master ??= await Master.open(directory, { platform, helpers: false })
    } catch (error) {
      // The owner may be about to listen, or about to leave.
      if (!isHotBackupError(error, 'ERR_RUNNING') || clock.monotonic() > deadline) throw error
    }
    await sleep(clock, ownerPollMs)
  }
}
