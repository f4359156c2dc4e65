// How a command reaches a process that works in a server's directory. Such a process holds a lock there and listens at
// a control socket. Without the socket it is starting or stopping, or its socket was deleted, and then it makes another
// one within about a second (control.ts): so as long as it holds its lock, it is waited for.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { sleep } from '../platform/clock.ts'
import type { LockHolder } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import type { Processes } from '../platform/processes.ts'
import type { Layout } from '../config/layout.ts'
import { listens } from './owner.ts'
import { ControlClient } from './control-client.ts'
import { ask, type Answer } from './operation.ts'
import { status } from './status-operation.ts'

/** The process that has log and database open, or the one that sends a master's log to its slaves. */
export type Resident = 'owner' | 'shipper'

type ProcessStatus = Answer<typeof status>

export type ReachPlatform = Pick<Platform, 'clock' | 'localSockets' | 'locks'>

const pollMs = 50
/** A process that stands still for so long does not just start or stop. */
const reachMs = 10_000
/** What does not answer within this is shown as not answering. */
const answerMs = 2000

function placeOf(layout: Layout, resident: Resident): { lock: string; socket: string } {
  return resident === 'owner'
    ? { lock: layout.ownerLock, socket: layout.ownerSocket }
    : { lock: layout.shipperLock, socket: layout.shipperSocket }
}

/** Null also when the holder is dead. */
export async function liveHolder(
  { locks }: Pick<Platform, 'locks'>,
  lock: string,
): Promise<LockHolder | null> {
  const holder = await locks.holder(lock)
  return holder?.alive === true ? holder : null
}

/** Has a supervisor look at once. One in another container, whose pid means another process here, looks by itself. */
export function wake(
  { processes }: { readonly processes: Pick<Processes, 'signal'> },
  { identity, elsewhere }: Pick<LockHolder, 'identity' | 'elsewhere'>,
): void {
  if (!elsewhere) processes.signal(identity.pid, 'SIGUSR2')
}

/**
 * Null when no process works there that would listen. Throws ERR_REOPENING when one has the directory for `patienceMs`
 * and does not listen.
 */
export async function reach(
  platform: ReachPlatform,
  layout: Layout,
  resident: Resident,
  patienceMs: number = reachMs,
): Promise<ControlClient | null> {
  const { client, holder } = await connect(platform, layout, resident, patienceMs)
  if (client !== null || holder === null) return client
  const { identity, purpose } = holder
  const message = `process ${identity.pid} (${purpose}) has ${layout.directory} open and does not listen to commands`
  throw new HotBackupError('ERR_REOPENING', message, { path: layout.directory })
}

/** What the process says of itself, for which it is waited; null when it does not answer, or there is none. */
export async function statusOf(
  platform: ReachPlatform,
  layout: Layout,
  resident: Resident,
): Promise<ProcessStatus | null> {
  const { client } = await connect(platform, layout, resident, answerMs)
  return client === null ? null : statusFrom(platform, client)
}

/** The same for a caller that asks again and again: null at once when nothing listens. */
export async function statusNow(
  platform: Pick<Platform, 'clock' | 'localSockets'>,
  layout: Layout,
  resident: Resident,
): Promise<ProcessStatus | null> {
  const client = await ControlClient.connect(platform, placeOf(layout, resident).socket)
  return client === null ? null : statusFrom(platform, client)
}

/** Without a client: the process that should listen and does not. */
async function connect(
  platform: ReachPlatform,
  layout: Layout,
  resident: Resident,
  patienceMs: number,
): Promise<{ readonly client: ControlClient | null; readonly holder: LockHolder | null }> {
  const { clock } = platform
  const { lock, socket } = placeOf(layout, resident)
  const start = clock.monotonic()
  for (;;) {
    const client = await ControlClient.connect(platform, socket)
    if (client !== null) return { client, holder: null }
    const holder = await liveHolder(platform, lock)
    if (holder === null || !listens(holder.purpose)) return { client: null, holder: null }
    // Sockets lead to processes of this machine only.
    if (holder.elsewhere || clock.monotonic() - start >= patienceMs) return { client: null, holder }
    await sleep(clock, pollMs)
  }
}

async function statusFrom(
  { clock }: Pick<Platform, 'clock'>,
  client: ControlClient,
): Promise<ProcessStatus | null> {
  const patience = clock.after(answerMs, () => client.close())
  try {
    return await ask(client, status, {})
  } catch (error) {
    if (isHotBackupError(error, 'ERR_CLOSED')) return null
    throw error
  } finally {
    patience.cancel()
    client.close()
  }
}
