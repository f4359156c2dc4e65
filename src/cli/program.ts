// The commands of hb(1), put together. Those of a part are loaded when one of them is called: loading everything would
// take longer than most commands take.
import { Command } from 'commander'
import { version } from '../programs.ts'
import { calledCommand, withCommands, type Context } from './command-line.ts'
import { addHelpCommand } from './help-command.ts'

type AddCommands = (program: Command, context: Context) => void

interface Part {
  /** Its place in the help. */
  readonly group: string
  readonly commands: readonly string[]
  readonly load: () => Promise<AddCommands>
}

const parts: readonly Part[] = [
  {
    group: 'Servers:',
    commands: ['setup', 'start', 'stop', 'run', 'reload', 'status', 'wait', 'apply'],
    load: async () => (await import('./server-commands.ts')).addServerCommands,
  },
  {
    group: 'Servers:',
    commands: ['check'],
    load: async () => (await import('./check-command.ts')).addCheckCommand,
  },
  {
    group: 'Servers:',
    commands: ['query', 'statistics', 'queue'],
    load: async () => (await import('./view-commands.ts')).addViewCommands,
  },
  {
    group: 'Servers:',
    commands: ['save', 'restore', 'seed'],
    load: async () => (await import('./save-commands.ts')).addSaveCommands,
  },
  {
    group: 'Servers:',
    commands: ['scrub'],
    load: async () => (await import('./scrub-command.ts')).addScrubCommand,
  },
  {
    group: 'Servers:',
    commands: ['verify'],
    load: async () => (await import('./verify-command.ts')).addVerifyCommand,
  },
  {
    group: 'When the master dies:',
    commands: ['promote', 'rejoin', 'switch', 'forget'],
    load: async () => (await import('./failover-commands.ts')).addFailoverCommands,
  },
  {
    group: 'Data:',
    commands: [
      'create-account',
      'delete-account',
      'create-file',
      'set-file',
      'delete-file',
      'clear-file',
      'resize-file',
      'write',
      'read',
      'delete',
      'list',
      'digest',
      'why',
    ],
    load: async () => (await import('./data-commands.ts')).addDataCommands,
  },
  {
    group: 'Data:',
    commands: ['import', 'export'],
    load: async () => (await import('./transfer-commands.ts')).addTransferCommands,
  },
  {
    group: 'Data:',
    commands: ['history'],
    load: async () => (await import('./history-command.ts')).addHistoryCommand,
  },
  {
    group: 'The log:',
    commands: ['log'],
    load: async () => (await import('./log-commands.ts')).addLogCommands,
  },
  {
    group: 'The log:',
    commands: ['lost'],
    load: async () => (await import('./lost-commands.ts')).addLostCommands,
  },
]

/**
 * With the commands of the part that `args` call; with none for the version; with all of them otherwise, for help say,
 * and for what is mistyped.
 */
export async function hbProgram(context: Context, args: readonly string[] = []): Promise<Command> {
  const program = withCommands(new Command('hb'))
    .description('Hot backup of a record database: a slave server holds what its master holds.')
    .version(version)
    .configureHelp({ subcommandTerm: command => `${command.name()} ${argumentsOf(command)}` })
    .addHelpText(
      'after',
      `
A server is a directory: -d DIR, before or after the command, or $HB_DIR, or the current directory.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 wrong state of the server, 5 corrupt data, 6 time-out.
"hb COMMAND --help" has examples; hb(1) has everything.`,
    )
  for (const { group, load } of partsFor(calledCommand(args))) {
    program.commandsGroup(group)
    const add = await load()
    add(program, context)
  }
  program.commandsGroup('Help:')
  addHelpCommand(program, context)
  return program
}

function partsFor(called: string | undefined): readonly Part[] {
  if (called === '--version' || called === '-V') return []
  const part = parts.find(({ commands }) => called !== undefined && commands.includes(called))
  return part === undefined ? parts : [part]
}

function argumentsOf({ registeredArguments }: Command): string {
  const texts = registeredArguments.map(argument => {
    const name = argument.variadic ? `${argument.name()}...` : argument.name()
    return argument.required ? name : `[${name}]`
  })
  return texts.join(' ')
}
