// Segments that come by hand: whatever is brought, and when, the slave's log is a prefix of its master's; and what does
// not belong there is refused before anything is stored.
import fc from 'fast-check'
import t from 'tap'
import type { LogWriter } from '../../src/log/writer.ts'
import { segmentFiles } from '../../src/log/segments.ts'
import { checkBrought, takeBrought } from '../../src/slave/brought-segments.ts'
import { holds } from '../helpers/database-history.ts'
import {
  commit,
  commitEach,
  failure,
  identity,
  openHistory,
  openLog,
  readAll,
} from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const masterLog = '/master/log'
const slaveLog = '/slave/log'

async function bring(
  disk: MemoryDisk,
  log: LogWriter,
  ...paths: readonly string[]
): Promise<number> {
  const before = log.lastTxn
  const found = await checkBrought(disk, paths, log)
  await takeBrought(disk, found, log)
  if (found.lastTxn !== 0 && found.lastTxn !== log.lastTxn) throw new Error('not all was taken')
  return log.lastTxn - before
}

const openMaster = (disk: MemoryDisk, directory = masterLog) => openHistory({ disk, directory })
const openSlave = (disk: MemoryDisk) => openLog({ disk, directory: slaveLog, ownPromises: false })

async function paths(disk: MemoryDisk, directory = masterLog): Promise<string[]> {
  return (await segmentFiles(disk, directory)).map(file => file.path)
}

async function copy(disk: MemoryDisk, from: string, to: string, bytes?: Buffer): Promise<void> {
  await disk.makeDirectory(to.slice(0, to.lastIndexOf('/')))
  const file = await disk.open(to, 'create')
  const content = bytes ?? disk.contents(from)
  await file.write(content, 0, content.length, 0)
  await file.close()
}

t.test("whatever is brought, the log is the master's, as far as that is durable", async t => {
  const step = fc.record({
    sizes: fc.array(fc.integer({ min: 0, max: 900 }), { maxLength: 12 }),
    unsynced: fc.boolean(),
    bring: fc.constantFrom('server', 'log', 'segments', 'backwards', 'nothing'),
    restart: fc.boolean(),
  })
  const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async steps => {
    const disk = new MemoryDisk()
    const master = await openMaster(disk)
    let slave = await openSlave(disk)
    for (const { sizes, unsynced, bring: what, restart } of steps) {
      for (const size of sizes) {
        commit(master, ['item', 'v'.repeat(size)])
        if (!unsynced) await master.synced()
      }
      const files = await paths(disk)
      if (what === 'server') await bring(disk, slave, '/master')
      if (what === 'log') await bring(disk, slave, masterLog)
      if (what === 'segments') await bring(disk, slave, ...files, ...files)
      if (what === 'backwards') await bring(disk, slave, ...files.toReversed())
      if (slave.lastTxn > master.durableTxn) throw new Error('the slave is ahead')
      await master.synced()
      if (!restart) continue
      await slave.close()
      slave = await openSlave(disk)
    }
    await bring(disk, slave, masterLog)
    if (slave.lastTxn !== master.lastTxn) throw new Error(`${slave.lastTxn} of ${master.lastTxn}`)
    const [ours, theirs] = [await readAll(disk, slaveLog), await readAll(disk, masterLog)]
    if (ours.join() !== theirs.join()) throw new Error('another content')
    const sealed = (await paths(disk)).slice(0, -1)
    for (const path of sealed) {
      const same = disk.contents(path).equals(disk.contents(path.replace(masterLog, slaveLog)))
      if (!same) throw new Error(`${path} differs`)
    }
    await master.close()
    await slave.close()
  })
  await holds(t, 'any order of events', property, 75)
})

t.test('what does not belong there is refused, and nothing is stored', async t => {
  const disk = new MemoryDisk()
  const master = await openMaster(disk)
  const slave = await openSlave(disk)
  await commitEach(master, 10, 300)
  await bring(disk, slave, masterLog)
  t.equal(slave.lastTxn, 10)
  await commitEach(master, 20, 300)
  const all = await paths(disk)
  t.ok(all.length >= 5)
  const refused = async (codes: Parameters<typeof failure>[1], ...given: readonly string[]) => {
    const error = await failure(bring(disk, slave, ...given), codes)
    t.equal(slave.lastTxn, 10)
    return error.message
  }

  t.match(await refused('ERR_LOG_GAP', all.at(-1)!), /this log ends with 10/)
  t.match(
    await refused('ERR_LOG_GAP', ...all.filter((_, index) => index !== all.length - 2)),
    /ends with transaction \d+, and .* starts with/,
  )
  t.match(await refused('ERR_USAGE', '/nowhere.log'), /there is no/)
  t.match(await refused('ERR_USAGE', '/'), /holds no segments/)

  // A promoted twin: the same timeline, another lineage.
  const twin = await openLog({ disk, directory: '/twin/log' })
  await twin.beginHistory({ ...identity, lineageId: new Uint8Array(16).fill(0x22) })
  await commitEach(twin, 40, 300)
  t.match(await refused('ERR_LOG_FOREIGN', '/twin'), /another history of timeline 1/)
  const other = await openLog({ disk, directory: '/other/log' })
  await other.beginHistory({ ...identity, databaseId: new Uint8Array(16).fill(0x33) })
  await commitEach(other, 40, 300)
  t.match(await refused('ERR_LOG_FOREIGN', '/other/log'), /belongs to another database/)
  // The same identity, other bytes: a master that came back from a snapshot.
  const rolled = await openMaster(disk, '/rolled/log')
  await commitEach(rolled, 40, 299)
  t.match(await refused('ERR_LOG_FOREIGN', '/rolled'), /transaction 10 has the chain value/)

  for (const path of all) await copy(disk, path, path.replace(masterLog, '/stick'))
  const stick = await paths(disk, '/stick')
  const middle = stick.at(-2)!
  const [bytes] = [disk.contents(middle)]
  bytes[bytes.length >> 1] = bytes[bytes.length >> 1]! ^ 1
  disk.overwrite(middle, 0, bytes)
  t.match(await refused('ERR_LOG_CORRUPT', '/stick'), /byte \d+, transaction \d+: /)
  disk.overwrite(middle, 0, disk.contents(middle.replace('/stick', masterLog)))

  // The last one was cut off: what is whole and was durable is taken.
  const last = stick.at(-1)!
  const whole = disk.contents(last)
  await disk.remove(last)
  await copy(disk, last, last, whole.subarray(0, whole.findLastIndex(byte => byte !== 0) - 20))
  const found = await checkBrought(disk, ['/stick'], slave)
  t.match(found, { firstTxn: 11, torn: /incomplete/ })
  t.equal(found.unproven, 29, 'the last whole one')
  t.equal(found.lastTxn, 28, 'it says that the one before was durable')
  await takeBrought(disk, found, slave)
  t.equal(slave.lastTxn, 28)
  const middle28 = await failure(bring(disk, slave, '/rolled'), 'ERR_LOG_FOREIGN')
  t.match(middle28.message, /transaction 28 has the chain value/, 'within a segment as well')
  t.equal(await bring(disk, slave, masterLog), 30 - found.lastTxn)

  // A promotion goes on from there.
  await master.beginTimeline({ ...identity, lineageId: new Uint8Array(16).fill(0x44), timeline: 2 })
  await commitEach(master, 3)
  t.equal(await bring(disk, slave, masterLog), 3)
  t.equal(slave.identity?.timeline, 2)
  for (const log of [master, slave, twin, other, rolled]) await log.close()
})
