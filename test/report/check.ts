// hb check: how a server in each state is judged; one line and an exit status whatever is wrong; nothing is touched.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import {
  checkFailure,
  checkStatus,
  cutResult,
  type Threshold,
  type Thresholds,
} from '../../src/report/check.ts'
import { checkServer } from '../../src/report/check-server.ts'
import type { SlaveRow } from '../../src/report/slave-rows.ts'
import type { ServerStatus } from '../../src/report/status.ts'
import { statusWords } from '../../src/wire/status-words.ts'
import type { ChildProcess, StartOptions } from '../../src/platform/processes.ts'
import { hb, ok, temporaryDirectory } from '../helpers/servers.ts'
import { TestClock } from '../helpers/test-clock.ts'

const off: Threshold = { warning: null, critical: null }
const limits = (warning: number, critical: number | null = null): Threshold => ({
  warning,
  critical,
})
const thresholds: Thresholds = {
  lagTxns: off,
  lagSeconds: off,
  lagBytes: off,
  queue: off,
  disk: off,
  verified: off,
}
const now = Date.UTC(2026, 0, 1)

const south: SlaveRow = {
  name: 'south',
  address: 'h:2000',
  state: 'Idle',
  nextStep: null,
  sentTxn: 100,
  receivedTxn: 100,
  durableTxn: 100,
  appliedTxn: 100,
  lastKnown: null,
  applying: 'on',
  lagTxns: 0,
  lagSeconds: 0,
  lagBytes: 0,
  lastError: null,
  dropped: false,
}
const master: ServerStatus = {
  name: 'north',
  type: 'master',
  directory: '/srv/north',
  running: true,
  pid: 5,
  server: { pid: 5 },
  shipper: { pid: 6 },
  state: 'Idle',
  nextStep: null,
  failure: null,
  owner: null,
  log: { firstTxn: 1, lastTxn: 100, durableTxn: 100, segments: 1, bytes: 1000 },
  slaves: [south],
  apply: {
    on: true,
    delaySeconds: 0,
    appliedTxn: 100,
    checkpointTxn: 100,
    backlog: { transactions: 0, bytes: 0, seconds: 0, secondsToDiskFull: null },
  },
  queue: { bytes: 0, limitBytes: 0, state: 'open', secondsToLimit: null },
  disk: { freeBytes: 1000 },
  commit: null,
  helpers: [],
  holds: [],
  lostAndFound: 0,
  verify: null,
  lastVerified: null,
  differences: null,
  damaged: [],
  timeline: 1,
  databaseId: '00',
  messages: [],
}
const slave: ServerStatus = { ...master, name: 'south', type: 'slave', slaves: [] }

function judged(status: ServerStatus, over: Partial<Thresholds> = {}): string {
  const { level, message } = checkStatus(status, { ...thresholds, ...over }, now)
  t.ok(message.startsWith(`${level.toUpperCase()}: ${status.name} (${status.type}): `), message)
  t.notMatch(message, /\n/)
  return level
}

t.test('by the states of the table', async t => {
  t.equal(judged(master), 'ok')
  t.equal(judged(slave), 'ok')
  for (const { word: state, level, of } of statusWords) {
    const sides: readonly string[] = of
    if (sides.includes('slave')) t.equal(judged({ ...slave, state }), level, `slave: ${state}`)
    if (!sides.includes('master')) continue
    if (['Fenced', 'Handing over'].includes(state)) {
      t.equal(judged({ ...master, state, failure: 'another is the master' }), level, state)
    } else if (['Stopped', 'Not answering', 'No slaves'].includes(state)) {
      t.equal(judged({ ...master, state, running: state !== 'Stopped' }), level, `master: ${state}`)
    } else {
      const slaves = [{ ...south, state }]
      t.equal(judged({ ...master, state, slaves }), level, `its slave: ${state}`)
    }
  }
})

t.test('a position that the slave has not confirmed is never OK', async t => {
  for (const field of ['receivedTxn', 'durableTxn', 'appliedTxn'] as const) {
    const slaves = [{ ...south, [field]: null }]
    t.equal(judged({ ...master, slaves }), 'warning', field)
  }
  const slaves = [south, { ...south, name: 'west', durableTxn: null, state: 'Stopped' as const }]
  t.equal(judged({ ...master, slaves }), 'critical')
})

