// The replayer on a disk in memory: how far it applies by hand, that it stands still at a checkpoint there, and that
// whatever it is told leads to the state that the log says.
import fc from 'fast-check'
import t from 'tap'
import { holds } from '../helpers/database-history.ts'
import { SlaveAtHand } from '../helpers/slave-at-hand.ts'

const orders = { account: 'SALES', file: 'ORDERS', modulo: 7 }

class Slave extends SlaveAtHand {
  static async make(on: boolean): Promise<Slave> {
    const slave = new Slave()
    await slave.open(on)
    const records = slave.log.begin()
    records.createAccount(orders.account)
    records.createFile(1, orders)
    slave.log.commit()
    await slave.log.synced()
    return slave
  }

  /** One block of so many transactions, each of which writes two items that hold its number. */
  async block(transactions: number): Promise<void> {
    for (let count = 0; count < transactions; count++) {
      const records = this.log.begin()
      this.log.ensureMapped(1, orders)
      const txn = String(this.log.lastTxn + 1)
      records.writeItem(1, 'last', txn)
      records.writeItem(1, `item-${Number(txn) % 5}`, txn)
      this.log.commit()
    }
    await this.log.synced()
  }

  /** What the database holds, as the last transaction that it shows; it must show all up to there. */
  shown(): number {
    const file = this.database.file(orders.account, orders.file)
    if (file === undefined) return 0
    const last = Number(file.read(Buffer.from('last')) ?? 1)
    for (let txn = Math.max(2, last - 4); txn <= last; txn++) {
      const item = file.read(Buffer.from(`item-${txn % 5}`))
      if (Number(item) !== txn) throw new Error(`after ${last} there is ${item} for ${txn}`)
    }
    return last
  }
}

t.test(
  'by hand it applies up to the limit, within a block as well, and stands still there',
  async t => {
    const arbitraryLimit = fc.oneof(
      fc.record({ txn: fc.integer({ min: 0, max: 40 }) }),
      fc.record({ block: fc.integer({ min: -1, max: 12 }) }),
      fc.constant({}),
    )
    const property = fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 12 }),
      fc.array(fc.tuple(arbitraryLimit, fc.boolean()), { minLength: 1, maxLength: 4 }),
      async (blocks, calls) => {
        const slave = await Slave.make(false)
        const start = slave.clock.now()
        const lasts: number[] = []
        for (const transactions of blocks) {
          slave.clock.move(1000)
          await slave.block(transactions)
          lasts.push(slave.log.lastTxn)
        }
        let expected = 0
        for (const [limit, crash] of calls) {
          const byBlock = 'block' in limit ? limit.block : null
          // Half a second after a block of the list, or before all of them.
          const time = byBlock === null ? undefined : start + 1000 * (byBlock + 1) + 500
          const until =
            byBlock === null ? undefined : (lasts[Math.min(byBlock, lasts.length - 1)] ?? 1)
          const txn = 'txn' in limit ? limit.txn : until
          const before = expected
          expected = Math.max(expected, Math.min(slave.log.lastTxn, txn ?? Infinity))
          const { appliedTxn, count } = await slave.replayer.applyUntil(
            byBlock === null ? limit : { time: time! },
          )
          const { database } = slave
          const states = [appliedTxn, database.appliedTxn, database.stamp.txn, slave.shown()]
          if (states.some(state => state !== expected) || count !== expected - before) {
            throw new Error(`expected ${expected}, found ${states.join()}, ${count} applied`)
          }
          if (crash) await slave.crash(false)
        }
        await slave.replayer.resume()
        await slave.replayer.applyUntil({})
        if (slave.shown() !== slave.log.lastTxn) throw new Error(`it shows ${slave.shown()}`)
        await slave.close()
      },
    )
    await holds(t, 'any blocks, limits and crashes', property, 80)
  },
)

