// Locks by proper-lockfile, with proof of who holds them beside it, so that a dead holder delays the next one as
// little as its death can be proven, and a live one never loses its lock.
//
//   PATH.lock        proper-lockfile's directory; its mtime is the holder's heartbeat
//   PATH.json        the holder: process, purpose, the directory it locked and a token of this very acquisition
//   PATH.alive.sock  the socket at which the holder listens for as long as it lives (node-liveness.ts)
//   PATH.gate.lock   held for the few milliseconds in which the others are changed together
//
// What a taker does that finds a holder in PATH.json:
//
//   its kernel  PATH.alive  its pid      its heartbeat          the taker
//   ----------  ----------  -----------  ---------------------  --------------------------------------
//   this one    connected   -            -                      refuses: the holder lives
//   this one    refused     -            -                      takes over: it has died, or PATH is a copy
//   this one    absent      lives, and locked this directory -  refuses
//   this one    absent      dead, or locked another directory   takes over
//   this one    absent      of another pid namespace            watches the heartbeat
//   earlier     -           -            more than 10 s old     takes over: this machine has started again
//   other       -           -            -                      watches the heartbeat
//
// A heartbeat is watched by this process's own clock, since two machines rarely agree on the time: one that has
// not moved for 10 s belongs to a dead holder. Without a readable PATH.json the heartbeat is watched, too.
//
// Two takers meet at the gate. A process that stalls in the gate until the gate is taken from it gives up before
// its next change. When proper-lockfile misses its directory, or finds it changed (by a backup, an indexer, a
// person), the holder looks at PATH.json: with its own token the lock is still its own, and it renews the
// directory; with another one it has lost the lock, hears of it by `onLost` and must stop.
import { lstatSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import * as v from 'valibot'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { readState, writeFileAtomic } from './atomic-file.ts'
import { sleep } from './clock.ts'
import { type Lock, type LockHolder, type Locks } from './locks.ts'
import { nodeClock } from './node-clock.ts'
import { nodeDisk } from './node-disk.ts'
import { proofOfLife, proveAlive } from './node-liveness.ts'
import { nodeProcesses } from './node-processes.ts'
import { nodeRandom } from './node-random.ts'
import { type ProcessIdentity, type Processes, sharesKernel, sharesPids } from './processes.ts'

/** Every user of one lock must use the same times, or one takes for stale what another keeps fresh. */
const staleMs = 10_000
const heartbeatMs = 2_000
const watchPollMs = 250
const gateStaleMs = 5_000
/** After this long in the gate a process can no longer be sure that it is alone there. */
const gateSafeMs = gateStaleMs / 2
/** A queue at the gate moves every few milliseconds, so a wait as long as this means that it does not move. */
const gateWaitMs = 60_000
const gateRetryMs = 20
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
  const token = tokenText()
  let silent: string | null = null
  for (;;) {
    const holder = await throughGate(path, async stillAlone => {
      const found = await findHolder(path, owner, processes)
      if (found.state === 'alive') throw running(path, found.file)
      if (found.state === 'unknown' && found.heartbeat !== silent) return found
      const file: HolderFile = { ...owner, purpose, token, directory: directoryOf(path) }
      return HeldLock.take(path, file, stillAlone, onLost)
    })
    if (holder instanceof HeldLock) return holder
    if (await heartbeatMoves(path, holder.heartbeat)) throw running(path, holder.file)
    silent = holder.heartbeat
  }
}

/** See Locks.holder. */
export async function readLockHolder(
  path: string,
  processes: Processes,
): Promise<LockHolder | null> {
  const self = processes.self()
  const { state, file } = await findHolder(path, self, processes)
  if (file === null) return null
  const { purpose, token: _token, directory: _directory, ...identity } = file
  const alive = state === 'alive' || (state === 'unknown' && Math.abs(heartbeatAge(path)) < staleMs)
  return { identity, purpose, alive, elsewhere: !sharesPids(identity, self) }
}

class HeldLock implements Lock {
  readonly #path: string
  readonly #file: HolderFile
  readonly #onLost: (error: HotBackupError) => void
  #held = true
  #unlock: () => Promise<void> = () => Promise.resolve()
  #endProof: () => Promise<void> = () => Promise.resolve()

  private constructor(path: string, file: HolderFile, onLost: (error: HotBackupError) => void) {
    this.#path = path
    this.#file = file
    this.#onLost = onLost
  }

  /** Only in the gate, with no live holder. */
  static async take(
    path: string,
    file: HolderFile,
    stillAlone: () => void,
    onLost: (error: HotBackupError) => void,
  ): Promise<HeldLock> {
    const lock = new HeldLock(path, file, onLost)
    stillAlone()
    const proof = await proveAlive(`${path}.alive.sock`)
    lock.#endProof = () => proof.end()
    try {
      await lock.#write(stillAlone)
    } catch (error) {
      await lock.#endProof()
      throw error
    }
    return lock
  }

