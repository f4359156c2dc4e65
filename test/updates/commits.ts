// When an update is done: by acks that are written as a shipper would, with a clock that the test moves on.
import t, { type Test } from 'tap'
import { type CommitPolicy } from '../../src/config/policies.ts'
import { HotBackupError } from '../../src/errors.ts'
import { Commits, type CommitEvent } from '../../src/updates/commits.ts'
import { AckFile, type SlaveAck } from '../../src/ship/ack-file.ts'
import { ackWith, HeldLocks } from '../helpers/acks.ts'
import { noWatcher } from '../helpers/link-pair.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { TestClock } from '../helpers/test-clock.ts'

const directory = '/slaves'
const source = { directory, lock: '/run/shipper' }
const patient: CommitPolicy = { level: 'durable', slaves: 1, timeoutMs: 5000, onTimeout: 'wait' }

/** A log in which everything is durable as soon as the test says so. */
class FakeLog {
  lastTxn = 0
  durableTxn = 0
  #synced: { readonly promise: Promise<void>; readonly resolve: () => void } | null = null

  synced(): Promise<void> {
    if (this.#synced === null) {
      let resolve = () => {}
      const promise = new Promise<void>(done => (resolve = done))
      this.#synced = { promise, resolve }
    }
    return this.#synced.promise
  }

  sync(): void {
    this.durableTxn = this.lastTxn
    this.#synced?.resolve()
    this.#synced = null
  }
}

class World {
  readonly clock = new TestClock()
  readonly disk = new MemoryDisk()
  readonly locks = new HeldLocks()
  readonly log = new FakeLog()
  readonly events: CommitEvent[] = []
  readonly commits: Commits
  readonly #files = new Map<string, AckFile>()

  private constructor(slaves: readonly string[], policy: CommitPolicy) {
    const platform = { clock: this.clock, disk: this.disk, watcher: noWatcher, locks: this.locks }
    const happened = (event: CommitEvent) => this.events.push(event)
    const config = { slaves: slaves.map(name => ({ name })), commit: policy }
    this.commits = new Commits(platform, source, config, this.log, happened)
  }

  static async make(t: Test, slaves: readonly string[], policy: CommitPolicy): Promise<World> {
    const world = new World(slaves, policy)
    await world.disk.makeDirectory(directory)
    for (const slave of slaves) {
      const refuse = (error: Error) => t.fail(error.message)
      world.#files.set(slave, await AckFile.open(world.disk, directory, slave, refuse))
    }
    t.teardown(async () => {
      const closed = world.commits.close()
      await world.clock.advance(10_000)
      await closed
    })
    return world
  }

  /** The slave has got so far; and the master looks. */
  async ack(
    slave: string,
    receivedTxn: number,
    durableTxn: number,
    appliedTxn: number,
    more: Partial<SlaveAck> = {},
  ) {
    const time = this.clock.now()
    this.#files.get(slave)!.write(ackWith({ receivedTxn, durableTxn, appliedTxn, time, ...more }))
    await this.clock.advance(500)
  }
}

/** What has become of promises so far. */
function outcomeOf(promise: Promise<unknown>): { state: string } {
  const outcome = { state: 'pending' }
  promise.then(
    () => (outcome.state = 'done'),
    (error: { code?: string }) => (outcome.state = error.code ?? 'failed'),
  )
  return outcome
}

t.test('with a lease, nothing is acknowledged that was taken before it was over', async t => {
  const { commits, log } = await World.make(t, ['east'], { ...patient, level: 'local' })
  let lapsed: HotBackupError | null = null
  commits.lapsed = () => lapsed
  log.lastTxn = 1
  const first = commits.done()
  log.sync()
  await first
  log.lastTxn = 2
  const second = commits.done()
  // The process is stopped here, and goes on when another may be the master.
  lapsed = new HotBackupError('ERR_LEASE', 'north has heard from no slave for 5 s')
  log.sync()
  await t.rejects(second, {
    code: 'ERR_UNCONFIRMED',
    message: 'transaction 2 is durable here, but north has heard from no slave for 5 s',
  })
})

t.test('each level waits for its own ack', async t => {
  const world = await World.make(t, ['south'], patient)
  const { commits, log } = world
  log.lastTxn = 7
  const local = outcomeOf(commits.done('local'))
  const received = outcomeOf(commits.done('received'))
  const durable = outcomeOf(commits.done())
  const applied = outcomeOf(commits.done('applied'))
  const states = () => [local, received, durable, applied].map(({ state }) => state)
  await world.ack('south', 7, 7, 7)
  t.strictSame(states(), Array(4).fill('pending'), 'nothing before it is durable here')
  await world.ack('south', 6, 6, 6)
  log.sync()
  await world.clock.advance(500)
  t.strictSame(states(), ['done', 'pending', 'pending', 'pending'])
  await world.ack('south', 7, 6, 6)
  t.strictSame(states(), ['done', 'done', 'pending', 'pending'])
  await world.ack('south', 7, 7, 6)
  t.strictSame(states(), ['done', 'done', 'done', 'pending'])
  await world.ack('south', 7, 7, 7)
  t.strictSame(states(), Array(4).fill('done'))
  t.equal(commits.done(), commits.done(), 'updates of one block share the promise')
})

