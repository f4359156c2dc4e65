// Setup Server as a dialogue: somebody types, and waits for what the screen shows.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import { stripVTControlCharacters } from 'node:util'
import t, { type Test } from 'tap'
import { Context, execute } from '../../src/cli/command-line.ts'
import { hbProgram } from '../../src/cli/program.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { parseConfig } from '../../src/config/config.ts'
import { decodeRole, encodeRole, newRole } from '../../src/config/role.ts'
import { SetupDraft } from '../../src/config/setup-draft.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { hb, ok, temporaryDirectory } from '../helpers/servers.ts'

const keys = { enter: '\r', down: '\u001b[B', up: '\u001b[A', escape: '\u001b', leave: '\u0003' }
const clear = '\u0015'

/** What has been written to a terminal, and somebody who waits for more of it. */
class Screen {
  #text = ''
  #seen = 0
  #changed: () => void = () => {}

  readonly output = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      this.#text += stripVTControlCharacters(chunk.toString())
      this.#changed()
      done()
    },
  })

  /** Waits until this is shown, behind what was waited for before. */
  async shows(text: string): Promise<void> {
    for (;;) {
      const at = this.#text.indexOf(text, this.#seen)
      if (at >= 0) {
        this.#seen = at + text.length
        return
      }
      await new Promise<void>(resolve => {
        this.#changed = resolve
      })
    }
  }
}

interface Typist {
  readonly screen: Screen
  /** Types, then waits for what is shown. */
  type(text: string, ...shown: string[]): Promise<void>
}

/** The exit code of `hb setup` in a terminal in which `script` types. */
async function setup(directory: string, script: (typist: Typist) => Promise<void>) {
  const input = new PassThrough()
  const screen = new Screen()
  const output = Object.assign(screen.output, { columns: 200, rows: 60 })
  let stderr = ''
  const context = new Context({
    stdin: Readable.from([]),
    stdout: screen.output,
    stderr: { write: text => (stderr += text) },
    terminal: { input, output },
  })
  const code = execute(await hbProgram(context), context, ['setup', '-d', directory])
  await script({
    screen,
    async type(text, ...shown) {
      input.write(text)
      for (const each of shown) await screen.shows(each)
    },
  })
  return { code: await code, stderr }
}

function configOf(directory: string) {
  const layout = layoutOf(directory)
  const role = decodeRole(readFileSync(layout.role, 'utf8'))
  return parseConfig(readFileSync(layout.config, 'utf8'), layout, role!)
}

