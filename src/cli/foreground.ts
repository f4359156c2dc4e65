// A server in the foreground, for a service manager and for "hb start": starts it, and stops it cleanly on a signal.
// Its messages go to standard error, or to messages.log when "hb start" has started it.
import { Command } from 'commander'
import { type AlarmPolicy } from '../config/policies.ts'
import { isHotBackupError, type HotBackupError } from '../errors.ts'
import { openLineFile } from '../platform/node-line-file.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { version } from '../programs.ts'
import type { Platform } from '../platform/platform.ts'
import { Alarm } from '../report/alarm.ts'
import { backgroundVariable } from '../control/background.ts'
import { loadConfig } from '../config/config.ts'
import type { LiveConfig } from '../config/live-config.ts'
import { FollowWatch, type Follower } from '../report/follow-watch.ts'
import { layoutOf } from '../config/layout.ts'
import { MessagesLog, type Log } from '../config/messages-log.ts'
import { openAgain } from '../control/owner.ts'
import { reload } from '../config/reload.ts'
import { partVariable, stoppedExitCode } from '../control/supervisor.ts'
import {
  Context,
  directoryOption,
  errorText,
  execute,
  processStreams,
  tell,
  withExamples,
  type ServerOptions,
} from './command-line.ts'
import { watchSignals } from './server-signals.ts'

interface RunningServer {
  /** `goesOn`: the process starts it again at once. */
  stop(goesOn: boolean): Promise<void>
  /** What of hb.toml is in force. */
  readonly config: LiveConfig
  /** Who follows whom here, for the alarm. */
  following(): Follower[]
  /** Resolves when the server has become a master, or could not: then it must be stopped. */
  readonly promoted?: Promise<HotBackupError | null>
  /** Resolves when a copy of the master's database has come: the server must be stopped and started anew. */
  readonly reseeded?: Promise<void>
  /** Resolves when it must be stopped and started again. */
  readonly reopen?: Promise<void>
}

/** Starts a server; `lost` is called when the process must end. */
type Start = (
  platform: Platform,
  directory: string,
  say: Log,
  lost: (error: HotBackupError) => void,
) => Promise<RunningServer>

/** `successor`: what the process goes on as when the server has become a master, and the word for it. */
export async function runServer(
  name: string,
  description: string,
  start: Start,
  successor: Start = start,
  as: 'the shipper' | 'the server' = 'the shipper',
): Promise<never> {
  const context = new Context(processStreams())
  const program = withExamples(new Command(name), `${name} -d /srv/north`)
    .description(description)
    .version(version)
    .addOption(directoryOption())
    .action(({ dir }: ServerOptions) => serve(name, dir, [start, successor, as], context))
  process.exit(await execute(program, context))
}

