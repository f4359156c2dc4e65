// A scan that meets other items than the file says it holds ends with an error; updates beside it are counted.
import t from 'tap'
import { CountedScan } from '../../src/database/counted-scan.ts'
import { type Database } from '../../src/database/database.ts'
import { digestFile } from '../../src/database/digest.ts'
import { vouchFor } from '../../src/database/vouch.ts'
import { type Step, History, openDatabase } from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const damaged = { code: 'ERR_DATABASE_CORRUPT', message: /59 items.*; 60.* were written/ }

async function filled(): Promise<{ database: Database; history: History }> {
  const history = new History()
  history.add([{ type: 'createAccount', account: 0 }])
  history.add([{ type: 'createFile', account: 0, file: 0, modulo: 7 }])
  for (let id = 0; id < 60; id++) history.add([{ type: 'writeItem', file: 0, id, length: 100 }])
  const database = await openDatabase(new MemoryDisk())
  history.replay(database)
  return { database, history }
}

t.test('an item that is gone without a trace is missed by every scan', async t => {
  const { database, history } = await filled()
  const file = database.file('account0', 'file0')!
  await vouchFor(file, 10)
  t.equal(file.vouched, true)
  history.add([{ type: 'deleteItem', file: 0, id: 3 }])
  history.replay(database)
  await vouchFor(file, 10)
  // Nothing that reads the frames could tell.
  file.generation.itemCount++
  for (const withValues of [true, false]) {
    const scan = new CountedScan(file, withValues)
    t.throws(() => {
      while (scan.next(10, () => {}));
    }, damaged)
    scan.end()
  }
  await t.rejects(digestFile(file), damaged)
  while (!file.examine(10));
  await t.rejects(vouchFor(file, 10), damaged)
  t.throws(() => file.vouched, damaged)
  await database.close()
})

t.test('updates beside a scan are counted', async t => {
  const { database, history } = await filled()
  const file = database.file('account0', 'file0')!
  for (let round = 0; round < 20; round++) {
    const scan = new CountedScan(file)
    for (let step = 0; scan.next(5, () => {}); step++) {
      const id = (round * 13 + step * 7) % 60
      const steps: Step[] =
        step % 3 === 0
          ? [{ type: 'deleteItem', file: 0, id }]
          : [{ type: 'writeItem', file: 0, id, length: step * 50 }]
      if (round % 5 === 4 && step === 3)
        steps.push({ type: 'resizeFile', file: 0, modulo: 3 + round })
      if (round % 7 === 6 && step === 5) steps.push({ type: 'clearFile', file: 0 })
      history.add(steps)
      history.replay(database)
    }
    scan.end()
  }
  t.ok(history.txn > 100)
  await vouchFor(file, 10)
  await database.close()
})
