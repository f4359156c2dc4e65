// The commands as people and scripts run them: exit codes, standard output and error. Most run in this process,
// since a process costs a third of a second; those that are called `process…` are real ones.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Readable, Writable } from 'node:stream'
import type { Command } from 'commander'
import t from 'tap'
import { Context, execute, processStreams } from '../../src/cli/command-line.ts'
import { hbProgram } from '../../src/cli/program.ts'
import { freePort, okProcess, Pair, type Outcome } from '../helpers/servers.ts'

type Tap = Pick<typeof t, 'teardown'>

interface BytesOutcome extends Outcome {
  readonly bytes: Buffer
}

async function hbWithInput(
  input: string | Buffer,
  ...args: readonly string[]
): Promise<BytesOutcome> {
  const written: Buffer[] = []
  const stdout = new Writable({
    write(piece: Buffer, _, done) {
      written.push(Buffer.from(piece))
      done()
    },
  })
  let stderr = ''
  const context = new Context({
    stdin: Readable.from([Buffer.from(input)]),
    stdout,
    stderr: { write: text => (stderr += text) },
  })
  const code = await execute(await hbProgram(context), context, args)
  const bytes = Buffer.concat(written)
  return { code, stdout: bytes.toString(), stderr, bytes }
}

function hb(...args: readonly string[]): Promise<BytesOutcome> {
  return hbWithInput('', ...args)
}

async function ok(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await hb(...args)
  if (code !== 0) throw new Error(`hb ${args.join(' ')} ended with ${code}: ${stderr}`)
  return stdout
}

function temporary(test: Tap): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'hb-commands-'))
  test.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function makeMaster(test: Tap): Promise<string> {
  const directory = path.join(temporary(test), 'north')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'north')
  return directory
}

/** Every file below the directory with its time and content. */
function fingerprint(directory: string): string {
  const hash = createHash('sha256')
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    const file = path.join(directory, name)
    const found = statSync(file)
    hash.update(`${name} ${found.mtimeMs} ${found.mode}\n`)
    if (found.isFile()) hash.update(readFileSync(file))
  }
  return hash.digest('hex')
}

