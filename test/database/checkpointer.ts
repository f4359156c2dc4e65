// When checkpoints are made: one at a time, paced while the server is quiet, in a hurry when the log grows or writers
// wait for room, and soon after a crash that left much to replay.
import t from 'tap'
import { Checkpointer } from '../../src/database/checkpointer.ts'
import { Database } from '../../src/database/database.ts'
import type { HotBackupError } from '../../src/errors.ts'
import { MiB } from '../../src/limits.ts'
import { directory, History } from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { TestClock } from '../helpers/test-clock.ts'

async function makeServer(
  cacheBytes: number,
  failed = (error: HotBackupError) => void t.fail(error.message),
) {
  const clock = new TestClock()
  const disk = new MemoryDisk()
  const database = await Database.open({ disk, clock }, directory, { cacheBytes })
  const history = new History()
  history.add([{ type: 'createAccount', account: 0 }])
  history.add([{ type: 'createFile', account: 0, file: 0, modulo: 1 }])
  history.replay(database)
  const log = { written: 0, made: 0 }
  const checkpointer = new Checkpointer(
    database,
    {
      cut: () => ({ position: { txn: history.txn, chain: 1 }, durable: Promise.resolve() }),
      bytes: () => log.written,
    },
    clock,
    () => log.made++,
    failed,
  )
  const write = (length: number) => {
    history.add([{ type: 'writeItem', file: 0, id: history.txn, length }])
    history.replay(database)
  }
  const close = async () => {
    await checkpointer.stop()
    await database.close()
  }
  return { clock, disk, database, history, log, checkpointer, write, close }
}

const until = async (reached: () => boolean) => {
  while (!reached()) await new Promise(resolve => setImmediate(resolve))
}

t.test('a checkpoint is paced until the log has grown by much', async t => {
  for (const grows of [false, true]) {
    const { clock, checkpointer, log, write, close } = await makeServer(64 * MiB)
    write(8 * MiB)
    checkpointer.note()
    t.equal(clock.waits.length, 0)
    log.written = 100 * MiB
    checkpointer.note()
    if (grows) {
      log.written += 7 * MiB
      checkpointer.note()
      await until(() => clock.waits.length === 3)
      log.written += 2 * MiB
    }
    await until(() => {
      checkpointer.note()
      return log.made === 1
    })
    // A pause for each MiB of the journal, and of the frames in place.
    if (grows) t.ok(clock.waits.length <= 4, `${clock.waits.length} pauses`)
    else t.ok(clock.waits.length >= 16, `${clock.waits.length} pauses`)
    checkpointer.note()
    await checkpointer.now()
    t.equal(log.made, 1, 'the log that a checkpoint holds does not count again')
    await close()
  }
})

t.test('who waits for room, or for a checkpoint, does not wait for pauses', async t => {
  for (const wait of ['room', 'now'] as const) {
    const { clock, checkpointer, database, log, write, close } = await makeServer(8 * MiB)
    write(4.5 * MiB)
    checkpointer.note()
    if (wait === 'room') {
      while (!database.overfull) write(100_000)
      await checkpointer.room()
      t.notOk(database.overfull)
    } else {
      await checkpointer.now()
    }
    t.equal(log.made, 1)
    t.equal(clock.waits.length, 0)
    await close()
  }
})

t.test('behind one that has failed the files are held for nobody', async t => {
  const failures: string[] = []
  const server = await makeServer(64 * MiB, ({ code }) => void failures.push(code))
  const { checkpointer, disk, write, close } = server
  const release = await checkpointer.hold()
  release()
  write(8)
  disk.failNext('sync', 'EIO', '/server/database/catalog.tmp')
  await t.rejects(checkpointer.now(), { code: 'ERR_DISK' })
  t.strictSame(failures, ['ERR_DISK'])
  await t.rejects(checkpointer.hold(), { code: 'ERR_STOPPED' })
  await close()
})

t.test('what a crash has left to replay makes the next checkpoint due earlier', async t => {
  const { checkpointer, database, log, write, close } = await makeServer(8 * MiB)
  write(100)
  log.written = 40 * MiB
  checkpointer.note()
  database.noteReplayed(23 * MiB)
  checkpointer.note()
  await new Promise(resolve => setImmediate(resolve))
  t.equal(log.made, 0)
  database.noteReplayed(1 * MiB)
  checkpointer.note()
  await until(() => log.made === 1)
  t.equal(database.replayedBytes, 0)
  await close()
})
