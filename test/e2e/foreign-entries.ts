// What other programs and people leave in a server's directories, which may be whole file systems: lost+found, what
// network storage, desktops and editors make, notes. Much of it cannot be read. A pair works on as if nothing was
// there, nothing of it is copied, and all of it stays.
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { freePort } from '../helpers/servers.ts'
import { directoryOf, nobody, runAs, withoutUsers } from '../helpers/users.ts'

/** Another one than that of the servers. */
const stranger = 4321
/** What systems make anywhere, and what a person makes. */
const leftovers = [
  'lost+found/#1',
  '@eaDir/x@SynoEAStream',
  '.snapshot/old',
  '.DS_Store',
  'Thumbs.db',
  '._beta.ack',
]
const notes = [
  'README',
  'closed/secret',
  'catalog~',
  'journal.orig',
  '0000000000000001.log~',
  '0000000000000001.log.bak',
  '0000000000000001.log.torn.old',
  'beta copy.ack',
  'beta.ack~',
  '00000001.00000001.gz',
  '00000000000000000001-00000000 (1)',
]

const planted = new Map<string, string>()

function plant(directory: string, names: readonly string[]): void {
  for (const name of names) {
    const file = path.join(directory, name)
    const inner = path.dirname(file)
    if (!existsSync(inner)) mkdirSync(inner, { mode: 0o700 })
    if (inner !== directory) chownSync(inner, stranger, stranger)
    const text = `${file} of somebody else`
    writeFileSync(file, text, { mode: 0o600 })
    chownSync(file, stranger, stranger)
    planted.set(file, text)
  }
}

t.test('a pair in directories that others use, too', { skip: withoutUsers }, async t => {
  const home = directoryOf(t, nobody)
  const hb = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await runAs(nobody, 'hb', args)
    if (code !== 0) throw new Error(`hb ${args.join(' ')} ended with ${code}: ${stderr}`)
    return stdout
  }
  const make = (...names: readonly string[]) => {
    const directory = path.join(home, ...names)
    execFileSync('install', ['-d', '-m', '700', '-o', String(nobody), directory])
    return directory
  }
  const [master, slave] = [make('alpha'), make('beta')]
  t.teardown(async () => {
    await runAs(nobody, 'hb', ['stop', '-d', master])
    await runAs(nobody, 'hb', ['stop', '-d', slave])
  })
  for (const directory of [master, slave]) plant(directory, [...leftovers, ...notes])
  const address = `127.0.0.1:${await freePort()}`
  const key = path.join(master, 'hb.key')
  await hb(
    'setup',
    '-d',
    master,
    '--type',
    'master',
    '--name',
    'alpha',
    '--slave',
    `beta=${address}`,
  )
  await hb(
    'setup',
    '-d',
    slave,
    '--type',
    'slave',
    '--name',
    'beta',
    '--listen',
    address,
    '--key',
    key,
  )
  for (const server of ['alpha', 'beta']) {
    for (const name of [
      'log',
      'database',
      'slaves',
      'run',
      'helpers',
      'seed',
      'seed/beta',
      'seed/database',
      'seed/log',
      'lost-found',
      'missing-updates',
    ]) {
      plant(make(server, name), [...leftovers, ...notes])
    }
  }
  await hb('create-account', '-d', master, 'A')
  await hb('create-file', '-d', master, 'A', 'F')
  await hb('start', '-d', slave)
  await hb('start', '-d', master)
  await hb('write', '-d', master, 'A', 'F', 'one', '1')
  await hb('wait', '-d', master, '--timeout', '60')
  await hb('seed', '-d', master, '--slave', 'beta')
  await hb('write', '-d', master, 'A', 'F', 'two', '2')
  await hb('wait', '-d', master, '--timeout', '60')
  const digest = await hb('digest', '-d', master)
  t.equal(await hb('digest', '-d', slave), digest)

  // A save onto a whole disk, and a server on one.
  const [saved, restored] = [make('saved'), make('gamma')]
  plant(saved, leftovers)
  plant(restored, leftovers)
  await hb('save', '-d', slave, '--to', saved)
  const manifest = readFileSync(path.join(saved, 'manifest.json'), 'utf8')
  t.notMatch(manifest, /README|~|eaDir|lost\+found|\.bak|DS_Store|copy|closed/)
  await hb('restore', '--from', saved, '-d', restored)
  t.equal(await hb('digest', '-d', restored), digest)
  const other = await runAs(nobody, 'hb', ['save', '-d', slave, '--to', master])
  t.not(other.code, 0)
  plant(make('notes'), ['README'])
  const full = await runAs(nobody, 'hb', ['save', '-d', slave, '--to', path.join(home, 'notes')])
  t.match(full, { code: 1, stderr: /ERR_EXISTS: .*is not empty/ }, 'what a person has made counts')

  const back = `127.0.0.1:${await freePort()}`
  await hb('switch', '-d', master, '--to', 'beta', '--listen', back)
  await hb('write', '-d', slave, 'A', 'F', 'three', '3')
  await hb('wait', '-d', slave, '--timeout', '60')
  t.equal(await hb('digest', '-d', master), await hb('digest', '-d', slave))
  for (const directory of [master, slave]) {
    await hb('stop', '-d', directory)
    t.match(await hb('scrub', '-d', directory), /nothing is damaged/)
    t.match(await hb('log', 'verify', '-d', directory), /valid/)
    t.match(await hb('lost', 'list', '-d', directory), /empty/)
  }
  const gone = [...planted].filter(
    ([file, text]) => !existsSync(file) || readFileSync(file, 'utf8') !== text,
  )
  t.strictSame(gone, [])
  chmodSync(home, 0o700)
})
