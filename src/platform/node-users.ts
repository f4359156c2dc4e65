// The users of the system by Node. A process that runs as root can become another user: for good, in all its threads,
// and so for every process that it starts.
import { accessSync, constants } from 'node:fs'
import { userInfo } from 'node:os'
import { HotBackupError } from '../errors.ts'
import { programPath } from '../programs.ts'

/** A user whom the system does not list gets the group that owns nothing, and never a group of root's. */
const noGroup = 65_534

/** What Node has and its types lack. */
interface Groups {
  initgroups?(user: string, group: number): void
}

interface Listed {
  readonly username: string
  readonly gid: number
  readonly homedir: string
}

/** Null where the system has no users by number. */
export function currentUser(): number | null {
  return process.geteuid?.() ?? null
}

/** See Processes.becomeUser. */
export function becomeUser(user: number): void {
  const system: NodeJS.Process & Groups = process
  try {
    const listed = listedUser(user)
    if (listed === null) system.setgroups?.([])
    else system.initgroups?.(listed.username, listed.gid)
    system.setgid?.(listed?.gid ?? noGroup)
    system.setuid?.(user)
    if (system.getuid?.() !== user || system.geteuid?.() !== user)
      throw new Error('nothing changed')
    // Parts of it are loaded later, and processes of its own are started.
    accessSync(process.execPath, constants.X_OK)
    accessSync(programPath('cli/hb-slave'), constants.R_OK)
    // What a command of the operator's finds there must be the user's own.
    process.env['HOME'] = listed?.homedir ?? '/'
    process.env['USER'] = process.env['LOGNAME'] = listed?.username ?? String(user)
  } catch (error) {
    const hint = 'Run it as that user.'
    const why = error instanceof Error ? error.message : String(error)
    throw new HotBackupError('ERR_PROCESS', `cannot become user ${user}: ${why}`, {}, error, hint)
  }
}

/** What the system says about a user, by whatever lists its users; it tells about the effective user only. */
function listedUser(user: number): Listed | null {
  const before = process.geteuid?.() ?? 0
  process.seteuid?.(user)
  try {
    return userInfo()
  } catch {
    return null
  } finally {
    process.seteuid?.(before)
  }
}
