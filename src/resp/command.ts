// A command: what is known of it, and what it does.
import type { Answer, Call } from './call.ts'
import type { CommandFlag, CommandGroup, CommandInfo } from './command-info.ts'
import { CommandTable } from './command-table.ts'
import type { Reply } from './reply.ts'

/**
 * Writes one reply, or throws ReplyError (what it has written is taken back). One that has to wait returns a promise;
 * the next command of its client waits for it.
 */
export type Handler = (call: Call) => void | Promise<Answer>

export interface Command extends CommandInfo {
  readonly run: Handler
  readonly subcommands: readonly Command[]
  /** Null when there are none. */
  readonly subtable: CommandTable<Command> | null
}

export interface CommandRow {
  readonly arity: number
  /** Words, separated by spaces. */
  readonly flags?: string
  readonly keys?: readonly [number, number, number]
  readonly since: string
  readonly syntax?: string
  readonly summary: string
  readonly run: Handler
}

export function command(group: CommandGroup, name: string, row: CommandRow): Command {
  const flags = (row.flags ?? '').split(' ').filter(word => word !== '')
  return {
    name,
    word: name.slice(name.indexOf('|') + 1),
    group,
    arity: row.arity,
    flags: new Set(flags as CommandFlag[]),
    keys: row.keys ?? [0, 0, 0],
    since: row.since,
    syntax: row.syntax ?? '',
    summary: row.summary,
    run: row.run,
    subcommands: [],
    subtable: null,
  }
}

/** A command that only has subcommands; their names start with its own. */
export function container(
  group: CommandGroup,
  name: string,
  row: Pick<CommandRow, 'since' | 'summary'> & { readonly flags?: string },
  subcommands: readonly Command[],
): Command {
  const run = () => {
    throw new TypeError(`${name} has subcommands only`)
  }
  const own = command(group, name, { ...row, arity: -2, syntax: 'subcommand', run })
  const help = command(group, `${name}|help`, {
    arity: 2,
    flags: 'loading stale',
    since: row.since,
    summary: 'Lists the subcommands.',
    run: ({ reply }) => writeHelp(own, all, reply),
  })
  const all = [...subcommands, help]
  return { ...own, subcommands: all, subtable: new CommandTable(all) }
}

function writeHelp(own: Command, subcommands: readonly Command[], reply: Reply): void {
  const name = own.name.toUpperCase()
  const lines = [`${name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`]
  for (const { word, syntax, summary } of subcommands) {
    lines.push(`${word.toUpperCase()} ${syntax}`.trimEnd(), `    ${summary}`)
  }
  reply.array(lines.length)
  for (const line of lines) reply.simple(line)
}
