// What an open master offers at its control socket: its data, copies, updates that an old master had, repairs of the
// log, and hb.toml read again.
import { copyHandlers } from '../backup/copy-session.ts'
import type { Layout } from '../config/layout.ts'
import type { LiveConfig } from '../config/live-config.ts'
import type { Log } from '../config/messages-log.ts'
import type { Handler } from '../control/handler.ts'
import { handler, refused } from '../control/operation.ts'
import { reloadOperation } from '../control/reload-server.ts'
import { readHandlers, updateHandlers } from '../data/data-handlers.ts'
import { failoverOperations } from '../failover/failover-operations.ts'
import { missingHandler } from '../failover/missing-replay.ts'
import type { Clock } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { frameHandler, groupHandler } from '../repair/group-handlers.ts'
import { repairRunning, ownDatabaseId, slavePeers } from '../repair/log-from-peers.ts'
import { repairOperations } from '../repair/repair-operations.ts'
import { verifyHandlers } from '../repair/verify-handlers.ts'
import { replayOperations } from '../replay/replay-operations.ts'
import type { Retention } from '../updates/retention.ts'
import type { Parts } from './master-parts.ts'

export function dataHandlers(parts: Parts, clock: Clock): Handler[] {
  const { database, updates } = parts
  const source = { database, clock, settled: () => updates.settled() }
  const checkpoint = async () => {
    await parts.checkpointer.now()
  }
  return [
    ...updateHandlers(parts),
    ...readHandlers(source),
    ...verifyHandlers({ ...source, marks: parts.marks, verification: parts.verification }),
    groupHandler(parts.repairs),
    frameHandler({ database, clock, checkpoint }),
  ]
}

export function ownerHandlers(
  platform: Platform,
  layout: Layout,
  config: LiveConfig,
  { database, log, updates, checkpointer }: Parts,
  retention: Retention,
  say: Log,
): Handler[] {
  return [
    ...copyHandlers({ database, retention, hold: () => checkpointer.hold() }),
    missingHandler({ disk: platform.disk, layout, name: config.name, database, log, updates }),
    handler(repairOperations.repair, async () => {
      const peers = slavePeers(platform, config, await ownDatabaseId(platform, layout), say)
      return { repaired: await repairRunning(platform, layout, retention, peers, say) }
    }),
    handler(reloadOperation, () => config.reload()),
    ...[replayOperations.applyUpdates, failoverOperations.promote].map(refused),
  ]
}
