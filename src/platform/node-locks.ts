// Locks by proper-lockfile, with the holder named beside the lock, so that a dead holder never makes anybody
// wait and a live one is never robbed.
//
//   PATH.lock   proper-lockfile's directory; its mtime is the holder's heartbeat
//   PATH.json   who holds it: process, purpose and a token of this very acquisition
//   PATH.gate.lock   held for the few milliseconds in which the two above are changed together
//
// What a taker does who finds PATH.lock, by what is known of the holder in PATH.json:
//
//   provably dead (this host, no such process in this boot)   take over at once
//   provably alive (this host, the process is there)          refuse, even when its heartbeat is late
//   unknown (another host or container, no PATH.json)         refuse until the heartbeat is stale
//
// Two takers meet at the gate. A process that stalls in the gate until the gate is taken from it gives up
// before its next change. A holder that loses the lock all the same hears of it by `onLost` and must stop.
import { dirname } from 'node:path'
import * as lockfile from 'proper-lockfile'
import { HotBackupError } from '../errors.ts'
import { readFile, writeFileAtomic } from './atomic-file.ts'
import { type Lock, type LockHolder, type Locks } from './locks.ts'
import { nodeClock } from './node-clock.ts'
import { nodeDisk } from './node-disk.ts'
import { nodeProcesses } from './node-processes.ts'
import { nodeRandom } from './node-random.ts'
import { type ProcessIdentity, type Processes } from './processes.ts'

/** Every user of one lock must use the same times, or one takes for stale what another keeps fresh. */
const staleMs = 10_000
const heartbeatMs = 2_000
const gateStaleMs = 5_000
/** After this long in the gate a process can no longer be sure that it is alone there. */
const gateSafeMs = gateStaleMs / 2
const gateRetryMs = 50
const holderBytesMax = 4096

export const nodeLocks: Locks = {
  acquire: (path, purpose, onLost) =>
    acquireLock(path, nodeProcesses.self(), nodeProcesses, purpose, onLost),
  holder: path => readLockHolder(path, nodeProcesses),
}

/** See Locks.acquire. */
export async function acquireLock(
  path: string,
  owner: ProcessIdentity,
  processes: Processes,
  purpose: string,
  onLost: (error: HotBackupError) => void,
): Promise<Lock> {
  await nodeDisk.makeDirectory(dirname(path))
  const token = Buffer.from(nodeRandom.bytes(8)).toString('hex')
  const file: HolderFile = { ...owner, purpose, token }
  let held = true
  const compromised = (cause: Error) => {
    if (!held) return
    held = false
    const message = `the lock ${path} was lost: ${cause.message}`
    onLost(new HotBackupError('ERR_LOCK_LOST', message, { path }, cause))
  }

  const unlock = await throughGate(path, async stillAlone => {
    await refuseWhenHeld(path, owner, processes)
    stillAlone()
    // The name first: whoever comes after a stall of ours must read about us, not about the dead holder.
    await writeFileAtomic(nodeDisk, `${path}.json`, Buffer.from(`${JSON.stringify(file)}\n`))
    stillAlone()
    await nodeDisk.remove(`${path}.lock`)
    return takeLock(path, compromised)
  })

  return {
    async release() {
      if (!held) return
      held = false
      await throughGate(path, async () => {
        // proper-lockfile removes the directory without asking whose it is by now.
        const current = await readHolderFile(path)
        if (current?.token !== token) return
        await unlock().catch(ignoreReleased)
        await nodeDisk.remove(`${path}.json`)
      })
    },
  }
}

/** See Locks.holder. */
export async function readLockHolder(
  path: string,
  processes: Processes,
): Promise<LockHolder | null> {
  if (!(await nodeDisk.exists(`${path}.lock`))) return null
  const file = await readHolderFile(path)
  if (file === null) return null
  const { pid, startTicks, bootId, host, purpose } = file
  const identity = { pid, startTicks, bootId, host }
  const mayBeAlive = processes.mayBeAlive(identity)
  const alive = mayBeAlive && (host === processes.self().host || (await isFresh(path)))
  return { identity, purpose, alive }
}

