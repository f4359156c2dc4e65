// The link's state machine, every state against every event, and the small parts around it: backoff, window, lag,
// status words, and the file that keeps a slave's ack.
import fc from 'fast-check'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import type { Disk, DiskFile } from '../../src/platform/disk.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { AckFile, encodeAck, listAcks, readAck, type SlaveAck } from '../../src/ship/ack-file.ts'
import { backoffMs } from '../../src/ship/backoff.ts'
import { LagMeter, secondsSince } from '../../src/ship/lag.ts'
import {
  next,
  statusWord,
  type SessionAction,
  type SessionEvent,
  type SessionState,
  type StateName,
} from '../../src/ship/session.ts'
import { shipStatus } from '../../src/ship/status.ts'
import { SendWindow } from '../../src/ship/window.ts'
import { ackWith } from '../helpers/acks.ts'

const allEvents = [
  'start',
  'connected',
  'welcomed',
  'found',
  'proven',
  'rewind',
  'failed',
  'refused',
  'due',
  'stop',
] as const satisfies readonly SessionEvent[]

const trouble = { kind: 'failed', times: 3 } as const
const states: { readonly [N in StateName]: Extract<SessionState, { name: N }> } = {
  unready: { name: 'unready' },
  calling: { name: 'calling', trouble },
  greeting: { name: 'greeting', trouble },
  seeking: { name: 'seeking', trouble },
  streaming: { name: 'streaming', trouble },
  waiting: { name: 'waiting', trouble },
  stopped: { name: 'stopped' },
}

const failedAgain = { name: 'waiting', trouble: { kind: 'failed', times: 4 } } as const
const refusedFirst = { name: 'waiting', trouble: { kind: 'refused', times: 1 } } as const
const broken = {
  failed: [failedAgain, ['hangUp', 'wait']],
  refused: [refusedFirst, ['hangUp', 'wait']],
} as const
const stop = { stop: [{ name: 'stopped' }, ['hangUp']] } as const

/** Every edge. What is not here changes nothing and does nothing. */
const edges: {
  readonly [N in StateName]: {
    readonly [E in SessionEvent]?: readonly [SessionState, readonly SessionAction[]]
  }
} = {
  unready: { start: [{ name: 'calling', trouble: null }, ['call']], ...stop },
  calling: { connected: [{ name: 'greeting', trouble }, ['greet']], ...broken, ...stop },
  greeting: { welcomed: [{ name: 'seeking', trouble }, ['seek']], ...broken, ...stop },
  seeking: { found: [{ name: 'streaming', trouble }, ['stream']], ...broken, ...stop },
  streaming: {
    rewind: [{ name: 'seeking', trouble }, ['seek']],
    proven: [{ name: 'streaming', trouble: null }, []],
    ...broken,
    ...stop,
  },
  waiting: { due: [{ name: 'calling', trouble }, ['call']], ...stop },
  stopped: {},
}

t.test('every state and every event', async t => {
  for (const name of Object.keys(states) as StateName[]) {
    for (const event of allEvents) {
      const state = states[name]
      const expected = edges[name][event] ?? [state, []]
      t.strictSame(next(state, event), expected, `${name}, ${event}`)
    }
  }
  t.throws(() => next({ name: 'lost' } as unknown as SessionState, 'due'), TypeError)
  t.throws(
    () =>
      statusWord(
        { name: 'lost' } as unknown as SessionState,
        { writing: false, unacknowledged: false, unsent: false },
        { reached: true, lastError: null },
      ),
    TypeError,
  )
})

t.test('from wherever it is, a link that is not stopped can come to stream', async () => {
  const way: Readonly<Record<StateName, SessionEvent | null>> = {
    unready: 'start',
    calling: 'connected',
    greeting: 'welcomed',
    seeking: 'found',
    streaming: null,
    waiting: 'due',
    stopped: null,
  }
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...allEvents), { maxLength: 40 }), events => {
      let state: SessionState = states.unready
      // Whoever has a connection must have let go of it before the next call.
      let connected = false
      for (const event of events) {
        const [after, actions] = next(state, event)
        if (actions.includes('hangUp')) connected = false
        if (actions.includes('call') && connected) return false
        if (actions.includes('call')) connected = true
        if (actions.includes('wait') && after.name !== 'waiting') return false
        state = after
      }
      for (let steps = 0; steps < 5 && way[state.name] !== null; steps++) {
        const event = way[state.name]
        if (event !== null) [state] = next(state, event)
      }
      return state.name === (events.includes('stop') ? 'stopped' : 'streaming')
    }),
  )
})

