// Asking before data is removed: only a person at a terminal is asked; without one the command runs as given.
import { createInterface } from 'node:readline'
import { Option } from 'commander'
import { Refused, type Context, type Terminal } from './command-line.ts'
import { harmlessLine } from '../text/harmless-text.ts'

export function yesOption(): Option {
  return new Option('--yes', 'do not ask for confirmation in a terminal')
}

/** `question` is looked up only where it is asked. Throws Refused unless the answer is yes. */
export async function confirmRemoval(
  context: Context,
  yes: boolean | undefined,
  question: () => Promise<string>,
): Promise<void> {
  const { terminal } = context
  if (terminal === null || yes === true) return
  const answer = await context.untilSignal(ask(terminal, await question()))
  if (!/^y(es)?$/i.test(answer.trim())) throw new Refused('nothing was removed')
}

/** One line; empty when the input ends without one. The terminal stays as it is, so Ctrl-C is a signal as ever. */
function ask({ input, output }: Terminal, question: string): Promise<string> {
  const lines = createInterface({ input, output, terminal: false })
  return new Promise(resolve => {
    lines.once('line', line => {
      resolve(line)
      lines.close()
    })
    lines.once('close', () => resolve(''))
    output.write(`${harmlessLine(question)} [y/N] `)
  })
}
