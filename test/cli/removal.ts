// What deletes and clears says what it has removed, and asks a person at a terminal first.
import path from 'node:path'
import { PassThrough, Readable, Writable } from 'node:stream'
import t from 'tap'
import { Context, execute } from '../../src/cli/command-line.ts'
import { hbProgram } from '../../src/cli/program.ts'
import { Master } from '../../src/index.ts'
import { hb, ok, temporaryDirectory, type Outcome } from '../helpers/servers.ts'

const dir = path.join(temporaryDirectory(t), 'north')
await ok('setup', '-d', dir, '--type', 'master', '--name', 'north')

/** The file S F with two items of 2 and 3 bytes, ids included, and the empty file S G. */
async function fill(): Promise<void> {
  await ok('create-account', '-d', dir, 'S')
  await ok('create-file', '-d', dir, 'S', 'F')
  await ok('create-file', '-d', dir, 'S', 'G')
  await ok('write', '-d', dir, 'S', 'F', 'a', 'A')
  await ok('write', '-d', dir, 'S', 'F', 'b', 'BB')
}

/** Runs hb at a terminal at which `answer` is typed; null ends the input instead. */
async function atTerminal(answer: string | null, ...args: readonly string[]): Promise<Outcome> {
  const shown: string[] = []
  const stdout: string[] = []
  let stderr = ''
  const into = (texts: string[], heard = () => {}) =>
    new Writable({
      write(piece: Buffer, _, done) {
        texts.push(piece.toString())
        heard()
        done()
      },
    })
  const input = new PassThrough()
  const output = into(shown, () => {
    if (answer === null) input.end()
    else input.write(`${answer}\n`)
  })
  const context = new Context({
    stdin: Readable.from([]),
    stdout: into(stdout),
    stderr: { write: text => (stderr += text) },
    terminal: { input, output },
  })
  const code = await execute(await hbProgram(context), context, args)
  return { code, stdout: shown.join('') + stdout.join(''), stderr }
}

t.test('without a terminal it runs as given, and says what was removed', async t => {
  await fill()
  t.equal(await ok('clear-file', '-d', dir, 'S', 'F'), 'cleared file S F: 2 items, 5 bytes\n')
  t.equal(await ok('clear-file', '-d', dir, 'S', 'F'), 'cleared file S F: 0 items, 0 bytes\n')
  await ok('write', '-d', dir, 'S', 'F', 'a', 'x'.repeat(9999))
  const large = 'deleted account S: 2 files, 1 item, 10,000 bytes\n'
  t.equal(await ok('delete-account', '-d', dir, 'S'), large)
  await fill()
  const deleted = 'deleted file S F: 2 items, 5 bytes\n'
  t.equal(await ok('delete-file', '-d', dir, 'S', 'F', '--yes'), deleted)
  const last = 'deleted account S: 1 file, 0 items, 0 bytes\n'
  t.equal(await ok('delete-account', '-d', dir, 'S', '--yes'), last)
  t.match(await hb('delete-account', '-d', dir, 'S'), { code: 3, stdout: '' })
})

t.test('the process that has the master open says the same', async t => {
  await fill()
  const master = await Master.open(dir)
  t.teardown(() => master.close())
  const deleted = 'deleted file S F: 2 items, 5 bytes\n'
  t.equal(await ok('delete-file', '-d', dir, 'S', 'F'), deleted)
  const last = 'deleted account S: 1 file, 0 items, 0 bytes\n'
  t.equal(await ok('delete-account', '-d', dir, 'S'), last)
})

t.test('in a terminal it asks first; only yes removes anything', async t => {
  await fill()
  const commands: [string[], string][] = [
    [['clear-file', 'S', 'F'], 'Delete 2 items of S F? [y/N] '],
    [['delete-file', 'S', 'F'], 'Delete file S F with 2 items? [y/N] '],
    [['delete-account', 'S'], 'Delete account S with 2 files and 2 items? [y/N] '],
  ]
  for (const [args, question] of commands) {
    for (const answer of ['', 'n', 'yesterday', null]) {
      t.strictSame(
        await atTerminal(answer, ...args, '-d', dir),
        { code: 1, stdout: question, stderr: 'hb: nothing was removed\n' },
        `${args[0]} ${answer}`,
      )
    }
  }
  t.equal((await ok('list', '-d', dir, 'S', 'F')).length, 4, 'all is there')
  t.match(await atTerminal(null, 'clear-file', 'S', 'G', '-d', dir, '--yes'), {
    code: 0,
    stdout: 'cleared file S G: 0 items, 0 bytes\n',
  })
  t.match(await atTerminal('y', 'clear-file', 'S', 'F', '-d', dir), {
    code: 0,
    stdout: 'Delete 2 items of S F? [y/N] cleared file S F: 2 items, 5 bytes\n',
  })
  t.match(await atTerminal('YES', 'delete-file', 'S', 'F', '-d', dir), { code: 0 })
  const absent = await atTerminal('y', 'delete-file', 'S', 'F', '-d', dir)
  t.match(absent, { code: 3, stdout: '' }, 'there is nothing to ask about')
  t.match(await atTerminal('y', 'delete-account', 'S', '-d', dir), { code: 0 })
})
