// A server in the foreground, for a service manager and for "hb start": starts it, and stops it cleanly on SIGTERM
// or SIGINT. Its messages go to standard error, or to messages.log when "hb start" has started it.
import { Command } from 'commander'
import type { HotBackupError } from '../errors.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Platform } from '../platform/platform.ts'
import { backgroundVariable } from '../server/background.ts'
import { loadConfig } from '../server/config.ts'
import { layoutOf } from '../server/layout.ts'
import { MessagesLog, type Log } from '../server/messages-log.ts'
import {
  Context,
  directoryOption,
  errorText,
  execute,
  processStreams,
  tell,
  version,
  withExamples,
  type ServerOptions,
} from './command-line.ts'

interface RunningServer {
  stop(): Promise<void>
}

/** Starts a server; `lost` is called when the process must end. */
type Start = (
  platform: Platform,
  directory: string,
  say: Log,
  lost: (error: HotBackupError) => void,
) => Promise<RunningServer>

export async function runServer(name: string, description: string, start: Start): Promise<never> {
  const context = new Context(processStreams())
  const program = withExamples(new Command(name), `${name} -d /srv/north`)
    .description(description)
    .version(version)
    .addOption(directoryOption())
    .action(({ dir }: ServerOptions) => serve(name, dir, start, context))
  process.exit(await execute(program, context))
}

async function serve(
  name: string,
  directory: string,
  start: Start,
  context: Context,
): Promise<void> {
  const layout = layoutOf(directory)
  await loadConfig(nodePlatform.disk, layout)
  const background = process.env[backgroundVariable] !== undefined
  const messages = background
    ? MessagesLog.toFile(nodePlatform.disk, layout.messages)
    : MessagesLog.toPeople(line => context.tell(line))
  const { log: say } = messages
  const signals = watchSignals()
  const lost: { error: HotBackupError | null } = { error: null }
  let server: RunningServer
  try {
    server = await start(nodePlatform, layout.directory, say, error => {
      lost.error = error
      signals.resolve('lost')
    })
  } catch (error) {
    if (background) say('error', `${name} did not start: ${String(error)}`)
    await messages.close()
    throw error
  }
  say('info', `${name} is ready`, { pid: process.pid })
  const reason = await signals.came
  if (reason === 'lost' && lost.error !== null) {
    // Somebody else may own the directory by now: write nothing more into it.
    say('error', errorText(lost.error))
    process.exit(tell(name, lost.error, context))
  }
  say('info', `${name} stops`, { reason })
  await server.stop()
  say('info', `${name} has stopped`)
  await messages.close()
}

type Reason = 'SIGTERM' | 'SIGINT' | 'lost'

function watchSignals(): { came: Promise<Reason>; resolve: (reason: Reason) => void } {
  let resolve: (reason: Reason) => void = () => {}
  const came = new Promise<Reason>(resolver => {
    resolve = resolver
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => resolve(signal))
  return { came, resolve }
}
