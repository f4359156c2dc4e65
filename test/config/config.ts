// hb.toml: what is read from it, and how what is wrong is refused; the files that "hb setup" makes.
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { isHotBackupError } from '../../src/errors.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import {
  addressText,
  isLoopback,
  parseAddress,
  parseListenAddress,
  reaches,
  samePlace,
} from '../../src/config/address.ts'
import { lineOf } from '../../src/config/config-lines.ts'
import { initialConfigText } from '../../src/config/config-text.ts'
import { loadConfig, parseConfig } from '../../src/config/config.ts'
import { readServerId } from '../../src/config/identity.ts'
import { makeKey, readKey } from '../../src/config/key.ts'
import { newRole } from '../../src/config/role.ts'
import { setup, type SetupOptions } from '../../src/config/setup.ts'
import { parseShare, parseSize, parseTime, sizeText } from '../../src/config/sizes-and-times.ts'
import { layoutOf } from '../../src/config/layout.ts'

const layout = layoutOf('/srv/north')
const master = 'name = "north"\n\n'
const [asMaster, asSlave] = [newRole('master'), newRole('slave')]

function temporary(test: Tap): string {
  const directory = mkdtempSync(join(tmpdir(), 'hb-config-'))
  test.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
type Tap = Pick<typeof t, 'teardown'>

t.test('the defaults', t => {
  const config = parseConfig(master, layout, asMaster)
  t.match(config, {
    name: 'north',
    type: 'master',
    log: {
      fsync: { kind: 'commit' },
      segmentBytes: 16 * 2 ** 20,
      keepMs: 86_400_000,
      keepBytes: 2 ** 32,
    },
    link: { listen: { host: '127.0.0.1', port: 2000 }, keyPath: null, windowBytes: 8 * 2 ** 20 },
    slave: { applyUpdates: true, logSlaveUpdates: false, autoCreate: false, applyTries: 3 },
    slaves: [],
    ships: true,
  })
  t.ok(config.database.cacheBytes >= 4 * 2 ** 20)
  t.equal(parseConfig(`${master}[link]\nkey = "k"`, layout, asMaster).link.listen.host, '*')
  t.end()
})

t.test('every key', t => {
  const config = parseConfig(
    `name = "south"
[log]
fsync = "interval"
fsync_interval = "250ms"
segment_size = "1 MiB"
keep_time = "36h"
keep_size = "2GiB"
[database]
cache_size = "512MiB"
[link]
key = "../hb.key"
listen = "[::1]:3000"
window_size = 1048576
seed_rate = "20MiB"
heartbeat = "1s"
timeout = "1.5min"
[slave]
apply_updates = false
log_slave_updates = true
auto_create = true
auto_seed = true
apply_delay = "30m"
apply_tries = 5
[commit]
level = "applied"
slaves = 2
timeout = "3s"
on_timeout = "continue"
[queue]
limit = "1GiB"
on_limit = "drop"
[helpers]
size = "1MiB"
patience = "2s"
tries = 2
[verify]
interval = "2h"
[failover]
lease = "10s"
keep_size = "1GiB"
[alarm]
command = "mail ops"
level = "warn"
timeout = "5s"
[serve]
listen = "[::1]:6379"
max_clients = 5
idle_timeout = "1h"
output_size = "1MiB"
flushall = true
databases = { 0 = "SALES/ORDERS", 1 = "REDIS/0" }
[replicate]
include = ["SALES/*"]
exclude = ["*/TEMP?"]
[[slaves]]
name = "far_south-2"
address = "192.0.2.7"
`,
    layout,
    asSlave,
  )
  t.strictSame(config, {
    name: 'south',
    type: 'slave',
    log: {
      fsync: { kind: 'interval', intervalMs: 250 },
      segmentBytes: 2 ** 20,
      keepMs: 36 * 3_600_000,
      keepBytes: 2 ** 31,
    },
    database: { cacheBytes: 2 ** 29 },
    link: {
      listen: { host: '::1', port: 3000 },
      listenGiven: true,
      keyPath: '/srv/hb.key',
      windowBytes: 2 ** 20,
      seedRate: 20 * 2 ** 20,
      heartbeatMs: 1000,
      timeoutMs: 90_000,
    },
    slave: {
      applyUpdates: false,
      logSlaveUpdates: true,
      autoCreate: true,
      autoSeed: true,
      applyDelayMs: 1_800_000,
      applyTries: 5,
    },
    helpers: { bytes: 2 ** 20, patienceMs: 2000, tries: 2 },
    queue: { limitBytes: 2 ** 30, onLimit: 'drop' },
    verify: { intervalMs: 7_200_000 },
    commit: { level: 'applied', slaves: 2, timeoutMs: 3000, onTimeout: 'continue' },
    replicate: { include: ['SALES/*'], exclude: ['*/TEMP?'] },
    failover: { leaseMs: 10_000, keepBytes: 2 ** 30 },
    alarm: { command: 'mail ops', level: 'warn', afterMs: 60_000, timeoutMs: 5000 },
    serve: {
      listen: { host: '::1', port: 6379 },
      clientsMax: 5,
      idleMs: 3_600_000,
      outputBytesMax: 2 ** 20,
      flushAll: true,
      databases: {
        0: { account: 'SALES', file: 'ORDERS' },
        1: { account: 'REDIS', file: '0' },
      },
    },
    slaves: [{ name: 'far_south-2', address: { host: '192.0.2.7', port: 2000 } }],
    ships: true,
  })
  t.end()
})

t.test('what is wrong is refused by line and key', t => {
  const cases: [text: string, line: number | null, key: string][] = [
    ['', null, 'name'],
    ['name = "n"\ntype = "master"', 2, 'type'],
    ['name = "a b"', 1, 'name'],
    [`name = "${'n'.repeat(33)}"`, 1, 'name'],
    [`${master}\nnmae = 1`, 4, 'nmae'],
    [`${master}[log]\nfsync = "sometimes"`, 4, 'log.fsync'],
    [`${master}[log]\nfsync_interval = "0ms"`, 4, 'log.fsync_interval'],
    [`${master}[log]\n# fsync = "os"\n  segment_size = "2GiB"`, 5, 'log.segment_size'],
    [`${master}[log]\nsegment_size = "1e6"`, 4, 'log.segment_size'],
    [`${master}log.keep_time = "soon"`, 3, 'log.keep_time'],
    [`${master}log = 3`, 3, 'log'],
    [`${master}log = { keep_size = "-1" }`, 3, 'log.keep_size'],
    [`${master}[database]\ncache_size = "101%"`, 4, 'database.cache_size'],
    [`${master}[database]\ncache_size = 100`, 4, 'database.cache_size'],
    [`${master}[link]\nlisten = "0.0.0.0:2000"`, 4, 'link.listen'],
    [`${master}[link]\nlisten = "127.0.0.1:80"`, 4, 'link.listen'],
    [`${master}[link]\nlisten = "127.0.0.1:65536"`, 4, 'link.listen'],
    [`${master}[link]\nkey = ""`, 4, 'link.key'],
    [`${master}[link]\nheartbeat = "20s"`, 3, 'link.timeout'],
    [`${master}[failover]\nlease = "9s"`, 4, 'failover.lease'],
    [`${master}[slave]\napply_updates = "on"`, 4, 'slave.apply_updates'],
    [`${master}[serve]\nlisten = "192.0.2.7:6379"`, 4, 'serve.listen'],
    [`${master}[serve]\nlisten = "*:6379"`, 4, 'serve.listen'],
    [`${master}[serve]\nmax_clients = 0`, 4, 'serve.max_clients'],
    [`${master}[serve]\nflushall = "yes"`, 4, 'serve.flushall'],
    [`${master}[serve.databases]\n16 = "A/B"`, 4, 'serve.databases'],
    [`${master}[serve.databases]\n0 = "A"`, 4, 'serve.databases'],
    [`${master}[serve.databases]\n0 = "A/.."`, 4, 'serve.databases'],
    [`${master}[serve.databases]\n0 = "A/B"\n3 = "A/B"`, 5, 'serve.databases'],
    [`${master}[serve.databases]\n7 = "REDIS/8"`, 4, 'serve.databases'],
    [`${master}[replicate]\ninclude = ["SALES"]`, 4, 'replicate.include'],
    [`${master}[replicate]\nexclude = "A/B"`, 4, 'replicate.exclude'],
    [`${master}[commit]\nlevel = "all"`, 4, 'commit.level'],
    [`${master}[commit]\nlevel = "durable"`, 4, 'commit.level'],
    [`${master}[commit]\nslaves = 0`, 4, 'commit.slaves'],
    [`${master}[[slaves]]\nname = "s"\naddress = "192.0.2.7:2000"`, 5, 'slaves.address'],
    [
      `${master}[[slaves]]\nname = "s"\naddress = "127.0.0.1"\n[[slaves]]\nname = "s"\naddress = "::1"`,
      8,
      'slaves.address',
    ],
    [
      `${master}[[slaves]]\nname = "s"\naddress = "127.0.0.1"\n[[slaves]]\nname = "s"\naddress = "127.0.0.1"`,
      7,
      'slaves.name',
    ],
    [`${master}[[slaves]]\nname = "north"\naddress = "127.0.0.1"`, 4, 'slaves.name'],
    [`${master}[[slaves]]\nname = "s"`, 3, 'slaves.address'],
    [
      `${master}[[slaves]]\nname = "s"\naddress = "127.0.0.1"\n[[slaves]]\nname = "t"\naddress = "localhost:2000"`,
      8,
      'slaves.address',
    ],
    [
      'name = "south"\n\n[link]\nlisten = "0.0.0.0:2001"\n[[slaves]]\nname = "t"\naddress = "localhost:2001"',
      7,
      'slaves.address',
    ],
    [`${master}slaves = 3`, 3, 'slaves'],
  ]
  for (const [text, line, key] of cases) {
    const place = line === null ? 'hb.toml' : `hb.toml line ${line}`
    try {
      parseConfig(text, layout, asMaster)
      t.fail(`taken: ${text}`)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_CONFIG')) throw error
      t.equal(
        error.message.slice(0, `${place}: ${key}: `.length),
        `${place}: ${key}: `,
        error.message,
      )
    }
  }
  t.throws(() => parseConfig(`${master}[log`, layout, asMaster), {
    code: 'ERR_CONFIG',
    message: /^hb\.toml line 3: /,
  })
  t.throws(() => parseConfig('name = "a"\nname = "b"', layout, asMaster), {
    code: 'ERR_CONFIG',
    message: /line 2/,
  })
  t.equal(lineOf('a = 1\n[b]\n"c" = 2', ['b', 'c']), 3)
  t.end()
})

t.test('sizes, times and addresses', t => {
  t.equal(parseSize('1.5KiB'), 1536)
  t.equal(parseSize('7'), 7)
  for (const wrong of ['', 'MiB', '1MB', '-1', '1 2', '0x10', `${2 ** 60}TiB`])
    t.equal(parseSize(wrong), null, wrong)
  t.equal(parseTime('2d'), 172_800_000)
  t.equal(parseTime('30m'), parseTime('30min'))
  for (const wrong of ['', '5', 's', '5 years']) t.equal(parseTime(wrong), null, wrong)
  t.equal(parseShare('100%'), 1)
  for (const wrong of ['0%', '25', '25 %', '2.5%']) t.equal(parseShare(wrong), null, wrong)
  fc.assert(fc.property(fc.nat({ max: 2 ** 31 }), bytes => parseSize(`${bytes}B`) === bytes))
  t.equal(sizeText(1536), '1.5 KiB')
  t.equal(sizeText(12), '12 B')

  t.strictSame(parseAddress('localhost'), { host: 'localhost', port: 2000 })
  for (const wrong of [
    '',
    ':2000',
    'a:',
    'a:1023',
    'a:99999',
    'a b',
    '::1',
    'a:2000:3',
    '[::1',
    'a/b',
    '[localhost]:2000',
    '[127.0.0.1]:2000',
    '[::1]2000',
    '**:2000',
    '[*]:2000',
  ]) {
    t.equal(parseAddress(wrong), null, wrong)
    t.equal(parseListenAddress(wrong), null, wrong)
  }
  for (const text of [
    '[2001:db8::7]:2100',
    '[fe80::1%eth0]:2000',
    'a.example:2000',
    '10.0.0.1:2000',
  ])
    t.equal(addressText(parseAddress(text)!), text)
  for (const host of ['*', '0.0.0.0', '::', '0:0:0:0:0:0:0:0', '0::0']) {
    const text = addressText({ host, port: 2000 })
    t.strictSame(parseListenAddress(text), { host, port: 2000 }, `${text} to listen`)
    t.equal(parseAddress(text), null, `${text} is no address to call`)
    t.ok(reaches({ host: '::1', port: 2000 }, { host, port: 2000 }))
  }
  t.equal(samePlace({ host: '0:0::1', port: 2 }), samePlace({ host: 'LOCALHOST', port: 2 }))
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', '0:0:0:0:0:0:0:1', 'localhost'])
    t.ok(isLoopback({ host, port: 1 }), host)
  for (const host of ['128.0.0.1', '0.0.0.0', '*', '::', '::2:1', '127.0.0.1.example.com'])
    t.notOk(isLoopback({ host, port: 1 }), host)
  t.end()
})

const settings: SetupOptions = {
  type: 'master',
  name: 'north',
  key: null,
  listen: null,
  slaves: ['south=192.0.2.7:2100'],
  applyUpdates: true,
  logSlaveUpdates: false,
  autoCreate: false,
}

t.test('setup makes a server that its configuration describes', async t => {
  const directory = join(temporary(t), 'new', 'north')
  const made = await setup(nodePlatform, directory, settings)
  const paths = layoutOf(directory)
  t.strictSame(await loadConfig(nodeDisk, paths), made)
  t.strictSame(made.slaves, [{ name: 'south', address: { host: '192.0.2.7', port: 2100 } }])
  t.equal((await readServerId(nodeDisk, paths)).length, 16)
  t.equal(statSync(paths.key).mode & 0o777, 0o600)
  const key = await readKey(nodePlatform, paths.key)
  t.equal(key.bytes.length, 32)

  await t.rejects(setup(nodePlatform, directory, settings), { code: 'ERR_EXISTS' })
  t.strictSame(await readKey(nodePlatform, paths.key), key, 'and the key is the old one')

  const slave = join(temporary(t), 'south')
  const options = {
    ...settings,
    type: 'slave' as const,
    name: 'south',
    slaves: [],
    listen: '127.0.0.1:2100',
  }
  const config = await setup(nodePlatform, slave, {
    ...options,
    key: await readKey(nodePlatform, paths.key),
  })
  t.strictSame(config.link.listen, { host: '127.0.0.1', port: 2100 })
  t.strictSame(await readKey(nodePlatform, layoutOf(slave).key), key)

  const without = await setup(nodePlatform, join(temporary(t), 'south'), options)
  t.equal(without.link.keyPath, null)
})

t.test('setup refuses before it makes anything', async t => {
  const parent = temporary(t)
  const directory = join(parent, 'north')
  const refused = (changed: Partial<SetupOptions>, code: string) =>
    t.rejects(
      setup(nodePlatform, directory, { ...settings, ...changed }),
      { code },
      JSON.stringify(changed),
    )
  await refused({ name: 'no rth' }, 'ERR_USAGE')
  await refused({ slaves: ['south'] }, 'ERR_USAGE')
  await refused({ slaves: ['south=:1'] }, 'ERR_USAGE')
  await refused({ listen: 'x:1' }, 'ERR_USAGE')
  await refused({ key: false }, 'ERR_USAGE')
  await t.rejects(readKey(nodePlatform, join(parent, 'none')), { code: 'ERR_KEY' })
  await refused({ type: 'slave', listen: '10.0.0.1:2000', slaves: [] }, 'ERR_USAGE')
  t.notOk(await nodeDisk.exists(directory))

  const other = join(parent, 'other.key')
  mkdirSync(directory)
  await makeKey(nodePlatform, layoutOf(directory).key)
  await makeKey(nodePlatform, other)
  await refused({ key: await readKey(nodePlatform, other) }, 'ERR_EXISTS')
})

t.test('a key that is none, or that others can read, is refused', async t => {
  const directory = temporary(t)
  const file = join(directory, 'hb.key')
  await makeKey(nodePlatform, file)
  await t.rejects(makeKey(nodePlatform, file), { code: 'ERR_EXISTS' })
  chmodSync(file, 0o640)
  await t.rejects(readKey(nodePlatform, file), { code: 'ERR_KEY', message: /others/ })
  for (const text of ['', 'secret', `${'0'.repeat(63)}g`, '0'.repeat(1000)]) {
    writeFileSync(file, text)
    chmodSync(file, 0o600)
    await t.rejects(readKey(nodePlatform, file), { code: 'ERR_KEY' }, text)
  }
})

t.test('the text that setup writes names every key that there is', async t => {
  const text = initialConfigText({ ...settings, key: true, slaves: [] })
  // With the comments taken off the defaults, it means the same, but for examples of what is not there by default.
  const all = text.replaceAll(/^# (?=\w+ = |\[\[)/gm, '')
  const config = parseConfig(all, layout, asMaster)
  const link = { ...config.link, listenGiven: false }
  const serve = { ...config.serve, listen: null, databases: {} }
  t.strictSame({ ...config, slaves: [], link, serve }, parseConfig(text, layout, asMaster))
  const keys = [...all.matchAll(/^(\w+) = /gm)].map(match => match[1])
  const schema = readFileSync('src/config/schema.ts', 'utf8')
  const known = [...schema.matchAll(/^\s+(\w+): v\.optional\((?!v\.strictObject|$)/gm)]
  t.ok(known.length >= 40, `the schema has ${known.length} keys`)
  for (const [, key] of known) {
    // Tables of tables.
    if (key === 'slaves') continue
    t.ok(keys.includes(key), `${key} is in hb.toml`)
  }
})
