// Who a server is among all others: 16 random bytes, made once by "hb setup". Cascades tell loops by it.
import { HotBackupError } from '../errors.ts'
import { cascadeServersMax, KiB } from '../limits.ts'
import { identityBytes } from '../log/segment.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import type { Platform } from '../platform/platform.ts'
import type { Layout } from './layout.ts'

const upstreamBytesMax = 4 * KiB

export async function makeServerId(
  platform: Pick<Platform, 'disk' | 'random'>,
  layout: Layout,
): Promise<void> {
  const id = Buffer.from(platform.random.bytes(identityBytes)).toString('hex')
  await writeFileAtomic(platform.disk, layout.serverId, Buffer.from(`${id}\n`))
}

/** Throws ERR_NOT_A_SERVER when "hb setup" was not here. */
export async function readServerId(disk: Disk, layout: Layout): Promise<Uint8Array> {
  const text = (await readState(disk, layout.serverId, 256))?.toString('latin1').trim() ?? ''
  if (/^[0-9a-f]{32}$/.test(text)) return Buffer.from(text, 'hex')
  const message = `${layout.serverId} is missing, or is no server's identity`
  throw new HotBackupError('ERR_NOT_A_SERVER', message, { path: layout.serverId })
}

/**
 * The servers above a slave, its master last: kept across restarts, because a slave that hands on updates before its
 * master has called again must not pass for the top of a cascade. What cannot be read is nothing.
 */
export async function readUpstream(disk: Disk, layout: Layout): Promise<Uint8Array[]> {
  const text = (await readState(disk, layout.upstream, upstreamBytesMax))?.toString('latin1') ?? ''
  const lines = text.split('\n').filter(line => line !== '')
  const valid =
    lines.length <= cascadeServersMax && lines.every(line => /^[0-9a-f]{32}$/.test(line))
  return valid ? lines.map(line => Buffer.from(line, 'hex')) : []
}

export async function writeUpstream(
  disk: Disk,
  layout: Layout,
  upstream: readonly Uint8Array[],
): Promise<void> {
  const text = upstream.map(id => `${Buffer.from(id).toString('hex')}\n`).join('')
  await writeFileAtomic(disk, layout.upstream, Buffer.from(text))
}
