// Real servers for tests: directories made by "hb setup", real processes, real TCP on a free port of this machine.
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable, Writable } from 'node:stream'
import type { Command } from 'commander'
import type { Test } from 'tap'
import { Context, execute } from '../../src/cli/command-line.ts'
import { hbProgram } from '../../src/cli/program.ts'
import { replayProgram } from '../../src/cli/replay-program.ts'
import { isHotBackupError } from '../../src/errors.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { startPart } from '../../src/control/background.ts'

const module = (name: string) => new URL(`../../src/cli/${name}.js`, import.meta.url).pathname

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command of hb and returns what became of it, whatever that is. */
export function hbProcess(...args: readonly string[]): Promise<Outcome> {
  return hbWithInput('', ...args)
}

export function hbWithInput(input: string | Buffer, ...args: readonly string[]): Promise<Outcome> {
  return new Promise(resolve => {
    const options = { maxBuffer: 1 << 28 }
    const child = execFile(
      process.execPath,
      [module('hb'), ...args],
      options,
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1
        resolve({ code, stdout, stderr })
      },
    )
    child.stdin?.on('error', () => {}) // The command may end without reading.
    child.stdin?.end(input)
  })
}

/** Runs a command that must succeed; returns its standard output. */
export async function okProcess(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await hbProcess(...args)
  if (code !== 0) throw new Error(`hb ${args.join(' ')} ended with ${code}: ${stderr}`)
  return stdout
}

/** The same within this process, which saves the time to start one. Servers that it starts are processes still. */
export function hb(...args: readonly string[]): Promise<Outcome> {
  return runHere(hbProgram, args)
}

/** The same with a standard input, which comes in these pieces, and with the bytes of the standard output. */
export function hbReading(
  input: Iterable<Uint8Array>,
  ...args: readonly string[]
): Promise<Outcome & { readonly bytes: Buffer }> {
  return runHere(hbProgram, args, input)
}

/** hb-replay, within this process. */
export function replay(...args: readonly string[]): Promise<Outcome> {
  return runHere(replayProgram, args)
}

async function runHere(
  program: (context: Context, args: readonly string[]) => Command | Promise<Command>,
  args: readonly string[],
  input: Iterable<Uint8Array> = [],
): Promise<Outcome & { readonly bytes: Buffer }> {
  const written: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
  const into = (name: 'stdout' | 'stderr') =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        written[name].push(Buffer.from(chunk))
        done()
      },
    })
  const streams = { stdin: Readable.from(input), stdout: into('stdout'), stderr: into('stderr') }
  const context = new Context(streams)
  const code = await execute(await program(context, args), context, args)
  const bytes = Buffer.concat(written.stdout)
  const stderr = Buffer.concat(written.stderr).toString()
  return { code, stdout: bytes.toString(), stderr, bytes }
}

export async function ok(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await hb(...args)
  if (code !== 0) throw new Error(`hb ${args.join(' ')} ended with ${code}: ${stderr}`)
  return stdout
}

/**
 * Starts a master's shipper or a slave's server by itself, in the background: a program of the test has the master
 * open, and nothing starts again what the test kills.
 */
export async function startAlone(directory: string): Promise<void> {
  await startPart(nodePlatform, directory)
}

/** Sees to it that the server runs; it may be starting, or turning into another kind, by itself. */
export async function running(directory: string): Promise<void> {
  while (!(await statusOf(directory)).running) {
    await startAlone(directory).catch((error: unknown) => {
      if (!isHotBackupError(error, 'ERR_RUNNING')) throw error
    })
  }
}

export async function statusOf(directory: string): Promise<Status> {
  return JSON.parse(await ok('status', '-d', directory, '--json')) as Status
}

