// COMMAND: the table of commands, for programs.
import type { Call } from '../call.ts'
import { command, container, type Command, type CommandRow } from '../command.ts'
import { arityFits, categoriesOf, keyIndexes, type CommandInfo } from '../command-info.ts'
import { globMatches } from '../glob.ts'
import type { Reply } from '../reply.ts'
import { ReplyError, syntaxError } from '../reply-error.ts'

function writeInfo(reply: Reply, info: CommandInfo): void {
  const { flags, keys, subcommands } = info
  reply.array(10)
  reply.bulkText(info.name)
  reply.integer(info.arity)
  reply.set(flags.size)
  for (const flag of flags) reply.simple(flag)
  for (const key of keys) reply.integer(key)
  const categories = categoriesOf(info)
  reply.set(categories.length)
  for (const category of categories) reply.simple(category)
  reply.array(0) // tips
  reply.array(0) // key specifications: first, last and step say it
  reply.array(subcommands.length)
  for (const subcommand of subcommands) writeInfo(reply, subcommand)
}

/** The command of that name, subcommands included; undefined when there is none. */
function named({ context }: Call, name: string): CommandInfo | undefined {
  const [word = '', rest] = name.toLowerCase().split('|', 2)
  const found = context.table.named(word)
  if (rest === undefined) return found
  return found?.subcommands.find(subcommand => subcommand.word === rest)
}

function all({ context, reply }: Call): void {
  const { commands } = context.table
  reply.array(commands.length)
  for (const each of commands) writeInfo(reply, each)
}

function info(call: Call): void {
  const { request, reply } = call
  if (request.count === 2) return all(call)
  reply.array(request.count - 2)
  for (let index = 2; index < request.count; index++) {
    const found = named(call, request.text(index))
    if (found === undefined) reply.nil()
    else writeInfo(reply, found)
  }
}

function writeDocs(reply: Reply, info: CommandInfo): void {
  const { subcommands, syntax } = info
  const texts: [string, string][] = [
    ['summary', info.summary],
    ['since', info.since],
    ['group', info.group],
  ]
  if (syntax !== '') texts.push(['syntax', `${info.name.toUpperCase()} ${syntax}`])
  reply.map(texts.length + (subcommands.length > 0 ? 1 : 0))
  for (const [key, value] of texts) {
    reply.bulkText(key)
    reply.bulkUtf8(value)
  }
  if (subcommands.length === 0) return
  reply.bulkText('subcommands')
  reply.map(subcommands.length)
  for (const subcommand of subcommands) {
    reply.bulkText(subcommand.name)
    writeDocs(reply, subcommand)
  }
}

function docs(call: Call): void {
  const { context, request, reply } = call
  const wanted =
    request.count === 2
      ? context.table.commands
      : Array.from({ length: request.count - 2 }, (_, index) =>
          named(call, request.text(index + 2)),
        ).filter(found => found !== undefined)
  reply.map(wanted.length)
  for (const each of wanted) {
    reply.bulkText(each.name)
    writeDocs(reply, each)
  }
}

function list({ context, request, reply }: Call): void {
  const everyName = context.table.commands.flatMap(each => [each, ...each.subcommands])
  let found: readonly CommandInfo[] = everyName
  if (request.count > 2) {
    if (request.count !== 5 || !request.is(2, 'filterby')) throw new ReplyError(syntaxError)
    if (request.is(3, 'pattern')) {
      const pattern = Buffer.from(request.latin1(4).toLowerCase(), 'latin1')
      found = everyName.filter(({ name }) => {
        const bytes = Buffer.from(name)
        return globMatches(pattern, bytes, 0, bytes.length)
      })
    } else if (request.is(3, 'aclcat')) {
      const category = `@${request.text(4).toLowerCase()}`
      found = everyName.filter(each => categoriesOf(each).includes(category))
    } else if (request.is(3, 'module')) found = []
    else throw new ReplyError(syntaxError)
  }
  reply.array(found.length)
  for (const { name } of found) reply.bulkText(name)
}

function getkeys(call: Call): void {
  const { request, reply } = call
  let found = named(call, request.text(2))
  const count = request.count - 2
  if (found !== undefined && found.subcommands.length > 0 && count > 1) {
    found = named(call, `${found.name}|${request.text(3)}`) ?? found
  }
  if (found === undefined) throw new ReplyError('ERR Invalid command specified')
  const indexes = keyIndexes(found, count)
  if (found.keys[0] === 0) throw new ReplyError('ERR The command has no key arguments')
  if (!arityFits(found.arity, count)) {
    throw new ReplyError('ERR Invalid number of arguments specified for command')
  }
  reply.array(indexes.length)
  for (const index of indexes) reply.bulk(request.arg(index + 2))
}

function sub(name: string, rest: Omit<CommandRow, 'flags'>): Command {
  return command('server', `command|${name}`, { ...rest, flags: 'loading stale' })
}

const subcommands = [
  sub('count', {
    arity: 2,
    since: '2.8.13',
    summary: 'Counts the commands.',
    run: ({ context, reply }) => reply.integer(context.table.commands.length),
  }),
  sub('docs', {
    arity: -2,
    since: '7.0.0',
    syntax: '[command-name [command-name ...]]',
    summary: 'Says what commands do.',
    run: docs,
  }),
  sub('getkeys', {
    arity: -4,
    since: '2.8.13',
    syntax: 'command [arg ...]',
    summary: 'Says which arguments of a command are keys.',
    run: getkeys,
  }),
  sub('info', {
    arity: -2,
    since: '2.8.13',
    syntax: '[command-name [command-name ...]]',
    summary: 'Returns arity, flags and keys of commands.',
    run: info,
  }),
  sub('list', {
    arity: -2,
    since: '7.0.0',
    syntax: '[FILTERBY PATTERN pattern | ACLCAT category | MODULE module]',
    summary: 'Returns the names of commands.',
    run: list,
  }),
]

/** Without a subcommand it lists them all. */
export const commandCommand: Command = {
  ...container(
    'server',
    'command',
    { since: '2.8.13', flags: 'loading stale', summary: 'The table of commands.' },
    subcommands,
  ),
  arity: -1,
  run: all,
}
