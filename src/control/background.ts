// Starts and stops servers in the background: processes of their own, which go on when the command ends.
import { errorCodes, HotBackupError, isHotBackupError, type ErrorCode } from '../errors.ts'
import { KiB } from '../limits.ts'
import { readFile } from '../platform/atomic-file.ts'
import { sleep } from '../platform/clock.ts'
import type { LockHolder } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import type { ChildProcess } from '../platform/processes.ts'
import { programPath, type Program } from '../programs.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { unknownRole } from '../config/role.ts'
import { liveHolder, statusNow, wake, type Resident } from './reach.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { masterPurpose, serverPurpose, shipperPurpose, slavePurpose } from './owner.ts'

/** Tells the processes of a server that they run in the background: their messages go to messages.log. */
export const backgroundVariable = 'HB_BACKGROUND'

const pollMs = 20
/** A log that has to be replayed takes its time. */
const startWaitMs = 600_000
/** A server that is told to stop finishes what is under way and makes a checkpoint. */
const stopWaitMs = 120_000

type BackgroundPlatform = Pick<Platform, 'disk' | 'clock' | 'localSockets' | 'processes' | 'locks'>

/** The processes that do a server's work. */
export interface Started {
  /** The one that owns log and database; null where a program does. */
  readonly server: number | null
  /** On a master the one that sends the log; null on a slave. */
  readonly shipper: number | null
  /** The program that has the master open: the server takes over when it ends. */
  readonly program: number | null
}

/** A process that a server needs, by its lock and its control socket. */
interface Place {
  readonly resident: Resident
  readonly lock: string
  /** Purposes of a lock with which the work is done. */
  readonly purposes: readonly string[]
}

function placesOf({ type }: Config, layout: Layout): readonly Place[] {
  const owners = type === 'master' ? [serverPurpose, masterPurpose] : [slavePurpose]
  const owner = { resident: 'owner', lock: layout.ownerLock, purposes: owners } as const
  return type === 'master' ? [owner, shipperPlace(layout)] : [owner]
}

function shipperPlace(layout: Layout): Place {
  return { resident: 'shipper', lock: layout.shipperLock, purposes: [shipperPurpose] }
}

/** Null when the work is not being done. A command that has the lock for a moment is not the server. */
async function workerAt(
  platform: BackgroundPlatform,
  { lock, purposes }: Place,
): Promise<LockHolder | null> {
  const holder = await liveHolder(platform, lock)
  return holder !== null && purposes.includes(holder.purpose) ? holder : null
}

/**
 * Starts what does not run of the server; resolves when it answers. Throws ERR_RUNNING when all of it runs already,
 * and the server's own error when it cannot start.
 */
export async function startServer(
  platform: BackgroundPlatform,
  directory: string,
): Promise<Started> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  const supervisor = await liveHolder(platform, layout.supervisorLock)
  if (supervisor === null || supervisor.elsewhere) await refuseRunning(platform, config, layout)
  else {
    const started = await startDead(platform, config, layout, supervisor)
    if (started !== null) return started
  }
  const { child, output } = await launch(platform, layout, 'cli/hb', ['run'])
  const started = await untilWorking(platform, config, layout, endOf(child))
  if (started !== null) {
    const owner = await liveHolder(platform, layout.supervisorLock)
    if (owner === null || owner.identity.pid === child.pid) {
      await keepOutput(platform, output, layout.supervisorOutput)
      return started
    }
    // What works was started by another command, and this one's process has not ended yet.
    await platform.disk.remove(output)
    await refuseRunning(platform, config, layout)
    return started
  }
  const error = await startError(platform, config, output)
  await platform.disk.remove(output)
  // Another command may have been faster: its server is what runs then.
  if (isHotBackupError(error, 'ERR_RUNNING')) {
    const other = await liveHolder(platform, layout.supervisorLock)
    const gone = () => other === null || !platform.processes.mayBeAlive(other.identity)
    await untilWorking(platform, config, layout, gone)
    await refuseRunning(platform, config, layout)
  }
  throw error
}

/**
 * Has the supervisor start what has died, also when it was faster: null when it has ended. Throws ERR_RUNNING when
 * nothing had died since the last start.
 */
async function startDead(
  platform: BackgroundPlatform,
  config: Config,
  layout: Layout,
  supervisor: LockHolder,
): Promise<Started | null> {
  const { disk, processes } = platform
  const died = await disk.exists(layout.diedMark)
  if (died) await disk.remove(layout.diedMark)
  wake(platform, supervisor)
  const ended = () => !processes.mayBeAlive(supervisor.identity)
  const started = await untilWorking(platform, config, layout, ended)
  if (started !== null && !died) await refuseRunning(platform, config, layout)
  return started
}

