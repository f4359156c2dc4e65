// With whose rights a process works on a server. Everything in a server's directory belongs to one user, the one who
// owns the directory: a file that another user, root among them, has made there stops the server with EACCES later.
import path from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { Disk } from '../platform/disk.ts'
import type { Processes } from '../platform/processes.ts'
import { layoutOf } from './layout.ts'

interface UserPlatform {
  readonly disk: Pick<Disk, 'access'>
  readonly processes: Pick<Processes, 'user' | 'becomeUser'>
}

const root = 0

/**
 * For a process of our own that is to work on the server in `directory`, which need not be there yet: root becomes the
 * user who owns it, for good. Resolves with that user when this process has become another one, and otherwise with
 * null. Throws ERR_OTHER_USER for any other user than the owner.
 */
export async function workAsUserOf(
  platform: UserPlatform,
  directory: string,
): Promise<number | null> {
  const { processes, disk } = platform
  if (processes.user() !== root) {
    await checkOwner(platform, directory)
    return null
  }
  const user = await userOfPlace(disk, directory)
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
export async function checkUserOf(platform: UserPlatform, directory: string): Promise<void> {
  if (platform.processes.user() !== root) return checkOwner(platform, directory)
  const user = await userOfPlace(platform.disk, directory)
  if (user !== null && user !== root) throw otherUser(directory, user, 'this program runs as root')
}

/** What is no server is refused as such, under any owner. */
async function checkOwner({ disk, processes }: UserPlatform, directory: string): Promise<void> {
  const { directory: place, config } = layoutOf(directory)
  const user = processes.user()
  const owner = await seenUserOf(disk, place)
  if (owner === null || owner === user || (await seenUserOf(disk, config)) === null) return
  const who = owner === 'unseen' ? await userOfPlace(disk, place) : owner
  throw otherUser(place, who, `this is user ${user}`)
}

function otherUser(
  place: string,
  owner: number | null,
  why: string,
  cause?: unknown,
): HotBackupError {
  const name = owner === root ? 'root' : `user ${owner}`
  const message = `${path.resolve(place)} belongs to ${name}, and ${why}`
  const hint = owner === root ? 'Run it as root.' : `Run it as that user: "sudo -u '#${owner}' …".`
  return new HotBackupError('ERR_OTHER_USER', message, { path: place }, cause, hint)
}

/** Of the directory, or of the next one above that can be seen: what is made in it is to be that user's, too. */
async function userOfPlace(disk: UserPlatform['disk'], directory: string): Promise<number | null> {
  for (let place = path.resolve(directory); ; place = path.dirname(place)) {
    const user = await seenUserOf(disk, place)
    if (typeof user === 'number') return user
    if (place === path.dirname(place)) return null
  }
}

/** Null when there is nothing. */
async function seenUserOf(
  disk: UserPlatform['disk'],
  place: string,
): Promise<number | 'unseen' | null> {
  try {
    return (await disk.access(place))?.user ?? null
  } catch (error) {
    if (isHotBackupError(error, 'ERR_DISK')) return 'unseen'
    throw error
  }
}