t.test('a master and its slave, answer by answer', async t => {
  const root = temporaryDirectory(t)
  const [north, south] = [path.join(root, 'north'), path.join(root, 'south')]
  const master = await setup(north, async ({ screen, type }) => {
    await screen.shows('a new server in')
    await screen.shows('master (applications write')
    await type(keys.enter, 'Server name', 'north')
    await type(
      ' x',
      'expected 1 to 32 letters, digits, - and _, and does not begin with -, got "north x"',
    )
    await type(`${clear}alpha${keys.enter}`, 'Key', 'make a new key')
    await type(keys.enter, 'Listen address', '*:2000')
    await type(keys.enter, 'Slaves', 'NAME=HOST:PORT')
    await type(
      'beta=192.0.2.7:99',
      'expected HOST:PORT or [IPv6]:PORT with a port from 1024 to 65535, got "192.0',
    )
    await type(`${clear}alpha=192.0.2.7`, 'the name alpha is taken already')
    await type(`${clear}beta = 192.0.2.7, far=[::1]:3000${keys.enter}`, 'Make the server')
    await type(keys.down.repeat(5), 'Notify')
    await type(keys.enter, 'A command that gets errors')
    await type(`mail -s "it's hb" ops${keys.enter}`, 'Make the server', 'it\'s hb" ops')
    await type(keys.up.repeat(5) + keys.enter, 'alpha is a master now', 'Next', 'Done.')
  })
  t.strictSame(master, { code: 0, stderr: '' })
  t.match(configOf(north), {
    name: 'alpha',
    type: 'master',
    link: { keyPath: path.join(north, 'hb.key') },
    alarm: { command: 'mail -s "it\'s hb" ops' },
    slaves: [
      { name: 'beta', address: { host: '192.0.2.7', port: 2000 } },
      { name: 'far', address: { host: '::1', port: 3000 } },
    ],
  })
  t.match(readdirSync(north).sort(), ['hb.key', 'hb.toml', 'role', 'run', 'server.id', 'slaves'])

  const key = path.join(north, 'hb.key')
  const slave = await setup(south, async ({ screen, type }) => {
    await screen.shows('master (applications write')
    await type(keys.down, 'slave (it holds')
    await type(keys.enter, 'Server name')
    await type(keys.escape, 'slave (it holds')
    await type(keys.enter, 'Server name')
    await type(keys.enter, 'Key', "copy the master's key")
    await type(keys.enter, 'Key file')
    await type(`${root}/none${keys.enter}`, 'none does not exist')
    await type(clear + key + keys.enter, 'Listen address', '*:2000')
    await type(`${clear}0.0.0.0:2001${keys.enter}`, 'Apply updates')
    await type(keys.down + keys.enter, 'Auto-create')
    await type(keys.up + keys.enter, 'Log slave updates')
    await type(keys.enter, 'NAME=HOST:PORT')
    await type(keys.enter, 'Make the server', 'Apply delay')
    await type(keys.enter, 'south is a slave now', 'enter south among its slaves', 'Done.')
  })
  t.strictSame(slave, { code: 0, stderr: '' })
  t.match(configOf(south), {
    name: 'south',
    link: { listen: { host: '0.0.0.0', port: 2001 } },
    slave: { applyUpdates: false, autoCreate: true, logSlaveUpdates: false },
  })
  t.equal(readFileSync(path.join(south, 'hb.key'), 'utf8'), readFileSync(key, 'utf8'))
})

t.test('whoever leaves leaves nothing behind', async t => {
  const directory = path.join(temporaryDirectory(t), 'north')
  const left = await setup(directory, async ({ screen, type }) => {
    await screen.shows('master (applications write')
    await type(keys.enter, 'Server name')
    await type(keys.enter, 'make a new key')
    await type(keys.leave)
  })
  t.strictSame(left, { code: 130, stderr: '' })
  const back = await setup(directory, async ({ screen, type }) => {
    await screen.shows('master (applications write')
    await type(keys.enter, 'Server name')
    await type(keys.escape, 'master (applications write')
    await type(keys.escape, 'Nothing has been made.')
  })
  t.strictSame(back, { code: 0, stderr: '' })
  t.notOk(existsSync(directory))

  const nobody = await hb('setup', '-d', directory)
  t.match(nobody, { code: 2, stderr: /ERR_USAGE: there is no terminal to ask in: --type and/ })
})

