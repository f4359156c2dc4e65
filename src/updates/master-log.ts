// How a master's log is opened, by whoever owns the directory: with all that is known from elsewhere to have been
// durable, so that a log which ends before that is refused and never cut.
import { LogWriter } from '../log/writer.ts'
import type { Platform } from '../platform/platform.ts'
import { listAcks } from '../ship/ack-file.ts'
import type { Config } from '../config/config.ts'
import type { Layout } from '../config/layout.ts'

/** `stampTxn`: the transaction up to which the database files hold. */
export async function openMasterLog(
  platform: Platform,
  layout: Layout,
  config: Config,
  stampTxn: number,
): Promise<LogWriter> {
  const acks = await listAcks(platform.disk, layout.slaves)
  const knownDurableTxn = Math.max(stampTxn, ...acks.map(ack => ack.durableTxn))
  return LogWriter.open(platform, layout.log, { ...config.log, knownDurableTxn, ownPromises: true })
}

/** The same, for a master that works with it: a log that is new begins its history. */
export async function openBegunLog(
  platform: Platform,
  layout: Layout,
  config: Config,
  stampTxn: number,
): Promise<LogWriter> {
  const log = await openMasterLog(platform, layout, config, stampTxn)
  if (log.identity !== null) return log
  try {
    const [databaseId, lineageId] = [platform.random.bytes(16), platform.random.bytes(16)]
    await log.beginHistory({ databaseId, lineageId, timeline: 1 })
    return log
  } catch (error) {
    await log.close()
    throw error
  }
}
