// Has all that runs in a server's directory read hb.toml again: a master's shipper, the program that has it open, or a
// slave's server.
import { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig } from './config/config.ts'
import { reloadReport, type ReloadReport } from './config/live-config.ts'
import { ControlClient } from './control/control-client.ts'
import { layoutOf } from './layout.ts'
import { recoveryPurpose } from './owner.ts'
import { liveHolder } from './views/status.ts'

export interface Reloaded extends ReloadReport {
  readonly pid: number
  readonly purpose: string
}

type ReloadPlatform = Pick<Platform, 'disk' | 'locks' | 'localSockets'>

/** Throws ERR_CONFIG before anything is told; ERR_NOT_RUNNING; ERR_CLOSED when a process does not answer. */
export async function reloadServer(
  platform: ReloadPlatform,
  directory: string,
): Promise<Reloaded[]> {
  const layout = layoutOf(directory)
  const { name } = await loadConfig(platform.disk, layout)
  const places = [
    [layout.shipperLock, layout.shipperSocket],
    [layout.ownerLock, layout.ownerSocket],
  ] as const
  const reloaded: Reloaded[] = []
  for (const [lock, socket] of places) {
    const holder = await liveHolder(platform, lock)
    // The shipper itself, for a moment.
    if (holder === null || holder.purpose === recoveryPurpose) continue
    const { purpose, identity } = holder
    reloaded.push({ pid: identity.pid, purpose, ...(await reloadProcess(platform, socket, name)) })
  }
  if (reloaded.length > 0) return reloaded
  throw new HotBackupError(
    'ERR_NOT_RUNNING',
    `nothing runs for ${name}: its next start reads hb.toml`,
  )
}

async function reloadProcess(
  platform: ReloadPlatform,
  socket: string,
  name: string,
): Promise<ReloadReport> {
  const client = await ControlClient.connect(platform, socket)
  try {
    if (client !== null) {
      for await (const { header } of client.request('reload', {})) return reloadReport(header)
    }
  } finally {
    client?.close()
  }
  throw new HotBackupError('ERR_REOPENING', `a process of ${name} starts or stops just now`)
}
