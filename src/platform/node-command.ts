// A command line of the operator's, run by the system's shell: told something, given so long, killed with all that it
// has started. By this process, or, when that is large and has prepared for it, by a small one that its nursery starts
// (command-process.ts): a process is started by a copy of the one that starts it.
import { spawn } from 'node:child_process'
import { programPath } from '../programs.ts'
import type { Nursery } from './node-nursery.ts'
import { nodeArguments } from './node-signals.ts'
import type { CommandOptions } from './processes.ts'

/** Resolves with what was wrong, for people, or null; never rejects. */
export function runCommand(
  command: string,
  { input, environment, timeoutMs }: CommandOptions,
): Promise<string | null> {
  return new Promise(resolve => {
    const child = spawn(command, {
      shell: true,
      // A group of its own, so that all of it can be killed.
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { ...process.env, ...environment },
    })
    let late = false
    const timer = setTimeout(() => {
      late = true
      if (child.pid !== undefined) killGroup(child.pid)
    }, timeoutMs)
    child.once('error', error => {
      clearTimeout(timer)
      resolve(`cannot be started: ${error.message}`)
    })
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      if (late) resolve(`was killed after ${timeoutMs / 1000} s`)
      else if (code === 0) resolve(null)
      else resolve(code === null ? `was ended by ${signal}` : `ended with exit status ${code}`)
    })
    // A command need not read what it is told.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended by itself.
  }
}

/** The order takes as many arguments as it needs: the system bounds each. */
const argumentLengthMax = 64 * 1024

/** The same, through a process that `nursery` starts. */
export async function runCommandFrom(
  nursery: Nursery,
  command: string,
  options: CommandOptions,
): Promise<string | null> {
  const order = Buffer.from(JSON.stringify([command, options])).toString('base64')
  const parts = order.match(new RegExp(`.{1,${argumentLengthMax}}`, 'g')) ?? []
  const module = programPath('platform/command-process')
  let answer = ''
  const child = nursery.start([process.execPath, ...nodeArguments, module, ...parts], line => {
    answer = line
  })
  const { code, signal } = await child.exited
  if (code === 0) return answer === '' ? null : answer
  return `cannot be started: the process for it ended with ${code ?? signal}`
}

/** What such a process was told. */
export function commandOrder(parts: readonly string[]): [string, CommandOptions] {
  const text = Buffer.from(parts.join(''), 'base64').toString()
  return JSON.parse(text) as [string, CommandOptions]
}