t.test('an ack counts as long as the shipper that wrote it has the link open', async t => {
  const world = await World.make(t, ['south'], patient)
  const { commits, log } = world
  log.lastTxn = 3
  log.sync()
  await world.ack('south', 9, 9, 9)
  await commits.reached(3, 'applied', 1000)

  const refused = async (what: string) => {
    const waiting = outcomeOf(commits.reached(3, 'durable', 500))
    await world.clock.advance(2000)
    t.equal(waiting.state, 'ERR_TIMEOUT', what)
  }
  world.locks.alive = false
  await world.clock.advance(500)
  await refused('the shipper was killed, and its file still says 9')
  world.locks.alive = true
  await world.ack('south', 9, 9, 9)
  await commits.reached(3, 'durable', 1000)
  await world.ack('south', 9, 9, 9, { confirmed: false })
  await refused('the connection has ended')
  await world.ack('south', 9, 9, 9, { shipperId: new Uint8Array(16) })
  await refused('left by a shipper before this one')
  await world.ack('south', 2, 2, 2)
  await refused('the slave was restored from an older save')
})

t.test('as many slaves as the policy says', async t => {
  const world = await World.make(t, ['south', 'west', 'east'], { ...patient, slaves: 2 })
  world.log.lastTxn = 3
  world.log.sync()
  const done = outcomeOf(world.commits.done())
  await world.ack('west', 3, 3, 3)
  await world.ack('south', 3, 2, 2)
  t.equal(done.state, 'pending', 'one of two')
  await world.ack('east', 9, 9, 9)
  t.equal(done.state, 'done')
})

t.test('slaves that are away: wait, and say so', async t => {
  const world = await World.make(t, ['south'], patient)
  const { commits, log, clock, events } = world
  log.lastTxn = 3
  log.sync()
  const done = outcomeOf(commits.done())
  await clock.advance(4000)
  t.equal(commits.status.state, 'in step')
  await clock.advance(2000)
  t.equal(done.state, 'pending')
  t.match(events, [{ type: 'waiting', reachedTxn: 0 }])
  t.match(commits.status, { state: 'waiting', since: Number })
  await world.ack('south', 3, 3, 3)
  t.equal(done.state, 'done')
  t.match(commits.status, { state: 'in step', since: null })
  t.equal(events.at(-1)?.type, 'in-step')
})

t.test('slaves that are away: go on alone, say so, and be in step again', async t => {
  const world = await World.make(t, ['south'], { ...patient, onTimeout: 'continue' })
  const { commits, log, clock, events } = world
  await world.ack('south', 2, 2, 2)
  log.lastTxn = 3
  log.sync()
  const done = outcomeOf(commits.done())
  await clock.advance(6000)
  t.equal(done.state, 'done')
  t.match(events, [{ type: 'alone', reachedTxn: 2 }])
  t.equal(commits.status.state, 'alone')
  log.lastTxn = 4
  const next = outcomeOf(commits.done())
  await clock.advance(100)
  t.equal(next.state, 'pending', 'durable here, it must be')
  log.sync()
  await clock.advance(100)
  t.equal(next.state, 'done')
  await world.ack('south', 3, 3, 3)
  t.equal(commits.status.state, 'alone', 'one is missing yet')
  await world.ack('south', 4, 4, 4)
  t.equal(commits.status.state, 'in step')
  t.same(
    events.map(({ type }) => type),
    ['alone', 'in-step'],
  )
  log.lastTxn = 5
  log.sync()
  const later = outcomeOf(commits.done())
  await clock.advance(1000)
  t.equal(later.state, 'pending', 'from now on the slave counts again')
})

t.test('wait for a transaction', async t => {
  const world = await World.make(t, ['south'], { ...patient, level: 'local' })
  const { commits, clock } = world
  const reached = outcomeOf(commits.reached(5, 'applied', null))
  const late = outcomeOf(commits.reached(6, 'applied', 2000))
  await world.ack('south', 6, 6, 5)
  t.equal(reached.state, 'done')
  await clock.advance(3000)
  t.equal(late.state, 'ERR_TIMEOUT')
  t.equal(commits.status.state, 'in step', 'that says nothing of the updates')
})

t.test('a level without slaves is refused', async t => {
  const world = await World.make(t, [], { ...patient, level: 'local' })
  t.throws(() => world.commits.check('applied'), { code: 'ERR_NO_SLAVE' })
  t.doesNotThrow(() => world.commits.check('local'))
  await t.rejects(world.commits.reached(1, 'durable', null), { code: 'ERR_NO_SLAVE' })
})

t.test('closing rejects what nobody has confirmed', async t => {
  const world = await World.make(t, ['south'], patient)
  world.log.lastTxn = 3
  world.log.sync()
  const done = outcomeOf(world.commits.done())
  const closed = world.commits.close()
  await world.clock.advance(6000)
  await closed
  t.equal(done.state, 'ERR_UNCONFIRMED')
})

t.test('a master that is over rejects what nobody will confirm, at once', async t => {
  const world = await World.make(t, ['south'], patient)
  world.log.lastTxn = 3
  world.log.sync()
  const done = outcomeOf(world.commits.done())
  await world.clock.advance(100)
  t.equal(done.state, 'pending')
  world.commits.giveUp()
  await world.clock.advance(0)
  t.equal(done.state, 'ERR_UNCONFIRMED')
  const later = outcomeOf(world.commits.done())
  await world.clock.advance(0)
  t.equal(later.state, 'ERR_UNCONFIRMED')
})
