// The alarm for replication that stands still: when it is raised, when it is not, and that it is raised once.
import t from 'tap'
import type { Test } from 'tap'
import type { SlaveStatus } from '../../src/control/server-status.ts'
import { FollowWatch, linkTrouble, type Follower } from '../../src/report/follow-watch.ts'
import { slaveAsFollower, slavesAsFollowers } from '../../src/report/followers.ts'
import type { ShipStatus } from '../../src/ship/status.ts'
import { TestClock } from '../helpers/test-clock.ts'

const second = 1000
const minute = 60_000

class World {
  readonly clock = new TestClock()
  readonly said: string[] = []
  afterMs = minute
  followers: readonly Follower[] | null = []

  constructor(t: Test) {
    const say = (level: string, message: string, fields: object = {}) => {
      t.match(fields, { alarm: true }, 'whatever the level is')
      this.said.push(`${level} ${message}`)
    }
    const watch = new FollowWatch(
      this.clock,
      say,
      () => this.afterMs,
      () => this.followers,
    )
    t.teardown(() => watch.stop())
  }

  /** What was said in so long. */
  async after(ms: number): Promise<string[]> {
    await this.clock.advance(ms, 500)
    return this.said.splice(0)
  }

  south(change: Partial<Follower> = {}): void {
    this.followers = [{ who: 'slave south', trouble: null, busyAt: null, help: null, ...change }]
  }
}

const away = linkTrouble({ code: 'ERR_CONNECT', message: 'refused' }, '')
const needsCopy = linkTrouble({ code: 'ERR_LINK_SEED', message: 'too late for 17' }, '')
const wrongKey = linkTrouble({ code: 'ERR_KEY', message: 'the keys differ' }, '')

t.test('a slave that is away: one alarm after a minute, one when it is back', async t => {
  const world = new World(t)
  world.south()
  t.strictSame(await world.after(10 * minute), [])
  world.south({ trouble: away })
  t.strictSame(await world.after(59 * second), [])
  t.strictSame(await world.after(2 * second), [
    'error slave south has not followed for 60 s: ERR_CONNECT: refused',
  ])
  t.strictSame(await world.after(60 * minute), [], 'not again')
  world.south()
  t.strictSame(await world.after(9 * second), [], 'it may break again')
  t.strictSame(await world.after(3 * second), ['info slave south follows again'])
  t.strictSame(await world.after(10 * minute), [])
  world.south({ trouble: away })
  t.equal((await world.after(61 * second)).length, 1, 'another time is another alarm')
})

t.test('a short absence is no alarm, and neither is what nobody knows', async t => {
  const world = new World(t)
  world.south({ trouble: away })
  await world.after(50 * second)
  world.south()
  t.strictSame(await world.after(10 * minute), [], 'it follows again, of which nobody was told')
  world.followers = null
  t.strictSame(await world.after(10 * minute), [], 'the server opens itself anew')
  world.south({ trouble: away })
  await world.after(50 * second)
  world.followers = []
  await world.after(2 * second)
  world.south({ trouble: away })
  t.strictSame(await world.after(50 * second), [], 'taken out of hb.toml, and in again')
})

t.test('what only a person can repair is an alarm at once, and one alarm', async t => {
  const world = new World(t)
  world.south({ trouble: needsCopy })
  t.strictSame(await world.after(second), [
    'error slave south does not follow: ERR_LINK_SEED: too late for 17',
  ])
  world.south({ trouble: linkTrouble({ code: 'ERR_LINK_SEED', message: 'too late for 18' }, '') })
  t.strictSame(await world.after(10 * minute), [], 'other words for the same')
  world.south({ trouble: away })
  t.strictSame(await world.after(10 * minute), [], 'a trouble that changes is one trouble')
  world.south({ trouble: wrongKey })
  t.strictSame(
    await world.after(second),
    ['error slave south does not follow: ERR_KEY: the keys differ'],
    'unless it is another thing to do',
  )
  world.south({ trouble: needsCopy })
  t.strictSame(await world.after(minute), [])
  world.south()
  t.strictSame(await world.after(12 * second), ['info slave south follows again'])
})

t.test('a copy that is on its way is waited for', async t => {
  const world = new World(t)
  world.south({ trouble: needsCopy, help: 'offered' })
  t.strictSame(await world.after(5 * second), [], 'the slave may take it')
  world.south({ trouble: needsCopy, help: 'coming' })
  t.strictSame(await world.after(60 * minute), [])
  world.south({ trouble: away })
  t.equal((await world.after(58 * second)).length, 0)
  t.equal((await world.after(4 * second)).length, 1, 'the minute begins when the copy is there')
  world.followers = []
  await world.after(second)
  world.south({ trouble: needsCopy, help: 'offered' })
  await world.after(5 * second)
  world.south({ trouble: needsCopy })
  t.equal((await world.after(second)).length, 1, 'the slave does not take it')
})

t.test('a slave that takes updates and does not get on', async t => {
  const world = new World(t)
  world.south({ busyAt: 100 })
  t.strictSame(await world.after(59 * second), [])
  t.strictSame(await world.after(3 * second), [
    'error slave south has not followed for 60 s: it does not get beyond transaction 100',
  ])
  t.strictSame(await world.after(10 * minute), [])
  world.south({ busyAt: 101 })
  await world.after(5 * second)
  world.south({ busyAt: 102 })
  t.strictSame(await world.after(7 * second), ['info slave south follows again'])

  const slow = new World(t)
  for (let txn = 1; txn < 100; txn++) {
    slow.south({ busyAt: txn })
    t.strictSame(await slow.after(9 * second), [], 'slow is not still')
  }
})

