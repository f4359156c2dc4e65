// Helpers of a slave, and of a slave of the slave: a random history of all operations, with helpers that are slowed,
// hang and are killed, and power failures of either server at any operation of its disk, ends equal to the plain model.
// And what becomes of helpers when other things happen.
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { isDataFileName } from '../../src/database/data-file-name.ts'
import { RecordCursor, recordHeaderBytes } from '../../src/log/record.ts'
import {
  arbitraryStep,
  difference,
  History,
  holds,
  type Step,
} from '../helpers/database-history.ts'
import { HelpedSlave, helpersDirectory, tries } from '../helpers/helped-slave.ts'
import { until } from '../helpers/link-pair.ts'

/** What both logs get; a mark ends the transaction. */
async function append(transaction: Buffer, ...slaves: readonly HelpedSlave[]): Promise<void> {
  const records = Buffer.from(transaction)
  const cursor = new RecordCursor()
  cursor.reset(records, 0, records.length)
  while (!cursor.last && cursor.next());
  records[cursor.idStart - recordHeaderBytes + 1] = 0
  for (const { log } of slaves) {
    const encoder = log.begin()
    encoder.copy(records, 0, records.length)
    encoder.mark('test', '{}')
    log.commit()
    await log.synced()
  }
}

type Turn =
  | { readonly steps: readonly Step[] }
  | {
      readonly who: number
      readonly what: 'kill' | 'fail' | 'allow' | 'wait' | 'off'
      readonly count: number
    }

const arbitraryTurn: fc.Arbitrary<Turn> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ steps: fc.array(arbitraryStep, { minLength: 1, maxLength: 6 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      who: fc.nat({ max: 1 }),
      what: fc.constantFrom('kill', 'fail', 'allow', 'allow', 'wait', 'off'),
      count: fc.nat({ max: 40 }),
    }),
  },
)

t.test('on the slave and on its slave a history leads to what the model says', async t => {
  const seen = { builds: 0, removals: 0, kills: 0, failures: 0, hangs: 0 }
  await holds(
    t,
    'whatever becomes of helpers and servers',
    fc.asyncProperty(fc.array(arbitraryTurn, { maxLength: 60, size: 'max' }), async turns => {
      const history = new History()
      const slaves = [await HelpedSlave.open(true), await HelpedSlave.open(true)] as const
      const begin = history.add([
        { type: 'createAccount', account: 0 },
        { type: 'createFile', account: 0, file: 0, modulo: 5 },
      ])
      await append(begin!, ...slaves)
      for (const turn of turns) {
        if ('steps' in turn) {
          const records = history.add(turn.steps)
          if (records !== null) await append(records, ...slaves)
          continue
        }
        const slave = slaves[turn.who]!
        const { running } = slave
        if (turn.what === 'wait') await slave.time.advance(turn.count * 1000, 5000)
        else if (turn.what === 'fail') {
          seen.failures++
          await slave.powerFails(turn.count)
        } else if (turn.what === 'off') {
          await slave.helpers.pause()
          await slave.replayer.pause()
          await slave.replayer.resume()
          slave.helpers.resume()
        }
        if (turn.what === 'allow') slave.allow(turn.count)
        if (turn.what !== 'kill') continue
        for (const helper of running) {
          seen.kills++
          helper.kill()
        }
      }
      for (const slave of slaves) {
        await slave.settled()
        const fault = difference(slave.database, history.model)
        if (fault !== null) throw new Error(fault)
        // A checkpoint names what there is, and what it does not name is gone.
        await slave.replayer.pause()
        await slave.replayer.resume()
        await slave.settled()
        const left = (await slave.disk.list(helpersDirectory)).map(({ name }) => name)
        const data = (await slave.disk.list('/server/database')).map(({ name }) => name)
        if (data.filter(isDataFileName).length > history.files().length) left.push(...data)
        if (left.length > 0 || slave.running.size > 0) throw new Error(`left: ${left.join()}`)
        if (slave.said.length > 0) throw new Error(slave.said.join())
        seen.builds += slave.started.build
        seen.removals += slave.started.remove
        seen.hangs += slave.told.filter(level => level === 'warn').length
        await slave.close()
      }
    }),
    40,
  )
  t.ok(seen.builds > 5, `${seen.builds} resizes, ${seen.removals} removals`)
  t.ok(seen.kills > 0, `${seen.kills} killed, ${seen.hangs} failed or hung`)
  t.ok(seen.failures > 5, `${seen.failures} power failures`)
})

/** A slave whose file of 40 items is being resized by a helper that hangs. */
async function resizing(t: Test) {
  const slave = await HelpedSlave.open(true)
  const history = new History()
  const give = async (...steps: readonly Step[]) => {
    const records = history.add(steps)
    if (records !== null) await append(records, slave)
    await until('it is applied', () => slave.replayer.appliedTxn === slave.log.lastTxn)
  }
  slave.allow(0)
  await give(
    { type: 'createAccount', account: 0 },
    { type: 'createFile', account: 0, file: 0, modulo: 3 },
  )
  for (let id = 0; id < 40; id++) await give({ type: 'writeItem', file: 0, id, length: 90 })
  await give({ type: 'resizeFile', file: 0, modulo: 11 })
  await until('a helper is at work', () => slave.running.size === 1)
  await give(
    { type: 'writeItem', file: 0, id: 1, length: 10 },
    { type: 'deleteItem', file: 0, id: 2 },
  )
  const same = (what: string) => t.equal(difference(slave.database, history.model), null, what)
  const [helper] = slave.running
  return { slave, history, give, same, helper: helper! }
}

