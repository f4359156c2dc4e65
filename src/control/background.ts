// Starts and stops the server in the background: a process of its own, which goes on when the command ends.
import { errorCodes, HotBackupError, type ErrorCode } from '../errors.ts'
import { KiB } from '../limits.ts'
import { readFile } from '../platform/atomic-file.ts'
import { sleep } from '../platform/clock.ts'
import type { LockHolder } from '../platform/locks.ts'
import type { Platform } from '../platform/platform.ts'
import { programPath, type Program } from '../programs.ts'
import { loadConfig, type Config } from '../config/config.ts'
import { askNow, liveHolder, type Resident } from './reach.ts'
import { layoutOf, type Layout } from '../config/layout.ts'
import { shipperPurpose, slavePurpose } from './owner.ts'

/** Tells hb-shipper and hb-slave that they run in the background: their messages go to messages.log. */
export const backgroundVariable = 'HB_BACKGROUND'

const pollMs = 20
/** A server that is told to stop finishes what is under way and makes a checkpoint. */
const stopWaitMs = 120_000

type BackgroundPlatform = Pick<Platform, 'disk' | 'clock' | 'localSockets' | 'processes' | 'locks'>

/** The process that "hb start" starts. */
interface Service {
  readonly config: Config
  readonly layout: Layout
  readonly program: Program
  readonly lock: string
  readonly resident: Resident
  readonly output: string
}

async function serviceOf(platform: BackgroundPlatform, directory: string): Promise<Service> {
  const layout = layoutOf(directory)
  const config = await loadConfig(platform.disk, layout)
  return config.type === 'master'
    ? {
        config,
        layout,
        program: 'cli/hb-shipper',
        lock: layout.shipperLock,
        resident: 'shipper',
        output: layout.shipperOutput,
      }
    : {
        config,
        layout,
        program: 'cli/hb-slave',
        lock: layout.ownerLock,
        resident: 'owner',
        output: layout.ownerOutput,
      }
}

/**
 * Resolves with the pid when the server answers. Throws ERR_RUNNING when it runs already, and the server's own
 * error when it cannot start.
 */
export async function startServer(
  platform: BackgroundPlatform,
  directory: string,
): Promise<number> {
  const service = await serviceOf(platform, directory)
  const { config, layout, lock, resident } = service
  // Several commands may start it at once: each has to know what its own process has said.
  const output = `${service.output}.${platform.processes.self().pid}`
  const holder = await liveHolder(platform, lock)
  // One on another machine may have died there: the new process finds out.
  if (holder !== null && !holder.elsewhere) throw alreadyRunning(config, holder)
  await platform.disk.makeDirectory(layout.run)
  await platform.disk.remove(output)
  const child = platform.processes.start(programPath(service.program), ['-d', layout.directory], {
    detached: { outputPath: output },
    environment: { [backgroundVariable]: '1' },
  })
  let exited = false
  void child.exited.then(() => {
    exited = true
  })
  while (!exited) {
    const answer = (await askNow(platform, layout, resident)) as { readonly pid?: number } | null
    if (answer?.pid === child.pid) {
      if (await platform.disk.exists(output)) await platform.disk.rename(output, service.output)
      return child.pid
    }
    await sleep(platform.clock, pollMs)
  }
  const error = await startError(platform, config, output)
  await platform.disk.remove(output)
  const other = await liveHolder(platform, lock)
  throw other === null || other.elsewhere ? error : alreadyRunning(config, other)
}

function alreadyRunning({ name }: Config, { identity, purpose }: LockHolder): HotBackupError {
  const message = `${name} is running already: process ${identity.pid} (${purpose})`
  return new HotBackupError('ERR_RUNNING', message)
}

/** What the process said last: its error, as it would have been told in the foreground. */
async function startError(
  { disk }: BackgroundPlatform,
  config: Config,
  output: string,
): Promise<HotBackupError> {
  const text = (await readFile(disk, output, 64 * KiB).catch(() => null))?.toString() ?? ''
  const line = text.trimEnd().split('\n').at(-1) ?? ''
  const told = /^hb-\w+: (ERR_\w+): (.*?)\.(?: [A-Z].*)?$/.exec(line)
  const code = errorCodes.find(known => known === told?.[1])
  if (code !== undefined) return new HotBackupError(code, told?.[2] ?? '')
  const fallback: ErrorCode = 'ERR_NOT_RUNNING'
  return new HotBackupError(fallback, `${config.name} did not start: ${line || `see ${output}`}`)
}

/** Resolves with its pid when the server has ended. Throws ERR_NOT_RUNNING, ERR_TIMEOUT. */
export async function stopServer(platform: BackgroundPlatform, directory: string): Promise<number> {
  const { config, lock } = await serviceOf(platform, directory)
  const { processes, clock } = platform
  const holder = await liveHolder(platform, lock)
  if (holder === null) throw notRunning(config)
  const { identity, purpose, elsewhere } = holder
  // A command that has the lock for a moment is not the server.
  if (purpose !== slavePurpose && purpose !== shipperPurpose) throw notRunning(config)
  if (elsewhere) {
    const message = `${config.name} runs on another machine or in another container (${identity.host})`
    throw new HotBackupError('ERR_RUNNING', message, {}, undefined, 'Stop it there.')
  }
  if (!processes.signal(identity.pid, 'SIGTERM')) throw notRunning(config)
  const start = clock.monotonic()
  while (processes.mayBeAlive(identity)) {
    if (clock.monotonic() - start > stopWaitMs) {
      const message = `process ${identity.pid} has not ended ${stopWaitMs / 1000} s after SIGTERM`
      throw new HotBackupError('ERR_TIMEOUT', message)
    }
    await sleep(clock, pollMs)
  }
  return identity.pid
}

function notRunning({ name }: Config): HotBackupError {
  return new HotBackupError('ERR_NOT_RUNNING', `${name} is not running`)
}