t.test('a broken link is tried again soon, a refused one slowly', async t => {
  const least = { bytes: (length: number) => new Uint8Array(length) }
  const most = { bytes: (length: number) => new Uint8Array(length).fill(0xff) }
  const longest = (kind: 'failed' | 'refused') =>
    [1, 2, 3, 4, 5, 6, 7, 8, 20].map(times => Math.round(backoffMs({ kind, times }, most)))
  t.strictSame(longest('failed'), [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000])
  t.strictSame(longest('refused'), [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000])
  t.equal(backoffMs({ kind: 'failed', times: 1 }, least), 50)
  t.equal(backoffMs({ kind: 'refused', times: 1000 }, least), 30_000)
})

t.test('the window counts what is in flight', async t => {
  const window = new SendWindow(100)
  t.equal(window.open, true)
  window.sent(5, 500)
  t.equal(window.open, false, 'a block larger than the window has gone, and fills it')
  window.acknowledged(4)
  t.equal(window.bytesInFlight, 500)
  window.acknowledged(5)
  t.equal(window.open, true)
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(50), fc.nat(50)), { maxLength: 60 }),
      fc.array(fc.nat(60), { maxLength: 60 }),
      (runs, acks) => {
        const tested = new SendWindow(200)
        const model: { txn: number; bytes: number }[] = []
        let txn = 0
        let acknowledged = 0
        for (const [index, [txns, bytes]] of runs.entries()) {
          txn += txns + 1
          tested.sent(txn, bytes)
          model.push({ txn, bytes })
          acknowledged = Math.min(txn, acknowledged + (acks[index] ?? 0))
          tested.acknowledged(acknowledged)
          const inFlight = model
            .filter(run => run.txn > acknowledged)
            .reduce((sum, run) => sum + run.bytes, 0)
          if (tested.bytesInFlight !== inFlight || tested.open !== inFlight < 200) return false
        }
        return true
      },
    ),
  )
})

t.test('the lag is the age of the oldest update that is not applied', async t => {
  const lag = new LagMeter()
  t.equal(lag.oldestTime, null)
  lag.applied(7)
  lag.sent(10, 1000)
  lag.sent(20, 2000)
  lag.sent(30, 3000)
  lag.applied(9)
  t.equal(lag.oldestTime, 1000)
  lag.applied(10)
  t.equal(lag.oldestTime, 2000)
  lag.applied(40)
  t.equal(lag.oldestTime, null)

  const long = new LagMeter()
  for (let txn = 1; txn <= 100_000; txn++) long.sent(txn, txn)
  for (const applied of [0, 1, 500, 50_000, 99_000, 99_999]) {
    long.applied(applied)
    const time = long.oldestTime ?? Infinity
    // Merged runs answer with the oldest of them: never younger than the truth, and not much older.
    t.ok(time <= applied + 1 && time > applied - 100_000 / 256, `${applied}: ${time}`)
  }
  long.applied(100_000)
  t.equal(long.oldestTime, null)
  t.equal(secondsSince(5000, 7500), 2.5)
  t.equal(secondsSince(5000, 4000), 0, 'clocks jump')
})

const ack: SlaveAck = ackWith({
  receivedTxn: 2 ** 40,
  durableTxn: 120,
  durableChain: 0xfedcba98,
  appliedTxn: 100,
  appliedTime: 1_700_000_000_000,
  time: 1_700_000_001_000,
  serverId: new Uint8Array(16).fill(7),
})