t.test('items go in and come out byte for byte; whoever only looks changes nothing', async t => {
  const dir = await makeMaster(t)
  await ok('create-account', '-d', dir, 'sales')
  await ok('create-file', '-d', dir, 'sales', 'orders', '--modulo', '7')
  await ok('write', '-d', dir, 'sales', 'orders', 'größe', '3 Äpfel')
  await ok('write', '-d', dir, 'sales', 'orders', '--', '-1', 'dash')
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  t.equal((await hbWithInput(bytes, 'write', '-d', dir, 'sales', 'orders', 'bytes')).code, 0)
  await ok('write', '-d', dir, 'sales', 'orders', 'gone', 'x')
  await ok('delete', '-d', dir, 'sales', 'orders', 'gone')

  const before = fingerprint(dir)
  t.equal(await ok('read', '-d', dir, 'sales', 'orders', 'größe'), '3 Äpfel')
  t.equal(await ok('read', '-d', dir, 'sales', 'orders', '--', '-1'), 'dash')
  const { bytes: raw } = await hb('read', '-d', dir, 'sales', 'orders', 'bytes')
  t.ok(raw.equals(bytes))
  t.equal(await ok('list', '-d', dir), 'sales  1  file\n')
  t.match(await ok('list', '-d', dir, 'sales'), /^orders +modulo +7 +3 +items\n$/)
  t.strictSame((await ok('list', '-d', dir, 'sales', 'orders')).trimEnd().split('\n').sort(), [
    '-1',
    'bytes',
    'größe',
  ])
  t.strictSame(JSON.parse(await ok('list', '-d', dir, 'sales', '--json')), [
    { file: 'orders', modulo: 7, items: 3 },
  ])
  const ids = JSON.parse(await ok('list', '-d', dir, 'sales', 'orders', '--json')) as {
    id: string
  }[]
  t.strictSame(ids.map(({ id }) => id).sort(), ['-1', 'bytes', 'größe'])
  const digest = await ok('digest', '-d', dir)
  t.match(digest, /^[0-9a-f]{64}\n$/)
  const exported = await ok('export', '-d', dir, 'sales', 'orders')
  t.match(exported, /"base64":true/)
  const status = JSON.parse(await ok('status', '-d', dir, '--json')) as Record<string, unknown>
  t.match(status, {
    name: 'north',
    type: 'master',
    running: false,
    pid: null,
    state: 'Stopped',
    log: { firstTxn: 1, lastTxn: 7, durableTxn: 7, segments: 1 },
    slaves: [],
    apply: { on: true, appliedTxn: 7 },
    helpers: [],
    holds: [],
    lostAndFound: 0,
    timeline: 1,
  })
  const text = await ok('status', '-d', dir)
  t.match(text, /^north, master, /)
  t.match(text, /Log +transactions 1 to 7; 1 segment, /)
  t.match(await ok('log', 'list', '-d', dir), /0000000000000001\.log +1 +7 /)
  t.match(await ok('log', 'verify', '-d', dir), /^valid: transactions 1 to 7; /)
  const dump = (await ok('log', 'dump', '-d', dir, '--json', '--from', '3', '--to', '5'))
    .trimEnd()
    .split('\n')
  t.match(dump.map(line => JSON.parse(line) as unknown).filter(isWrite), [
    { txn: 3, account: 'sales', file: 'orders', id: 'größe', value: '3 Äpfel', last: true },
    { txn: 4, id: '-1', value: 'dash' },
    { txn: 5, id: 'bytes', value: bytes.toString('base64'), base64: true },
  ])
  t.match(await ok('log', 'dump', '-d', dir), /7 {2}\S+ {2}delete-item +sales orders {2}"gone"\n$/)
  t.equal(await ok('log', 'dump', '-d', dir, '--account', 'other'), '')
  t.equal(fingerprint(dir), before, 'nothing was changed')

  // What was exported makes the same file elsewhere; whatever the order, the digest is the same.
  const other = await makeMaster(t)
  const imported = await hbWithInput(
    exported.trimEnd().split('\n').reverse().join('\n'),
    'import',
    '-d',
    other,
    'sales',
    'orders',
    '--format',
    'jsonl',
    '--id',
    'id',
    '--create',
  )
  t.match(imported, { code: 0, stdout: '3 items imported\n', stderr: '' })
  t.not(await ok('digest', '-d', other), digest)
  await ok('resize-file', '-d', other, 'sales', 'orders', '--modulo', '7')
  t.equal(await ok('digest', '-d', other), digest)
  await ok('clear-file', '-d', other, 'sales', 'orders')
  t.equal(await ok('list', '-d', other, 'sales', 'orders'), '')
  await ok('delete-account', '-d', other, 'sales')
  t.equal(await ok('list', '-d', other), '')
})

function isWrite(record: unknown): boolean {
  return (record as { type: string }).type === 'write-item'
}

