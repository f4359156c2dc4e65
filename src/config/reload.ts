// Reads hb.toml again in a running process, and says what has become of it.
import { isHotBackupError } from '../errors.ts'
import type { LiveConfig, ReloadReport } from './live-config.ts'
import type { Log } from './messages-log.ts'

/** Throws ERR_CONFIG or ERR_NOT_A_SERVER, and the settings so far stay in force. */
export async function reload(config: LiveConfig, say: Log): Promise<ReloadReport> {
  try {
    const report = await config.reload()
    say('info', reloadText(report))
    return report
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    say('error', `the settings so far stay in force: ${error.message}`, { code: error.code })
    throw error
  }
}

/** One line for people. */
export function reloadText({ applied, needsRestart }: ReloadReport): string {
  if (applied.length + needsRestart.length === 0) return 'hb.toml is as it was'
  const parts = applied.length === 0 ? [] : [`in force: ${applied.join(', ')}`]
  if (needsRestart.length > 0) parts.push(`after a restart: ${needsRestart.join(', ')}`)
  return `hb.toml was read again; ${parts.join('; ')}`
}