t.test('what status shows of a slave', async t => {
  const idle = { writing: false, unacknowledged: false, unsent: false }
  const known = { reached: true, lastError: null }
  const words = Object.values(states).map(state => statusWord(state, idle, known))
  t.strictSame(words, [
    'Wait response to call',
    'Wait response to call',
    'Connected',
    'Reading queue',
    'Idle',
    'Wait response to call',
    'Stopped',
  ])
  const { streaming, waiting } = states
  const never = { reached: false, lastError: null }
  t.equal(statusWord(waiting, idle, never), 'Not reached yet')
  t.equal(statusWord(states.unready, idle, never), 'Not reached yet')
  t.equal(statusWord(refusedFirst, idle, known), 'Refused', 'a refusal needs somebody to act')
  const refusals = [
    ['ERR_KEY', 'Wrong key'],
    ['ERR_LINK_SEED', 'Needs a copy'],
    ['ERR_LINK_DIVERGED', 'Diverged'],
    ['ERR_LINK_FOREIGN', 'Other database'],
    ['ERR_LINK_NAME', 'Wrong name'],
    ['ERR_LINK_LOOP', 'Loop'],
    ['ERR_WRONG_TYPE', 'Not a slave'],
    ['ERR_STOPPED', 'Cannot store'],
    ['ERR_LOG_CORRUPT', 'Damaged log'],
    ['ERR_LINK_REFUSED', 'Refused'],
  ] as const
  const { trouble } = refusedFirst
  for (const [code, word] of refusals) {
    const history = { reached: true, lastError: new HotBackupError(code, 'no') }
    t.equal(statusWord(refusedFirst, idle, history), word)
    for (const name of ['calling', 'greeting', 'seeking'] as const) {
      t.equal(statusWord({ name, trouble }, idle, history), word, `called again, ${name}`)
    }
    t.equal(statusWord({ name: 'streaming', trouble }, idle, history), 'Idle', 'it works again')
  }
  const full = { reached: true, lastError: new HotBackupError('ERR_DISK_FULL', 'full') }
  t.equal(statusWord(waiting, idle, full), 'Disk full', 'it may pass by itself')
  t.equal(statusWord(streaming, { ...idle, unsent: true }, known), 'Reading queue')
  const unacknowledged = { ...idle, unsent: true, unacknowledged: true }
  t.equal(statusWord(streaming, unacknowledged, known), 'Waiting for ACK')
  t.equal(statusWord(streaming, { ...unacknowledged, writing: true }, known), 'Writing to network')

  const mark = { txn: 150, chain: 1, segmentFirstTxn: 1, offset: 96, time: 9_000 }
  const sources = {
    slave: { name: 'beta', address: { host: 'h', port: 2000 } },
    state: streaming,
    ack,
    mark,
    stream: { sentTxn: 150, bytesInFlight: 5, oldestTime: 4_000 },
    pendingBytes: 0,
    bytesSent: 10,
    roundTripMs: 1.5,
    heardMs: 20,
    applying: 'off' as const,
    lastError: new HotBackupError('ERR_LINK_SEED', 'too late'),
    now: 10_000,
  }
  t.strictSame(shipStatus(sources), {
    name: 'beta',
    address: 'h:2000',
    state: 'Waiting for ACK',
    sentTxn: 150,
    receivedTxn: 2 ** 40,
    durableTxn: 120,
    appliedTxn: 100,
    lastKnown: { receivedTxn: 2 ** 40, durableTxn: 120, appliedTxn: 100, time: ack.time },
    applying: 'off',
    lagTxns: 50,
    lagSeconds: 6,
    lastError: {
      code: 'ERR_LINK_SEED',
      message: 'too late',
      hint: new HotBackupError('ERR_LINK_SEED', '').hint,
    },
    bytesSent: 10,
    bytesInFlight: 5,
    roundTripMs: 1.5,
    heardMs: 20,
  })
  const away = { ...sources, stream: null, state: states.waiting, lastError: null }
  t.match(shipStatus({ ...away, now: ack.appliedTime + 2500 }), { lagSeconds: 2.5 })
  t.match(shipStatus({ ...away, ack: { ...ack, confirmed: false } }), {
    receivedTxn: null,
    durableTxn: null,
    appliedTxn: null,
    lastKnown: { durableTxn: 120 },
    lagTxns: 50,
  })
  t.match(shipStatus({ ...away, ack: null }), { lastKnown: null, lagTxns: 150, lagSeconds: null })
  t.match(shipStatus({ ...away, ack: null, mark: null }), { lagTxns: 0, lagSeconds: 0 })
})

