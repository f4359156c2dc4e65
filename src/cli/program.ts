// The commands of hb(1), put together.
import { Command } from 'commander'
import { version, type Context } from './command-line.ts'
import { addDataCommands } from './data-commands.ts'
import { addLogCommands } from './log-commands.ts'
import { addServerCommands } from './server-commands.ts'
import { addTransferCommands } from './transfer-commands.ts'

export function hbProgram(context: Context): Command {
  const program = new Command('hb')
    .description('Hot backup: a slave server holds what the master holds, at any time.')
    .version(version)
    .helpCommand('help [command]', 'show the help of a command')
    .addHelpText(
      'after',
      `
A server is a directory: -d DIR, or $HB_DIR, or the current directory.
Exit status: 0 done, 1 failed, 2 wrong usage, 3 not there, 4 wrong state of the server, 5 corrupt data, 6 time-out.
"hb COMMAND --help" has examples; hb(1) has everything.`,
    )
  addServerCommands(program, context)
  addDataCommands(program, context)
  addTransferCommands(program, context)
  addLogCommands(program, context)
  return program
}
