// The helpers of a server, on either side: where they build, what program they are, and who hears of them.
import { fileURLToPath } from 'node:url'
import type { Database } from '../database/database.ts'
import { Helpers } from '../helpers/helpers.ts'
import type { Platform } from '../platform/platform.ts'
import type { Config } from './config.ts'
import type { Layout } from './layout.ts'
import type { Log } from './messages-log.ts'

const module = fileURLToPath(new URL('./helper-process.js', import.meta.url))

/** Throws ERR_DISK. */
export function startHelpers(
  platform: Platform,
  layout: Layout,
  config: Config,
  database: Database,
  say: Log,
): Promise<Helpers> {
  const { patienceMs, tries } = config.helpers
  return Helpers.start(platform, database, {
    directory: layout.helpers,
    module,
    databaseDirectory: layout.database,
    patienceMs,
    tries,
    say: (level, message, fields) => say(level, message, { ...fields }),
  })
}