/** Those on another machine may have died there: a new process finds out. */
async function refuseRunning(
  platform: BackgroundPlatform,
  { name, type }: Config,
  layout: Layout,
): Promise<void> {
  const places = placesOf({ type } as Config, layout)
  const workers = await Promise.all(places.map(place => workerAt(platform, place)))
  const running = workers.filter(worker => worker !== null && !worker.elsewhere)
  if (running.length < places.length) return
  const own = running.find(worker => worker?.purpose !== masterPurpose)
  if (own === null || own === undefined) return
  const message = `${name} is running already: process ${own.identity.pid} (${own.purpose})`
  const hint = '"hb status" shows it; "hb reload" has it read hb.toml again.'
  throw new HotBackupError('ERR_RUNNING', message, {}, undefined, hint)
}

/** Starts what is a server's part by itself: a master's shipper, or a slave's server. Throws as `startServer`. */
export async function startPart(platform: BackgroundPlatform, directory: string): Promise<number> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  const master = config.type === 'master'
  const resident = master ? 'shipper' : 'owner'
  const program = master ? 'cli/hb-shipper' : 'cli/hb-slave'
  const { child, output } = await launch(platform, layout, program, [])
  const ended = endOf(child)
  while (!ended()) {
    const answer = await statusNow(platform, layout, resident)
    const pid = (answer?.shipper ?? answer?.slave)?.pid
    if (pid !== undefined && pid === child.pid) {
      await keepOutput(platform, output, master ? layout.shipperOutput : layout.ownerOutput)
      return pid
    }
    await sleep(platform.clock, pollMs)
  }
  const error = await startError(platform, config, output)
  await platform.disk.remove(output)
  throw error
}

async function launch(
  { disk, processes }: BackgroundPlatform,
  layout: Layout,
  program: Program,
  args: readonly string[],
): Promise<{ readonly child: ChildProcess & { pid: number | null }; readonly output: string }> {
  // Several commands may start it at once: each has to know what its own process has said.
  const output = `${layout.supervisorOutput}.${processes.self().pid}`
  await disk.makeDirectory(layout.run)
  await disk.remove(output)
  const child = processes.start(programPath(program), [...args, '-d', layout.directory], {
    detached: { outputPath: output },
    environment: { [backgroundVariable]: '1' },
  })
  return { child, output }
}

async function keepOutput(
  { disk }: BackgroundPlatform,
  output: string,
  name: string,
): Promise<void> {
  if (await disk.exists(output)) await disk.rename(output, name)
}

function endOf(child: ChildProcess): () => boolean {
  let ended = false
  void child.exited.then(() => {
    ended = true
  })
  return () => ended
}

/**
 * Resolves when all of the server works; null when its supervisor has `ended`. Throws ERR_TIMEOUT: a part that cannot
 * start is started again and again.
 */
async function untilWorking(
  platform: BackgroundPlatform,
  config: Config,
  layout: Layout,
  ended: () => boolean,
): Promise<Started | null> {
  const { clock } = platform
  const start = clock.monotonic()
  for (;;) {
    const started = await working(platform, config, layout)
    if (started !== null || ended()) return started
    if (clock.monotonic() - start > startWaitMs) {
      const message = `${config.name} does not answer after ${startWaitMs / 1000} s`
      throw new HotBackupError('ERR_TIMEOUT', message)
    }
    await sleep(clock, pollMs)
  }
}

/** Null while something does not answer yet. */
async function working(
  platform: BackgroundPlatform,
  config: Config,
  layout: Layout,
): Promise<Started | null> {
  const pids: Partial<Record<Resident, number>> = {}
  let program: number | null = null
  for (const place of placesOf(config, layout)) {
    const worker = await workerAt(platform, place)
    if (worker === null) return null
    const { pid } = worker.identity
    if (worker.purpose === masterPurpose) program = pid
    else if ((await statusNow(platform, layout, place.resident)) === null) return null
    else pids[place.resident] = pid
  }
  return { server: pids.owner ?? null, shipper: pids.shipper ?? null, program }
}