  async release(): Promise<void> {
    if (!this.#held) return
    this.#held = false
    await throughGate(this.#path, async () => {
      // proper-lockfile removes the directory without asking whose it is by now.
      const current = await readHolderFile(this.#path)
      if (current?.token !== this.#file.token) return
      await this.#unlock().catch(ignoreReleased)
      await clearDirectory(`${this.#path}.lock`)
      await this.#endProof()
      await nodeDisk.remove(`${this.#path}.json`)
    })
  }

  async #write(stillAlone: () => void): Promise<void> {
    const path = this.#path
    stillAlone()
    // The name first: after a stall of ours the next taker must read about us, not about the dead holder.
    await writeFileAtomic(nodeDisk, `${path}.json`, Buffer.from(`${JSON.stringify(this.#file)}\n`))
    stillAlone()
    await clearDirectory(`${path}.lock`)
    this.#unlock = await takeLock(path, cause => void this.#renew(cause))
  }

  /** proper-lockfile has given the lock up. It is lost only if another process has taken it. */
  async #renew(cause: Error): Promise<void> {
    const path = this.#path
    const start = nodeClock.monotonic()
    for (;;) {
      try {
        await nodeDisk.makeDirectory(dirname(path))
        await throughGate(path, async stillAlone => {
          if (!this.#held) return
          const current = await readHolderFile(path)
          if (current !== null && current.token !== this.#file.token) throw lost(path, cause)
          if ((await proofOfLife(`${path}.alive.sock`)) === 'absent') {
            const proof = await proveAlive(`${path}.alive.sock`)
            this.#endProof = () => proof.end()
          }
          await this.#write(stillAlone)
        })
        return
      } catch (error) {
        if (!this.#held) return
        const late = nodeClock.monotonic() - start > staleMs
        if (late || isHotBackupError(error, 'ERR_LOCK_LOST')) {
          this.#held = false
          this.#onLost(isHotBackupError(error, 'ERR_LOCK_LOST') ? error : lost(path, error))
          return
        }
        await sleep(nodeClock, watchPollMs)
      }
    }
  }
}

interface Found {
  readonly state: 'free' | 'alive' | 'dead' | 'unknown'
  /** Null when nothing can be read of the holder. */
  readonly file: HolderFile | null
  readonly heartbeat: string
}

/** The table in this file's head. */
async function findHolder(
  path: string,
  self: ProcessIdentity,
  processes: Processes,
): Promise<Found> {
  const file = await readHolderFile(path)
  const heartbeat = heartbeatOf(path, file)
  const found = (state: Found['state']): Found => ({ state, file, heartbeat })
  const proof = await proofOfLife(`${path}.alive.sock`)
  if (file === null) {
    if (proof === 'connected') return found('alive')
    return found((await nodeDisk.exists(`${path}.lock`)) ? 'unknown' : 'free')
  }
  if (sharesKernel(file, self)) {
    if (proof !== 'absent') return found(proof === 'connected' ? 'alive' : 'dead')
    if (!sharesPids(file, self)) return found('unknown')
    const lives = processes.mayBeAlive(file) && file.directory === directoryOf(path)
    return found(lives ? 'alive' : 'dead')
  }
  const restarted = self.machineId !== '' && file.machineId === self.machineId
  return found(restarted && heartbeatAge(path) > staleMs ? 'dead' : 'unknown')
}

/** Watches for as long as a live holder would need to show a heartbeat. */
async function heartbeatMoves(path: string, heartbeat: string): Promise<boolean> {
  const start = nodeClock.monotonic()
  while (nodeClock.monotonic() - start < staleMs) {
    await sleep(nodeClock, watchPollMs)
    if (heartbeatOf(path, await readHolderFile(path)) !== heartbeat) return true
  }
  return false
}

/** Differs whenever the holder has shown that it lives, or another one has come. */
function heartbeatOf(path: string, file: HolderFile | null): string {
  const { ino, mtimeNs } = statOf(`${path}.lock`)
  return `${file?.token ?? ''} ${ino} ${mtimeNs}`
}

/** Milliseconds by the wall clock, negative when it lies in the future; Infinity without a heartbeat. */
function heartbeatAge(path: string): number {
  const { mtimeNs } = statOf(`${path}.lock`)
  return mtimeNs === 0n ? Infinity : nodeClock.now() - Number(mtimeNs / 1_000_000n)
}

/** Tells the directory of a lock from a copy of it. Means something on one running kernel only. */
function directoryOf(path: string): string {
  const { dev, ino } = statOf(dirname(path))
  return `${dev}:${ino}`
}

/** Zeros when there is nothing at `path`. */
function statOf(path: string): { dev: bigint; ino: bigint; mtimeNs: bigint } {
  try {
    return lstatSync(path, { bigint: true })
  } catch {
    return { dev: 0n, ino: 0n, mtimeNs: 0n }
  }
}

/** Loaded when a lock is taken: most commands take none, and it costs them a few milliseconds. */
function lockfile(): Promise<typeof import('proper-lockfile')> {
  return import('proper-lockfile')
}

/** Only within the gate, after PATH.lock was cleared: so ELOCKED means that the gate was taken from this process. */
async function takeLock(
  path: string,
  onCompromised: (cause: Error) => void,
): Promise<() => Promise<void>> {
  const { lock } = await lockfile()
  try {
    return await lock(path, {
      realpath: false,
      stale: staleMs,
      update: heartbeatMs,
      onCompromised,
    })
  } catch (error) {
    if (hasCode(error, 'ELOCKED')) throw running(path, null)
    throw new HotBackupError('ERR_DISK', `cannot lock ${path}: ${text(error)}`, { path }, error)
  }
}

/** Runs `work` alone among all processes that change this lock. It calls `stillAlone` before each change. */
async function throughGate<T>(
  path: string,
  work: (stillAlone: () => void) => Promise<T>,
): Promise<T> {
  const leave = await enterGate(path)
  const entered = nodeClock.monotonic()
  try {
    return await work(() => {
      if (nodeClock.monotonic() - entered < gateSafeMs) return
      const message = `this process stalled while it took the lock ${path}`
      throw new HotBackupError('ERR_LOCK_LOST', message, { path })
    })
  } finally {
    // Also after a stall: while this process lives, proper-lockfile would keep a gate of ours fresh for ever.
    await leave().catch(ignoreReleased)
  }
}

/** A gate whose heartbeat does not move was left by a process that has died in it: it is removed. */
async function enterGate(path: string): Promise<() => Promise<void>> {
  const gate = `${path}.gate`
  const { lock } = await lockfile()
  const start = nodeClock.monotonic()
  let seen = ''
  let since = start
  for (;;) {
    try {
      return await lock(gate, {
        realpath: false,
        stale: gateStaleMs,
        // Noticed by `stillAlone`, which looks before it is too late.
        onCompromised: () => {},
      })
    } catch (error) {
      if (!hasCode(error, 'ELOCKED') && !hasCode(error, 'ENOTEMPTY')) {
        throw new HotBackupError('ERR_DISK', `cannot lock ${path}: ${text(error)}`, { path }, error)
      }
    }
    const now = nodeClock.monotonic()
    const mark = heartbeatOf(gate, null)
    if (mark !== seen) {
      seen = mark
      since = now
    } else if (now - since > gateStaleMs) {
      await clearDirectory(`${gate}.lock`)
      continue
    }
    if (now - start > gateWaitMs) throw running(path, null)
    // At random, or processes that came together would go on colliding.
    await sleep(nodeClock, gateRetryMs * (1 + (nodeRandom.bytes(1)[0] ?? 0) / 256))
  }
}

/** Removes a lock's directory, whatever was put into it. What cannot be removed is put aside. */
async function clearDirectory(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true })
  } catch {
    try {
      await rename(path, `${path}.${tokenText()}`)
    } catch (error) {
      throw new HotBackupError('ERR_DISK', `cannot clear ${path}: ${text(error)}`, { path }, error)
    }
  }
}

