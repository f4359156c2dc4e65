// Checkpoints: a crash at every step of one leaves the old stamp or the new one, with files that hold exactly
// that; updates go on meanwhile; full disks, failing disks, damage in the journal, closing in the middle.
import t from 'tap'
import { isDataFileName } from '../../src/database/data-file-name.ts'
import { type Database } from '../../src/database/database.ts'
import { scrubDatabase } from '../../src/database/scrub.ts'
import { HotBackupError } from '../../src/errors.ts'
import { MiB } from '../../src/limits.ts'
import {
  checkpoint,
  difference,
  directory,
  History,
  openDatabase,
  tinyCache,
  type Model,
  type Step,
} from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

/** The same numbers each time, so that a failing step can be looked at. */
class Numbers {
  #state: number
  constructor(seed: number) {
    this.#state = seed
  }
  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * limit)
  }
}

function addItems(history: History, numbers: Numbers, count: number): void {
  for (let i = 0; i < count; i++) {
    const file = numbers.below(8)
    const id = numbers.below(60)
    const step: Step =
      numbers.below(4) === 0
        ? { type: 'deleteItem', file, id }
        : {
            type: 'writeItem',
            file,
            id,
            length: numbers.below(numbers.below(10) === 0 ? 9000 : 300),
          }
    history.add([step])
  }
}

/** Two parts: what the old stamp holds, and everything that can happen to files before the new one. */
function makeHistory(seed: number): {
  history: History
  oldTxn: number
  models: Map<number, Model>
} {
  const history = new History()
  const numbers = new Numbers(seed)
  history.add([{ type: 'createAccount', account: 0 }])
  history.add([{ type: 'createAccount', account: 1 }])
  for (let file = 0; file < 6; file++) {
    history.add([{ type: 'createFile', account: file % 2, file, modulo: 1 + numbers.below(9) }])
  }
  addItems(history, numbers, 250)
  const models = new Map([[history.txn, copyOf(history.model)]])
  const oldTxn = history.txn
  addItems(history, numbers, 60)
  history.add([{ type: 'clearFile', file: 0 }])
  history.add([{ type: 'resizeFile', file: 1, modulo: 11 }])
  history.add([{ type: 'deleteFile', file: 2 }])
  history.add([{ type: 'deleteAccount', account: 1 }])
  history.add([{ type: 'createAccount', account: 2 }])
  history.add([{ type: 'createFile', account: 1, file: 7, modulo: 3 }])
  addItems(history, numbers, 100)
  models.set(history.txn, copyOf(history.model))
  return { history, oldTxn, models }
}

function copyOf(model: Model): Model {
  return new Map(
    [...model].map(([account, files]) => [
      account,
      new Map([...files].map(([name, file]) => [name, { ...file, items: new Map(file.items) }])),
    ]),
  )
}

/** Until that operation the disk works; there the machine stops. */
class Fuse {
  count = 0
  readonly #disk: MemoryDisk
  readonly #last: number
  readonly #keep: () => boolean

