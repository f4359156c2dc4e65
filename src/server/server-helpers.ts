// The helpers of a server, on either side: where they build, what program they are, and who hears of them.
import type { Database } from '../database/database.ts'
import { Helpers, type HelpersOptions } from '../helpers/helpers.ts'
import type { Platform } from '../platform/platform.ts'
import { programPath } from '../programs.ts'
import type { Config } from '../config/config.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'

/** `prepared` is called when no helper will be started any more. Throws ERR_DISK. */
export async function startHelpers(
  platform: Platform,
  layout: Layout,
  config: Config,
  database: Database,
  say: Log,
  prepared: () => void,
): Promise<Helpers> {
  const { patienceMs, tries } = config.helpers
  const options: HelpersOptions = {
    directory: layout.helpers,
    module: programPath('server/helper-process'),
    databaseDirectory: layout.database,
    patienceMs,
    tries,
    say: (level, message, fields) => say(level, message, { ...fields }),
    stopped: prepared,
  }
  try {
    return await Helpers.start(platform, database, options)
  } catch (error) {
    prepared()
    throw error
  }
}
