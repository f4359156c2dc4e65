// The server's directory on the command line: before the command or after it, in any of its spellings.
import path from 'node:path'
import t, { type Test } from 'tap'
import { Context, processStreams } from '../../src/cli/command-line.ts'
import { hbProgram } from '../../src/cli/program.ts'
import { hb, hbProcess, ok, temporaryDirectory } from '../helpers/servers.ts'

async function makeMaster(t: Test): Promise<{ root: string; dir: string }> {
  const root = temporaryDirectory(t)
  const dir = path.join(root, 'north')
  await ok('setup', '-d', dir, '--type', 'master', '--name', 'north')
  await ok('create-account', '-d', dir, 'SALES')
  return { root, dir }
}

t.test('before the command, between its words, and behind it', async t => {
  const { root, dir } = await makeMaster(t)
  const nowhere = path.join(root, 'nowhere')
  const expected = await ok('list', '-d', dir)
  for (const before of [['-d', dir], ['--dir', dir], [`-d${dir}`], [`--dir=${dir}`]]) {
    t.equal(await ok(...before, 'list'), expected, before.join(' '))
  }
  t.equal((await hbProcess('-d', dir, 'list')).stdout, expected, 'in a process')
  const log = await ok('log', 'list', '-d', dir)
  t.equal(await ok('log', '-d', dir, 'list'), log)
  t.equal(await ok('-d', dir, 'log', 'list'), log)
  t.equal((await hb('-d', dir, 'lost', 'list')).stdout, 'lost-found is empty\n')
  // What is nearer to the command counts.
  t.equal(await ok('-d', nowhere, 'list', '-d', dir), expected)
  t.match(await hb('-d', dir, 'list', '-d', nowhere), { code: 4, stderr: /ERR_NOT_A_SERVER/ })
  t.match(await hb('-d', nowhere, 'list'), { code: 4, stderr: /ERR_NOT_A_SERVER.*nowhere/ })
  // The exit status of the command is its own, wherever the directory stands.
  t.equal((await hb('-d', nowhere, 'check')).code, (await hb('check', '-d', nowhere)).code)
  // An argument that looks the same is none.
  await ok('-d', dir, 'create-file', 'SALES', 'F')
  await ok('-d', dir, 'write', 'SALES', 'F', '--', '-d', '-dvalue')
  t.equal(await ok('-d', dir, 'read', 'SALES', 'F', '--', '-d'), '-dvalue')
})

t.test('without a command, or without a directory, it is wrong usage', async t => {
  const { dir } = await makeMaster(t)
  for (const args of [['-d'], ['-d', dir], ['--dir', dir], ['-d', dir, 'frobnicate']]) {
    t.equal((await hb(...args)).code, 2, args.join(' '))
  }
  t.match(await hb('-d', dir, '--version'), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
})

t.test('only the part of the command is loaded', async t => {
  const { dir } = await makeMaster(t)
  const program = await hbProgram(new Context(processStreams()), ['-d', dir, 'list'])
  t.notOk(program.commands.some(command => command.name() === 'setup'))
  t.same(
    (await hbProgram(new Context(processStreams()), ['--version'])).commands.map(it => it.name()),
    ['help'],
  )
})

t.test(
  'numbers are taken as they are shown, and no help shows a limit of the language',
  async t => {
    const { dir } = await makeMaster(t)
    t.equal(await ok('log', 'dump', '-d', dir, '--to', '1,000'), await ok('log', 'dump', '-d', dir))
    for (const wrong of ['1,00', ',100', '1,0000', '1000,000', '1,000,', '-1', '1.5']) {
      t.equal((await hb('log', 'dump', '-d', dir, '--to', wrong)).code, 2, wrong)
    }
    const all = await hbProgram(new Context(processStreams()))
    const texts = all.commands.flatMap(command => [
      command.helpInformation(),
      ...command.commands.map(each => each.helpInformation()),
    ])
    for (const text of texts) t.notMatch(text, String(Number.MAX_SAFE_INTEGER))
  },
)