  constructor(disk: MemoryDisk, last: number, keep: () => boolean) {
    this.#disk = disk
    this.#last = last
    this.#keep = keep
    disk.before = operation => {
      if (operation === 'read' || operation === 'exists' || operation === 'list') return
      if (this.count++ < this.#last) return
      if (this.count === this.#last + 1) disk.crash(this.#keep)
      throw new HotBackupError('ERR_DISK', 'the machine has stopped')
    }
  }

  get burnt(): boolean {
    return this.count > this.#last
  }
  remove(): void {
    this.#disk.before = null
  }
}

const tempo = { took: () => Promise.resolve(), lookAgain: () => Promise.resolve() }

t.test('a crash at every step leaves the old stamp or the new one, exactly', async t => {
  const seen = { old: 0, new: 0, recoveryCrashes: 0 }
  for (const seed of [1, 2]) {
    const { history, oldTxn, models } = makeHistory(seed)
    for (let step = 0; ; step++) {
      const disk = new MemoryDisk()
      const database = await openDatabase(disk)
      const partial = new History()
      partial.transactions.push(...history.transactions.slice(0, oldTxn))
      partial.replay(database)
      await checkpoint(database)
      history.replay(database)
      const numbers = new Numbers(step)
      // Every third time nothing unsynced survives; otherwise some or most sectors do.
      const keep = () => numbers.below(3) < step % 3
      const fuse = new Fuse(disk, step, keep)
      await checkpoint(database).catch(() => {})
      if (!fuse.burnt) break
      disk.before = null
      const [damage] = await scrubDatabase(disk, '/server/database', tempo)
      if (damage !== undefined) t.fail(`seed ${seed}, step ${step}: ${damage.message}`)
      await crashInRecovery(disk, step % 7, seen, keep)
      const again = await openDatabase(disk)
      const { txn } = again.stamp
      seen[txn === oldTxn ? 'old' : 'new']++
      const fault = difference(again, models.get(txn)!)
      if (fault !== null) t.fail(`seed ${seed}, step ${step}: at the stamp, ${fault}`)
      await goOn(again, disk, history, `seed ${seed}, step ${step}`)
    }
  }
  t.ok(seen.old > 10, `${seen.old} crashes left the old stamp`)
  t.ok(seen.new > 10, `${seen.new} crashes left the new stamp`)
  t.ok(
    seen.recoveryCrashes > 10,
    `${seen.recoveryCrashes} times the machine stopped in recovery, too`,
  )

  async function goOn(database: Database, disk: MemoryDisk, history: History, where: string) {
    history.replay(database)
    const fault = difference(database, history.model)
    if (fault !== null) t.fail(`${where}: after replay, ${fault}`)
    await checkpoint(database)
    await database.close()
    disk.crash()
    const last = await openDatabase(disk)
    if (last.stamp.txn !== history.txn) t.fail(`${where}: the stamp is ${last.stamp.txn}`)
    const lastFault = difference(last, history.model)
    if (lastFault !== null) t.fail(`${where}: reopened, ${lastFault}`)
    await last.close()
  }

  async function crashInRecovery(
    disk: MemoryDisk,
    step: number,
    seen: { recoveryCrashes: number },
    keep: () => boolean,
  ) {
    const fuse = new Fuse(disk, step, keep)
    const opened = await openDatabase(disk).catch(() => null)
    fuse.remove()
    await opened?.close()
    if (fuse.burnt) seen.recoveryCrashes++
  }
})

t.test('a journal whose name is not durable yet is made so, before it is used', async t => {
  for (let step = 0; ; step++) {
    const disk = new MemoryDisk()
    const database = await openDatabase(disk)
    const history = new History()
    const models = new Map<number, Model>()
    history.add([{ type: 'createAccount', account: 0 }])
    history.add([{ type: 'createFile', account: 0, file: 0, modulo: 7 }])
    for (const length of [100, 200]) {
      if (models.size > 0) await checkpoint(database)
      for (let id = 0; id < 20; id++) history.add([{ type: 'writeItem', file: 0, id, length }])
      history.replay(database)
      models.set(history.txn, copyOf(history.model))
    }
    // The process is killed there: who comes next sees the new name.
    disk.before = operation => {
      if (operation !== 'syncDirectory') return
      throw new HotBackupError('ERR_DISK', 'the process is no more')
    }
    await t.rejects(checkpoint(database), { message: 'the process is no more' })
    // The machine stops when so much has been done; a half of what was not synced is lost.
    let sector = step
    const fuse = new Fuse(disk, step, () => sector++ % 2 === 0)
    const opened = await openDatabase(disk).catch(() => null)
    fuse.remove()
    await opened?.close()
    const again = await openDatabase(disk)
    const { txn } = again.stamp
    t.equal(difference(again, models.get(txn)!), null, `step ${step}`)
    await again.close()
    if (!fuse.burnt) break
  }
})

t.test(
  'a mark that a journal is in place is made durable, before anything relies on it',
  async t => {
    const disk = new MemoryDisk()
    const history = new History()
    let database = await openDatabase(disk, { cacheBytes: 4 * MiB })
    history.add([{ type: 'createAccount', account: 0 }])
    history.add([{ type: 'createFile', account: 0, file: 0, modulo: 3 }])
    for (let id = 0; id < 20; id++) history.add([{ type: 'writeItem', file: 0, id, length: 50 }])
    history.replay(database)
    // The process is killed when it has written the mark, and has not synced it.
    const journal = `${directory}/database/journal`
    let marked = false
    disk.before = (operation, path) => {
      if (path !== journal) return
      if (operation === 'write') marked = true
      else if (operation === 'sync' && marked) throw new HotBackupError('ERR_DISK', 'it was killed')
    }
    await checkpoint(database).catch(() => {})
    disk.before = null
    t.ok(marked)
    await database.close().catch(() => {})

    // The next one has no frames to write, and no journal: the catalog alone names the data files.
    database = await openDatabase(disk, { cacheBytes: 4 * MiB })
    history.add([{ type: 'clearFile', file: 0 }])
    history.replay(database)
    await checkpoint(database)
    await database.close()
    disk.crash()
    database = await openDatabase(disk, { cacheBytes: 4 * MiB })
    t.equal(database.stamp.txn, history.txn)
    t.equal(difference(database, history.model), null)
    await database.close()
  },
)

t.test('updates go on during a checkpoint, which holds none of them', async t => {
  for (const cacheBytes of [tinyCache, 1 * MiB]) {
    const { history, oldTxn } = makeHistory(3)
    const disk = new MemoryDisk()
    const database = await openDatabase(disk, { cacheBytes })
    history.replay(database)
    const atCapture = copyOf(history.model)
    const { txn } = history
    let isDurable = () => {}
    const durable = new Promise<void>(resolve => (isDurable = resolve))
    const done = database.checkpoint({ txn, chain: 77 }, durable, { paced: true })
    let over = false
    void done.finally(() => (over = true))
    await t.rejects(checkpoint(database), TypeError, 'one at a time')
    const untouched = disk.usedBytes
    const numbers = new Numbers(9)
    const change = () => {
      addItems(history, numbers, 20)
      history.replay(database)
    }
    for (let i = 0; i < 20; i++) {
      change()
      await new Promise(resolve => setImmediate(resolve))
    }
    history.add([{ type: 'resizeFile', file: 0, modulo: 20 }])
    history.add([{ type: 'clearFile', file: 1 }])
    history.add([{ type: 'deleteFile', file: 2 }])
    history.replay(database)
    t.equal(database.stamp.txn, 0)
    if (cacheBytes === 1 * MiB) {
      t.equal(disk.usedBytes, untouched, 'nothing is written before the log is durable')
    }
    isDurable()
    while (!over) {
      change()
      await new Promise(resolve => setImmediate(resolve))
    }
    await done
    t.same(database.stamp, { txn, chain: 77 })
    t.equal(difference(database, history.model), null)
    await database.close()
    disk.crash()
    const again = await openDatabase(disk)
    t.same(again.stamp, { txn, chain: 77 })
    t.equal(difference(again, atCapture), null)
    history.replay(again)
    t.equal(difference(again, history.model), null)
    await checkpoint(again)
    await again.close()
    t.ok(oldTxn < txn)
  }
})

t.test('a full disk is survived, and so is a log that fails first', async t => {
  const { history } = makeHistory(4)
  const disk = new MemoryDisk()
  const database = await openDatabase(disk)
  history.replay(database)
  await checkpoint(database)
  // Their generations are on the disk, and nobody needs them any more.
  history.add([{ type: 'deleteFile', file: 0 }])
  history.add([{ type: 'clearFile', file: 1 }])
  addItems(history, new Numbers(8), 100)
  history.replay(database)
  const dirty = database.dirtyBytes
  disk.capacityBytes = disk.usedBytes + 20_000
  await t.rejects(checkpoint(database), { code: 'ERR_DISK_FULL' })
  t.equal(database.dirtyBytes, dirty)
  t.equal(database.failure, null)
  t.notOk(await disk.exists('/server/database/journal.new'))
  addItems(history, new Numbers(5), 100)
  history.replay(database)
  const unwritable = Promise.reject(new HotBackupError('ERR_DISK', 'the log cannot be written'))
  const position = { txn: history.txn, chain: 1 }
  await t.rejects(database.checkpoint(position, unwritable), { code: 'ERR_DISK' })
  t.equal(database.failure, null)
  await t.rejects(database.checkpoint({ txn: 3, chain: 1 }, Promise.resolve()), TypeError)
  disk.capacityBytes = Number.MAX_SAFE_INTEGER
  await checkpoint(database)
  t.equal(difference(database, history.model), null)
  const names = (await disk.list('/server/database')).map(entry => entry.name)
  t.ok(names.filter(isDataFileName).length <= history.files().length, names.join())
  t.ok(names.length <= history.files().length + 2, names.join())
  await checkpoint(database)
  await database.close()
  const again = await openDatabase(disk)
  t.equal(difference(again, history.model), null)
  t.equal(again.stamp.txn, history.txn)
  await again.close()
})

t.test('what a failed checkpoint has left for the journal is not missing', async t => {
  const disk = new MemoryDisk()
  const database = await openDatabase(disk)
  const history = new History()
  history.add([{ type: 'createAccount', account: 0 }])
  // Most of its groups are never written, and lie between those that are.
  history.add([{ type: 'createFile', account: 0, file: 0, modulo: 40 }])
  for (const id of [1, 2, 3]) history.add([{ type: 'writeItem', file: 0, id, length: 50 }])
  history.replay(database)
  let writes = 0
  disk.before = (operation, path) => {
    if (operation !== 'write' || !/[0-9a-f]{8}\.[0-9a-f]{8}$/.test(path)) return
    if (++writes === 2) throw new HotBackupError('ERR_DISK', 'the disk has failed')
  }
  await t.rejects(checkpoint(database), { code: 'ERR_DISK' })
  disk.before = null
  t.strictSame(await scrubDatabase(disk, '/server/database', tempo), [])
  await database.close()
})

t.test('a failed sync is final', async t => {
  const { history } = makeHistory(5)
  for (const path of [null, '/server/database/journal.new', '/server/database/catalog.tmp']) {
    const disk = new MemoryDisk()
    const database = await openDatabase(disk)
    history.replay(database)
    disk.failNext('sync', 'EIO', path)
    await t.rejects(checkpoint(database), { code: 'ERR_DISK' })
    t.equal(database.failure?.code, 'ERR_DISK')
    t.equal(database.stamp.txn, 0)
    await t.rejects(checkpoint(database), { code: 'ERR_STOPPED' })
    t.equal(difference(database, history.model), null, 'readers are served all the same')
    await database.close()
    disk.crash()
    const again = await openDatabase(disk)
    history.replay(again)
    t.equal(difference(again, history.model), null)
    await again.close()
  }
})

/** A disk with a complete journal of which half is in place. */
async function halfInPlace(history: History, before: number): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  const database = await openDatabase(disk, { cacheBytes: 8 * MiB })
  const first = new History()
  first.transactions.push(...history.transactions.slice(0, before))
  first.replay(database)
  await checkpoint(database)
  history.replay(database)
  let writes = 0
  disk.before = (operation, path) => {
    const inPlace = operation === 'write' && /[0-9a-f]{8}\.[0-9a-f]{8}$/.test(path)
    if (inPlace && writes++ === 1) {
      disk.before = null
      disk.crash(() => true)
    }
  }
  await checkpoint(database).catch(() => {})
  await database.close().catch(() => {})
  return disk
}

async function allDataFiles(disk: MemoryDisk): Promise<Buffer> {
  const entries = await disk.list('/server/database')
  const names = entries.map(entry => entry.name).filter(name => name.includes('.'))
  return Buffer.concat(names.map(name => disk.contents(`/server/database/${name}`)))
}

t.test('a journal that was complete is finished, read over the files, or refused', async t => {
  const { history } = makeHistory(6)
  const before = history.txn
  addItems(history, new Numbers(8), 100)
  // So that the journal has several pieces.
  history.add([{ type: 'writeItem', file: 0, id: 7, length: 2 * MiB }])
  const whole = await halfInPlace(history, before)
  const path = '/server/database/journal'
  const bytes = whole.usedBytes
  const reader = await openDatabase(whole, { readOnly: true })
  t.equal(reader.stamp.txn, history.txn)
  t.equal(difference(reader, history.model), null, 'read-only: over the data files')
  const item = history.transactions.find(bytes => bytes[0] === 1)!
  t.throws(() => reader.apply(item, 0, item.length - 1, history.txn + 1))
  await t.rejects(checkpoint(reader), TypeError)
  await reader.close()
  t.equal(whole.usedBytes, bytes, 'and nothing is written')

  const size = whole.contents(path).length
  const offsets = [
    0,
    5,
    13,
    20,
    27,
    35,
    4096,
    1 * MiB + 7,
    size - 9000,
    size - 4096,
    size - 4090,
    size - 8192,
  ]
  let refused = 0
  for (const offset of offsets) {
    const disk = await halfInPlace(history, before)
    const byte = disk.contents(path)[offset]!
    const dataFiles = await allDataFiles(disk)
    disk.overwrite(path, offset, Buffer.from([byte ^ 4]))
    for (const readOnly of [true, false]) {
      const opened = await openDatabase(disk, { readOnly }).catch((error: HotBackupError) => error)
      if (opened instanceof HotBackupError) {
        refused++
        t.match(opened, { code: 'ERR_DATABASE_CORRUPT', place: { path } })
        t.match(opened.message, /the journal is damaged: .* so a checkpoint is half in place/)
        t.equal((await allDataFiles(disk)).equals(dataFiles), true, 'and nothing was done')
      } else {
        // A bit of one of the two commit pages: the other one says the same.
        t.equal(difference(opened, history.model), null)
        await opened.close()
      }
    }
  }
  t.equal(refused, 2 * 4, 'frames and catalog')

  const disk = await halfInPlace(history, before)
  const opened = await openDatabase(disk)
  t.equal(difference(opened, history.model), null)
  t.equal(disk.contents(path).length, 8192, 'it stays, and says that it is in place')
  await opened.close()
})

t.test('closing in the middle gives up what has not been committed', async t => {
  const { history } = makeHistory(7)
  const outcomes = new Set<string>()
  for (let turns = 0; turns < 12; turns++) {
    const disk = new MemoryDisk()
    const database = await openDatabase(disk, { cacheBytes: 2 * MiB })
    history.replay(database)
    const durable = turns === 0 ? new Promise<void>(() => {}) : Promise.resolve()
    const done = database.checkpoint({ txn: history.txn, chain: 1 }, durable, { paced: true }).then(
      () => 'done',
      (error: HotBackupError) => error.code,
    )
    for (let i = 0; i < turns; i++) await new Promise(resolve => setImmediate(resolve))
    await database.close()
    outcomes.add(await done)
    const again = await openDatabase(disk)
    t.equal(again.stamp.txn, (await done) === 'done' ? history.txn : 0)
    history.replay(again)
    t.equal(difference(again, history.model), null)
    await again.close()
  }
  t.same([...outcomes].sort(), ['ERR_CLOSED', 'done'])
})

t.test('a checkpoint is due by log, and by changes', async t => {
  const database = await openDatabase(new MemoryDisk(), { cacheBytes: 8 * MiB })
  const history = new History()
  history.add([{ type: 'createAccount', account: 0 }])
  history.add([{ type: 'createFile', account: 0, file: 0, modulo: 1500 }])
  history.replay(database)
  t.notOk(database.checkpointDue(0))
  t.notOk(database.checkpointDue(64 * MiB - 1))
  t.ok(database.checkpointDue(64 * MiB))
  for (let id = 0; !database.checkpointDue(0); id++) {
    history.add([{ type: 'writeItem', file: 0, id, length: 100 }])
    history.replay(database)
  }
  t.ok(database.dirtyBytes >= 3.7 * MiB && database.dirtyBytes <= 4 * MiB)
  t.notOk(database.overfull)
  const done = checkpoint(database, true)
  t.notOk(database.checkpointDue(1000 * MiB), 'not while one is under way')
  database.hurry()
  await done
  t.notOk(database.checkpointDue(0))
  await database.close()
})

t.test('frames go to the disk in large pieces', async t => {
  // Pieces of the journal and its catalog, two commit pages, pieces in place with two pages of checksums between them,
  // the catalog, and two pages that say that all is in place.
  const expected = new Map([
    [false, 2 + 1 + 2 + 5 + 1 + 2],
    [true, 5 + 1 + 2 + 8 + 1 + 2],
  ])
  for (const [paced, writesExpected] of expected) {
    const disk = new MemoryDisk()
    const database = await openDatabase(disk, { cacheBytes: 8 * MiB })
    const history = new History()
    history.add([{ type: 'createAccount', account: 0 }])
    history.add([{ type: 'createFile', account: 0, file: 0, modulo: 1 }])
    history.add([{ type: 'writeItem', file: 0, id: 1, length: 4 * MiB }])
    history.replay(database)
    let writes = 0
    disk.before = operation => {
      if (operation === 'write') writes++
    }
    await checkpoint(database, paced)
    t.equal(writes, writesExpected, paced ? 'paced' : 'not paced')
    await database.close()
  }
})