const holderSchema = v.object({
  pid: v.pipe(v.number(), v.safeInteger()),
  startTicks: v.pipe(v.number(), v.safeInteger()),
  bootId: v.string(),
  pidNamespace: v.string(),
  machineId: v.string(),
  host: v.string(),
  purpose: v.string(),
  /** Tells two acquisitions of one process apart. */
  token: v.string(),
  /** See directoryOf. */
  directory: v.string(),
})

type HolderFile = v.InferOutput<typeof holderSchema>

/** Null when there is none, or none that can be read: then nothing is known of the holder. */
async function readHolderFile(path: string): Promise<HolderFile | null> {
  const bytes = await readState(nodeDisk, `${path}.json`, holderBytesMax)
  if (bytes === null) return null
  try {
    const parsed = v.safeParse(holderSchema, JSON.parse(bytes.toString()))
    return parsed.success ? parsed.output : null
  } catch {
    return null
  }
}

function tokenText(): string {
  return Buffer.from(nodeRandom.bytes(8)).toString('hex')
}

function running(path: string, holder: HolderFile | null): HotBackupError {
  const by =
    holder === null
      ? 'another process'
      : `process ${holder.pid} on ${holder.host} (${holder.purpose})`
  return new HotBackupError('ERR_RUNNING', `${path} is locked by ${by}`, { path })
}

function lost(path: string, cause: unknown): HotBackupError {
  const message = `the lock ${path} was lost: ${text(cause)}`
  return new HotBackupError('ERR_LOCK_LOST', message, { path }, cause)
}

/** The lock was lost before it was released: nothing of ours is left to remove. */
function ignoreReleased(error: unknown): void {
  if (['ERELEASED', 'ENOTACQUIRED', 'ENOTEMPTY'].some(code => hasCode(error, code))) return
  throw new HotBackupError('ERR_DISK', `cannot release a lock: ${text(error)}`, {}, error)
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
