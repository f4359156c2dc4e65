// hb setup, start, stop, reload, status, wait and apply.
import { Argument, Option, type Command } from 'commander'
import { sleep } from '../platform/clock.ts'
import type { Started } from '../control/background.ts'
import type { ServerType } from '../config/role.ts'
import { ackLevels, type AckLevel } from '../ship/ack-file.ts'
import { count } from '../text/numbers.ts'
import {
  collect,
  onOff,
  opensFirst,
  seconds,
  serverCommand,
  usageError,
  wholeNumber,
  type Context,
  type ServerOptions,
} from './command-line.ts'

type Switch = 'on' | 'off'

export function addServerCommands(program: Command, context: Context): void {
  program.addCommand(setupCommand(context))
  program.addCommand(startCommand(context))
  program.addCommand(stopCommand(context))
  program.addCommand(runCommand(context))
  program.addCommand(reloadCommand(context))
  program.addCommand(statusCommand(context))
  program.addCommand(waitCommand(context))
  program.addCommand(applyCommand(context))
}

interface SetupArguments extends ServerOptions {
  readonly type?: ServerType
  readonly name?: string
  readonly slave?: readonly string[]
  readonly listen?: string
  /** False: --no-key. */
  readonly key?: string | boolean
  readonly applyUpdates?: Switch
  readonly logSlaveUpdates?: Switch
  readonly autoCreate?: Switch
}

function setupCommand(context: Context): Command {
  const command = serverCommand(
    'setup',
    'Make a server: its directory with a commented hb.toml and, for a master, the key for its slaves. Without options, in a terminal, it asks for everything, and changes the settings of an existing server.',
    `hb setup -d /srv/north
hb setup -d /srv/north --type master --name north --slave south=192.0.2.7:2000
hb setup -d /srv/south --type slave --name south --key /root/hb.key`,
  )
    .addOption(new Option('--type <type>', 'what the server is').choices(['master', 'slave']))
    .option('--name <name>', 'name of the server: letters, digits, - and _, not beginning with -')
    .option('--slave <name=host:port>', 'a slave to send updates to (repeatable)', collect)
    .option('--listen <host:port>', 'where a slave listens for its master (default: port 2000)')
    .option('--key <file>', 'use this key; without it, a master makes one')
    .option('--no-key', 'no encryption: addresses of this machine only')
    .addOption(onOff('--apply-updates <on|off>', 'whether a slave applies updates (default: on)'))
    .addOption(
      onOff(
        '--log-slave-updates <on|off>',
        'whether a slave forwards updates (default: on if it has slaves)',
      ),
    )
    .addOption(
      onOff(
        '--auto-create <on|off>',
        'create missing accounts and files that updates need (default: off)',
      ),
    )
    .action(async (options: SetupArguments) => {
      const { dir, ...given } = options
      if (Object.values(given).every(value => value === undefined)) {
        if (context.terminal === null) {
          throw usageError('there is no terminal to ask in: --type and --name are needed')
        }
        await context.workIn(dir)
        const { setupDialogue } = await import('./setup-dialogue.ts')
        return setupDialogue(context, context.terminal, dir)
      }
      const { type, name, slave: slaves = [], listen = null } = options
      if (type === undefined) throw usageError('--type master or --type slave is needed')
      if (name === undefined) throw usageError('--name is needed')
      for (const flag of ['applyUpdates', 'logSlaveUpdates', 'autoCreate'] as const) {
        if (type === 'master' && options[flag] !== undefined) {
          throw usageError('--apply-updates, --log-slave-updates and --auto-create are for slaves')
        }
      }
      const { readGivenKey } = await import('../config/key.ts')
      const { setup } = await import('../config/setup.ts')
      const { setupLines } = await import('./setup-text.ts')
      const key =
        typeof options.key === 'string' ? await readGivenKey(context.platform, options.key) : null
      await context.workIn(dir)
      const config = await setup(context.platform, dir, {
        type,
        name,
        slaves,
        listen,
        key: options.key === false ? false : key,
        applyUpdates: options.applyUpdates !== 'off',
        logSlaveUpdates:
          type === 'slave' &&
          (options.logSlaveUpdates ?? (slaves.length > 0 ? 'on' : 'off')) === 'on',
        autoCreate: options.autoCreate === 'on',
      })
      for (const line of setupLines(config, dir)) await context.out.line(line)
    })
  return opensFirst(command)
}

function startCommand(context: Context): Command {
  return serverCommand(
    'start',
    "Start the background server: a master's shipper, or a slave's server. Returns when it is ready.",
    'hb start -d /srv/south',
  ).action(async ({ dir }: ServerOptions) => {
    const { startServer } = await import('../control/background.ts')
    const progress = context.progress()
    const waiting = context.platform.clock.after(2100, () => {
      progress.update(() => 'starting: replaying the log …')
    })
    try {
      const started = await context.untilSignal(startServer(context.platform, dir))
      progress.end()
      await context.out.line(startedText(started))
    } finally {
      waiting.cancel()
      progress.end()
    }
  })
}