t.test(
  'by hand it can be stopped between two runs, and follows the log again if it did before',
  async t => {
    const slave = await Slave.make(false)
    for (let count = 0; count < 50; count++) await slave.block(5)
    const stop = new AbortController()
    const heard: number[] = []
    const outcome = await slave.replayer.applyUntil(
      {},
      ({ count }) => {
        heard.push(count)
        stop.abort()
      },
      stop.signal,
    )
    t.equal(heard.length, 1)
    t.equal(outcome.count, heard[0])
    t.ok(outcome.appliedTxn < slave.log.lastTxn)
    t.equal(slave.database.stamp.txn, outcome.appliedTxn)
    await slave.replayer.resume()
    const [first, second] = await Promise.all([
      slave.replayer.applyUntil({ txn: outcome.appliedTxn + 3 }),
      slave.replayer.applyUntil({}),
    ])
    t.ok(first.appliedTxn >= outcome.appliedTxn + 3)
    t.equal(second.appliedTxn, slave.log.lastTxn)
    await slave.block(2)
    while (slave.replayer.appliedTxn < slave.log.lastTxn) await new Promise(setImmediate)
    t.equal(slave.replayer.on, true)
    // Orders that cross each other end in the last one.
    void slave.replayer.pause()
    void slave.replayer.resume()
    await slave.replayer.pause()
    await slave.block(1)
    t.equal(slave.replayer.appliedTxn, slave.log.lastTxn - 1)
    t.equal(slave.database.stamp.txn, slave.log.lastTxn - 1)
    const stopped = slave.replayer.stop()
    await t.rejects(slave.replayer.applyUntil({}), { code: 'ERR_STOPPED' })
    await stopped
    t.strictSame(slave.said, [])
  },
)

t.test('readers have their turn within a run, between two transactions', async t => {
  const slave = await Slave.make(false)
  await slave.block(500)
  const seen: number[] = []
  const { clock } = slave
  let time = clock.monotonic()
  // Each look at the clock finds that a millisecond has gone by.
  clock.monotonic = () => time++
  clock.nextTurn = callback => {
    seen.push(slave.shown())
    setImmediate(callback)
  }
  await slave.replayer.applyUntil({})
  t.ok(seen.length > 2, `seen at ${seen.join()}`)
  t.equal(seen.filter(txn => txn < slave.log.lastTxn).length, seen.length)
  t.equal(slave.shown(), slave.log.lastTxn)
  await slave.block(500)
  const turns = seen.length
  await slave.replayer.resume()
  while (seen.length < turns + 2) await new Promise(setImmediate)
  await slave.replayer.pause()
  const standing = slave.replayer.appliedTxn
  t.ok(standing < slave.log.lastTxn, 'apply off does not wait for the end of the run')
  t.equal(slave.database.stamp.txn, standing)
  t.equal(slave.shown(), standing)
  await slave.replayer.applyUntil({})
  t.equal(slave.shown(), slave.log.lastTxn)
  await slave.close()
})

t.test('with a delay, a block is applied when it is old enough, and by hand before', async t => {
  const step = fc.record({
    blocks: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 }),
    ms: fc.integer({ min: 0, max: 2500 }),
    act: fc.constantFrom('nothing', 'by hand', 'off and on', 'crash'),
  })
  const property = fc.asyncProperty(fc.array(step, { maxLength: 8 }), async steps => {
    const slave = await Slave.make(true)
    await slave.close()
    await slave.open(true, { delayMs: 2000 })
    const written: { readonly txn: number; readonly time: number }[] = []
    written.push({ txn: slave.log.lastTxn, time: slave.clock.now() })
    let least = 0
    for (const { blocks, ms, act } of steps) {
      for (const transactions of blocks) {
        await slave.block(transactions)
        written.push({ txn: slave.log.lastTxn, time: slave.clock.now() })
        slave.clock.move(100)
      }
      slave.clock.move(ms)
      if (act === 'off and on') {
        await slave.replayer.pause()
        await slave.replayer.resume()
      }
      if (act === 'crash') {
        // What was applied by hand lies in a checkpoint; the replayer makes none when it stops.
        await slave.replayer.stop()
        await slave.crash(true)
      }
      if (act === 'by hand') {
        least = Math.max(least, (written.at(-2) ?? written[0])?.txn ?? 0)
        await slave.replayer.applyUntil({ txn: least })
      }
      const ripe = written.findLast(({ time }) => time + 2000 <= slave.clock.now())?.txn ?? 0
      const expected = Math.max(least, ripe)
      for (let turns = 0; turns < 200 && slave.replayer.appliedTxn < expected; turns++) {
        await new Promise(setImmediate)
      }
      await new Promise(setImmediate)
      const { appliedTxn } = slave.replayer
      if (appliedTxn !== expected) throw new Error(`${appliedTxn} is applied, not ${expected}`)
      least = expected
    }
    if (slave.said.length > 0) throw new Error(slave.said.join())
    await slave.close()
  })
  await holds(t, 'any times', property, 80)
})
