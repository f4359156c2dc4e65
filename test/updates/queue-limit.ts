// The limit of the transaction log queue: alarms, pacing, refusing, dropping; by acks that the test writes.
import t, { type Test } from 'tap'
import { type QueuePolicy } from '../../src/config/policies.ts'
import type { SegmentInfo } from '../../src/log/segments.ts'
import { Growth, passedAlarm } from '../../src/updates/queue-alarms.ts'
import { QueueLimit, type QueueEvent } from '../../src/updates/queue-limit.ts'
import { AckFile } from '../../src/ship/ack-file.ts'
import { readDropped, countAgain, writeDropped } from '../../src/ship/dropped.ts'
import { queueFor, readStored } from '../../src/ship/queue.ts'
import { ackWith } from '../helpers/acks.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { TestClock } from '../helpers/test-clock.ts'

const directory = '/slaves'

/** Segments of ten transactions, a hundred bytes each. */
function segmentsUpTo(lastTxn: number): SegmentInfo[] {
  const segments: SegmentInfo[] = []
  for (let firstTxn = 1; firstTxn <= lastTxn; firstTxn += 10) {
    const last = Math.min(firstTxn + 9, lastTxn)
    const bytes = (last - firstTxn + 1) * 100
    const common = { path: `/log/${firstTxn}`, created: 0, timeline: 1, sealed: last < lastTxn }
    segments.push({ ...common, firstTxn, lastTxn: last, bytes })
  }
  return segments
}

class World {
  readonly clock = new TestClock()
  readonly disk = new MemoryDisk()
  readonly events: QueueEvent[] = []
  lastTxn = 0
  #limit: QueueLimit | null = null
  readonly #files = new Map<string, AckFile>()

  static async make(t: Test, policy: QueuePolicy, ...slaves: string[]): Promise<World> {
    const world = new World()
    await world.disk.makeDirectory(directory)
    for (const slave of slaves) {
      const refuse = (error: Error) => t.fail(error.message)
      world.#files.set(slave, await AckFile.open(world.disk, directory, slave, refuse))
    }
    world.#limit = await QueueLimit.start({
      platform: world,
      acksDirectory: directory,
      config: { slaves: slaves.map(name => ({ name })), queue: policy },
      log: {
        get lastTxn() {
          return world.lastTxn
        },
        segments: () => segmentsUpTo(world.lastTxn),
      },
      happened: event => world.events.push(event),
    })
    t.teardown(() => world.limit.close())
    return world
  }

  get limit(): QueueLimit {
    return this.#limit!
  }

  get types(): string[] {
    return this.events.map(({ type }) => type)
  }

  /** The log ends here now, and the master looks. */
  async write(lastTxn: number): Promise<void> {
    this.lastTxn = lastTxn
    await this.clock.advance(1000)
  }

  async ack(slave: string, durableTxn: number): Promise<void> {
    this.#files.get(slave)!.write(ackWith({ receivedTxn: durableTxn, durableTxn }))
    await this.clock.advance(1000)
  }
}

t.test('the queue is what the slave furthest behind has not stored', async t => {
  const world = await World.make(t, { limitBytes: 0, onLimit: 'pace' }, 'south', 'west')
  const measure = async (...slaves: string[]) =>
    queueFor(await readStored(world.disk, directory, slaves), segmentsUpTo(25), 25)
  t.match(await measure(), { bytes: 0, slave: null })
  t.match(await measure('south'), { bytes: 2500, slave: 'south', durableTxn: 0 })
  await world.ack('south', 13)
  t.match(await measure('south'), { bytes: 1200, slave: 'south', durableTxn: 13 })
  await world.ack('west', 25)
  t.match(await measure('west'), { bytes: 0, slave: null })
  t.match(await measure('south', 'west'), { bytes: 1200, slave: 'south' })
  await writeDropped(world.disk, directory, 'south', { durableTxn: 13, time: 7 })
  t.match(
    await measure('south', 'west'),
    { bytes: 0, slave: null },
    'a dropped slave is not counted',
  )
  t.same(await readDropped(world.disk, directory, 'south'), { durableTxn: 13, time: 7 })
  await countAgain(world.disk, directory, 'south')
  t.equal(await readDropped(world.disk, directory, 'south'), null)
})

