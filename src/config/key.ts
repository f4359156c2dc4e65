// The key that the servers of one database share: 32 random bytes, as 64 hexadecimal digits in a file that only
// its owner may read. Whoever has it can read and write what travels between the servers.
import path from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { readFile } from '../platform/atomic-file.ts'
import { isNotFound, type Access } from '../platform/disk.ts'
import type { SharedKey } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'

const keyBytes = 32
/** The digits and a few blanks or line ends that an editor may have added. */
const fileBytesMax = 256

/** Makes a key file that must not exist yet; durable when it resolves. Throws ERR_EXISTS, ERR_DISK. */
export async function makeKey(
  platform: Pick<Platform, 'disk' | 'random'>,
  file: string,
): Promise<void> {
  await writeKey(platform, file, { bytes: platform.random.bytes(keyBytes) })
}

/** Writes a key into a file that must not exist yet. Throws ERR_EXISTS, ERR_DISK. */
export async function writeKey(
  { disk }: Pick<Platform, 'disk'>,
  file: string,
  key: SharedKey,
): Promise<void> {
  if (await disk.exists(file)) {
    const hint = 'Use the key that is there, or name another file.'
    throw new HotBackupError(
      'ERR_EXISTS',
      `${file} exists already`,
      { path: file },
      undefined,
      hint,
    )
  }
  const bytes = Buffer.from(`${Buffer.from(key.bytes).toString('hex')}\n`)
  // The disk makes every file readable by its owner alone.
  const created = await disk.open(file, 'create')
  try {
    await created.write(bytes, 0, bytes.length, 0)
    await created.sync()
  } finally {
    await created.close()
  }
  await disk.syncDirectory(path.dirname(file))
}

/**
 * The key of a server. Throws ERR_KEY when there is no key in the file, when others than its owner may read it, or when
 * it belongs to another user. A symbolic link is followed.
 */
export async function readKey(platform: Pick<Platform, 'disk'>, file: string): Promise<SharedKey> {
  return readChecked(platform, file, ({ ours, user }) =>
    ours ? null : `belongs to user ${user}, who is neither root nor the user of this server`,
  )
}

/** A key file that a person names, to be taken over: it may belong to anybody. Throws ERR_KEY. */
export async function readGivenKey(
  platform: Pick<Platform, 'disk'>,
  file: string,
): Promise<SharedKey> {
  return readChecked(platform, file, () => null)
}

async function readChecked(
  platform: Pick<Platform, 'disk'>,
  file: string,
  fault: (access: Access) => string | null,
): Promise<SharedKey> {
  const refuse = (what: string, cause?: unknown) =>
    new HotBackupError('ERR_KEY', `${file} ${what}`, { path: file }, cause)
  let bytes: Buffer | null
  let access: Access | null = null
  try {
    const place = await platform.disk.realPath(path.resolve(file))
    bytes = await readFile(platform.disk, place, fileBytesMax, seen => {
      access = seen
    })
  } catch (error) {
    if (isNotFound(error) || !isHotBackupError(error)) throw error
    throw refuse(`cannot be read as a key: ${error.message}`, error)
  }
  if (bytes === null || access === null) throw refuse('does not exist')
  const { mode } = access as Access
  if ((mode & 0o077) !== 0) {
    throw refuse(`may be read by others than its owner; "chmod 600 ${file}"`)
  }
  const other = fault(access)
  if (other !== null) throw refuse(other)
  const text = bytes.toString('latin1').trim()
  if (!/^[0-9a-fA-F]{64}$/.test(text)) throw refuse('holds no key: 64 hexadecimal digits')
  return { bytes: Buffer.from(text, 'hex') }
}
