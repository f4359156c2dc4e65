// The small files of a server, each in every wrong state: empty, too short, too long, garbage, a directory, a symbolic
// link. Looking at the server works all the same, what the files mean then is what their heads say, and nothing is ever
// read or written through a link.
import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { damagedPromotion, readPromotion } from '../../src/config/promotion-file.ts'
import { HotBackupError, isHotBackupError, type ErrorCode } from '../../src/errors.ts'
import { readDurableState } from '../../src/log/durable.ts'
import type { Disk } from '../../src/platform/disk.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import type { Platform } from '../../src/platform/platform.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { loadConfig } from '../../src/config/config.ts'
import { readServerId, readUpstream } from '../../src/config/identity.ts'
import { readKey } from '../../src/config/key.ts'
import { newRole, readRole, writeRole } from '../../src/config/role.ts'
import { readManifest } from '../../src/backup/manifest.ts'
import { readStaged } from '../../src/backup/seed-image.ts'
import { scrub } from '../../src/repair/scrub.ts'
import { readFenced } from '../../src/config/fence.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { Master } from '../../src/server/master.ts'
import { readApplyUpdates } from '../../src/replay/apply-updates.ts'
import { collectStatus } from '../../src/report/status.ts'
import { withData } from '../../src/server/sessions.ts'
import { AckFile, ackBytes, ackPath, listAcks, readAck } from '../../src/ship/ack-file.ts'
import { readDropped } from '../../src/ship/dropped.ts'
import { readSeedHold } from '../../src/ship/seed-hold.ts'
import { Differences } from '../../src/slave/differences.ts'
import { LostAndFound } from '../../src/slave/lost-found.ts'
import { long } from '../helpers/long-form.ts'
import { hb, ok, Pair, smallSegments, statusOf } from '../helpers/servers.ts'

t.setTimeout(long ? 3_600_000 : 120_000)

const states = [
  'empty',
  'short',
  'long',
  'garbage',
  'directory',
  'full directory',
  'link',
  'dangling link',
  'pipe',
] as const
type State = (typeof states)[number]

/** What the links lead to, and what must not be there when all is over. */
const victim = path.join(temporary(), 'victim')
const noVictim = `${victim}.none`
const victimText = 'not a server\u2019s\n'
writeFileSync(victim, victimText)

function spoil(file: string, state: State, length: number): void {
  rmSync(file, { recursive: true, force: true })
  mkdirSync(path.dirname(file), { recursive: true })
  if (state === 'directory') mkdirSync(file)
  else if (state === 'full directory') {
    mkdirSync(file)
    writeFileSync(path.join(file, 'something'), 'is in it')
  } else if (state === 'link') symlinkSync(victim, file)
  else if (state === 'dangling link') symlinkSync(noVictim, file)
  else if (state === 'pipe') execFileSync('mkfifo', ['-m', '600', file])
  else {
    const size = { empty: 0, short: Math.max(1, length >> 1), long: 300_000, garbage: length }[
      state
    ]
    writeFileSync(file, Buffer.alloc(size, 0xa5), { mode: 0o600 })
  }
}

function temporary(): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'hb-state-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** A disk that does not give the bytes of a file. */
function badSectorsOf(bad: string): Disk {
  const unreadable = (): never => {
    const cause = Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' })
    throw new HotBackupError('ERR_DISK', `cannot read ${bad}: EIO`, { path: bad }, cause)
  }
  return {
    ...nodeDisk,
    open: async (path, mode) => {
      const file = await nodeDisk.open(path, mode)
      if (path !== bad) return file
      return Object.assign(file, { read: async () => unreadable(), readSync: unreadable })
    },
  }
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'nothing is refused',
    (error: unknown) => (isHotBackupError(error) ? error.code : String(error)),
  )

