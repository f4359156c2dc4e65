// Checks a server within a time limit. A separate process looks: a disk that hangs would block this one, even as it
// exits.
import * as v from 'valibot'
import { isHotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import type { Processes } from '../platform/processes.ts'
import { programPath } from '../programs.ts'
import {
  checkFailure,
  checkStatus,
  cutResult,
  unknownResult,
  type CheckResult,
  type Thresholds,
} from './check.ts'

const limit = v.nullable(v.number())
const threshold = v.object({ warning: limit, critical: limit })
const orderSchema = v.object({
  directory: v.string(),
  thresholds: v.object({
    lagTxns: threshold,
    lagSeconds: threshold,
    lagBytes: threshold,
    queue: threshold,
    disk: threshold,
    verified: threshold,
  }),
})
const level = v.picklist(['ok', 'warning', 'critical', 'unknown'])
const resultSchema = v.object({
  level,
  message: v.string(),
  findings: v.array(v.object({ level, message: v.string() })),
})

type CheckPlatform = Pick<Platform, 'clock'> & { readonly processes: Pick<Processes, 'start'> }

/** Never throws for what is wrong with the server. */
export async function checkServer(
  { clock, processes }: CheckPlatform,
  directory: string,
  thresholds: Thresholds,
  timeoutMs: number,
): Promise<CheckResult> {
  let answer = ''
  const order = JSON.stringify({ directory, thresholds })
  const child = processes.start(programPath('server/check-process'), [order], {
    output: line => {
      answer = line
    },
  })
  let late: () => void = () => {}
  const lateness = new Promise<null>(resolve => {
    late = () => resolve(null)
  })
  const timer = clock.after(timeoutMs, () => late())
  const ended = await Promise.race([child.exited, lateness])
  timer.cancel()
  if (ended === null) {
    child.kill('SIGKILL')
    return unknownResult(`nothing is known after ${timeoutMs / 1000} s: the disk may hang`)
  }
  return readResult(answer) ?? unknownResult('the process that looks has failed')
}

function readResult(line: string): CheckResult | null {
  try {
    return v.parse(resultSchema, JSON.parse(line))
  } catch {
    return null
  }
}

/** The work of that process: what it says on its standard output. */
export async function carryOutCheck(platform: Platform, text: string): Promise<string> {
  const { directory, thresholds } = v.parse(orderSchema, JSON.parse(text))
  // Only this process looks: the one that waits for it starts sooner without.
  const { collectStatus } = await import('./status.ts')
  try {
    const status = await collectStatus(platform, directory)
    return JSON.stringify(cutResult(checkStatus(status, thresholds, platform.clock.now())))
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    return JSON.stringify(cutResult(checkFailure(error)))
  }
}