t.test('a mistake is one line on standard error, and its exit code', async t => {
  const dir = await makeMaster(t)
  const empty = temporary(t)
  await ok('create-account', '-d', dir, 'a')
  await ok('create-file', '-d', dir, 'a', 'f')
  const broken = path.join(temporary(t), 'broken')
  await ok('setup', '-d', broken, '--type', 'master', '--name', 'x')
  writeFileSync(path.join(broken, 'hb.toml'), 'name = "x"\n[log]\nfsync = "no"\n')

  const cases: [code: number, word: string, ...args: string[]][] = [
    [2, 'ERR_USAGE', 'nonsense'],
    [2, 'ERR_USAGE', 'read', '-d', dir, 'a', 'f'],
    [2, 'ERR_USAGE', 'read', '-d', dir, 'a', 'f', 'i', 'more'],
    [2, 'ERR_USAGE', 'list', '--jason'],
    [2, 'ERR_USAGE', 'create-file', '-d', dir, 'a', 'g', '--modulo', '0'],
    [2, 'ERR_USAGE', 'setup', '-d', empty, '--type', 'master'],
    [
      2,
      'ERR_USAGE',
      'setup',
      '-d',
      empty,
      '--type',
      'master',
      '--name',
      'n',
      '--apply-updates',
      'off',
    ],
    [2, 'ERR_USAGE', 'log', 'dump', '-d', dir, '--from', '3', '--to', '2'],
    [2, 'ERR_NAME', 'create-account', '-d', dir, '../a'],
    [2, 'ERR_ITEM_ID', 'write', '-d', dir, 'a', 'f', '', 'v'],
    [2, 'ERR_CONFIG: hb.toml line 3: log.fsync: ', 'status', '-d', broken],
    [1, 'ERR_EXISTS', 'create-account', '-d', dir, 'a'],
    [1, 'ERR_DISK', 'import', '-d', dir, 'a', 'f', '/none', '--format', 'csv', '--id', 'x'],
    [3, 'ERR_NO_ACCOUNT', 'list', '-d', dir, 'b'],
    [3, 'ERR_NO_FILE', 'export', '-d', dir, 'a', 'g'],
    [3, 'ERR_NO_ITEM', 'read', '-d', dir, 'a', 'f', 'i'],
    [3, 'ERR_NO_ITEM', 'delete', '-d', dir, 'a', 'f', 'i'],
    [3, 'ERR_NO_SLAVE', 'wait', '-d', dir, '--slave', 'south'],
    [4, 'ERR_NOT_A_SERVER', 'list', '-d', empty],
    [4, 'ERR_WRONG_TYPE', 'apply', '-d', dir, 'off'],
    [4, 'ERR_NOT_RUNNING', 'stop', '-d', dir],
  ]
  for (const [code, word, ...args] of cases) {
    const outcome = await hb(...args)
    t.equal(outcome.code, code, `hb ${args.join(' ')}`)
    t.equal(outcome.stdout, '')
    t.ok(outcome.stderr.startsWith(`hb: ${word}`), outcome.stderr)
    t.equal(outcome.stderr.indexOf('\n'), outcome.stderr.length - 1, 'one line')
  }
  const bare = await hb()
  t.equal(bare.code, 2)
  t.match(bare.stderr, /^Usage: hb /)
  const mandoc = existsSync('/usr/bin/mandoc')
  const [import_, lost, itself] = mandoc
    ? [
        /^hb import account file .*\n +Write an item/s,
        /^hb lost list.*\nhb lost discard/s,
        /^hb help \[/,
      ]
    : [/^Usage: hb import .*Examples:\n/s, /^Usage: hb lost/, /^Usage: hb help/]
  t.match(await ok('help', 'import'), import_)
  t.match(await ok('help', 'lost'), lost)
  t.match(await ok('help', 'help'), itself)
  t.match(await ok('help'), /^Usage: hb /)
  t.match(await hb('help', 'log', 'dig'), { code: 2, stderr: /unknown command "log dig"/ })
  t.match(await ok('log', 'verify', '--help'), /^Usage: hb log verify /)
  t.match(await ok('--version'), /^\d+\.\d+\.\d+\n$/)
})

/** The commands with their names from the top, and what they need at least. */
function leaves(command: Command, names: readonly string[] = []): string[][] {
  if (command.commands.length > 0) {
    return command.commands.flatMap(child => leaves(child, [...names, child.name()]))
  }
  const needed = command.registeredArguments
    .filter(({ required }) => required)
    .map(argument => argument.argChoices?.[0] ?? '1')
  const options = command.options
    .filter(({ mandatory, long }) => mandatory && long !== '--dir')
    .flatMap(({ long, argChoices, flags }) => [
      String(long),
      argChoices?.[0] ?? (/host:port/.test(flags) ? '127.0.0.1:2000' : '7'),
    ])
  return [[...names, ...needed, ...options]]
}

t.test('every command has help, refuses a wrong option, and changes nothing elsewhere', async t => {
  const empty = temporary(t)
  const all = leaves(await hbProgram(new Context(processStreams())))
  t.ok(all.length > 30)
  for (const words of all) {
    const text = `hb ${words.join(' ')}`
    const help = await hb(...words, '--help')
    t.match(help, { code: 0, stdout: /^Usage: hb .*Examples:/s, stderr: '' }, text)
    // A monitor takes 2 for a server in a critical state; see test/report/check.ts.
    const code = words[0] === 'check' ? 3 : 2
    const wrong = await hb(...words, '--wrong')
    t.match(wrong, { code, stdout: '', stderr: /^hb: ERR_USAGE: unknown option '--wrong'.*\n$/ })
    if (words[0] === 'help' || words[0] === 'check') continue
    const outcome = await hb(...words, '-d', empty)
    const expected = words[0] === 'setup' ? 2 : 4
    t.match(outcome, { code: expected, stdout: '', stderr: /^hb: ERR_[A-Z_]+: .*\n$/ }, text)
  }
  t.strictSame(readdirSync(empty), [])
})

t.test('each command is loaded with its own part alone, and does the same then', async t => {
  const loaded = (...args: string[]) => hbProgram(new Context(processStreams()), args)
  const all = await loaded()
  for (const command of all.commands.filter(command => command.name() !== 'help')) {
    const some = await loaded(command.name())
    t.ok(some.commands.length < all.commands.length, command.name())
    const found = some.commands.find(each => each.name() === command.name())
    t.equal(found?.helpInformation(), command.helpInformation())
  }
  for (const called of ['help', 'nothing', '-d']) {
    t.equal((await loaded(called)).commands.length, all.commands.length, called)
  }
})

t.test('an import that meets a bad record keeps what came before it', async t => {
  const dir = await makeMaster(t)
  const run = (input: string | Buffer, ...args: string[]) =>
    hbWithInput(input, 'import', '-d', dir, 'a', 'f', '--create', ...args)
  const content = async () => {
    const lines = (await ok('export', '-d', dir, 'a', 'f')).trimEnd().split('\n')
    await ok('clear-file', '-d', dir, 'a', 'f')
    return lines
      .map(line => JSON.parse(line) as { id: string; value: string })
      .sort((a, b) => (a.id < b.id ? -1 : 1))
  }
  const json = ['--format', 'jsonl', '--id', 'n']
  const bad = await run('{"n": 1, "value": "one"}\n\n{"n":"two"}\r\n{"n": 3', ...json)
  t.equal(bad.code, 1)
  t.match(bad.stderr, /^hb: ERR_IMPORT: line 4: not JSON \(imported before it: 2 items\)\. /)
  t.strictSame(await content(), [
    { id: '1', value: 'one' },
    { id: 'two', value: '{"n":"two"}' },
  ])
  for (const line of [
    '[]',
    '{"m":1}',
    '{"n":1.5}',
    '{"n":null}',
    '{"n":""}',
    '{"n":"x","value":"?","base64":true}',
    '{"n":"\\ud800","value":"x"}',
    '{"n":"x","value":"\\udc00"}',
  ]) {
    t.match(await run(line, ...json), { code: 1, stderr: /^hb: ERR_IMPORT: line 1: / }, line)
  }
  t.match(await run(Buffer.from([0x22, 0xff, 0x22]), ...json), {
    code: 1,
    stderr: /line 1: not UTF-8/,
  })

  const csv = ['--format', 'csv', '--id', 'n']
  const table =
    '\ufeffn,name,price\r\n1,"pear, ""green""",3\r\n2,"two\nlines",4\n3,short\n4,late,5\n'
  t.match(await run(table, ...csv), {
    code: 1,
    stderr: /^hb: ERR_IMPORT: line 5: .*\(imported before it: 2 items\)/,
  })
  t.strictSame(await content(), [
    { id: '1', value: '{"n":"1","name":"pear, \\"green\\"","price":"3"}' },
    { id: '2', value: '{"n":"2","name":"two\\nlines","price":"4"}' },
  ])
  t.match(await run('n,name\n1,"open\n', ...csv), { code: 1, stderr: /^hb: ERR_IMPORT: line / })
  t.match(await run('m\n1\n', ...csv), { code: 1, stderr: /no column "n" among "m"/ })
  t.match(await run('n,value\n1,a\n2,b\n', ...csv), { code: 0, stdout: '2 items imported\n' })
  t.match(await run(Buffer.from('n,x,y\n3,\xff,z\n', 'latin1'), ...csv, '--value', 'x'), {
    code: 0,
  })
  t.strictSame(await content(), [
    { id: '1', value: 'a' },
    { id: '2', value: 'b' },
    { id: '3', value: '/w==', base64: true },
  ])
})

t.test('commands at the same time take turns; a reader that goes away is no error', async t => {
  const dir = await makeMaster(t)
  await ok('create-account', '-d', dir, 'a')
  await ok('create-file', '-d', dir, 'a', 'f')
  const ids = Array.from({ length: 5 }, (_, i) => `item ${i}`)
  await Promise.all(ids.map(id => okProcess('write', '-d', dir, 'a', 'f', id, 'x'.repeat(100_000))))
  t.strictSame((await ok('list', '-d', dir, 'a', 'f')).trimEnd().split('\n').sort(), ids)

  const module = new URL('../../src/cli/hb.js', import.meta.url).pathname
  for (const command of [
    ['export', '-d', dir, 'a', 'f'],
    ['log', 'dump', '--json', '-d', dir],
  ]) {
    const child = spawn(process.execPath, [module, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stderr = ''
    child.stderr.on('data', bytes => (stderr += bytes))
    child.stdout.once('data', () => child.stdout.destroy())
    const code = await new Promise(resolve => child.once('close', resolve))
    t.strictSame({ code, stderr }, { code: 0, stderr: '' }, command.join(' '))
  }

  // A signal in the middle of an import: what it holds is closed, and the next command has no one to wait for.
  const child = spawn(
    process.execPath,
    [module, 'import', '-d', dir, 'a', 'f', '--format', 'jsonl', '--id', 'id'],
    {
      stdio: ['pipe', 'ignore', 'inherit'],
    },
  )
  const line = `${JSON.stringify({ id: 'from the pipe', value: 'y'.repeat(2_000_000) })}\n`
  child.stdin.on('error', () => {})
  child.stdin.write(line + line)
  while ((await hb('read', '-d', dir, 'a', 'f', 'from the pipe')).code !== 0);
  child.kill('SIGINT')
  t.equal(await new Promise(resolve => child.once('exit', code => resolve(code))), 130)
  t.notOk(existsSync(path.join(dir, 'run', 'owner.lock')), 'the lock is released')
})

t.test('corrupt logs', async t => {
  const dir = await makeMaster(t)
  await ok('create-account', '-d', dir, 'sales')
  await ok('create-account', '-d', dir, 'stock')
  const segment = path.join(dir, 'log', '0000000000000001.log')
  const bytes = readFileSync(segment)
  const copy = path.join(temporary(t), 'copy.log')
  const end = JSON.parse(await ok('log', 'list', '-d', dir, '--json')) as { bytes: number }[]
  const length = end[0]?.bytes ?? 0

  writeFileSync(copy, bytes.subarray(0, length))
  t.match(await hb('log', 'verify', copy), { code: 0, stdout: /^valid: transactions 1 to 2; / })
  t.match(await ok('log', 'dump', copy), /create-account +"sales"\n.*"stock"\n$/)
  writeFileSync(copy, bytes.subarray(0, length - 9))
  t.match(await hb('log', 'verify', copy), {
    code: 5,
    stderr: /^hb: ERR_LOG_TORN: .*copy\.log.* transaction 2/,
  })
  t.match(await hb('log', 'dump', copy), {
    code: 5,
    stdout: /"sales"\n$/,
    stderr: /^hb: ERR_LOG_TORN/,
  })
  const rotten = Buffer.from(bytes.subarray(0, length))
  rotten[180] = (rotten[180] ?? 0) ^ 1
  writeFileSync(copy, rotten)
  t.match(await hb('log', 'verify', copy), {
    code: 5,
    stderr: /^hb: ERR_LOG_CORRUPT: .*transaction 1/,
  })
  writeFileSync(segment, Buffer.concat([rotten, bytes.subarray(length)]))
  t.match(await hb('log', 'verify', '-d', dir), { code: 5, stderr: /^hb: ERR_LOG_CORRUPT/ })
  t.match(await hb('log', 'verify', '/none'), { code: 1, stderr: /^hb: ERR_DISK/ })
})

t.test('start, stop, wait and apply', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'a')
  await ok('create-file', '-d', master, 'a', 'f')
  t.match(await hb('wait', '-d', master, '--timeout', '0'), {
    code: 6,
    stderr: /^hb: ERR_TIMEOUT: slave beta has applied transaction 0, not 2/,
  })
  await ok('start', '-d', slave)
  await ok('start', '-d', master)
  t.match(await hb('start', '-d', master), {
    code: 4,
    stderr: /^hb: ERR_RUNNING: alpha is running already: process \d+/,
  })
  t.match(await hb('start', '-d', slave), { code: 4, stderr: /^hb: ERR_RUNNING/ })
  t.equal(await ok('wait', '-d', master, '--timeout', '60'), 'transaction 2 is applied\n')
  t.equal(
    await ok('wait', '-d', slave, '--txn', '2', '--level', 'durable'),
    'transaction 2 is durable\n',
  )
  t.match(await hb('write', '-d', slave, 'a', 'f', 'i', 'v'), {
    code: 4,
    stderr: /^hb: ERR_READ_ONLY/,
  })
  t.match(JSON.parse(await ok('status', '-d', slave, '--json')), {
    running: true,
    pid: Number,
    apply: { on: true, appliedTxn: 2 },
  })

  await ok('apply', '-d', slave, 'off')
  await ok('write', '-d', master, 'a', 'f', 'i', 'v')
  await ok('wait', '-d', master, '--level', 'durable', '--timeout', '60')
  t.equal((await hb('read', '-d', slave, 'a', 'f', 'i')).code, 3, 'stored, not applied')
  t.equal((await hb('wait', '-d', slave, '--timeout', '0')).code, 6)
  await ok('stop', '-d', slave)
  t.equal((await hb('read', '-d', slave, 'a', 'f', 'i')).code, 3, 'nor when it is stopped')
  t.match(JSON.parse(await ok('status', '-d', slave, '--json')), {
    running: false,
    state: 'Stopped',
    apply: { on: false, appliedTxn: 2, checkpointTxn: 2 },
  })
  await ok('apply', '-d', slave, 'on')
  t.equal(await ok('read', '-d', slave, 'a', 'f', 'i'), 'v', 'a reader replays the log')
  await ok('start', '-d', slave)
  await ok('wait', '-d', slave, '--timeout', '60')
  t.equal(await ok('read', '-d', slave, 'a', 'f', 'i'), 'v')

  await ok('stop', '-d', slave)
  const other = path.join(pair.root, 'gamma')
  await ok(
    'setup',
    '-d',
    other,
    '--type',
    'slave',
    '--name',
    'gamma',
    '--listen',
    `127.0.0.1:${await freePort()}`,
  )
  writeFileSync(path.join(other, 'hb.key'), 'no key\n', { mode: 0o600 })
  const config = path.join(other, 'hb.toml')
  writeFileSync(config, readFileSync(config, 'utf8').replace('# key =', 'key ='))
  t.match(
    await hb('start', '-d', other),
    { code: 2, stderr: /^hb: ERR_KEY: .*holds no key/ },
    'its own error',
  )
  t.match(await hb('stop', '-d', other), { code: 4 })
})