t.test('what each reader makes of it', async t => {
  const directory = temporary()
  const layout = layoutOf(directory)
  await ok(
    'setup',
    '-d',
    directory,
    '--type',
    'slave',
    '--name',
    'beta',
    '--listen',
    '127.0.0.1:2000',
  )
  const config = await loadConfig(nodeDisk, layout)
  const { slaves } = layout
  const read: readonly (readonly [string, number, (disk: Disk) => Promise<unknown>, unknown])[] = [
    [ackPath(slaves, 's1'), ackBytes, disk => readAck(disk, slaves, 's1'), null],
    [ackPath(slaves, 's1'), ackBytes, disk => listAcks(disk, slaves), []],
    [layout.upstream, 33, disk => readUpstream(disk, layout), { servers: [], timeline: 0 }],
    [`${slaves}/s1.seed`, 3, disk => readSeedHold(disk, slaves, 's1'), 0],
    [
      `${slaves}/s1.dropped`,
      40,
      disk => readDropped(disk, slaves, 's1'),
      { durableTxn: 0, time: 0 },
    ],
    [layout.promotion, 90, disk => readPromotion(disk, layout), damagedPromotion],
    [layout.applySwitch, 3, disk => readApplyUpdates({ disk }, layout, config), false],
    [
      layout.differences,
      90,
      async disk => (await Differences.open(disk, layout.differences, () => {})).status.known,
      0,
    ],
    [
      path.join(layout.lostAndFound, 'tries'),
      20,
      async disk => {
        const lost = await LostAndFound.open(disk, layout.lostAndFound)
        return lost.triesOf({ txn: 1, chain: 2 })
      },
      0,
    ],
    [path.join(layout.seed, 's1', 'image-id'), 16, disk => readStaged(disk, layout, 's1'), null],
    [path.join(layout.log, 'durable'), 64, disk => readDurableState(disk, layout.log), null],
  ]
  for (const [file, length, look, wanted] of read) {
    for (const state of states) {
      spoil(file, state, length)
      const found = await look(nodeDisk)
      if (file.endsWith('/durable')) {
        t.strictSame(found, { mark: null, damaged: state !== 'empty' }, `${file} ${state}`)
      } else t.strictSame(found, wanted, `${path.basename(file)} ${state}`)
    }
    // Bytes that the device does not give any more.
    spoil(file, 'garbage', length)
    const found = await look(badSectorsOf(file))
    if (file.endsWith('/durable')) t.strictSame(found, { mark: null, damaged: true }, `${file} EIO`)
    else t.strictSame(found, wanted, `${path.basename(file)} EIO`)
    rmSync(file, { recursive: true })
  }
  const refused: readonly (readonly [
    string,
    number,
    (disk: Disk) => Promise<unknown>,
    ErrorCode,
  ])[] = [
    [layout.fenced, 90, disk => readFenced(disk, layout), 'ERR_FENCED'],
    [layout.role, 90, disk => readRole(disk, layout), 'ERR_ROLE'],
    [layout.serverId, 33, disk => readServerId(disk, layout), 'ERR_NOT_A_SERVER'],
    [layout.key, 65, disk => readKey({ ...nodePlatform, disk }, layout.key), 'ERR_KEY'],
  ]
  for (const [file, length, look, code] of refused) {
    for (const state of states) {
      spoil(file, state, length)
      t.equal(await codeOf(look(nodeDisk)), code, `${path.basename(file)} ${state}`)
    }
    spoil(file, 'garbage', length)
    t.equal(await codeOf(look(badSectorsOf(file))), code, `${path.basename(file)} EIO`)
    rmSync(file, { recursive: true })
  }
  for (const state of states) {
    spoil(path.join(directory, 'save', 'manifest.json'), state, 90)
    const code = await codeOf(readManifest(nodeDisk, path.join(directory, 'save')))
    t.match(code, /^ERR_SAVE/, `manifest ${state}`)
  }
  await writeRole(nodeDisk, layout, newRole('slave'))
  for (const state of ['long', 'directory', 'dangling link'] as const) {
    spoil(layout.config, state, 90)
    t.equal(await codeOf(loadConfig(nodeDisk, layout)), 'ERR_CONFIG', `hb.toml ${state}`)
  }
})

t.test('an ack file that is none is written again as one', async t => {
  const directory = temporary()
  for (const state of states) {
    const file = ackPath(directory, 's1')
    spoil(file, state, ackBytes)
    const inode = lstatSync(file).ino
    const acks = await AckFile.open(nodeDisk, directory, 's1', error => t.fail(error.message))
    const id = new Uint8Array(16).fill(7)
    const positions = { receivedTxn: 9, durableTxn: 9, durableChain: 1, appliedTxn: 8 }
    const ids = { serverId: id, databaseId: id, shipperId: id }
    acks.write({ ...positions, appliedTime: 1, time: 2, ...ids, confirmed: true })
    await acks.close()
    t.equal(readFileSync(file).length, ackBytes)
    t.match(await readAck(nodeDisk, directory, 's1'), { durableTxn: 9, appliedTxn: 8 }, state)
    if (!/directory|link|pipe/.test(state))
      t.equal(statSync(file).ino, inode, 'others have it open')
  }
})

