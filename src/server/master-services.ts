// What an open master offers at its control socket beside its data and its state: copies, updates that an old master
// had, repairs of the log, and hb.toml read again.
import type { Platform } from '../platform/platform.ts'
import type { LiveConfig } from '../config/live-config.ts'
import type { ControlServices } from '../control/control.ts'
import { progressMessages } from '../control/progress-messages.ts'
import { mendRunning, ownDatabaseId, slavePeers } from '../repair/mend.ts'
import { missingRequest, replayMissing } from '../failover/missing-replay.ts'
import type { Layout } from '../config/layout.ts'
import type { Parts } from './master-parts.ts'
import type { Log } from '../config/messages-log.ts'
import type { Retention } from '../updates/retention.ts'

type MasterServices = Pick<ControlServices, 'copying' | 'replayMissing' | 'mend' | 'reload'>

export function masterServices(
  platform: Platform,
  layout: Layout,
  config: LiveConfig,
  { database, log, updates, checkpointer }: Parts,
  retention: Retention,
  say: Log,
): MasterServices {
  return {
    copying: { database, retention, hold: () => checkpointer.hold() },
    replayMissing: request => {
      const wanted = missingRequest(request)
      const parts = { disk: platform.disk, layout, name: config.name, database, log, updates }
      return progressMessages((progress, signal) => replayMissing(parts, wanted, progress, signal))
    },
    mend: async () => {
      const peers = slavePeers(platform, config, await ownDatabaseId(platform, layout), say)
      return mendRunning(platform, layout, retention, peers, say)
    },
    reload: () => config.reload(),
  }
}
