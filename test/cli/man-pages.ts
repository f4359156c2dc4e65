// The man pages hold every command, option, key and file that there is, and have no warnings of mandoc.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import type { Command } from 'commander'
import t from 'tap'
import { Context, directoryOption, processStreams } from '../../src/cli/command-line.ts'
import { hbProgram } from '../../src/cli/program.ts'
import { replayProgram } from '../../src/cli/replay-program.ts'
import { exitCodes } from '../../src/errors.ts'
import { initialConfigText } from '../../src/config/config-text.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { statusWords } from '../../src/wire/status-words.ts'

const page = (name: string) => readFileSync(`man/${name}`, 'utf8')

/** The text of a list's entry "hb Cm …": its head and, below it, everything until the next command's. */
function entryOf(names: readonly string[]): string {
  const lines = page('hb.1').split('\n')
  const head = new RegExp(`\\.Nm hb ${names.map(name => `Cm ${name}`).join(' ')}( |$)`)
  const start = lines.findIndex(line => head.test(line.replace(/^\.It Nm/, '.Nm')))
  if (start < 0) return ''
  const length = lines
    .slice(start + 1)
    .findIndex(line => /^(\.It |)\.?Nm hb Cm |^\.Ss |^\.Sh /.test(line))
  return lines.slice(start, start + 1 + length).join('\n')
}

const program = await hbProgram(new Context(processStreams()))

t.test(
  'each command is in hb(1) with its arguments and options, and has examples in its help',
  async t => {
    const visit = (command: Command, names: readonly string[]) => {
      for (const child of command.commands) visit(child, [...names, child.name()])
      if (command.commands.length > 0) return
      const name = names.join(' ')
      const entry = entryOf(names)
      t.not(entry, '', `${name} is there`)
      for (const option of command.options) {
        if (option.long === '--dir') continue
        t.ok(entry.includes(`Fl -${option.long?.slice(2)}`), `${name} ${option.long}`)
      }
      for (const argument of command.registeredArguments) {
        const choices = argument.argChoices ?? []
        const known =
          entry.includes(`Ar ${argument.name()}`) || choices.every(word => entry.includes(word))
        t.ok(
          known || (argument.variadic && /(Op|It) Ar|Op Ar$|^\.Op Ar$/m.test(entry)),
          `${name} ${argument.name()}`,
        )
      }
      let help = ''
      command.configureOutput({ writeOut: text => (help += text) }).outputHelp()
      t.match(help, new RegExp(`Examples:\\n +.*hb ${name} `), `${name} has an example`)
    }
    visit(program, [])
  },
)

t.test('hb(1) has every status word, with its meaning and what to do', async t => {
  const section = /^\.Sh STATES$([^]*?)^\.Sh /m.exec(page('hb.1'))?.[1] ?? ''
  const entries = section.split(/^\.It /m).slice(1)
  const expected = statusWords.map(({ word, of, level, meaning, next }) => {
    const todo = next === null ? '' : ` To do: ${next}.`
    return `${word} (${of.join(' and ')}; ${level}) ${meaning}${todo}`
  })
  const found = entries.map(entry =>
    entry
      .replace(/^\.El$/m, '')
      .trim()
      // "No" alone would be a macro, and vanish from the page.
      .replace(/^\\&/, '')
      .replaceAll('\n', ' '),
  )
  t.strictSame(found, expected)
  const macros = entries.filter(entry => /^[A-Z][a-z] /.test(entry))
  t.strictSame(macros, [], 'no word of the page is taken for a macro')
})

t.test('hb-replay(1) has its options and examples', async t => {
  const replay = replayProgram(new Context(processStreams()))
  for (const { long, required } of replay.options) {
    const option = `Fl ${long?.slice(1)}${required ? ' Ar' : ''}`
    t.match(page('hb-replay.1'), new RegExp(`^\\.It .*${option}`, 'm'), option)
  }
  let help = ''
  replay.configureOutput({ writeOut: text => (help += text) }).outputHelp()
  t.match(help, /Examples:\n +hb-replay /)
})

t.test('nothing is described that there is not', async t => {
  const described = [...page('hb.1').matchAll(/\.Nm hb Cm ([\w-]+)(?: Cm (\w+))?/g)]
  const known = program.commands.map(command => command.name())
  for (const [, name, second] of described) {
    if (name === 'help') continue
    t.ok(known.includes(name ?? ''), String(name))
    if (name === 'log') {
      const log = program.commands.find(command => command.name() === 'log')
      t.ok(
        log?.commands.some(command => command.name() === second),
        `log ${second}`,
      )
    }
  }
})

t.test('exit codes, files and keys', async t => {
  const [, exits = ''] = page('hb.1').split('.Sh EXIT STATUS')
  for (const code of Object.values(exitCodes))
    t.match(exits, new RegExp(`^\\.It ${code}$`, 'm'), `exit ${code}`)

  const layout = layoutOf('/d')
  for (const path of Object.values(layout)) {
    const top = path.split('/')[2]
    if (top !== undefined) t.ok(page('hb.1').includes(`.It Pa ${top}`), top)
  }

  const text = initialConfigText({
    name: 'n',
    listen: null,
    key: true,
    slaves: [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  for (const [, key] of text.matchAll(/^(?:# )?(\w+) = /gm)) {
    t.match(page('hb.toml.5'), new RegExp(`^\\.It Ic ${key}$`, 'm'), `${key} is in hb.toml(5)`)
  }
  for (const [, table] of text.matchAll(/^(?:# )?\[+(\w+)\]+$/gm)) {
    t.match(page('hb.toml.5'), new RegExp(`^\\.Ss \\[+${table}\\]+$`, 'm'), `[${table}]`)
  }
  for (const name of ['hb-shipper.8', 'hb-slave.8']) {
    t.ok(page(name).includes(`Fl -${directoryOption().long?.slice(2)}`), name)
  }
})

const pages = ['hb.1', 'hb-replay.1', 'hb-shipper.8', 'hb-slave.8', 'hb.toml.5'].map(
  name => `man/${name}`,
)

t.test(
  'mandoc has no warnings',
  { skip: !existsSync('/usr/bin/mandoc') && 'mandoc is not there' },
  async t => {
    t.equal(
      execFileSync('mandoc', ['-T', 'lint', '-W', 'warning', ...pages], { encoding: 'utf8' }),
      '',
    )
  },
)
