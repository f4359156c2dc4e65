// Runs a command of the operator's for a server that is too large to start it itself (node-command.ts), and says what
// was wrong. It goes on when the server ends.
import { guardSignals } from './node-signals.ts'

guardSignals()
const { commandOrder, runCommand } = await import('./node-command.ts')

// Nobody may be left to hear it.
process.stdout.on('error', () => {})
const failure = await runCommand(...commandOrder(process.argv.slice(2)))
if (failure !== null) process.stdout.write(`${failure}\n`)