t.test('by thresholds', async t => {
  const lag = (change: Partial<SlaveRow>, over: Partial<Thresholds>) =>
    judged({ ...master, slaves: [{ ...south, ...change }] }, over)
  for (const [field, name] of [
    ['lagTxns', 'lagTxns'],
    ['lagSeconds', 'lagSeconds'],
    ['lagBytes', 'lagBytes'],
  ] as const) {
    t.equal(lag({ [field]: 9 }, { [name]: limits(10, 20) }), 'ok', name)
    t.equal(lag({ [field]: 10 }, { [name]: limits(10, 20) }), 'warning', name)
    t.equal(lag({ [field]: 20 }, { [name]: limits(10, 20) }), 'critical', name)
    t.equal(lag({ [field]: 1e9 }, { [name]: limits(10) }), 'warning', name)
    t.equal(lag({ [field]: 1e9 }, {}), 'ok', name)
    t.equal(lag({ [field]: 20, applying: 'off' }, { [name]: limits(10) }), 'ok', 'by order')
    t.equal(lag({ [field]: 20, applying: 'later' }, { [name]: limits(10) }), 'ok', 'by order')
  }
  for (const applying of ['off', 'later'] as const) {
    t.equal(lag({ durableTxn: 90, applying }, { lagTxns: limits(10, 20) }), 'warning', 'not stored')
  }
  t.equal(lag({ lagSeconds: null }, { lagSeconds: limits(10) }), 'unknown', 'it is not known')
  t.equal(lag({ lagSeconds: null }, {}), 'ok', 'it is not asked for')
  t.equal(lag({ applying: 'failed' }, {}), 'critical')
  t.equal(lag({ dropped: true }, {}), 'critical')

  const queued = { ...master, queue: { ...master.queue, bytes: 500 } }
  t.equal(judged(queued, { queue: limits(400, 600) }), 'warning')
  t.equal(judged(queued, { queue: limits(400, 500) }), 'critical')
  t.equal(judged({ ...queued, queue: { ...queued.queue, limitBytes: 500 } }), 'critical', 'full')
  t.equal(judged(master, { disk: limits(999, 99) }), 'ok')
  t.equal(judged(master, { disk: limits(1000, 99) }), 'warning')
  t.equal(judged(slave, { disk: limits(5000, 1000) }), 'critical')
  for (const server of [master, slave]) {
    const seen = { ...server, lastVerified: now - 100_000 }
    t.equal(judged(seen, { verified: limits(101, 200) }), 'ok')
    t.equal(judged(seen, { verified: limits(99, 200) }), 'warning')
    t.equal(judged(seen, { verified: limits(50, 99) }), 'critical')
    t.equal(judged(server, { verified: limits(50, 99) }), 'critical', 'never')
    t.equal(judged(server), 'ok', 'which nobody asks')
  }

  const backlog = { transactions: 5, bytes: 50, seconds: 500, secondsToDiskFull: null }
  const apply = { ...slave.apply, backlog }
  t.equal(judged({ ...slave, apply }, { lagTxns: limits(5) }), 'warning')
  t.equal(judged({ ...slave, apply }, { lagBytes: limits(1, 50) }), 'critical')
  t.equal(judged({ ...slave, apply }, { lagSeconds: limits(1, 500) }), 'critical')
  const later = { ...apply, delaySeconds: 1000 }
  t.equal(judged({ ...slave, apply: later }, { lagSeconds: limits(1, 500) }), 'ok', 'by order')
  t.equal(judged({ ...slave, apply: { ...apply, on: false } }), 'warning')
})

