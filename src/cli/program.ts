// The commands of hb(1), put together.
import { Command } from 'commander'
import { version, type Context } from './command-line.ts'
import { addDataCommands } from './data-commands.ts'
import { addFailoverCommands } from './failover-commands.ts'
import { addHelpCommand } from './help-command.ts'
import { addLogCommands } from './log-commands.ts'
import { addLostCommands } from './lost-commands.ts'
import { addSaveCommands } from './save-commands.ts'
import { addScrubCommand } from './scrub-command.ts'
import { addServerCommands } from './server-commands.ts'
import { addTransferCommands } from './transfer-commands.ts'
import { addVerifyCommand } from './verify-command.ts'
import { addViewCommands } from './view-commands.ts'

export function hbProgram(context: Context): Command {
  const program = new Command('hb')
    .description('Hot backup: a slave server holds what the master holds, at any time.')
    .version(version)
    .configureHelp({ subcommandTerm: command => `${command.name()} ${argumentsOf(command)}` })
    .addHelpText(
      'after',
      `
A server is a directory: -d DIR, or $HB_DIR, or the current directory.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 not there, 4 wrong state of the server, 5 corrupt data, 6 time-out.
"hb COMMAND --help" has examples; hb(1) has everything.`,
    )
  program.commandsGroup('Servers:')
  addServerCommands(program, context)
  addViewCommands(program, context)
  addSaveCommands(program, context)
  addScrubCommand(program, context)
  addVerifyCommand(program, context)
  program.commandsGroup('When the master dies:')
  addFailoverCommands(program, context)
  program.commandsGroup('Data:')
  addDataCommands(program, context)
  addTransferCommands(program, context)
  program.commandsGroup('The log:')
  addLogCommands(program, context)
  addLostCommands(program, context)
  program.commandsGroup('Help:')
  addHelpCommand(program, context)
  return program
}

function argumentsOf({ registeredArguments }: Command): string {
  const texts = registeredArguments.map(argument => {
    const name = argument.variadic ? `${argument.name()}...` : argument.name()
    return argument.required ? name : `[${name}]`
  })
  return texts.join(' ')
}