/** What lies in a server's directory and is written by servers, but for segments and data files. */
function stateFiles(directory: string): string[] {
  const { slaves, lostAndFound, seed, log, database, run, ...layout } = layoutOf(directory)
  return [
    ...[
      'role',
      'serverId',
      'key',
      'upstream',
      'applySwitch',
      'promotion',
      'fenced',
      'rejoin',
      'verify',
      'differences',
    ].map(name => layout[name as 'role']),
    layout.messages,
    ...['s1.ack', 's1.seed', 's1.dropped', 's2.ack'].map(name => path.join(slaves, name)),
    path.join(log, 'durable'),
    ...['catalog', 'journal'].map(name => path.join(database, name)),
    ...['tries', `${'0'.repeat(20)}-00000000`, `${'0'.repeat(19)}1-00000000.gone`].map(name =>
      path.join(lostAndFound, name),
    ),
    ...['COMPLETE', 'INSTALLING', 'state.json', 'manifest.json'].map(name => path.join(seed, name)),
    ...[
      'owner.json',
      'owner.lock',
      'owner.sock',
      'owner.alive.sock',
      'owner.out',
      'shipper.json',
    ].map(name => path.join(run, name)),
  ]
}

/** Damage is looked at again after a while. */
const hasty: Platform = {
  ...nodePlatform,
  clock: {
    ...nodePlatform.clock,
    after: (ms, work, background) => nodePlatform.clock.after(Math.min(ms, 1), work, background),
  },
}

for (const type of ['master', 'slave'] as const) {
  t.test(`status and scrub of a ${type} never fail because of one`, async t => {
    const directory = temporary()
    await ok(
      'setup',
      '-d',
      directory,
      '--type',
      'master',
      '--name',
      'alpha',
      '--slave',
      's1=127.0.0.1:2001',
    )
    const master = await Master.open(directory)
    await (
      await (await master.createAccount('A')).createFile('F', { modulo: 7 })
    ).write('id', 'value')
    await master.close()
    const layout = layoutOf(directory)
    await writeRole(nodeDisk, layout, newRole(type))
    for (const file of stateFiles(directory)) {
      const before = existsSync(file) ? readFileSync(file) : null
      const mode = before === null ? 0o600 : statSync(file).mode
      for (const state of states) {
        spoil(file, state, before?.length ?? 40)
        const what = `${path.relative(directory, file)} ${state}`
        await t.resolves(collectStatus(nodePlatform, directory), `status: ${what}`)
        const options = {
          access: withData,
          repair: false,
          rate: 0,
          progress: () => {},
          say: () => {},
        }
        // What scrub makes of them does not depend on the role.
        if (type === 'slave' && state !== 'full directory') continue
        await t.resolves(scrub(hasty, directory, options), `scrub: ${what}`)
      }
      rmSync(file, { recursive: true })
      if (before !== null) writeFileSync(file, before, { mode })
    }
    t.match(await collectStatus(nodePlatform, directory), { type, failure: null })
    await nodeDisk.remove(layout.role)
    const unknown = { type: null, state: 'Role unknown', failure: /role is missing/ }
    t.match(await collectStatus(nodePlatform, directory), unknown)
    const { code, stdout } = await hb('check', '-d', directory)
    t.equal(code, 2)
    t.match(stdout, /^CRITICAL: alpha \(role unknown\): Role unknown: run "hb rejoin"/)
  })
}

t.test('a master with such files is opened, written to and looked at', async t => {
  const directory = temporary()
  const layout = layoutOf(directory)
  const slave = 's1=127.0.0.1:2001'
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'alpha', '--slave', slave)
  for (const state of states) {
    for (const [file, length] of [
      [ackPath(layout.slaves, 's1'), 73],
      [layout.upstream, 33],
      [layout.verify, 50],
      [path.join(layout.log, 'durable'), 64],
    ] as const) {
      spoil(file, state, length)
    }
    t.match(await collectStatus(nodePlatform, directory), { name: 'alpha' }, state)
    const master = await Master.open(directory)
    const account = master.accounts().includes('A')
      ? master.account('A')
      : await master.createAccount('A')
    t.ok(account, state)
    t.match(await collectStatus(nodePlatform, directory), { owner: { pid: process.pid } })
    await master.close()
  }
})