async function serve(
  name: string,
  directory: string,
  [start, successor, as]: readonly [Start, Start, string],
  context: Context,
): Promise<void> {
  const layout = layoutOf(directory)
  const config = await loadConfig(nodePlatform.disk, layout)
  const background = process.env[backgroundVariable] !== undefined
  const messages = background
    ? MessagesLog.toFile(openLineFile, layout.messages)
    : MessagesLog.toPeople(line => context.tell(line))
  const current: { server: RunningServer | null } = { server: null }
  const policy = () => (current.server?.config ?? config).alarm
  const prepare = preparation(policy)
  // As long as the process is small, and for as long as it lives.
  prepare()
  const alarm = new Alarm(nodePlatform, layout, config.name, policy, messages.log)
  const { say } = alarm
  const following = () => current.server?.following() ?? null
  const follow = new FollowWatch(nodePlatform.clock, say, () => policy().afterMs, following)
  const close = () => {
    follow.stop()
    alarm.end()
    messages.release()
  }
  const signals = watchSignals()
  let readAgain = false
  const hungUp = () => {
    messages.release()
    const { server } = current
    // While it starts it may have read hb.toml already.
    readAgain = server === null
    if (server !== null) void readConfigAgain(server, say)
  }
  signals.onHangUp(hungUp)
  const ended: { error: HotBackupError | null } = { error: null }
  let lose: (reason: 'lost') => void = () => {}
  const lost = new Promise<'lost'>(resolve => {
    lose = resolve
  })
  const begin = async (how: Start): Promise<RunningServer> => {
    try {
      const starting = how(nodePlatform, layout.directory, say, error => {
        ended.error = error
        lose('lost')
      })
      const reason = await Promise.race([signals.end, lost, starting])
      if (typeof reason === 'string' && reason !== 'lost') {
        // A start may take long, and wait for others; breaking it off is a crash, for which each of its steps is made.
        say('info', `${name} stops while it starts`, { reason })
        close()
        process.exit(0)
      }
      const server = await starting
      server.config.onChange(prepare)
      current.server = server
      if (readAgain) hungUp()
      return server
    } catch (error) {
      if (background) say('error', `${name} did not start: ${String(error)}`)
      close()
      throw error
    }
  }
  const end = (server: RunningServer, goesOn: boolean): Promise<void> => {
    current.server = null
    return server.stop(goesOn)
  }
  let server = await begin(start)
  say('info', `${name} is ready`, { pid: process.pid })
  tellSupervisor()
  const next = () =>
    Promise.race([
      signals.end,
      lost,
      promotionOf(server, ended),
      reseedingOf(server),
      reopeningOf(server),
    ])
  let reason = await next()
  while (reason === 'reseeded' || reason === 'reopen') {
    // What it holds is given up: that it could not be closed well does not matter.
    await end(server, true).catch((error: unknown) => say('warn', `closing: ${String(error)}`))
    server = await begin((...args) => openAgain(nodePlatform, layout, () => start(...args)))
    say('info', `${name} is ready again`, { pid: process.pid })
    reason = await next()
  }
  if (reason === 'promoted') {
    await end(server, ended.error === null)
    if (ended.error !== null) {
      say('error', errorText(ended.error))
      close()
      throw ended.error
    }
    server = await begin(successor)
    say('info', `${name} goes on as ${as} of a master`, { pid: process.pid })
    tellSupervisor()
    reason = await Promise.race([signals.end, lost])
  }
  if (reason === 'lost' && ended.error !== null) {
    // Somebody else may own the directory by now, or its disk has failed: write nothing more into it.
    say('error', errorText(ended.error))
    alarm.end()
    const code = tell(name, ended.error, context)
    process.exit(ended.error.code === 'ERR_STOPPED' ? stoppedExitCode : code)
  }
  say('info', `${name} stops`, { reason })
  await end(server, false)
  say('info', `${name} has stopped`)
  close()
}

/** It waits for its parts to be ready, and looks at the server's role then. */
function tellSupervisor(): void {
  if (process.env[partVariable] !== undefined) process.stdout.write('ready\n')
}

/** Prepares, once, for the command of [alarm], as soon as there is one. */
function preparation(policy: () => AlarmPolicy): () => void {
  let prepared = false
  return () => {
    if (prepared || policy().command === null) return
    prepared = true
    nodePlatform.processes.prepare()
  }
}

async function readConfigAgain({ config }: RunningServer, say: Log): Promise<void> {
  try {
    await reload(config, say)
  } catch (error) {
    // It was said, unless it is a fault of the program.
    if (!isHotBackupError(error)) say('error', `hb.toml was not read again: ${String(error)}`)
  }
}

async function reseedingOf({ reseeded }: RunningServer): Promise<'reseeded'> {
  await (reseeded ?? new Promise<void>(() => {}))
  return 'reseeded'
}

async function promotionOf(
  { promoted }: RunningServer,
  ended: { error: HotBackupError | null },
): Promise<'promoted'> {
  const error = await (promoted ?? new Promise<null>(() => {}))
  ended.error ??= error
  return 'promoted'
}

async function reopeningOf({ reopen }: RunningServer): Promise<'reopen'> {
  await (reopen ?? new Promise<void>(() => {}))
  return 'reopen'
}