t.test('alarms on the way, each once', async t => {
  const world = await World.make(t, { limitBytes: 10_000, onLimit: 'pace' }, 'south')
  await world.write(40)
  t.same(world.types, [])
  await world.write(55)
  await world.write(60)
  t.same(world.types, ['queue-alarm'])
  t.match(world.events[0], { slave: 'south', message: /55 % of its limit/ })
  t.type(world.limit.status.secondsToLimit, 'number')
  await world.write(95)
  t.same(world.types, ['queue-alarm', 'queue-alarm'], 'over 75 and 90 % at once')
  await world.ack('south', 90)
  await world.write(145)
  t.same(world.types, ['queue-alarm', 'queue-alarm', 'queue-alarm'], 'and again after a rest')
  t.equal(passedAlarm(0.74, 0.75), 0.75, 'a little less is no rest')
  t.equal(passedAlarm(0.6, 0.75), 0.5)
})

t.test('without a limit the queue is measured all the same', async t => {
  const world = await World.make(t, { limitBytes: 0, onLimit: 'pace' }, 'south')
  world.lastTxn = 10
  t.match(world.limit.status, { bytes: 1000, state: 'open', secondsToLimit: null }, 'at once')
  await world.ack('south', 4)
  t.match(world.limit.status, { bytes: 600 })
  world.lastTxn = 25
  t.match(world.limit.status, { bytes: 2100, state: 'open' }, 'what was written since counts')
  await world.ack('south', 2)
  t.match(world.limit.status, { bytes: 2300 }, 'the slave was restored from an older save')
  t.same(world.types, [])
})

t.test('pace: updates wait until the slave has stored enough', async t => {
  const world = await World.make(t, { limitBytes: 1000, onLimit: 'pace' }, 'south')
  t.equal(world.limit.paced, false)
  await world.write(12)
  t.equal(world.limit.paced, true)
  t.match(world.limit.status, { state: 'pacing', bytes: 1200 })
  t.doesNotThrow(() => world.limit.check())
  let open = false
  const room = world.limit.room().then(() => (open = true))
  await world.clock.advance(1000)
  t.equal(open, false)
  await world.ack('south', 5)
  await room
  t.equal(world.limit.paced, false)
  t.same(world.types, ['queue-alarm', 'queue-full', 'queue-open'])
})

t.test('refuse: updates fail until the slave has stored enough', async t => {
  const world = await World.make(t, { limitBytes: 1000, onLimit: 'refuse' }, 'south')
  await world.write(10)
  t.throws(() => world.limit.check(), { code: 'ERR_QUEUE_FULL' })
  t.equal(world.limit.paced, false)
  await world.ack('south', 5)
  t.doesNotThrow(() => world.limit.check())
})

t.test('drop: the slave furthest behind goes, the others stay', async t => {
  const world = await World.make(t, { limitBytes: 1000, onLimit: 'drop' }, 'south', 'west')
  await world.ack('west', 15)
  await world.write(20)
  t.match(await readDropped(world.disk, directory, 'south'), { durableTxn: 0 })
  t.equal(await readDropped(world.disk, directory, 'west'), null)
  t.match(world.events[0], { type: 'slave-dropped', slave: 'south' })
  t.equal(world.limit.paced, false)
  t.equal(world.limit.status.bytes, 500)
})

t.test('closing lets nobody wait for ever', async t => {
  const world = await World.make(t, { limitBytes: 1000, onLimit: 'pace' }, 'south')
  await world.write(20)
  const room = world.limit.room()
  await world.limit.close()
  await room
  t.pass('it went on')
})

t.test('the time to the limit', t => {
  const growth = new Growth()
  t.equal(growth.secondsTo(0, 100), null)
  growth.note(0, 0)
  growth.note(1000, 10_000)
  t.equal(growth.secondsTo(1000, 2000), 10)
  growth.note(0, 20_000)
  t.equal(growth.secondsTo(0, 2000), null, 'it shrinks')
  t.end()
})
