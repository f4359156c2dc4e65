// What stays in the log when nothing needs it any more, and what of it goes when the disk is full.
import fc from 'fast-check'
import t from 'tap'
import { isHotBackupError } from '../../src/errors.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import { Retention } from '../../src/updates/retention.ts'
import { holds } from '../helpers/database-history.ts'
import {
  attributes,
  commitEach,
  HandClock,
  logDirectory,
  openHistory,
} from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const hour = 3_600_000

/** A log, and what needs it, as the test says. */
class World {
  readonly disk = new MemoryDisk()
  readonly clock = new HandClock()
  readonly config = {
    log: { keepMs: 24 * hour, keepBytes: 2 ** 32 },
    slaves: [],
    ships: true,
  }
  readonly said: string[] = []
  stampTxn = 0
  /** What else is needed. */
  neededTxn = Infinity
  log!: LogWriter
  retention!: Retention

  static async make(segmentBytes = 2048): Promise<World> {
    const world = new World()
    const { disk, clock, config } = world
    world.log = await openHistory({ disk, clock, segmentBytes })
    world.retention = new Retention({
      platform: { disk, clock },
      log: world.log,
      logDirectory,
      acksDirectory: '/server/slaves',
      config,
      stampTxn: () => world.stampTxn,
      needed: () => Promise.resolve(world.neededTxn),
      gaveUp: message => world.said.push(message),
    })
    world.log.spare = world.retention.spareFor(logDirectory)
    return world
  }

  async write(count: number): Promise<void> {
    await commitEach(this.log, count, 200)
  }
}

t.test('what is needed stays, and the rest as long and as much as is kept', async t => {
  let removed = 0
  let kept = 0
  const step = fc.record({
    count: fc.integer({ min: 0, max: 30 }),
    waits: fc.constantFrom(0, 0, 1, 5, 30),
    need: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
    keep: fc.option(
      fc.record({
        hours: fc.constantFrom(0, 2, 24),
        bytes: fc.constantFrom(0, 5000, 20_000, 2 ** 32),
      }),
    ),
  })
  const steps = fc.array(step, { minLength: 1, maxLength: 20 })
  const property = fc.asyncProperty(steps, async steps => {
    const world = await World.make()
    const { log, clock, config } = world
    /** When transaction n was written, at index n - 1. */
    const times: number[] = []
    for (const { count, waits, need, keep } of steps) {
      await world.write(count)
      while (times.length < log.lastTxn) times.push(clock.now())
      clock.move(waits * hour)
      const txn = Math.round(need * log.lastTxn)
      world.stampTxn = Math.max(world.stampTxn, txn)
      world.neededTxn = Math.max(txn, log.firstTxn - 1)
      if (keep !== null) config.log = { keepMs: keep.hours * hour, keepBytes: keep.bytes }
      const before = log.segments()
      await world.retention.apply()
      const first = log.firstTxn
      const needed = Math.min(world.stampTxn, world.neededTxn)
      const oldest = clock.now() - config.log.keepMs
      for (const [index, segment] of before.entries()) {
        const gone = segment.firstTxn < first
        const bytes = before.slice(index).reduce((sum, each) => sum + each.bytes, 0)
        const last = segment.lastTxn!
        const free = segment.sealed && last <= needed
        if (gone && !free) throw new Error(`transaction ${last} was needed`)
        const young = config.log.keepMs > 0 && times[last - 1]! >= oldest
        if (gone && young && bytes <= config.log.keepBytes)
          throw new Error(`transaction ${last} is young, and ${bytes} bytes are few`)
        if (!gone && free) {
          if (config.log.keepMs === 0) throw new Error('nothing is kept')
          if (bytes > config.log.keepBytes) throw new Error(`${bytes} bytes are kept`)
          // The next one was begun behind the last transaction of this one.
          if (before[index + 1]!.created < oldest) throw new Error('it is old')
          kept++
        }
        if (gone) removed++
      }
    }
    await log.close()
  })
  await holds(t, 'any course of things', property, 150)
  t.ok(removed > 50, `${removed} segments removed`)
  t.ok(kept > 50, `${kept} kept`)
})