/** A master has two processes, a slave one. */
function startedText({ server, shipper, program }: Started): string {
  if (server === null) {
    return `started the shipper, process ${shipper}; process ${program} has the master open, and the server takes over when it ends`
  }
  return shipper === null
    ? `started, process ${server}`
    : `started, process ${server} (server) and ${shipper} (shipper)`
}

function runCommand(context: Context): Command {
  return serverCommand(
    'run',
    'Run a server in the foreground, whatever its role, until SIGTERM or SIGINT: for a service manager. Its messages go to standard error.',
    'hb run -d /srv/north',
  ).action(async ({ dir }: ServerOptions) => {
    const { runSupervised } = await import('./run-supervised.ts')
    await runSupervised(context, dir)
  })
}

function stopCommand(context: Context): Command {
  return serverCommand(
    'stop',
    'Stop the background server cleanly. Returns when it has ended.',
    'hb stop -d /srv/south',
  ).action(async ({ dir }: ServerOptions) => {
    const { stopServer } = await import('../control/background.ts')
    const pid = await context.untilSignal(stopServer(context.platform, dir))
    await context.out.line(`stopped (pid ${pid})`)
  })
}

function reloadCommand(context: Context): Command {
  return serverCommand(
    'reload',
    'Make the running server reread hb.toml. Says which keys are in force now, and which need a restart.',
    `hb reload -d /srv/north
hb reload -d /srv/north --json`,
  )
    .option('--json', 'as JSON')
    .action(async ({ dir, json = false }: StatusArguments) => {
      const { reloadServer } = await import('../control/reload-server.ts')
      const { reloadText } = await import('../config/reload.ts')
      const reloaded = await context.untilSignal(reloadServer(context.platform, dir))
      if (json) return context.out.json({ processes: reloaded })
      for (const { pid, purpose, ...report } of reloaded) {
        await context.out.line(`process ${pid} (${purpose}): ${reloadText(report)}`)
      }
    })
}

const watchMs = 1000

function statusCommand(context: Context): Command {
  return serverCommand(
    'status',
    'Show the state of a server, running or not. Takes no lock and delays nothing.',
    `hb status -d /srv/north
hb status -d /srv/north --watch
hb status -d /srv/north --json | jq .slaves`,
  )
    .option('--json', 'as JSON')
    .option('--watch', 'again every second, until interrupted')
    .action(async ({ dir, json = false, watch = false }: StatusArguments) => {
      const { collectStatus } = await import('../report/status.ts')
      const { statusLines } = await import('./status-text.ts')
      const { out, platform } = context
      for (;;) {
        const status = await collectStatus(platform, dir)
        // A new screen for each look; a file or pipe gets one after the other.
        if (watch && out.isTerminal && !json) await out.clear()
        if (json) await out.line(JSON.stringify(status, null, watch ? 0 : 2))
        else await out.line(statusLines(status, platform.clock.now()).join('\n'))
        if (!watch) return
        await context.untilSignal(sleep(platform.clock, watchMs))
        if (!json && !out.isTerminal) await out.line('')
      }
    })
}

interface StatusArguments extends ServerOptions {
  readonly json?: boolean
  readonly watch?: boolean
}

interface WaitArguments extends ServerOptions {
  readonly slave?: string
  readonly txn?: number
  readonly level: AckLevel
  readonly timeout?: number
}

function waitCommand(context: Context): Command {
  return serverCommand(
    'wait',
    'Wait until the slaves have a transaction; on a slave, until it has it itself.',
    `hb wait -d /srv/north --timeout 60
hb wait -d /srv/north --slave south --level durable --txn 123456
hb wait -d /srv/south`,
  )
    .option('--slave <name>', 'this slave only (default: all of them)')
    .option('--txn <number>', 'transaction to wait for (default: the last one)', wholeNumber(0))
    .addOption(
      new Option('--level <level>', 'where it must be: received, stored, or applied')
        .choices(ackLevels)
        .default('applied'),
    )
    .option('--timeout <seconds>', 'give up after this time, with exit status 6', seconds)
    .action(async ({ dir, slave, txn, level, timeout }: WaitArguments) => {
      const { waitForTxn } = await import('../updates/wait.ts')
      const waiting = waitForTxn(context.platform, dir, {
        slave: slave ?? null,
        txn: txn ?? null,
        level,
        timeoutMs: timeout === undefined ? null : timeout * 1000,
      })
      const reached = await context.untilSignal(waiting)
      await context.out.line(`transaction ${count(reached)} is ${level}`)
    })
}

function applyCommand(context: Context): Command {
  return serverCommand(
    'apply',
    'Switch "apply updates" of a slave. When it is off, the database files stand still for a full save, and the log keeps receiving everything.',
    `hb apply -d /srv/south off
hb apply -d /srv/south on`,
  )
    .addArgument(
      new Argument('<on|off>', 'apply updates, or only store them').choices(['on', 'off']),
    )
    .action(async (word: Switch, { dir }: ServerOptions) => {
      const { switchApplyUpdates } = await import('../replay/apply-updates.ts')
      await context.untilSignal(switchApplyUpdates(context.platform, dir, word === 'on'))
      await context.out.line(`apply updates: ${word}`)
    })
}