/** What the processes said last: their error, as it would have been told in the foreground. */
async function startError(
  { disk }: BackgroundPlatform,
  config: Config,
  output: string,
): Promise<HotBackupError> {
  const text = (await readFile(disk, output, 64 * KiB).catch(() => null))?.toString() ?? ''
  const lines = text.trimEnd().split('\n')
  const told = /^hb(?:-\w+)?: (ERR_\w+): (.*?)\.(?: ([A-Z].*))?$/
  const line = lines.findLast(each => told.test(each)) ?? lines.at(-1) ?? ''
  const [, word, message = '', hint] = told.exec(line) ?? []
  const code = errorCodes.find(known => known === word)
  if (code !== undefined) return new HotBackupError(code, message, {}, undefined, hint)
  const fallback: ErrorCode = 'ERR_NOT_RUNNING'
  return new HotBackupError(fallback, `${config.name} did not start: ${line || `see ${output}`}`)
}

/**
 * Stops all processes of the server. Resolves, when they have ended, with the pid of the one that owned the log, or
 * else of the shipper. Throws ERR_NOT_RUNNING, ERR_TIMEOUT.
 */
export async function stopServer(platform: BackgroundPlatform, directory: string): Promise<number> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout, unknownRole)
  const supervisor = await liveHolder(platform, layout.supervisorLock)
  const parts = await ownParts(platform, layout)
  const first = parts[0] ?? supervisor
  if (first === null || first === undefined) {
    const hint = 'There is nothing to stop; "hb status" shows its state.'
    throw new HotBackupError(
      'ERR_NOT_RUNNING',
      `${config.name} is not running`,
      {},
      undefined,
      hint,
    )
  }
  if (first.elsewhere) {
    const message = `${config.name} runs on another machine or in another container (${first.identity.host})`
    throw new HotBackupError('ERR_RUNNING', message, {}, undefined, 'Stop it there.')
  }
  if (supervisor !== null) await end(platform, [supervisor])
  await end(platform, await ownParts(platform, layout))
  return first.identity.pid
}

/** Whatever the role is: they are to end also when it is unknown. Not a program that has the master open. */
async function ownParts(platform: BackgroundPlatform, layout: Layout): Promise<LockHolder[]> {
  const purposes = [serverPurpose, slavePurpose]
  const owner = { resident: 'owner', lock: layout.ownerLock, purposes } as const
  const places = [owner, shipperPlace(layout)]
  const workers = await Promise.all(places.map(place => workerAt(platform, place)))
  return workers.filter(worker => worker !== null)
}

async function end(platform: BackgroundPlatform, holders: readonly LockHolder[]): Promise<void> {
  const { processes, clock } = platform
  for (const { identity } of holders) processes.signal(identity.pid, 'SIGTERM')
  const start = clock.monotonic()
  for (const { identity } of holders) {
    while (processes.mayBeAlive(identity)) {
      if (clock.monotonic() - start > stopWaitMs) {
        const message = `process ${identity.pid} has not ended ${stopWaitMs / 1000} s after SIGTERM`
        throw new HotBackupError('ERR_TIMEOUT', message)
      }
      await sleep(clock, pollMs)
    }
  }
}

/**
 * Runs `work` while no process of the server does anything, and has them go on behind it as what the server is then.
 * Resolves with the process that owns the log, or else the shipper; null when nothing ran.
 */
export async function standingStill<T>(
  platform: BackgroundPlatform,
  directory: string,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly pid: number | null }> {
  const layout = layoutOf(directory)
  const supervisor = await liveHolder(platform, layout.supervisorLock)
  if (supervisor === null) return alone(platform, layout, work)
  const pause = await platform.locks.acquire(layout.pauseLock, 'command', () => {})
  let result: T
  try {
    wake(platform, supervisor)
    while ((await ownParts(platform, layout)).length > 0) {
      await sleep(platform.clock, pollMs)
    }
    result = await work()
  } finally {
    await pause.release()
    wake(platform, supervisor)
  }
  const now = await loadConfig(platform.disk, layout)
  const ended = () => !platform.processes.mayBeAlive(supervisor.identity)
  const started = await untilWorking(platform, now, layout, ended)
  return { result, pid: started?.server ?? started?.shipper ?? null }
}

/** Without a supervisor: parts that were started one by one. */
async function alone<T>(
  platform: BackgroundPlatform,
  layout: Layout,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly pid: number | null }> {
  const { directory } = layout
  const ran = (await ownParts(platform, layout)).length > 0
  if (ran) await stopServer(platform, directory)
  let result: T
  try {
    result = await work()
  } catch (error) {
    // It goes on as what it was, unless it has begun: then it does not start before that is complete.
    if (ran) await startPart(platform, directory).catch(() => {})
    throw error
  }
  return { result, pid: ran ? await startPart(platform, directory) : null }
}
