// Who a server is among all others: 16 random bytes, made once by "hb setup". Cascades tell loops by it.
import { HotBackupError } from '../errors.ts'
import { identityBytes } from '../log/segment.ts'
import { readFile, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import type { Platform } from '../platform/platform.ts'
import type { Layout } from './layout.ts'

export async function makeServerId(
  platform: Pick<Platform, 'disk' | 'random'>,
  layout: Layout,
): Promise<void> {
  const id = Buffer.from(platform.random.bytes(identityBytes)).toString('hex')
  await writeFileAtomic(platform.disk, layout.serverId, Buffer.from(`${id}\n`))
}

/** Throws ERR_NOT_A_SERVER when "hb setup" was not here. */
export async function readServerId(disk: Disk, layout: Layout): Promise<Uint8Array> {
  const text = (await readFile(disk, layout.serverId, 256))?.toString('latin1').trim() ?? ''
  if (/^[0-9a-f]{32}$/.test(text)) return Buffer.from(text, 'hex')
  const message = `${layout.serverId} is missing, or is no server's identity`
  throw new HotBackupError('ERR_NOT_A_SERVER', message, { path: layout.serverId })
}