t.test('by what is wrong', async t => {
  t.equal(judged({ ...slave, failure: 'the disk is full' }), 'critical')
  t.equal(judged({ ...slave, lostAndFound: 2 }), 'warning')
  const commit = { level: 'durable', state: 'alone', since: 1 } as const
  t.equal(judged({ ...master, commit }), 'critical')
  t.equal(judged({ ...master, commit: { ...commit, state: 'waiting' } }), 'critical')
  t.equal(judged({ ...master, commit: { ...commit, state: 'in step' } }), 'ok')
  const owner = { pid: 7, purpose: 'master', answers: false }
  t.equal(judged({ ...master, owner }), 'warning', 'an application hangs')
  t.equal(judged({ ...master, owner: { ...owner, answers: true } }), 'ok')
  t.equal(judged({ ...master, owner: { ...owner, purpose: 'recovery' } }), 'ok', 'it never answers')
  const differences = { comparedTxn: 5, pass: null, known: 1, more: 0 }
  t.equal(judged({ ...slave, differences }), 'critical')
  const damage = { account: 'A', file: 'F', message: 'group 1 of A F' }
  const damaged = Array.from({ length: 5000 }, () => damage) as unknown as ServerStatus['damaged']
  const many = cutResult(checkStatus({ ...slave, damaged }, thresholds, now))
  t.equal(many.level, 'critical')
  t.ok(JSON.stringify(many).length < 20_000)

  const found = checkStatus(
    { ...slave, lostAndFound: 1, failure: 'x\u001b[2J\ny' },
    thresholds,
    now,
  )
  t.equal(
    found.message,
    'CRITICAL: south (slave): x\\u001b[2J\\u000ay; 1 transaction in lost-found: see "hb lost"',
    'the worst first',
  )
  for (const code of ['ERR_LOG_CORRUPT', 'ERR_DATABASE_CORRUPT', 'ERR_ROLE'] as const) {
    t.equal(checkFailure({ code, message: 'x' }).level, 'critical', code)
  }
  t.strictSame(checkFailure({ code: 'ERR_DISK', message: 'x' }), {
    level: 'unknown',
    message: 'UNKNOWN: ERR_DISK: x',
    findings: [{ level: 'unknown', message: 'ERR_DISK: x' }],
  })
})

/** Every file below, with content and times. */
function everything(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .sort()
    .map(name => {
      const { mtimeMs, size, mode } = statSync(path.join(directory, name))
      return `${name} ${mtimeMs} ${size} ${mode}`
    })
}

t.test('the command: exit status, one line, and nothing is changed', async t => {
  const root = temporaryDirectory(t)
  const directory = path.join(root, 'north')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'north', '--slave', 's=10.0.0.1')
  await ok('create-account', '-d', directory, 'A')
  const before = everything(directory)
  const stopped = await hb('check', '-d', directory)
  t.equal(stopped.code, 2)
  t.match(stopped.stdout, /^CRITICAL: north \(master\): Stopped: run "hb start"; .*\n$/)
  t.equal(stopped.stderr, '')
  const json = await hb('check', '-d', directory, '--json')
  t.equal(json.code, 2)
  t.match(JSON.parse(json.stdout), { level: 'critical', message: /^CRITICAL/, findings: Array })
  t.strictSame(everything(directory), before)

  for (const args of [
    ['--lag-seconds', 'soon'],
    ['--queue', '1GiB,2GiB,3GiB'],
    ['--nonsense'],
    ['too', 'many'],
  ]) {
    const wrong = await hb('check', '-d', directory, ...args)
    t.equal(wrong.code, 3, args.join(' '))
    t.match(wrong.stderr, /^hb: ERR_USAGE: /)
  }
  t.match(await hb('check', '--help'), { code: 0 })
  t.match(await hb('check', '-d', path.join(root, 'none')), {
    code: 3,
    stdout: /^UNKNOWN: ERR_NOT_A_SERVER: .*\n$/,
    stderr: '',
  })
  const toml = path.join(directory, 'hb.toml')
  const text = readFileSync(toml, 'utf8')
  writeFileSync(toml, 'nonsense')
  t.match(await hb('check', '-d', directory), { code: 3, stdout: /^UNKNOWN: ERR_CONFIG: .*\n$/ })
  writeFileSync(toml, text)
})

t.test('a check that takes too long is unknown, and ends the process that looks', async t => {
  const signals: string[] = []
  const processes = {
    start: (): ChildProcess => ({
      pid: 1,
      exited: new Promise(() => {}),
      kill: signal => signals.push(signal),
    }),
  }
  const result = await checkServer({ clock: new TestClock(), processes }, '/d', thresholds, 2000)
  t.match(result, { level: 'unknown', message: /^UNKNOWN: nothing is known after 2 s/ })
  t.strictSame(signals, ['SIGKILL'])
})

t.test('a check whose process fails, or prints nonsense, is unknown', async t => {
  for (const line of [
    null,
    '',
    'null',
    '{"level":"ok"}',
    '{"level":"fine","message":"","findings":[]}',
  ]) {
    const processes = {
      start: (
        _module: string,
        _args: readonly string[],
        { output }: StartOptions,
      ): ChildProcess => {
        if (line !== null) output?.(line)
        return { pid: 1, exited: Promise.resolve({ code: 1, signal: null }), kill: () => {} }
      },
    }
    const result = await checkServer({ clock: new TestClock(), processes }, '/d', thresholds, 2000)
    t.match(result, { level: 'unknown', message: /has failed/ }, String(line))
  }
})
