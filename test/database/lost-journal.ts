// The journal of a checkpoint that is half in place is lost, damaged, or another one's: the database is opened when all
// of its frames prove that it is whole, and refused when they do not. It is never a mix of two states.
import t from 'tap'
import { Database } from '../../src/database/database.ts'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import { MiB } from '../../src/limits.ts'
import {
  checkpoint,
  difference,
  directory,
  hastyClock,
  History,
  openDatabase,
} from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const folder = `${directory}/database`
const journal = `${folder}/journal`

/** After a second checkpoint that was cut off when so many writes of frames were in place. */
async function cutOff(writes: number, salt = 0): Promise<{ disk: MemoryDisk; history: History }> {
  const disk = new MemoryDisk()
  const history = new History()
  const database = await openDatabase(disk, { cacheBytes: 4 * MiB })
  history.add([{ type: 'createAccount', account: 0 }])
  for (const file of [0, 1]) {
    history.add([{ type: 'createFile', account: 0, file, modulo: 20 }])
    for (let id = 0; id < 60; id++) {
      history.add([{ type: 'writeItem', file, id, length: 100 + salt }])
    }
  }
  history.replay(database)
  await checkpoint(database)
  for (const file of [0, 1]) {
    for (let id = 0; id < 60; id += 7) history.add([{ type: 'writeItem', file, id, length: 100 }])
  }
  history.replay(database)
  let done = 0
  disk.before = (operation, path) => {
    if (operation !== 'write' || !/[0-9a-f]{8}\.[0-9a-f]{8}$/.test(path)) return
    if (done++ === writes) throw new HotBackupError('ERR_DISK', 'the machine has stopped')
  }
  await checkpoint(database).catch(() => {})
  disk.before = null
  await database.close()
  return { disk, history }
}

const losses: Readonly<Record<string, (disk: MemoryDisk) => Promise<void> | void>> = {
  'both commit pages': disk => {
    disk.overwrite(journal, 0, Buffer.alloc(4096))
    disk.overwrite(journal, disk.contents(journal).length - 4096, Buffer.alloc(4096))
  },
  'all of it': disk => disk.remove(journal),
  'its end': async disk => {
    const file = await disk.open(journal, 'write')
    await file.truncate(20_000)
    await file.close()
  },
  'all but nothing': async disk => {
    const file = await disk.open(journal, 'write')
    await file.truncate(0)
    await file.close()
  },
  'a frame of it': disk => disk.overwrite(journal, 8192, Buffer.alloc(4096)),
  'its catalog': disk => {
    disk.overwrite(journal, disk.contents(journal).length - 8192, Buffer.alloc(4096))
  },
  "another database's": async disk => {
    const other = await cutOff(1, 9)
    await disk.remove(journal)
    const bytes = other.disk.contents(journal)
    const file = await disk.open(journal, 'create')
    await file.write(bytes, 0, bytes.length, 0)
    await file.close()
  },
}

for (const [name, lose] of Object.entries(losses)) {
  t.test(`a journal lost half in place: ${name}`, async t => {
    const seen = { whole: 0, refused: 0 }
    for (const writes of [0, 1, 2, 4, 7, 1000]) {
      for (const readOnly of [true, false]) {
        const { disk, history } = await cutOff(writes)
        await lose(disk)
        const database = await openDatabase(disk, { readOnly }).catch((error: unknown) => {
          if (isHotBackupError(error, 'ERR_DATABASE_CORRUPT')) return null
          throw error
        })
        seen[database === null ? 'refused' : 'whole']++
        if (database === null) continue
        history.replay(database)
        t.equal(difference(database, history.model), null, `${writes} writes`)
        await database.close()
        if (readOnly) continue
        const again = await openDatabase(disk)
        history.replay(again)
        t.equal(difference(again, history.model), null, 'and again')
        await again.close()
      }
    }
    t.ok(seen.whole >= 4, `${seen.whole} were whole: nothing was in place, or everything`)
    t.ok(seen.refused >= 6, `${seen.refused} were refused`)
  })
}

t.test('a database that never had a journal misses none; one that had does', async t => {
  const disk = new MemoryDisk()
  const empty = await openDatabase(disk)
  await empty.close()
  const { disk: used, history } = await cutOff(1000)
  await used.remove(`${folder}/catalog`)
  await t.rejects(Database.open({ disk: used, clock: hastyClock }, directory, { cacheBytes: 1 }), {
    code: 'ERR_DATABASE_CORRUPT',
    message: /a journal and no catalog/,
  })
  t.ok(history.txn > 0)
  const again = await openDatabase(disk)
  t.equal(again.stamp.txn, 0)
  await again.close()
})
