// hb-replay(1) on a slave's directory: asks the server that runs, or opens the slave itself.
import { unfinishedPromotion } from '../config/promotion-file.ts'
import { askUntil } from '../control/progress-answer.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { reach } from '../control/reach.ts'
import { checkNotRejoining } from '../config/fence.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import {
  type ReplayProgress,
  type ReplayReport,
  type ReplayRequest,
  replayOperations,
} from './replay-operations.ts'
import { closeSlaveData, openSlaveData, startReplayer } from './slave-parts.ts'
import { readApplyUpdates } from './apply-updates.ts'
import { replayByHand } from './manual-replay.ts'

type Progress = (progress: ReplayProgress) => void

/** A server that opens its database again is back within this. */
const reopenMs = 60_000
const pollMs = 50

/** Throws ERR_WRONG_TYPE on a master, ERR_RUNNING, ERR_REOPENING, and what replayByHand throws. */
export async function replayServer(
  platform: Platform,
  directory: string,
  request: ReplayRequest,
  progress: Progress,
  signal: AbortSignal,
): Promise<ReplayReport> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  if (config.type !== 'slave') {
    const message = `${config.name} is a master: only a slave has updates that are not applied`
    throw new HotBackupError('ERR_WRONG_TYPE', message, { path: layout.directory })
  }
  const { clock } = platform
  let lostAt: number | null = null
  for (;;) {
    const client = await reach(platform, layout, 'owner', reopenMs)
    try {
      if (client !== null)
        return await askUntil(client, replayOperations.replay, request, progress, signal)
      return await replayStopped(platform, layout, config, request, progress, signal)
    } catch (error) {
      // The attempts at a transaction are counted, so this ends.
      if (client === null && isHotBackupError(error, 'ERR_REOPENING')) continue
      if (client !== null && isHotBackupError(error, 'ERR_REOPENING')) lostAt = clock.monotonic()
      const back = lostAt !== null && clock.monotonic() - lostAt < reopenMs
      if (!back || !isHotBackupError(error, 'ERR_REOPENING', 'ERR_CLOSED', 'ERR_RUNNING'))
        throw error
    }
    await sleep(clock, pollMs)
  }
}

async function replayStopped(
  platform: Platform,
  layout: Layout,
  config: Config,
  request: ReplayRequest,
  progress: Progress,
  signal: AbortSignal,
): Promise<ReplayReport> {
  const lock = await platform.locks.acquire(layout.ownerLock, 'hb-replay', () => {})
  try {
    await checkNotRejoining(platform.disk, layout, config.name)
    const data = await openSlaveData(platform, layout, config, false)
    const { log, database } = data
    try {
      if ((await unfinishedPromotion(platform.disk, layout, config, log)) !== null) {
        const message = `the promotion of ${config.name} has begun and is not complete`
        throw new HotBackupError('ERR_PROMOTING', message, { path: layout.directory })
      }
      const on = await readApplyUpdates(platform, layout, config)
      const events = { applied: () => {}, checkpointed: () => {}, failed: () => {} }
      const replayer = startReplayer(platform, layout, config, data, false, () => {}, events)
      const keepMasterOut = () => () => {}
      const parts = { platform, layout, config, database, log, replayer, on, keepMasterOut }
      try {
        return await replayByHand(parts, request, progress, signal)
      } finally {
        await replayer.stop()
      }
    } finally {
      await closeSlaveData(data)
    }
  } finally {
    await lock.release()
  }
}
