// hb help: a command's place in hb(1), rendered by what the system has for man pages; without that, what --help shows.
import { Command } from 'commander'
import type { Platform } from '../platform/platform.ts'
import { manualPaths } from '../programs.ts'
import { usageError, withExamples, type Context } from './command-line.ts'

export function addHelpCommand(program: Command, context: Context): void {
  const command = new Command('help')
    .description('Show what the manual says about a command.')
    .argument('[command...]', 'as it is typed')
    .action(async (names: readonly string[]) => {
      const asked = commandOf(program, names)
      const text = asked === program ? null : await manualOf(context.platform, names)
      if (text === null) asked.outputHelp()
      else await context.out.write(text)
    })
  program.helpCommand(false).addCommand(withExamples(command, 'hb help setup\nhb help log dump'))
}

function commandOf(program: Command, names: readonly string[]): Command {
  let found = program
  for (const name of names) {
    const next = found.commands.find(command => command.name() === name)
    if (next === undefined) throw usageError(`unknown command "${names.join(' ')}"`)
    found = next
  }
  return found
}

/** Null when there is no page, or nothing to render it. */
async function manualOf(
  { disk, processes }: Pick<Platform, 'disk' | 'processes'>,
  names: readonly string[],
): Promise<string | null> {
  for (const page of manualPaths) {
    if (!(await disk.exists(page))) continue
    const rendered =
      (await processes.output('mandoc', ['-T', 'utf8', page])) ??
      (await processes.output('man', ['--local-file', '--pager=cat', page]))
    if (rendered === null) return null
    return entriesOf(rendered, `hb ${names.join(' ')}`)
  }
  return null
}

/** A letter is made bold by writing it twice, with this between. */
const overstrike = new RegExp('.[\\b]', 'gu')

/** The entries of a rendered page whose heads begin so, in plain letters; null when there are none. */
export function entriesOf(rendered: string, head: string): string | null {
  const lines = rendered.replaceAll(overstrike, '').split('\n')
  const indent = (line: string) => /^ */.exec(line)?.[0].length ?? 0
  const found: string[] = []
  let inside: number | null = null
  for (const line of lines.slice(lines.indexOf('DESCRIPTION'))) {
    const text = line.trim()
    if (text !== '' && inside !== null && indent(line) <= inside) inside = null
    const begins = text === head || text.startsWith(`${head} `)
    if (inside === null && begins && indent(line) > 0) inside = indent(line)
    if (inside !== null) found.push(line.slice(inside))
  }
  return found.length === 0 ? null : `${found.join('\n').trimEnd()}\n`
}
