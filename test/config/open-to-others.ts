// What others could change is not used: hb.toml, the server's directory and what is in it. And symbolic links in the
// place of directories and of hb.toml and hb.key, which are followed, and of other files, which are not.
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { isHotBackupError } from '../../src/errors.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { loadConfig } from '../../src/config/config.ts'
import { readKey } from '../../src/config/key.ts'
import { SetupDraft } from '../../src/config/setup-draft.ts'
import { setupFields } from '../../src/config/setup-fields.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { Master } from '../../src/server/master.ts'
import { edit, hb, ok, Pair, temporaryDirectory } from '../helpers/servers.ts'
import { directoryOf, nobody, runAs, withoutUsers } from '../helpers/users.ts'

/** A master that holds an item. */
async function makeMaster(t: Test, name = 'north'): Promise<string> {
  const directory = path.join(temporaryDirectory(t), name)
  await ok('setup', '-d', directory, '--type', 'master', '--name', name, '--no-key')
  const master = await Master.open(directory)
  const file = await (await master.openAccount('A')).openFile('F')
  await file.write('id', 'value')
  await master.close()
  return directory
}

/** Why the server is refused; runs the command that the hint names. */
async function refusedAndRepaired(t: Test, directory: string, what: string): Promise<string> {
  const error: unknown = await loadConfig(nodeDisk, layoutOf(directory)).then(
    () => null,
    (refusal: unknown) => refusal,
  )
  if (!isHotBackupError(error, 'ERR_OPEN_TO_OTHERS')) {
    t.fail(`${what}: ${String(error)}`)
    return ''
  }
  const [, command = ''] = /; then: (.*)$/.exec(error.hint) ?? []
  execFileSync('sh', ['-ec', command])
  await t.resolves(loadConfig(nodeDisk, layoutOf(directory)), `${what}: ${command}`)
  return `${error.message} ${command}`
}

t.test('a server that others could change is refused, and the hint closes it', async t => {
  const directory = await makeMaster(t)
  const own = readdirSync(directory).filter(name => name !== 'hb.key')
  t.ok(own.length > 6, own.join(' '))
  for (const name of ['', ...own]) {
    const file = path.join(directory, name)
    for (const bit of [0o020, 0o002, 0o022]) {
      chmodSync(file, statSync(file).mode | bit)
      await refusedAndRepaired(t, directory, `${name} ${bit.toString(8)}`)
    }
  }
  execFileSync('chmod', ['-R', '0777', directory])
  const all = await refusedAndRepaired(t, directory, 'everything')
  t.match(all, /more chmod -R go-w \S+north$/)
  const segment = path.join(directory, 'log', '0000000000000001.log')
  t.equal(statSync(segment).mode & 0o022, 0, 'with all that is in it')
  // A space and a quote do not get into the way of the command.
  const moved = path.join(path.dirname(directory), "it's here")
  renameSync(directory, moved)
  chmodSync(path.join(moved, 'hb.toml'), 0o666)
  await refusedAndRepaired(t, moved, 'quoted')
})

