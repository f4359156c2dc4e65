// Who a server is among all others: 16 random bytes, made once by "hb setup". Cascades tell loops by it.
import { HotBackupError } from '../errors.ts'
import { cascadeServersMax, KiB } from '../limits.ts'
import { identityBytes } from '../log/segment.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import type { Platform } from '../platform/platform.ts'
import type { Upstream } from '../wire/upstream.ts'
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
  const hint =
    'Put it back from a copy of the directory, or make the server anew from a save ("hb restore").'
  throw new HotBackupError('ERR_NOT_A_SERVER', message, { path: layout.serverId }, undefined, hint)
}

/** What cannot be read is nothing. */
export async function readUpstream(disk: Disk, layout: Layout): Promise<Upstream> {
  const text = (await readState(disk, layout.upstream, upstreamBytesMax))?.toString('latin1') ?? ''
  const lines = text.split('\n').filter(line => line !== '')
  const named = /^timeline (\d{1,9})$/.exec(lines[0] ?? '')?.[1]
  const ids = named === undefined ? lines : lines.slice(1)
  const valid = ids.length <= cascadeServersMax && ids.every(line => /^[0-9a-f]{32}$/.test(line))
  if (!valid) return { servers: [], timeline: 0 }
  return { servers: ids.map(line => Buffer.from(line, 'hex')), timeline: Number(named ?? 0) }
}

export async function writeUpstream(
  disk: Disk,
  layout: Layout,
  { servers, timeline }: Upstream,
): Promise<void> {
  const ids = servers.map(id => Buffer.from(id).toString('hex'))
  const text = [`timeline ${timeline}`, ...ids].map(line => `${line}\n`).join('')
  await writeFileAtomic(disk, layout.upstream, Buffer.from(text))
}