t.test('a segment that was begun long ago and written to until now is history of now', async t => {
  const world = await World.make(8192)
  await world.write(5)
  world.clock.move(30 * 24 * hour)
  await world.write(60)
  world.stampTxn = world.log.lastTxn
  await world.retention.apply()
  t.equal(world.log.firstTxn, 1)
  world.clock.move(25 * hour)
  await world.retention.apply()
  t.equal(world.log.segments().length, 1, 'a day later it is gone')
  await world.log.close()
})

/** One more transaction, as a master takes it. */
function update({ log }: World): void {
  const records = log.begin()
  try {
    log.ensureMapped(1, attributes)
    records.writeItem(1, `${log.lastTxn}`, 'v'.repeat(200))
    log.checkRoom()
    log.commit()
  } catch (error) {
    log.abandon()
    throw error
  }
}

t.test('on a full disk the history goes before any update is refused', async t => {
  const world = await World.make(8192)
  const { disk, log, retention } = world
  disk.capacityBytes = 100_000
  for (let i = 0; i < 3000; i++) {
    update(world)
    await log.synced()
    world.stampTxn = log.durableTxn
    if (i % 100 === 0) await retention.apply()
  }
  t.equal(log.diskRoom.lack, null)
  t.ok(log.firstTxn > 1000, `the log begins with ${log.firstTxn}`)
  t.ok(log.segments().length > 4, 'not all of the history goes at once')
  t.match(world.said[0], /^the disk is full: the history up to transaction \d+ has been removed/)

  // What is needed stays, and then updates are refused.
  world.neededTxn = log.lastTxn
  const { lastTxn } = log
  let refused: unknown = null
  for (let i = 0; refused === null && i < 3000; i++) {
    try {
      update(world)
      await log.synced()
    } catch (error) {
      refused = error
    }
  }
  t.ok(isHotBackupError(refused, 'ERR_DISK_FULL'))
  t.ok(log.firstTxn <= lastTxn + 1)
  const { length } = log.segments().filter(segment => segment.lastTxn! <= lastTxn)
  t.equal(length, 0, 'the history has gone, to the last segment')

  // As soon as a slave has stored more, that goes, although it would be kept.
  world.neededTxn = Infinity
  world.stampTxn = log.lastTxn
  for (let tries = 0; log.diskRoom.lack !== null && tries < 100; tries++) {
    world.clock.move(500)
    for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate)
  }
  update(world)
  await log.synced()
  await log.close()
})

t.test('after a start, on a disk that is full', async t => {
  const world = await World.make()
  await world.write(100)
  world.stampTxn = world.log.lastTxn
  world.disk.capacityBytes = world.disk.usedBytes
  for (let i = 0; i < 40; i++) {
    update(world)
    await world.log.synced()
  }
  t.equal(world.log.durableTxn, 140)
  t.ok(world.log.firstTxn > 1)
  await world.log.close()
})

t.test(
  'while somebody copies the log, and for a disk that is another one, nothing goes',
  async t => {
    const world = await World.make()
    await world.write(100)
    world.stampTxn = world.log.lastTxn
    const release = world.retention.hold()
    const spare = world.retention.spareFor(logDirectory)
    t.equal(await spare.giveUp(), false)
    t.equal(world.log.firstTxn, 1)
    release()
    const free = { log: 2 ** 30, database: 0 }
    Object.assign(world.disk, {
      freeBytes: (path: string) =>
        Promise.resolve(path === logDirectory ? free.log : free.database),
    })
    t.equal(await world.retention.spareFor('/server/database').giveUp(), false)
    t.equal(world.log.firstTxn, 1)
    free.log = 0
    t.equal(await world.retention.spareFor('/server/database').giveUp(), true)
    t.ok(world.log.firstTxn > 1)
    await world.log.close()
  },
)