t.test('the ack file keeps the newest ack', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'hb-acks-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const fail = (error: HotBackupError) => t.fail(error.message)
  t.equal(await readAck(nodeDisk, directory, 'beta'), null)
  t.strictSame(await listAcks(nodeDisk, join(directory, 'none')), [])

  const file = await AckFile.open(nodeDisk, directory, 'beta', fail)
  t.equal(file.last, null)
  t.equal(await readAck(nodeDisk, directory, 'beta'), null, 'there, and empty')
  for (let txn = 1; txn <= 120; txn++) file.write({ ...ack, durableTxn: txn })
  t.strictSame(file.last, ack)
  await file.close()
  t.strictSame(await readAck(nodeDisk, directory, 'beta'), ack)

  const again = await AckFile.open(nodeDisk, directory, 'beta', fail)
  t.strictSame(again.last, { ...ack, confirmed: false }, 'another process must confirm it again')
  t.strictSame(await readAck(nodeDisk, directory, 'beta'), again.last)
  again.write({ ...ack, durableTxn: 119 })
  await again.close()
  t.match(await readAck(nodeDisk, directory, 'beta'), { durableTxn: 119 }, 'back, when told so')

  const other = await AckFile.open(nodeDisk, directory, 'alpha', fail)
  other.write(ack)
  await other.close()
  await writeFile(join(directory, 'notes.txt'), 'x')
  await writeFile(join(directory, 'gone.ack'), 'x')
  t.strictSame(
    (await listAcks(nodeDisk, directory)).map(({ slave, durableTxn }) => [slave, durableTxn]),
    [
      ['alpha', 120],
      ['beta', 119],
    ],
  )

  const path = join(directory, 'alpha.ack')
  const whole = await readFile(path)
  for (let bit = 0; bit < whole.length * 8; bit += 3) {
    const damaged = Buffer.from(whole)
    damaged.writeUInt8(damaged.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    await writeFile(path, damaged)
    const found = await readAck(nodeDisk, directory, 'alpha')
    if (found !== null) t.fail(`bit ${bit} turned, and believed`)
  }
  await truncate(path, 111)
  t.equal(await readAck(nodeDisk, directory, 'alpha'), null, 'cut short')
})

t.test('acks that meet a slow or full disk', async t => {
  const written: number[] = []
  let release = () => {}
  let failure: HotBackupError | null = null
  const slow: DiskFile = {
    path: 'x.ack',
    size: () => 0,
    access: () => ({ user: null, ours: true, mode: 0o600 }),
    read: () => Promise.resolve(0),
    readSync: () => 0,
    write: async bytes => {
      await new Promise<void>(resolve => {
        release = resolve
      })
      if (failure !== null) throw failure
      written.push(Buffer.from(bytes).readUInt32LE(24))
    },
    writeSync: () => {},
    sync: () => Promise.resolve(),
    syncSync: () => {},
    truncate: () => Promise.resolve(),
    close: () => Promise.resolve(),
    closeSync: () => {},
  }
  const disk: Disk = { ...nodeDisk, exists: () => Promise.resolve(true), open: async () => slow }
  const errors: string[] = []
  const file = await AckFile.open(disk, '/nowhere', 'x', error => errors.push(error.code))
  for (let txn = 1; txn <= 9; txn++) file.write({ ...ack, durableTxn: txn })
  release()
  await new Promise(setImmediate)
  release()
  await new Promise(setImmediate)
  t.strictSame(written, [1, 9], 'those that came meanwhile are replaced by the newest')

  failure = new HotBackupError('ERR_DISK_FULL', 'no space')
  file.write({ ...ack, durableTxn: 10 })
  release()
  await new Promise(setImmediate)
  t.strictSame(errors, ['ERR_DISK_FULL'])
  failure = null
  file.write({ ...ack, durableTxn: 11 })
  release()
  await file.close()
  t.strictSame(written, [1, 9, 11], 'the next one is tried')
  t.equal(encodeAck(ack).length, 112)
})
