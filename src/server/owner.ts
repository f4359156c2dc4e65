// Who owns a server: commands that its owner carries out when it runs, and the command itself when it does not.
import { isHotBackupError } from '../errors.ts'
import { sleep } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { ControlClient } from './control/control-client.ts'
import type { Layout } from './layout.ts'

/** An owner that neither listens nor leaves for this long is not just starting or stopping. */
const waitMs = 10_000
const pollMs = 50

/**
 * Has the owner of the server `asked`, or does the same `alone` when nobody listens. An owner that is just starting,
 * stopping or opening itself anew is waited for; so both may be called more than once, and must bear it. Throws
 * what they throw; ERR_RUNNING or ERR_CLOSED after 10 s.
 */
export async function byOwner<T>(
  platform: Pick<Platform, 'clock' | 'localSockets'>,
  layout: Layout,
  asked: (client: ControlClient) => Promise<T>,
  alone: () => Promise<T>,
): Promise<T> {
  const { clock } = platform
  const deadline = clock.monotonic() + waitMs
  for (;;) {
    const client = await ControlClient.connect(platform, layout.ownerSocket)
    try {
      return client === null ? await alone() : await asked(client)
    } catch (error) {
      const passing = isHotBackupError(error, client === null ? 'ERR_RUNNING' : 'ERR_CLOSED')
      if (!passing || clock.monotonic() > deadline) throw error
    } finally {
      client?.close()
    }
    await sleep(clock, pollMs)
  }
}

/** Why a slave's server holds the owner's lock. */
export const slavePurpose = 'slave'

/**
 * Opens a slave again that this process has just closed: a command that has taken the directory in that moment is
 * waited for, another server is not. Throws what `open` throws.
 */
export async function openAgain<T>(
  { clock, locks }: Pick<Platform, 'clock' | 'locks'>,
  layout: Layout,
  open: () => Promise<T>,
): Promise<T> {
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_RUNNING')) throw error
      const holder = await locks.holder(layout.ownerLock)
      if (holder?.purpose === slavePurpose) throw error
    }
    await sleep(clock, pollMs)
  }
}