t.test('nothing in it is used before', async t => {
  const directory = await makeMaster(t)
  const told = path.join(path.dirname(directory), 'told')
  edit(directory, /^# command = ""$/m, `command = "touch ${told}"\nafter = "1s"`)
  edit(directory, /^# \[\[slaves\]\]$/m, '[[slaves]]\nname = "south"\naddress = "127.0.0.1:2999"')
  chmodSync(directory, 0o777)
  for (const command of ['status', 'start', 'stop', 'reload', 'check', 'digest']) {
    const { code, stdout, stderr } = await hb(command, '-d', directory)
    t.match(stdout + stderr, /can be changed by other users/, command)
    t.not(code, 0)
  }
  await t.rejects(Master.open(directory), { code: 'ERR_OPEN_TO_OTHERS' })
  t.strictSame(readdirSync(path.join(directory, 'run')), [])
  t.notOk(existsSync(told))
})

t.test('a running server keeps what it has read', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const toml = path.join(pair.master, 'hb.toml')
  edit(pair.master, /^# seed_rate = "0"$/m, 'seed_rate = "1MiB"')
  chmodSync(toml, 0o602)
  t.match(await hb('reload', '-d', pair.master), {
    code: 4,
    stderr: /ERR_OPEN_TO_OTHERS.*chmod go-w/,
  })
  chmodSync(toml, 0o600)
  t.match(await ok('reload', '-d', pair.master), /link\.seed_rate/)
})

t.test('setup makes what passes, whatever the umask is', async t => {
  const parent = temporaryDirectory(t)
  for (const mask of [0o000, 0o002, 0o022, 0o077]) {
    const before = process.umask(mask)
    const directory = path.join(parent, `mask${mask}`, 'north')
    try {
      await ok('setup', '-d', directory, '--type', 'master', '--name', 'north')
      const master = await Master.open(directory)
      await master.createAccount('A')
      await master.close()
      await ok('status', '-d', directory)
      if (mask === 0) await ok('start', '-d', directory)
      if (mask === 0) await ok('stop', '-d', directory)
    } finally {
      process.umask(before)
    }
    const all = readdirSync(directory, { recursive: true, encoding: 'utf8' })
    const open = all.filter(name => (statSync(path.join(directory, name)).mode & 0o077) !== 0)
    t.strictSame(open, [], `umask ${mask.toString(8)}`)
  }
})

t.test('setup refuses a directory that others could change, before it makes anything', async t => {
  const open = path.join(temporaryDirectory(t), 'open')
  mkdirSync(open)
  const setup = (...args: string[]) =>
    hb('setup', '-d', open, '--type', 'master', '--name', 'north', ...args)
  chmodSync(open, 0o770)
  const refused = await setup()
  t.match(refused, { code: 4, stderr: new RegExp(`ERR_OPEN_TO_OTHERS: .*chmod -R go-w ${open}`) })
  chmodSync(open, 0o1777)
  t.match(await setup(), {
    code: 4,
    stderr: /everybody's: keep the server in a directory of its own/,
  })
  t.strictSame(readdirSync(open), [])
  // A sticky directory above is no danger.
  await ok('setup', '-d', path.join(open, 'north'), '--type', 'master', '--name', 'north')
  await ok('status', '-d', path.join(open, 'north'))
  const saved = path.join(path.dirname(open), 'saved')
  await ok('create-account', '-d', path.join(open, 'north'), 'A')
  await ok('save', '-d', path.join(open, 'north'), '--to', saved)
  t.match(await hb('restore', '--from', saved, '-d', open), {
    code: 4,
    stderr: /ERR_OPEN_TO_OTHERS/,
  })
  // Neither does the hb.toml of a save that others could change become a server's.
  const toml = path.join(saved, 'hb.toml.saved')
  for (const file of [saved, toml]) {
    const { mode } = statSync(file)
    chmodSync(file, mode | 0o002)
    const restored = await hb(
      'restore',
      '--from',
      saved,
      '-d',
      path.join(path.dirname(open), 'new'),
    )
    t.match(restored, { code: 4, stderr: /ERR_OPEN_TO_OTHERS/ }, file)
    chmodSync(file, mode)
  }
  await ok('restore', '--from', saved, '-d', path.join(path.dirname(open), 'new'))
})

t.test('nor is what belongs to another user', { skip: withoutUsers }, async t => {
  const home = directoryOf(t, nobody)
  const directory = path.join(home, 'north')
  const status = () => runAs(nobody, 'hb', ['status', '-d', directory])
  await runAs(nobody, 'hb', ['setup', '-d', directory, '--type', 'master', '--name', 'north'])
  const toml = path.join(directory, 'hb.toml')
  // As it is mounted into a container.
  chownSync(toml, 0, 0)
  chmodSync(toml, 0o644)
  t.equal((await status()).code, 0, "root's hb.toml is trusted")
  for (const name of ['hb.toml', 'run']) {
    chownSync(path.join(directory, name), 1234, 1234)
    t.match(await status(), { code: 4, stderr: /belongs to user 1234.*chown 65534 / })
    chownSync(path.join(directory, name), nobody, nobody)
  }
  chownSync(path.join(directory, 'hb.key'), 1234, 1234)
  const start = await runAs(nobody, 'hb', ['start', '-d', directory])
  t.match(start, { code: 2, stderr: /ERR_KEY/ })
  const ours = await makeMaster(t)
  chownSync(path.join(ours, 'hb.toml'), nobody, nobody)
  t.match(await refusedAndRepaired(t, ours, "another user's hb.toml"), /chown 0 /)
  const key = path.join(ours, 'hb.key')
  writeFileSync(key, '0'.repeat(64), { mode: 0o600 })
  await readKey(nodePlatform, key)
  chownSync(key, nobody, nobody)
  await t.rejects(readKey(nodePlatform, key), { code: 'ERR_KEY', message: /belongs to user 65534/ })
  // A key that somebody has brought is the person's own choice.
  const slave = path.join(path.dirname(ours), 'south')
  await ok('setup', '-d', slave, '--type', 'slave', '--name', 'south', '--key', key)
  t.match(statSync(path.join(slave, 'hb.key')), { uid: 0 })
})

t.test('links in the place of hb.toml, hb.key and directories are followed', async t => {
  const directory = await makeMaster(t)
  const elsewhere = temporaryDirectory(t)
  const moved = (name: string) => {
    const place = path.join(elsewhere, name)
    execFileSync('mv', [path.join(directory, name), place])
    symlinkSync(place, path.join(directory, name))
    return place
  }
  const toml = moved('hb.toml')
  const digest = await ok('digest', '-d', directory)
  for (const name of ['log', 'database', 'slaves', 'run']) moved(name)
  const master = await Master.open(directory)
  await (await master.openAccount('A')).openFile('G')
  await master.close()
  t.not(await ok('digest', '-d', directory), digest)
  t.match(await ok('log', 'verify', '-d', directory), /valid/)

  // Setup changes the file where the operator keeps it.
  const draft = await SetupDraft.open(nodePlatform, directory)
  const field = setupFields.find(each => 'key' in each && each.key === 'keep_time')
  if (field === undefined || field.kind === 'secret') throw new Error('no such field')
  draft.set(field, '5h')
  await draft.save()
  t.match(readFileSync(toml, 'utf8'), /^keep_time = "5h"$/m)
  t.ok(lstatSync(path.join(directory, 'hb.toml')).isSymbolicLink())
  const saved = path.join(path.dirname(directory), 'saved')
  await ok('save', '-d', directory, '--to', saved)
  t.match(readFileSync(path.join(saved, 'hb.toml.saved'), 'utf8'), /5h/)

  // What they lead to must be as closed; the command names that.
  for (const name of ['hb.toml', 'log', 'database', 'slaves', 'run']) {
    const place = path.join(elsewhere, name)
    chmodSync(place, statSync(place).mode | 0o020)
    t.match(await refusedAndRepaired(t, directory, name), `chmod go-w ${place}`)
  }
  const key = path.join(elsewhere, 'key')
  writeFileSync(key, '0'.repeat(64), { mode: 0o600 })
  symlinkSync(key, path.join(directory, 'hb.key'))
  await readKey(nodePlatform, path.join(directory, 'hb.key'))
  chmodSync(key, 0o640)
  await t.rejects(readKey(nodePlatform, path.join(directory, 'hb.key')), { code: 'ERR_KEY' })
})

t.test('links in the place of its other files are not', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  await ok('create-account', '-d', pair.master, 'A')
  const victim = path.join(pair.root, 'victim')
  writeFileSync(victim, 'of somebody else')
  // The sockets of a stopped server lead to one that runs.
  const copy = path.join(pair.root, 'copy')
  execFileSync('cp', ['-a', pair.slave, copy])
  for (const name of ['owner.sock', 'owner.alive.sock']) {
    execFileSync('ln', ['-sf', path.join(pair.slave, 'run', name), path.join(copy, 'run', name)])
  }
  t.match(JSON.parse(await ok('status', '-d', copy, '--json')), { running: false, pid: null })
  await ok('stop', '-d', pair.slave)
  for (const name of ['messages.log', 'run/owner.out']) {
    execFileSync('ln', ['-sf', victim, path.join(pair.slave, name)])
  }
  const started = await hb('start', '-d', pair.slave)
  t.match(started, { code: 1, stderr: /cannot open .*messages\.log: it is a symbolic link/ })
  execFileSync('rm', [path.join(pair.slave, 'messages.log')])
  await ok('start', '-d', pair.slave)
  await ok('stop', '-d', pair.slave)
  const log = path.join(pair.slave, 'log')
  const segment = path.join(log, '0000000000000001.log')
  renameSync(segment, path.join(pair.root, 'moved.log'))
  symlinkSync(path.join(pair.root, 'moved.log'), segment)
  for (const args of [['log', 'verify'], ['start']]) {
    const { code, stderr } = await hb(...args, '-d', pair.slave)
    t.equal(code, 1, stderr)
    t.match(stderr, /ERR_DISK: .*\.log: it is a symbolic link/)
  }
  // What a person names may be a link, though.
  const link = path.join(pair.root, 'link.log')
  symlinkSync(path.join(pair.root, 'moved.log'), link)
  t.match(await ok('log', 'verify', link), /valid/)
  t.equal(readFileSync(victim, 'utf8'), 'of somebody else')
})

t.test('names of servers that would be options or paths are refused', async t => {
  const parent = temporaryDirectory(t)
  const directory = path.join(parent, 'north')
  const names = [
    '-rf',
    '-',
    '--',
    '.',
    '..',
    '.x',
    'a/b',
    '../x',
    'a\\b',
    'a b',
    'a\nb',
    'a\x1bb',
    '',
    'x'.repeat(33),
    'é',
  ]
  for (const name of names) {
    const own = await hb('setup', '-d', directory, '--type', 'master', `--name=${name}`)
    t.match(own, { code: 2, stderr: /ERR_USAGE: a server's name is/ }, name)
    const slave = `--slave=${name}=127.0.0.1:2001`
    const other = await hb('setup', '-d', directory, '--type', 'master', '--name', 'north', slave)
    t.match(other, { code: 2, stderr: /ERR_USAGE/ }, name)
  }
  t.notOk(existsSync(directory))
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'north', '--no-key')
  const toml = path.join(directory, 'hb.toml')
  const text = readFileSync(toml, 'utf8')
  for (const name of names) {
    for (const changed of [
      text.replace('"north"', JSON.stringify(name)),
      `${text}\n[[slaves]]\nname = ${JSON.stringify(name)}\naddress = "127.0.0.1:2001"\n`,
    ]) {
      writeFileSync(toml, changed)
      const { code, stderr } = await hb('status', '-d', directory)
      t.equal(code, 2, stderr)
      t.match(stderr, /ERR_CONFIG: hb.toml line \d+: .*name: expected 1 to 32 letters/)
    }
  }
})
