// Preload: what it takes into the cache is what single reads would find there, with a journal over the files,
// damage, a small cache and readers and checkpoints in between; and it is skipped when it does not pay.
import t from 'tap'
import { type Database } from '../../src/database/database.ts'
import { isHotBackupError } from '../../src/errors.ts'
import { MiB } from '../../src/limits.ts'
import { checkpoint, difference, History, openDatabase } from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const dataFile = '/server/database/00000001.00000001'
const manyTransactions = 1_000_000
const roomy = { cacheBytes: 32 * MiB }

/** Two files of 700 groups, most of them never written, and big values; one of the two has free frames. */
function makeHistory(): History {
  const history = new History()
  history.add([{ type: 'createAccount', account: 0 }])
  for (const file of [0, 1]) {
    history.add([{ type: 'createFile', account: 0, file, modulo: 700 }])
    for (let id = 0; id < 60; id++) history.add([{ type: 'writeItem', file, id, length: 9000 }])
  }
  history.add([{ type: 'writeItem', file: 0, id: 3, length: 2 * MiB }])
  history.add([{ type: 'writeItem', file: 0, id: 4, length: 50_000 }])
  history.add([{ type: 'deleteItem', file: 0, id: 4 }])
  return history
}

async function storedHistory(history: History): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  const database = await openDatabase(disk, roomy)
  history.replay(database)
  await checkpoint(database)
  await database.close()
  return disk
}

function countReads(disk: MemoryDisk): { count: number } {
  const reads = { count: 0 }
  disk.before = operation => {
    if (operation === 'read') reads.count++
  }
  return reads
}

t.test('everything is in the cache afterwards, by few reads, and is changed as ever', async t => {
  const history = makeHistory()
  const disk = await storedHistory(history)
  const database = await openDatabase(disk, roomy)
  const reads = countReads(disk)
  await database.preload(manyTransactions)
  t.ok(reads.count >= 6 && reads.count <= 14, `${reads.count} reads`)
  reads.count = 0
  t.equal(difference(database, history.model), null)
  t.equal(reads.count, 0, 'no frame had to be read')
  for (let id = 0; id < 60; id++) history.add([{ type: 'writeItem', file: 1, id, length: id }])
  history.replay(database)
  t.equal(difference(database, history.model), null)
  t.equal(reads.count, 0)
  await checkpoint(database)
  await database.close()
  disk.crash()
  const again = await openDatabase(disk)
  t.equal(difference(again, history.model), null)
  await again.close()
})

t.test('it is skipped when single reads are cheaper, or the cache is too small', async t => {
  const history = makeHistory()
  const disk = await storedHistory(history)
  const cases: [number, number][] = [
    [32 * MiB, 100],
    [4 * MiB, manyTransactions],
  ]
  for (const [cacheBytes, transactions] of cases) {
    const database = await openDatabase(disk, { cacheBytes })
    const reads = countReads(disk)
    await database.preload(transactions)
    t.equal(reads.count, 0)
    t.equal(difference(database, history.model), null)
    await database.close()
    await database.preload(manyTransactions)
    disk.before = null
  }
})

t.test('what was changed before or meanwhile counts, not what is in the file', async t => {
  const history = makeHistory()
  for (const during of ['updates', 'checkpoint', 'delete', 'close'] as const) {
    const disk = await storedHistory(history)
    const own = makeHistory()
    const database = await openDatabase(disk, roomy)
    own.add([{ type: 'writeItem', file: 0, id: 1, length: 7 }])
    own.replay(database)
    const done = database.preload(manyTransactions)
    if (during === 'close') {
      await database.close()
      await done
      continue
    }
    for (let id = 0; id < 60; id += 2) {
      own.add([{ type: 'writeItem', file: 0, id, length: 11 }])
      if (id === 20 && during === 'delete') own.add([{ type: 'deleteFile', file: 1 }])
      own.replay(database)
      await Promise.resolve()
      if (during === 'checkpoint' && id === 4) await checkpoint(database)
    }
    await done
    t.equal(difference(database, own.model), null, during)
    await checkpoint(database)
    await database.close()
    const again = await openDatabase(disk)
    t.equal(difference(again, own.model), null, `${during}, reopened`)
    await again.close()
  }
})

t.test('damage stays out, and whoever needs the frame is told', async t => {
  const history = makeHistory()
  const damages: ((disk: MemoryDisk) => void)[] = [
    disk => {
      const at = writtenGroup(disk) + 100
      disk.overwrite(dataFile, at, Buffer.from([disk.contents(dataFile)[at]! ^ 1]))
    },
    disk => {
      const at = writtenGroup(disk)
      const other = disk.contents(dataFile).subarray(at + 8192, at + 12_288)
      disk.overwrite(dataFile, at, Buffer.from(other))
    },
    disk => disk.overwrite(dataFile, writtenGroup(disk), Buffer.alloc(4096)),
  ]
  for (const damage of damages) {
    const disk = await storedHistory(history)
    damage(disk)
    const database = await openDatabase(disk, roomy)
    await database.preload(manyTransactions)
    t.equal(faultOf(database, history), dataFile)
    await database.close()
  }
  const disk = await storedHistory(history)
  const database = await openDatabase(disk, roomy)
  disk.failNext('read', 'EIO', dataFile)
  await database.preload(manyTransactions)
  t.equal(difference(database, history.model), null, 'a read that fails is tried again when needed')
  await database.close()
})

/** Offset of the first group that holds items. */
function writtenGroup(disk: MemoryDisk): number {
  const bytes = disk.contents(dataFile)
  for (let at = 0; ; at += 4096) if (bytes.readUInt16LE(at + 22) > 0) return at
}

function faultOf(database: Database, history: History): unknown {
  try {
    return difference(database, history.model)
  } catch (error) {
    return isHotBackupError(error, 'ERR_GROUP_DAMAGED') ? error.place.path : error
  }
}

t.test('a journal that lies over the files goes before them', async t => {
  const history = makeHistory()
  const disk = await storedHistory(history)
  const writer = await openDatabase(disk, roomy)
  for (let id = 0; id < 50; id++) history.add([{ type: 'writeItem', file: 0, id, length: 200 }])
  history.replay(writer)
  let syncs = 0
  disk.before = (operation, path) => {
    // It is complete; nothing is in place then.
    if (operation === 'sync' && path.endsWith('journal.new')) syncs++
    if (operation === 'write' && path === dataFile && syncs === 1) disk.crash(() => true)
  }
  await checkpoint(writer).catch(() => {})
  await writer.close().catch(() => {})
  disk.before = null
  const reader = await openDatabase(disk, { ...roomy, readOnly: true })
  t.equal(reader.stamp.txn, history.txn)
  await reader.preload(manyTransactions)
  t.equal(difference(reader, history.model), null)
  await reader.close()
})