t.test('a server that is there is shown and changed, and its comments stay', async t => {
  const directory = temporaryDirectory(t)
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'north', '--slave', 'a=10.0.0.1')
  const file = path.join(directory, 'hb.toml')
  const before = `# ours\n${readFileSync(file, 'utf8')}`.replace(
    'address = "10.0.0.1"',
    'address = "10.0.0.1" # upstairs',
  )
  writeFileSync(file, before)
  const looked = await setup(directory, async ({ screen, type }) => {
    await screen.shows('the settings of a server in')
    await screen.shows('Write hb.toml')
    await type(keys.enter, 'Nothing has been changed.')
  })
  t.strictSame(looked, { code: 0, stderr: '' })
  t.equal(readFileSync(file, 'utf8'), before)

  const changed = await setup(directory, async ({ screen, type }) => {
    await screen.shows('a=10.0.0.1')
    await type(keys.down.repeat(4), 'NAME=HOST:PORT')
    await type(keys.enter, 'Slaves')
    await type(`, b=10.0.0.2:4000${keys.enter}`, 'Write hb.toml', 'b=10.0.0.2:4000')
    await type(keys.down.repeat(4), 'How often each side')
    await type(keys.enter, 'Check period')
    // Too long for the time-out, which has to follow.
    await type(`${clear}20s${keys.enter}`, 'link.timeout: expected at least twice', 'Silence')
    await type(keys.enter, 'Silence allowed')
    await type(`${clear}30s`, 'expected at least twice link.heartbeat')
    await type(`${clear}1min${keys.enter}`, 'Write hb.toml', '1min')
    await type(keys.up.repeat(9) + keys.enter, 'has been changed.', 'Done.')
  })
  t.strictSame(changed, { code: 0, stderr: '' })
  const after = readFileSync(file, 'utf8')
  t.equal(
    after,
    `${before
      .replace('# heartbeat = "5s"', 'heartbeat = "20s"')
      .replace(
        '# timeout = "30s"',
        'timeout = "1min"',
      )}\n[[slaves]]\nname = "b"\naddress = "10.0.0.2:4000"\n`,
  )
})

t.test('every setting: what is shown can be given; what cannot be kept is said', async t => {
  const root = temporaryDirectory(t)
  for (const type of ['master', 'slave'] as const) {
    const draft = await SetupDraft.open(nodePlatform, path.join(root, type))
    draft.setType(type)
    for (const field of draft.fields()) {
      if (field.kind === 'secret') continue
      t.equal(draft.problem(field, draft.shown(field)), null, `${type}: ${field.title}`)
      if (field.kind !== 'choice' && field.kind !== 'switch') {
        t.type(draft.problem(field, 'a b\u0000'), 'string', `${type}: ${field.title}`)
      }
    }
    t.ok(draft.fields().every(({ help }) => help.length < 85))
  }

  // Written by hand, in ways that "hb setup" would not.
  mkdirSync(path.join(root, 'odd'))
  const toml = `name = "n"
slaves = [{ name = "a", address = "127.0.0.1" }]
link.heartbeat = "1s"
[replicate]
include = [
"A/*"]
`
  writeFileSync(path.join(root, 'odd', 'hb.toml'), toml)
  writeFileSync(path.join(root, 'odd', 'role'), encodeRole(newRole('master')))
  const odd = await SetupDraft.open(nodePlatform, path.join(root, 'odd'))
  t.notOk(odd.changed)
  const others: Readonly<Record<string, string>> = {
    'Replicated files': 'B/*',
    'Check period': '2s',
    Slaves: '',
    'Left out': 'B/*',
  }
  for (const field of odd.fields()) {
    const other = others[field.title]
    if (field.kind === 'secret' || other === undefined) continue
    t.equal(odd.problem(field, odd.shown(field)), null)
    const problem = odd.problem(field, other) ?? ''
    t.equal(problem.includes('edit it by hand'), field.title !== 'Left out', field.title)
  }
})

t.test(
  'in a real terminal',
  { skip: !existsSync('/usr/bin/script') && 'script(1) is not there' },
  async (t: Test) => {
    const directory = path.join(temporaryDirectory(t), 'north')
    const cli = new URL('../../src/cli/hb.js', import.meta.url).pathname
    const command = `${process.execPath} ${cli} setup -d ${directory}`
    const child = spawn('/usr/bin/script', ['-qfec', command, '/dev/null'])
    const screen = new Screen()
    child.stdout.pipe(screen.output)
    await screen.shows('applications write')
    for (const next of [
      'Server name',
      'make a new key',
      'Listen address',
      'NAME=HOST:PORT',
      'Make the server',
      'Done.',
    ]) {
      child.stdin.write(keys.enter)
      await screen.shows(next)
    }
    const [code] = (await once(child, 'exit')) as [number]
    t.equal(code, 0)
    t.equal(configOf(directory).name, 'north')
  },
)
