// Whether others could change what a server goes by. hb.toml names a command that is run with the rights of the
// server's user, and the other files say what the server is and holds: so hb.toml, the files of the server's own and
// its directories must belong to that user or to root, and nobody else may write them. What lies above the server's
// directory is not looked at: who can change that can move the server away, but not put another one in its place,
// which would belong to somebody else.
import path from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { Access, Disk } from '../platform/disk.ts'
import type { Layout } from './layout.ts'

interface Opening {
  readonly path: string
  readonly access: Access
}

const othersWrite = 0o022
/** Of a directory such as /tmp, which is everybody's by design. */
const everybodys = 0o1002

/**
 * Looks at the server's directory and whatever of its own is in it, and at hb.toml as it was opened, if it was. Throws
 * ERR_OPEN_TO_OTHERS.
 */
export async function checkClosed(
  disk: Disk,
  layout: Layout,
  config: Opening | null,
): Promise<void> {
  const { directory, config: _config, key: _key, ...rest } = layout
  const found = await openingsOf(disk, [directory, ...Object.values(rest)])
  if (config !== null && isOpen(config.access)) found.push(config)
  if (found.length > 0) throw await refusal(disk, directory, found)
}

/** The same for given paths: what is not there is closed. */
export async function checkPathsClosed(
  disk: Disk,
  directory: string,
  paths: readonly string[],
): Promise<void> {
  const found = await openingsOf(disk, paths)
  if (found.length > 0) throw await refusal(disk, directory, found)
}

async function openingsOf(disk: Disk, paths: readonly string[]): Promise<Opening[]> {
  const found: Opening[] = []
  for (const each of paths) {
    // What lies where nobody can look is for its directory, or for whoever opens it, to be refused.
    const access = await disk.access(each).catch((error: unknown) => {
      if (!isHotBackupError(error, 'ERR_DISK')) throw error
      return null
    })
    if (access !== null && isOpen(access)) found.push({ path: each, access })
  }
  return found
}

function isOpen({ ours, mode }: Access): boolean {
  return !ours || (mode & othersWrite) !== 0
}

async function refusal(
  disk: Disk,
  directory: string,
  found: readonly Opening[],
): Promise<HotBackupError> {
  const [first] = found
  const why =
    first?.access.ours === false
      ? `belongs to user ${first.access.user}, who is neither root nor the user of this process`
      : 'can be changed by other users'
  const more =
    found.length === 1
      ? ''
      : `, and so ${found.length === 2 ? 'is one' : `are ${found.length - 1}`} more`
  const message = `${first?.path} ${why}${more}`
  const hint = await repair(disk, directory, found)
  return new HotBackupError('ERR_OPEN_TO_OTHERS', message, { path: directory }, undefined, hint)
}

/** The commands that close all of it. */
async function repair(disk: Disk, directory: string, found: readonly Opening[]): Promise<string> {
  const own = await disk.access(directory)
  if (own !== null && (own.mode & everybodys) === everybodys) {
    return `${directory} is everybody's: keep the server in a directory of its own.`
  }
  const real = await disk.realPath(directory)
  const strange = await realPaths(
    disk,
    found.filter(({ access }) => !access.ours),
  )
  const writable = await realPaths(
    disk,
    found.filter(({ access: { mode } }) => mode & othersWrite),
  )
  const commands: string[] = []
  if (strange.length > 0) {
    const user = own?.ours === true ? (own.user ?? 0) : '$(id -u)'
    commands.push(`chown ${user} ${words(strange)}`)
  }
  if (writable.includes(real)) {
    // Most likely all that it holds is as open.
    const outside = writable.filter(each => each !== real && !each.startsWith(real + path.sep))
    commands.push(`chmod -R go-w ${words([real, ...outside])}`)
  } else if (writable.length > 0) commands.push(`chmod go-w ${words(writable)}`)
  return `Look at what it holds; then: ${commands.join(' && ')}`
}

/** Symbolic links have no permissions. */
async function realPaths(disk: Disk, found: readonly Opening[]): Promise<string[]> {
  const paths = await Promise.all(found.map(({ path: each }) => disk.realPath(each)))
  return [...new Set(paths)]
}

function words(paths: readonly string[]): string {
  const quoted = (text: string) =>
    /^[\w./+@:-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
  return paths.map(quoted).join(' ')
}
