// With whose rights a process works on a server. Everything in a server's directory belongs to one user, the one who
// owns the directory: a file that another user, root among them, has made there stops the server with EACCES later.
import path from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { FileModes } from '../platform/file-modes.ts'
import type { Processes } from '../platform/processes.ts'
import { layoutOf } from './layout.ts'

interface UserPlatform {
  readonly fileModes: FileModes
  readonly processes: Pick<Processes, 'user' | 'becomeUser'>
}

const root = 0

/**
 * For a process of our own that is to work on the server in `directory`, which need not be there yet: root becomes the
 * user who owns it, for good. Returns that user when this process has become another one, and otherwise null. Throws
 * ERR_OTHER_USER for any other user who may not work there.
 */
export function workAsUserOf(platform: UserPlatform, directory: string): number | null {
  const { processes, fileModes } = platform
  if (processes.user() !== root) {
    checkRights(platform, directory)
    return null
  }
  const user = userOfPlace(fileModes, directory)
  if (user === null || user === root) return null
  try {
    processes.becomeUser(user)
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    throw otherUser(directory, user, error.message, error)
  }
  return user
}

/** For a program that is not our own, whose user is not ours to change. Throws ERR_OTHER_USER. */
export function checkUserOf(platform: UserPlatform, directory: string): void {
  if (platform.processes.user() !== root) return checkRights(platform, directory)
  const user = userOfPlace(platform.fileModes, directory)
  if (user !== null && user !== root) throw otherUser(directory, user, 'this program runs as root')
}

/** What is no server is refused as such, whoever owns it. */
function checkRights({ fileModes, processes }: UserPlatform, directory: string): void {
  const { directory: place, config } = layoutOf(directory)
  const user = processes.user()
  const owner = seenUserOf(fileModes, place)
  if (owner === null || owner === user || fileModes.mayWorkIn(place)) return
  if (seenUserOf(fileModes, config) === null) return
  const who = owner === 'unseen' ? userOfPlace(fileModes, place) : owner
  throw otherUser(place, who, `user ${user} may not work there`)
}

function otherUser(
  place: string,
  owner: number | null,
  why: string,
  cause?: unknown,
): HotBackupError {
  const message = `${path.resolve(place)} belongs to ${owner === root ? 'root' : `user ${owner}`}, and ${why}`
  const hint = owner === root ? 'Run it as root.' : `Run it as that user: "sudo -u '#${owner}' …".`
  return new HotBackupError('ERR_OTHER_USER', message, { path: place }, cause, hint)
}

/** Of the directory, or of the next one above that can be seen: what is made in it is to be that user's, too. */
function userOfPlace(fileModes: FileModes, directory: string): number | null {
  for (let place = path.resolve(directory); ; place = path.dirname(place)) {
    const user = seenUserOf(fileModes, place)
    if (typeof user === 'number') return user
    if (place === path.dirname(place)) return null
  }
}

/** Null when there is nothing. */
function seenUserOf(fileModes: FileModes, place: string): number | 'unseen' | null {
  try {
    return fileModes.userOf(place)
  } catch (error) {
    if (isHotBackupError(error, 'ERR_DISK')) return 'unseen'
    throw error
  }
}