async function refuseWhenHeld(
  path: string,
  owner: ProcessIdentity,
  processes: Processes,
): Promise<void> {
  if (!(await nodeDisk.exists(`${path}.lock`))) return
  const holder = await readHolderFile(path)
  if (holder === null) {
    if (await isFresh(path)) throw running(path, 'a process that has not given its name')
    return
  }
  if (!processes.mayBeAlive(holder)) return
  const provablyAlive = holder.host === owner.host && holder.startTicks !== 0
  if (!provablyAlive && !(await isFresh(path))) return
  throw running(path, `process ${holder.pid} on ${holder.host} (${holder.purpose})`)
}

/** Only within the gate, after PATH.lock was removed: so ELOCKED means that we were robbed of the gate. */
async function takeLock(
  path: string,
  onCompromised: (cause: Error) => void,
): Promise<() => Promise<void>> {
  try {
    return await lockfile.lock(path, {
      realpath: false,
      stale: staleMs,
      update: heartbeatMs,
      onCompromised,
    })
  } catch (error) {
    if (hasCode(error, 'ELOCKED')) throw running(path, 'another process, a moment ago')
    throw new HotBackupError('ERR_DISK', `cannot lock ${path}: ${text(error)}`, { path }, error)
  }
}

/** Runs `work` alone among all processes that change this lock. It calls `stillAlone` before each change. */
async function throughGate<T>(
  path: string,
  work: (stillAlone: () => void) => Promise<T>,
): Promise<T> {
  let release
  try {
    release = await lockfile.lock(`${path}.gate`, {
      realpath: false,
      stale: gateStaleMs,
      // Somebody who died in the gate holds it up for the stale time.
      retries: {
        retries: Math.ceil((2 * gateStaleMs) / gateRetryMs),
        minTimeout: gateRetryMs,
        maxTimeout: gateRetryMs,
        factor: 1,
      },
      // Noticed by `stillAlone`, which looks before it is too late.
      onCompromised: () => {},
    })
  } catch (error) {
    if (hasCode(error, 'ELOCKED')) throw running(path, 'another process, just now')
    throw new HotBackupError('ERR_DISK', `cannot lock ${path}: ${text(error)}`, { path }, error)
  }
  const entered = nodeClock.monotonic()
  try {
    return await work(() => {
      if (nodeClock.monotonic() - entered < gateSafeMs) return
      const message = `this process stalled while it took the lock ${path}`
      throw new HotBackupError('ERR_LOCK_LOST', message, { path })
    })
  } finally {
    // Also after a stall: while this process lives, proper-lockfile would keep a gate of ours fresh for ever.
    await release().catch(ignoreReleased)
  }
}

interface HolderFile extends ProcessIdentity {
  readonly purpose: string
  /** Tells two acquisitions of one process apart. */
  readonly token: string
}

/** Null when there is none, or none that can be read: then nothing is known of the holder. */
async function readHolderFile(path: string): Promise<HolderFile | null> {
  const bytes = await readFile(nodeDisk, `${path}.json`, holderBytesMax)
  if (bytes === null) return null
  try {
    const found = JSON.parse(bytes.toString()) as HolderFile
    const { pid, startTicks, bootId, host, purpose, token } = found
    const numbers = Number.isSafeInteger(pid) && Number.isSafeInteger(startTicks)
    const strings = [bootId, host, purpose, token].every(value => typeof value === 'string')
    return numbers && strings ? { pid, startTicks, bootId, host, purpose, token } : null
  } catch {
    return null
  }
}

async function isFresh(path: string): Promise<boolean> {
  try {
    return await lockfile.check(path, { realpath: false, stale: staleMs })
  } catch (error) {
    throw new HotBackupError('ERR_DISK', `cannot look at ${path}.lock: ${text(error)}`, { path })
  }
}

function running(path: string, holder: string): HotBackupError {
  return new HotBackupError('ERR_RUNNING', `${path} is locked by ${holder}`, { path })
}

/** The lock was lost before it was released: nothing of ours is left to remove. */
function ignoreReleased(error: unknown): void {
  if (hasCode(error, 'ERELEASED') || hasCode(error, 'ENOTACQUIRED')) return
  throw new HotBackupError('ERR_DISK', `cannot release a lock: ${text(error)}`, {}, error)
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
