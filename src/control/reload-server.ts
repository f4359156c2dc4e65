// Has all that runs in a server's directory read hb.toml again: a master's shipper, the program that has it open, or a
// slave's server; and the supervisor.
import * as v from 'valibot'
import { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import { loadConfig } from '../config/config.ts'
import type { ReloadReport } from '../config/live-config.ts'
import { ask, operation, text } from './operation.ts'
import { liveHolder, reach, wake, type ReachPlatform, type Resident } from './reach.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { recoveryPurpose } from './owner.ts'

export const reloadOperation = operation('reload', {
  answer: v.object({ applied: v.array(text), needsRestart: v.array(text) }),
})

export interface Reloaded extends ReloadReport {
  readonly pid: number
  readonly purpose: string
}

type ReloadPlatform = ReachPlatform & Pick<Platform, 'disk' | 'processes'>

/** Throws ERR_CONFIG before any process is told; ERR_NOT_RUNNING; ERR_REOPENING, ERR_CLOSED without an answer. */
export async function reloadServer(
  platform: ReloadPlatform,
  directory: string,
): Promise<Reloaded[]> {
  const layout = layoutOf(directory)
  const { name } = await loadConfig(platform.disk, layout)
  const places = [
    [layout.shipperLock, 'shipper'],
    [layout.ownerLock, 'owner'],
  ] as const
  const reloaded: Reloaded[] = []
  for (const [lock, resident] of places) {
    const holder = await liveHolder(platform, lock)
    // The shipper itself, for a moment.
    if (holder === null || holder.purpose === recoveryPurpose) continue
    const { purpose, identity } = holder
    const report = await reloadProcess(platform, layout, resident, name)
    reloaded.push({ pid: identity.pid, purpose, ...report })
  }
  // It raises alarms of its own, and starts at once what waits for its turn, perhaps for another hb.toml.
  const supervisor = await liveHolder(platform, layout.supervisorLock)
  if (supervisor !== null) wake(platform, supervisor)
  if (reloaded.length > 0) return reloaded
  throw new HotBackupError(
    'ERR_NOT_RUNNING',
    `nothing runs for ${name}: its next start reads hb.toml`,
    {},
    undefined,
    'There is nothing to reload; "hb start" starts it.',
  )
}

async function reloadProcess(
  platform: ReloadPlatform,
  layout: Layout,
  resident: Resident,
  name: string,
): Promise<ReloadReport> {
  const client = await reach(platform, layout, resident)
  try {
    if (client !== null) return await ask(client, reloadOperation, {})
  } finally {
    client?.close()
  }
  throw new HotBackupError('ERR_REOPENING', `a process of ${name} starts or stops just now`)
}
