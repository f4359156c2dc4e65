// Makes, starts and stops the servers that a benchmark needs, by the commands that a person would use.
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { startPart } from '../src/control/background.ts'
import { nodePlatform } from '../src/platform/node-platform.ts'

const run = promisify(execFile)
const hbPath = new URL('../src/cli/hb.js', import.meta.url).pathname

export async function hb(...args: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [hbPath, ...args], { maxBuffer: 1 << 28 })
  return stdout
}

/** Without the server: a program of the benchmark has the master open. */
export async function startShipper(master: string): Promise<void> {
  await startPart(nodePlatform, master)
}

export class Pair {
  readonly root = mkdtempSync(
    path.join(process.env['HB_BENCH_DIR'] ?? tmpdir(), 'hotbackup-bench-'),
  )
  readonly master = path.join(this.root, 'master')
  readonly slave = path.join(this.root, 'slave')
  /** Of the slave. */
  port = 0

  static async make(): Promise<Pair> {
    const pair = new Pair()
    const port = await freePort()
    pair.port = port
    await hb(
      'setup',
      '-d',
      pair.master,
      '--type',
      'master',
      '--name',
      'alpha',
      '--slave',
      `beta=127.0.0.1:${port}`,
    )
    await hb(
      'setup',
      '-d',
      pair.slave,
      '--type',
      'slave',
      '--name',
      'beta',
      '--listen',
      `127.0.0.1:${port}`,
      '--key',
      path.join(pair.master, 'hb.key'),
    )
    return pair
  }

  /** A master alone: nobody has to acknowledge. */
  static async alone(): Promise<Pair> {
    const pair = new Pair()
    await hb('setup', '-d', pair.master, '--type', 'master', '--name', 'alpha')
    return pair
  }

  async remove(): Promise<void> {
    await hb('stop', '-d', this.master).catch(() => {})
    await hb('stop', '-d', this.slave).catch(() => {})
    rmSync(this.root, { recursive: true, force: true })
  }
}

export async function pidOf(directory: string): Promise<number> {
  const status = JSON.parse(await hb('status', '-d', directory, '--json')) as { pid: number }
  return status.pid
}

/** CPU seconds, user and system, that a process has used so far (Linux). */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Peak resident memory of a process, MiB (Linux). */
export function peakMiB(pid: number): number {
  const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1] ?? Number.NaN) / 1024
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