t.test('servers with such files start, and the slave follows', async t => {
  const pair = await Pair.make(t)
  await ok('create-account', '-d', pair.master, 'A')
  await ok('create-file', '-d', pair.master, 'A', 'F')
  const [master, slave] = [layoutOf(pair.master), layoutOf(pair.slave)]
  const files = [
    ackPath(master.slaves, 'beta'),
    master.promotion,
    master.verify,
    path.join(master.log, 'durable'),
    `${master.ownerLock}.json`,
    master.ownerSocket,
    `${master.shipperLock}.json`,
    slave.upstream,
    slave.differences,
    path.join(slave.lostAndFound, 'tries'),
    path.join(slave.seed, 'state.json'),
    slave.ownerSocket,
  ]
  for (const [index, file] of files.entries()) {
    const state = states[(index + 2) % states.length] ?? 'garbage'
    spoil(file, state, file.endsWith('.ack') ? 73 : 40)
  }
  for (const file of [ackPath(master.slaves, 'beta'), slave.upstream, slave.differences]) {
    spoil(file, 'full directory', 0)
  }
  await pair.start()
  await ok('write', '-d', pair.master, 'A', 'F', 'id', 'value')
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)
  t.match(await statusOf(pair.master), { running: true, state: 'Idle' })
})

/** What may be said of such a file by a command that needs it; ERR_DISK only where hb(1) says so. */
const said: readonly (readonly [RegExp, RegExp])[] = [
  [/\/role$/, /ERR_ROLE/],
  [/\/server\.id$/, /ERR_NOT_A_SERVER/],
  [/\/hb\.key$/, /ERR_KEY|ERR_CONFIG/],
  [/\/fenced$/, /ERR_FENCED/],
  [/\/rejoin$/, /ERR_REJOINING/],
  [/\/promotion$/, /ERR_PROMOTING/],
  [/\/messages\.log$/, /ERR_DISK/],
  [/\/database\/(catalog|journal)$/, /ERR_DATABASE_CORRUPT|ERR_DISK|ERR_LOG_CORRUPT/],
  [/\/seed\/(COMPLETE|INSTALLING)$/, /ERR_SAVE|ERR_DATABASE_CORRUPT|ERR_LOG_CORRUPT/],
]

/** They start processes. */
const slow: ReadonlySet<string> = new Set(['check', 'start', 'stop'])

t.test('no command fails for one with an error of the disk', async t => {
  const directory = temporary()
  const slave = 's1=127.0.0.1:2001'
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'alpha', '--slave', slave)
  smallSegments(directory)
  await ok('create-account', '-d', directory, 'A')
  await ok('create-file', '-d', directory, 'A', 'F')
  await ok('write', '-d', directory, 'A', 'F', 'id', 'value')
  const pristine = temporary()
  cpSync(directory, pristine, { recursive: true })
  const commands = [
    ['status'],
    ['check'],
    ['read', 'A', 'F', 'id'],
    ['write', 'A', 'F', 'id', 'other'],
    ['start'],
    ['stop'],
  ] as const
  for (const [index, file] of stateFiles(directory).entries()) {
    for (const [number, state] of states.entries()) {
      // In the short form one state for some of the files, and a server is started for few.
      if (!long && (index % 3 > 0 || number !== (index / 3) % states.length)) continue
      const length = existsSync(file) ? readFileSync(file).length : 40
      spoil(file, state, length)
      const allowed = said.find(([which]) => which.test(file))?.[1] ?? /^$/
      for (const [name, ...args] of commands) {
        if (!long && slow.has(name) && index % 15 !== 0) continue
        const { code, stderr } = await hb(name, '-d', directory, ...args)
        const what = `${name}: ${path.relative(directory, file)} ${state}: ${stderr}`
        t.notMatch(stderr, /internal error/, what)
        if (name === 'check') t.match(stderr, /^$/, what)
        else if (code !== 0 && name !== 'stop') t.match(stderr, allowed, what)
        else if (code !== 0) t.match(stderr, /ERR_NOT_RUNNING|ERR_ROLE/, what)
      }
      await hb('stop', '-d', directory)
      rmSync(directory, { recursive: true })
      cpSync(pristine, directory, { recursive: true })
    }
  }
})

t.test('nothing was written or made through a link', async t => {
  t.equal(readFileSync(victim, 'utf8'), victimText)
  t.notOk(existsSync(noVictim))
})