/** Looks again and again, for so long. */
export async function until(
  what: string,
  holds: () => Promise<boolean>,
  seconds = 60,
): Promise<void> {
  const start = Date.now()
  while (!(await holds())) {
    if (Date.now() - start > seconds * 1000) throw new Error(`not within ${seconds} s: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

/** With kill -9; resolves when it is gone. */
export async function killServer(directory: string): Promise<void> {
  // A slave that takes a copy closes and opens itself again.
  let { pid } = await statusOf(directory)
  for (let tries = 0; pid === null && tries < 20; tries++) pid = (await statusOf(directory)).pid
  if (pid === null) throw new Error(`nothing runs in ${directory}`)
  process.kill(pid, 'SIGKILL')
  while ((await statusOf(directory)).running);
}

export interface Status {
  readonly name: string
  readonly type: string
  readonly running: boolean
  readonly pid: number | null
  readonly state: string
  readonly lostAndFound: number
  readonly damaged: readonly { readonly message: string }[]
  readonly differences: {
    readonly known: number
    readonly more: number
    readonly pass: { readonly lastTxn: number } | null
  } | null
  readonly log: { readonly firstTxn: number; readonly lastTxn: number; readonly durableTxn: number }
  readonly slaves: readonly {
    readonly name: string
    readonly state: string
    readonly durableTxn: number
    readonly appliedTxn: number
    readonly lagTxns: number
  }[]
  readonly helpers: readonly { readonly pid: number | null; readonly operation: string }[]
  readonly holds: readonly { readonly account: string; readonly file: string }[]
  readonly apply: {
    readonly on: boolean
    readonly appliedTxn: number
    readonly checkpointTxn: number
    readonly backlog: { readonly transactions: number; readonly bytes: number }
  }
}

/** Removed after the test, and after whatever the test registers later to be done at its end. */
export function temporaryDirectory(t: Test): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'hotbackup-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Changes a line of hb.toml. */
export function edit(directory: string, pattern: RegExp, text: string): void {
  const toml = path.join(directory, 'hb.toml')
  const before = readFileSync(toml, 'utf8')
  if (!pattern.test(before)) throw new Error(`hb.toml has no ${String(pattern)}`)
  writeFileSync(toml, before.replace(pattern, text))
}

/** A server makes the next segment's file ahead of need: 16 MiB each would be most of what the tests write. */
export function smallSegments(directory: string): void {
  edit(directory, /^# segment_size = .*$/m, 'segment_size = "1MiB"')
}

/** Its link gives up soon. */
export function impatient(directory: string): void {
  edit(directory, /^# heartbeat = .*$/m, 'heartbeat = "200ms"')
  edit(directory, /^# timeout = "30s"$/m, 'timeout = "1s"')
}

/** A master and a slave that know each other, in a temporary directory; all of it is gone after the test. */
export class Pair {
  readonly root: string
  readonly master: string
  readonly slave: string
  readonly port: number

  private constructor(root: string, port: number) {
    this.root = root
    this.port = port
    this.master = path.join(root, 'alpha')
    this.slave = path.join(root, 'beta')
  }

  static async make(test: Test): Promise<Pair> {
    const root = temporaryDirectory(test)
    const pair = new Pair(root, await freePort())
    test.teardown(async () => {
      await hb('stop', '-d', pair.master)
      await hb('stop', '-d', pair.slave)
    })
    const address = `127.0.0.1:${pair.port}`
    await ok(
      'setup',
      '-d',
      pair.master,
      '--type',
      'master',
      '--name',
      'alpha',
      '--slave',
      `beta=${address}`,
    )
    const key = path.join(pair.master, 'hb.key')
    await ok(
      'setup',
      '-d',
      pair.slave,
      '--type',
      'slave',
      '--name',
      'beta',
      '--listen',
      address,
      '--key',
      key,
    )
    for (const directory of [pair.master, pair.slave]) smallSegments(directory)
    return pair
  }

  /** The shipper and the slave's server: the master is for a program of the test, see `startAlone`. */
  async start(): Promise<void> {
    await startAlone(this.slave)
    await startAlone(this.master)
  }

  /** Waits until the slave has applied everything; returns the digests of both sides. */
  async digests(): Promise<{ readonly master: string; readonly slave: string }> {
    await ok('wait', '-d', this.master, '--timeout', '60')
    return {
      master: await ok('digest', '-d', this.master),
      slave: await ok('digest', '-d', this.slave),
    }
  }
}

/** A process of the tests' own, next to the built test files. */
export function startHelper(name: string, ...args: readonly string[]): ChildProcess {
  const file = new URL(`${name}.js`, import.meta.url).pathname
  return spawn(process.execPath, [file, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
