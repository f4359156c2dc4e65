// Shows the records of a log as it becomes durable, until somebody has seen enough.
import { DurableWatch } from '../log/durable.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { type Sink } from '../text/line-buffer.ts'
import { dumpLog, type DumpOptions } from './log-dump.ts'

/** What comes within this time is shown in one go: each look reads the last segment from its start. */
const gatherMs = 200

/**
 * From `options.from` on; from what comes next when that is null. Never resolves. Throws ERR_LOG_CORRUPT with the
 * place, ERR_DISK.
 */
export async function followLog(
  platform: Pick<Platform, 'disk' | 'clock' | 'watcher'>,
  directory: string,
  options: Omit<DumpOptions, 'from' | 'to'> & { readonly from: number | null },
  sink: Sink,
): Promise<never> {
  const watch = await DurableWatch.open(platform, directory)
  try {
    let shown = options.from === null ? (watch.mark?.txn ?? 0) : options.from - 1
    for (;;) {
      await watch.changed(shown)
      const to = watch.mark?.txn ?? shown
      await dumpLog(platform.disk, directory, { ...options, from: shown + 1, to }, sink)
      shown = to
      await sleep(platform.clock, gatherMs)
    }
  } finally {
    await watch.close()
  }
}
