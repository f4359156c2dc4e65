// Who owns a server: commands that its owner carries out when it runs, and the command itself when it does not.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { type Clock, sleep } from '../platform/clock.ts'
import type { Lock, LockHolder } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import { ControlClient } from './control-client.ts'
import type { Layout } from '../config/layout.ts'

/** The purpose of a lock that is held only until the log is in order. */
export const recoveryPurpose = 'recovery'

/** The purpose of a lock that a command holds while it works on a master that no process has open. */
export const commandPurpose = 'command'

/** Why an application holds the owner's lock. */
export const masterPurpose = 'master'

/** Why a master's resident server holds the owner's lock. */
export const serverPurpose = 'server'

/** Why a slave's server holds the owner's lock. */
export const slavePurpose = 'slave'

/** Why a master's shipper holds the shipper's lock. */
export const shipperPurpose = 'shipper'

/** Why the process that keeps the parts of a server running holds the supervisor's lock. */
export const supervisorPurpose = 'supervisor'

const listeners: readonly string[] = [
  commandPurpose,
  masterPurpose,
  serverPurpose,
  slavePurpose,
  shipperPurpose,
]

/** Whether the holder of a lock listens at a control socket, but for the moments in which it starts and stops. */
export function listens(purpose: string): boolean {
  return listeners.includes(purpose)
}

/** An owner that neither listens nor leaves for this long is not just starting or stopping. */
const waitMs = 10_000
/** How long a server or an application waits for one command, such as an import, to end. */
const commandWaitMs = 60_000
const pollMs = 50

/** How long to wait for owners of a directory that come and go: until one of them stays for 10 s. */
export class OwnerPatience {
  readonly #clock: Clock
  readonly #waitMs: number
  #last = ''
  #deadline: number

  constructor(clock: Clock, ownerWaitMs = waitMs) {
    this.#clock = clock
    this.#waitMs = ownerWaitMs
    this.#deadline = clock.monotonic() + ownerWaitMs
  }

  renew(): void {
    this.#deadline = this.#clock.monotonic() + this.#waitMs
  }

  /** `holder`: the owner now. Another one than at the last call means that the queue of owners moves. */
  isOver(holder: LockHolder | null): boolean {
    const { pid, startTicks } = holder?.identity ?? { pid: 0, startTicks: 0 }
    const name = `${pid} ${startTicks}`
    if (holder !== null && name !== this.#last) {
      this.#last = name
      this.renew()
    }
    return this.#clock.monotonic() > this.#deadline
  }
}

/**
 * Has the owner of the server `asked`, or does the same `alone` when nobody listens. An owner that is just starting,
 * stopping or opening itself anew is waited for, as are commands that own the directory for a moment; so both may be
 * called more than once, and must bear it. Throws what they throw; ERR_RUNNING or ERR_CLOSED when one owner stays.
 */
export async function byOwner<T>(
  platform: Pick<Platform, 'clock' | 'localSockets' | 'locks'>,
  layout: Layout,
  asked: (client: ControlClient) => Promise<T>,
  alone: () => Promise<T>,
): Promise<T> {
  const { clock, locks } = platform
  const patience = new OwnerPatience(clock)
  for (;;) {
    const client = await ControlClient.connect(platform, layout.ownerSocket)
    try {
      return client === null ? await alone() : await asked(client)
    } catch (error) {
      const passing = isHotBackupError(error, client === null ? 'ERR_RUNNING' : 'ERR_CLOSED')
      if (!passing || patience.isOver(await locks.holder(layout.ownerLock))) throw error
    } finally {
      client?.close()
    }
    await sleep(clock, pollMs)
  }
}

/**
 * Takes the owner's lock. A shipper that starts and puts the log in order owns the directory for a moment, and so does
 * a command: both are waited for, as long as owners come and go and no command stays for a minute. But a command does
 * not wait here for another one: that one listens, and carries it out. Throws ERR_RUNNING.
 */
export async function takeOwnership(
  { locks, clock }: Pick<Platform, 'clock' | 'locks'>,
  layout: Layout,
  purpose: string,
  lost: (error: HotBackupError) => void,
): Promise<Lock> {
  const patience = new OwnerPatience(clock, commandWaitMs)
  for (;;) {
    try {
      return await locks.acquire(layout.ownerLock, purpose, lost)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_RUNNING')) throw error
      const holder = await locks.holder(layout.ownerLock)
      if (holder?.purpose === recoveryPurpose && holder.alive) patience.renew()
      else if (holder !== null && holder.purpose !== commandPurpose)
        throw inUse(error, holder, purpose)
      else if (holder !== null && purpose === commandPurpose) throw error
      if (patience.isOver(holder)) throw error
    }
    await sleep(clock, pollMs)
  }
}

/** A program does not need the master to itself. */
function inUse(error: HotBackupError, holder: LockHolder, purpose: string): HotBackupError {
  if (holder.purpose !== serverPurpose || purpose !== masterPurpose) return error
  const hint = 'Its server is running: use "connect" instead of "Master.open".'
  return error.withHint(hint)
}

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