t.test(
  'a helper that dies or hangs is started again, later each time, and in the end tells',
  async t => {
    const { slave, same } = await resizing(t)
    const { time, told } = slave
    const status = () => slave.helpers.status()[0]
    t.match(status(), { operation: 'resize-file', pid: 1, failures: 0, alarm: false })
    for (const [failures, backoffMs] of [1000, 2000, 4000, 8000].entries()) {
      if (failures % 2 === 0) for (const helper of slave.running) helper.kill()
      // It says nothing any more.
      else await time.advance(30_000)
      await until('it is gone', () => slave.running.size === 0 && status()?.pid === null)
      t.match(status(), { pid: null, failures: failures + 1, alarm: failures + 1 >= tries })
      t.equal(told.at(-1), failures + 1 >= tries ? 'error' : 'warn')
      await time.advance(backoffMs - 1, 1)
      t.equal(slave.running.size, 0, `not before ${backoffMs} ms`)
      await time.advance(1)
      await until('the next one is at work', () => slave.running.size === 1)
    }
    same('what is read meanwhile')
    await slave.settled()
    t.same(slave.helpers.status(), [])
    same('and in the end')
    await slave.close()
  },
)

t.test('what is met in the hold decides what becomes of the helper', async t => {
  const { slave, helper, give, same } = await resizing(t)
  await give({ type: 'resizeFile', file: 0, modulo: 7 })
  await until(
    'the next one is at work',
    () => !slave.running.has(helper) && slave.running.size === 1,
  )
  const [next] = slave.running
  t.match(next?.order, { kind: 'build', modulo: 7 }, 'a resize starts the next one')
  same('resized')
  await give({ type: 'clearFile', file: 0 }, { type: 'writeItem', file: 0, id: 9, length: 5 })
  t.same(slave.database.work.holds(), [], 'a clear makes what was held pointless')
  await until('it is ended', () => !slave.running.has(next!))
  same('cleared')
  await give({ type: 'resizeFile', file: 0, modulo: 5 })
  await until('a helper builds', () =>
    [...slave.running].some(({ order }) => order.kind === 'build'),
  )
  await give({ type: 'deleteFile', file: 0 })
  await until('it is ended', () => [...slave.running].every(({ order }) => order.kind === 'remove'))
  await slave.settled()
  same('deleted')
  await slave.replayer.pause()
  await slave.replayer.resume()
  await slave.settled()
  t.same(await slave.disk.list(helpersDirectory), [])
  t.same(
    (await slave.disk.list('/server/database')).map(({ name }) => name),
    ['catalog', 'journal'],
  )
  await slave.close()
})

t.test('apply off, checkpoint, shutdown and promotion while a helper is at work', async t => {
  const { slave, history, give, same } = await resizing(t)
  const holds = () => slave.database.work.holds().map(({ state }) => state)
  const files = async () => {
    const names = (await slave.disk.list('/server/database')).map(({ name }) => name)
    return names.join()
  }
  // As the slave's server does it.
  await slave.helpers.pause()
  await slave.replayer.pause()
  t.equal(slave.database.stamp.txn, history.txn, 'off is a checkpoint, and waits for no helper')
  const before = await files()
  slave.allow(Infinity)
  await until('it has built it', () => slave.running.size === 0)
  t.same(holds(), ['building'], 'what it has built is not taken in while nothing is applied')
  t.equal(await files(), before)
  same('apply off')
  await slave.powerFails(0)
  t.same(holds(), ['building'], 'the checkpoint has base and hold')
  same('after a crash')
  await slave.settled()
  same('taken in')

  slave.allow(0)
  await give({ type: 'resizeFile', file: 0, modulo: 3 })
  const builder = () => [...slave.running].find(({ order }) => order.kind === 'build')
  await until('a helper is at work', () => builder() !== undefined)
  const first = builder()
  await slave.close()
  t.equal(slave.running.size, 0, 'a shutdown ends it')
  t.same(await slave.disk.list(helpersDirectory), [])
  await slave.open(true)
  await until('another one begins anew', () => builder() !== undefined && builder() !== first)
  same('started again')

  // A promotion: everything is applied, and the next owner has the work done.
  const records = history.add([{ type: 'writeItem', file: 0, id: 3, length: 30 }])
  await append(records!, slave)
  await slave.helpers.stop()
  await slave.replayer.drain()
  t.same(holds(), ['building'], 'a promotion does not wait for it')
  t.same(await slave.disk.list(helpersDirectory), [])
  await slave.log.close()
  await slave.database.close()
  await slave.open(true)
  await slave.settled()
  same('promoted')
  t.same(holds(), [])
  await slave.close()
})