t.test('a link that flaps is one alarm, however it goes on', async t => {
  for (const [up, down] of [
    [1, 61],
    [5, 5],
    [2, 20],
  ] as const) {
    const world = new World(t)
    for (let passed = 0; passed < 3600; passed += up + down) {
      world.south({ trouble: away })
      await world.clock.advance(down * second, 500)
      world.south()
      await world.clock.advance(up * second, 500)
    }
    t.equal(world.said.length, 1, `${up} s up, ${down} s down: ${world.said.join('; ')}`)
    t.match(world.said[0], /^error slave south (has not followed|follows only now and then)/)
    t.strictSame((await world.after(minute)).slice(1), ['info slave south follows again'])
  }
  const rare = new World(t)
  for (let times = 0; times < 100; times++) {
    rare.south({ trouble: away })
    await rare.clock.advance(2 * second, 500)
    rare.south()
    t.strictSame(await rare.after(minute), [], 'it breaks now and then, and follows')
  }
})

t.test('each slave has its own alarm, by the time that hb.toml says now', async t => {
  const world = new World(t)
  const follower = { busyAt: null, help: null }
  world.followers = [
    { who: 'slave south', trouble: away, ...follower },
    { who: 'slave west', trouble: null, ...follower },
  ]
  t.equal((await world.after(61 * second)).length, 1)
  world.afterMs = 4 * second
  world.followers = [
    { who: 'slave south', trouble: away, ...follower },
    { who: 'slave west', trouble: away, ...follower },
  ]
  t.strictSame(await world.after(6 * second), [
    'error slave west has not followed for 4 s: ERR_CONNECT: refused',
  ])
})

const row: ShipStatus = {
  name: 'south',
  address: 'h:2000',
  state: 'Idle',
  sentTxn: 100,
  receivedTxn: 100,
  durableTxn: 100,
  appliedTxn: 100,
  lastKnown: null,
  applying: 'on',
  lagTxns: 0,
  lagSeconds: 0,
  lastError: null,
  bytesSent: 0,
  bytesInFlight: 0,
  roundTripMs: null,
  heardMs: 5,
}
const error = { code: 'ERR_LINK_DIVERGED', message: 'another history', hint: '' }

t.test('what a master sees of its slaves', async t => {
  const seen = (change: Partial<ShipStatus>) => slavesAsFollowers([{ ...row, ...change }])[0]
  const follows = { who: 'slave south', trouble: null, busyAt: null, help: null }
  t.strictSame(seen({}), follows)
  t.match(seen({ heardMs: null }), { trouble: { code: null, message: /not connected/ } })
  t.match(seen({ heardMs: null, lastError: error }), { trouble: { code: 'ERR_LINK_DIVERGED' } })
  t.match(seen({ sentTxn: 120 }), { trouble: null, busyAt: 100 }, 'sent and not acknowledged')
  t.match(seen({ durableTxn: null }), { busyAt: 0 }, 'nothing acknowledged')
  t.match(seen({ appliedTxn: 90 }), { busyAt: 90 }, 'stored and not applied')
  t.strictSame(seen({ appliedTxn: 90, applying: 'off' }), follows, 'by order')
  t.strictSame(seen({ appliedTxn: 90, applying: 'later' }), follows, 'by order')
  t.match(seen({ appliedTxn: 90, applying: 'failed' }), { trouble: { message: /stands still/ } })
  const seed = { bytes: 0, totalBytes: 0 }
  t.match(seen({ seed: { step: 'asking', ...seed } }), { help: 'offered' })
  t.match(seen({ seed: { step: 'sending', ...seed } }), { help: 'coming' })
})

t.test('what a slave sees of itself', async t => {
  const receiver = {
    state: 'Idle' as const,
    address: 'h:2000',
    master: { name: 'north', address: 'h:4' },
    receivedTxn: 100,
    durableTxn: 100,
    appliedTxn: 100,
    masterDurableTxn: 100,
    bytesReceived: 0,
    seeding: false,
    strangers: 0,
    lastError: null,
  }
  const apply = { on: true, delaySeconds: 0, appliedTxn: 100, checkpointTxn: 0 }
  const status = { receiver, apply, failure: null } as unknown as SlaveStatus
  const seen = (change: object, autoSeed = false) =>
    slaveAsFollower({ name: 'south', slave: { autoSeed } }, { ...status, ...change })
  const follows = { who: 'south', trouble: null, busyAt: null, help: null }
  t.strictSame(seen({}), follows)
  const alone = { ...receiver, master: null }
  t.match(seen({ receiver: alone }), { trouble: { message: 'no master has called' } })
  const refused = { ...alone, lastError: { ...error, code: 'ERR_LINK_SEED' } }
  t.match(seen({ receiver: refused }), { trouble: { code: 'ERR_LINK_SEED' }, help: null })
  t.match(seen({ receiver: refused }, true), { help: 'offered' })
  t.match(seen({ receiver: { ...refused, seeding: true } }), { help: 'coming' })
  t.match(seen({ failure: 'damaged' }), { trouble: { code: 'failure', message: 'damaged' } })
  t.match(seen({ apply: { ...apply, appliedTxn: 90 } }), { busyAt: 90 })
  t.strictSame(seen({ apply: { ...apply, appliedTxn: 90, on: false } }), follows, 'by order')
  t.strictSame(seen({ apply: { ...apply, appliedTxn: 90, delaySeconds: 5 } }), follows, 'by order')
})
