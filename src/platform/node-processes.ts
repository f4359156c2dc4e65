// Processes by node:child_process and Linux's /proc. Elsewhere a pid is all that is known of a process, and
// a dead one whose pid was given away again counts as alive.
import { execFile, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync, readlinkSync } from 'node:fs'
import { arch, hostname, release, setPriority, type } from 'node:os'
import { HotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'
import { runCommand, runCommandFrom } from './node-command.ts'
import { hearLines } from './node-lines.ts'
import { Nursery } from './node-nursery.ts'
import { nodeArguments } from './node-signals.ts'
import { becomeUser, currentUser } from './node-users.ts'
import { type ChildProcess, type ProcessIdentity, type Processes, sharesPids } from './processes.ts'

/** As `nice` would. */
const lowPriority = 10

/** Of a program that is asked for something: a page of a manual. */
const outputBytesMax = 1024 * KiB

export const nodeProcesses: Processes = {
  self,

  host: { system: `${type()} ${release()} ${arch()}`, executable: process.execPath },

  usage() {
    const { rss, heapUsed } = process.memoryUsage()
    const { user, system } = process.cpuUsage()
    return {
      rssBytes: rss,
      heapBytes: heapUsed,
      userSeconds: user / 1e6,
      systemSeconds: system / 1e6,
    }
  },

  user: currentUser,

  becomeUser,

  mayBeAlive(identity) {
    const own = self()
    if (!sharesPids(identity, own)) return true
    const { pid, startTicks } = identity
    if (own.startTicks === 0) return signalled(pid, 0)
    const found = processState(pid)
    if (found === null) return false
    if (startTicks !== 0 && found.startTicks !== startTicks) return false
    // A zombie whose other threads are not gone yet may have a write under way.
    return found.state !== 'X' && !(found.state === 'Z' && found.threads <= 1)
  },

  /**
   * A child that is not detached has a pipe as its standard input, which ends when this process does.
   * Throws ERR_PROCESS when the system cannot start it.
   */
  start(modulePath, args, { detached, output: heard, environment }) {
    if (detached === undefined && heard !== undefined && environment === undefined) {
      const child = openNursery()?.start(
        [process.execPath, ...nodeArguments, modulePath, ...args],
        heard,
      )
      if (child !== undefined) return child
    }
    const output = detached === undefined ? 'inherit' : openSync(detached.outputPath, 'a', 0o600)
    try {
      const child = spawn(process.execPath, [...nodeArguments, modulePath, ...args], {
        detached: detached !== undefined,
        stdio: [
          detached === undefined ? 'pipe' : 'ignore',
          heard === undefined ? output : 'pipe',
          output,
        ],
        env: { ...process.env, ...environment },
      })
      const exited: ChildProcess['exited'] = new Promise(resolve => {
        // Not 'exit': what the child has said before is heard first.
        child.once('close', (code, signal) => resolve({ code, signal }))
        child.once('error', () => resolve({ code: null, signal: null }))
      })
      // The pipe is there to end, not to be written: a child that closes it early is no error.
      child.stdin?.on('error', () => {})
      if (heard !== undefined && child.stdout !== null) hearLines(child.stdout, heard)
      if (child.pid === undefined) {
        throw new HotBackupError('ERR_PROCESS', `cannot start a process for ${modulePath}`, {
          path: modulePath,
        })
      }
      if (detached !== undefined) child.unref()
      return { pid: child.pid, exited, kill: signal => void child.kill(signal) }
    } finally {
      if (typeof output === 'number') closeSync(output)
    }
  },

  prepare() {
    prepared++
    nursery ??= Nursery.open()
    let ended = false
    return () => {
      if (ended) return
      ended = true
      prepared--
      if (prepared > 0) return
      nursery?.close()
      nursery = null
    }
  },

  runCommand(command, options) {
    const helper = openNursery()
    return helper === null ? runCommand(command, options) : runCommandFrom(helper, command, options)
  },

  output(program, args) {
    return new Promise(resolve => {
      execFile(program, [...args], { maxBuffer: outputBytesMax }, (error, stdout) =>
        resolve(error === null ? stdout : null),
      )
    })
  },

  yieldToOthers() {
    setPriority(lowPriority)
  },

  onParentGone(callback) {
    process.stdin.once('end', callback).once('error', callback).resume()
  },

  signal: (pid, signal) => signalled(pid, signal),
}

/** Those who have prepared for `start`, and the nursery that they share. */
let prepared = 0
let nursery: Nursery | null = null

/** Null while no caller has prepared. One that was killed is replaced. */
function openNursery(): Nursery | null {
  if (nursery?.closed === true) nursery = Nursery.open()
  return nursery
}

let identity: ProcessIdentity | null = null

function self(): ProcessIdentity {
  identity ??= {
    pid: process.pid,
    startTicks: processState(process.pid)?.startTicks ?? 0,
    bootId: readText('/proc/sys/kernel/random/boot_id').trim(),
    pidNamespace: pidNamespace(),
    machineId: readText('/etc/machine-id').trim(),
    host: hostname(),
  }
  return identity
}

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

interface ProcessState {
  readonly state: string
  readonly threads: number
  readonly startTicks: number
}

/** Null when there is no such process (or no /proc). Fields of /proc/PID/stat by proc(5): 3, 20 and 22. */
function processState(pid: number): ProcessState | null {
  const text = readText(`/proc/${pid}/stat`)
  // The command's name, in parentheses, may hold spaces and parentheses: the last one closes it.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, threads, startTicks] = [fields[0], Number(fields[17]), Number(fields[19])]
  if (state === undefined || !Number.isSafeInteger(threads) || !Number.isSafeInteger(startTicks)) {
    return null
  }
  return { state, threads, startTicks }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/** False when there is no such process; one that belongs to another user is there. */
function signalled(pid: number, signal: 'SIGTERM' | 'SIGKILL' | 'SIGUSR2' | 0): boolean {
  try {
    return process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    if (signal === 0) return true
    throw new HotBackupError('ERR_PROCESS', `cannot signal process ${pid}`, {}, error)
  }
}
