// hb-resp(7) has every command as the table of commands has it. The lists in the page are made from the table: run this
// test with HB_WRITE_MAN=1 to write them again.
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { absentCommands } from '../../src/resp/absent-commands.ts'
import { commandGroups, type CommandGroup, type CommandInfo } from '../../src/resp/command-info.ts'
import { allCommands } from '../../src/resp/commands/all.ts'
import { redisMissing, startRedis } from '../helpers/resp-servers.ts'
import { RespClient, type Value } from '../helpers/resp-client.ts'

const path = 'man/hb-resp.7'
const titles: Readonly<Record<CommandGroup, string>> = {
  connection: 'Connection',
  string: 'Strings',
  hash: 'Hashes',
  generic: 'Keys',
  transactions: 'Transactions',
  stream: 'Change feed',
  server: 'Server',
  hotbackup: 'Accounts and files',
}

/** What mdoc would take for something else. */
function escaped(text: string): string {
  return text.replace(/\\/g, '\\e').replace(/^([.'])/, '\\&$1')
}

/** Words of the syntax are arguments of macros: punctuation by itself would be taken for such. */
function item(info: CommandInfo): string[] {
  const name = info.name.toUpperCase().replace('|', ' ')
  const syntax = info.syntax === '' ? '' : ` ${info.syntax.replace(/\|/g, '\\*(Ba')}`
  return [`.It Li ${name}${syntax.replace(/([[\]])/g, '\\&$1')}`, escaped(info.summary)]
}

function commandLists(): string {
  const lines: string[] = []
  for (const group of commandGroups) {
    const found = allCommands.filter(info => info.group === group)
    lines.push(`.Ss ${titles[group]}`, '.Bl -tag -width Ds')
    for (const info of found) {
      for (const each of info.subcommands.length > 0 ? info.subcommands : [info]) {
        lines.push(...item(each))
      }
    }
    lines.push('.El')
  }
  return lines.join('\n')
}

function absentLists(): string {
  const lines = ['.Bl -tag -width Ds']
  for (const [subject, names] of absentCommands) {
    lines.push(`.It ${subject}`, `${names.join(' ').toUpperCase()}.`)
  }
  return [...lines, '.El'].join('\n')
}

const parts: Readonly<Record<string, () => string>> = {
  commands: commandLists,
  absent: absentLists,
}

t.test('the page has every command, as the table has it', async t => {
  let page = readFileSync(path, 'utf8')
  for (const [name, make] of Object.entries(parts)) {
    const pattern = new RegExp(`(\\.\\\\" ${name}: from the table\\n)[^]*?(\\.\\\\" end\\n)`)
    const written = page.replace(
      pattern,
      (_, start: string, end: string) => `${start}${make()}\n${end}`,
    )
    t.match(page, pattern, `${name} have a place`)
    if (process.env['HB_WRITE_MAN'] === undefined) t.equal(written, page, name)
    page = written
  }
  if (process.env['HB_WRITE_MAN'] !== undefined) writeFileSync(path, page)
})

t.test('every command is described', async t => {
  for (const info of allCommands.flatMap(each => [each, ...each.subcommands])) {
    t.match(info.summary, /^[A-Z].*[.?]$/, `${info.name}: a sentence`)
    t.ok(info.arity !== 0)
    const [first, last, step] = info.keys
    t.equal(first === 0, step === 0, `${info.name}: keys`)
    t.equal(first === 0, last === 0)
  }
  const names = allCommands.map(({ name }) => name)
  t.equal(new Set(names).size, names.length, 'each once')
  for (const [subject, absent] of absentCommands) {
    t.same(
      absent.filter(name => names.includes(name)),
      [],
      `${subject} are not there`,
    )
  }
})

/** Flags of Redis for what is not here: they say nothing to clients. */
const otherFlags = /^(no_async_loading|no_mandatory_keys|pubsub)$/
t.test('arity, flags and keys are those of redis-server', { skip: redisMissing() }, async t => {
  const client = await RespClient.open(await startRedis(t))
  t.teardown(() => client.close())
  const theirs = (await client.call('COMMAND')) as Value[][]
  const compare = (info: CommandInfo, theirs: readonly Value[]) => {
    const [name, arity, flags, ...keys] = theirs
    t.equal(info.arity, arity, `${String(name)}: arity`)
    const expected = (flags as string[]).filter(flag => !otherFlags.test(flag)).sort()
    t.same([...info.flags].sort(), expected, `${String(name)}: flags`)
    t.same(info.keys, keys.slice(0, 3), `${String(name)}: keys`)
  }
  for (const info of allCommands) {
    const found = theirs.find(([name]) => name === info.name)
    if (found === undefined) continue
    compare(info, found)
    for (const each of info.subcommands) {
      const sub = (found[9] as Value[][]).find(([name]) => name === each.name)
      if (sub !== undefined) compare(each, sub)
    }
  }
})
