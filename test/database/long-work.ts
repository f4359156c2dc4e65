// Resizes whose data a helper builds, while updates go to a hold: random histories with checkpoints, crashes and jobs
// that are done, lost and done again at any time, against a plain Map; reads and scans on the way; damage by a helper.
import fc from 'fast-check'
import t from 'tap'
import { buildGeneration, type Built } from '../../src/database/build.ts'
import { type Database } from '../../src/database/database.ts'
import { digestDatabase } from '../../src/database/digest.ts'
import { type BuildJob } from '../../src/database/helper-jobs.ts'
import {
  arbitraryStep,
  checkpoint,
  difference,
  hastyClock,
  History,
  holds,
  openDatabase,
  type Step,
} from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const everything = { longWork: { bytes: 0 } }
const elsewhere = '/server/helpers'

function buildJobs(database: Database): BuildJob[] {
  return database.work.jobs().filter(job => job.kind === 'build')
}

/** What a helper does. */
async function build(disk: MemoryDisk, job: BuildJob): Promise<Built> {
  await disk.makeDirectory(elsewhere)
  for (const { name } of await disk.list(elsewhere)) await disk.remove(`${elsewhere}/${name}`)
  const order = {
    sourceDirectory: '/server/database',
    source: job.source.state,
    targetDirectory: elsewhere,
    number: job.target.number,
    modulo: job.target.modulo,
    cacheBytes: 1,
  }
  return buildGeneration({ disk, clock: hastyClock }, order, () => {})
}

/** Does everything that there is to do. */
async function finish(disk: MemoryDisk, database: Database): Promise<void> {
  while (database.work.jobs().length > 0 || database.work.draining || database.work.checkpointDue) {
    if (database.work.checkpointDue) await checkpoint(database)
    for (const job of database.work.jobs()) {
      if (job.kind === 'remove') {
        await disk.remove(job.path)
        database.work.removed(job)
      } else {
        const { path, state } = await build(disk, job)
        await database.work.adopt(job, path, state)
      }
    }
    while (database.work.draining) database.work.step(5)
  }
}

type Turn =
  | readonly Step[]
  | 'checkpoint'
  | 'begin'
  | 'crash'
  | 'read only'
  | 'build'
  | 'adopt'
  | 'drain'
  | 'finish'
  | 'check'

const arbitraryTurn: fc.Arbitrary<Turn> = fc.oneof(
  { weight: 24, arbitrary: fc.array(arbitraryStep, { minLength: 1, maxLength: 4 }) },
  { weight: 3, arbitrary: fc.constantFrom('checkpoint' as const, 'begin' as const) },
  { weight: 3, arbitrary: fc.constantFrom('build' as const, 'adopt' as const) },
  { weight: 3, arbitrary: fc.constant('drain' as const) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'crash' as const,
      'read only' as const,
      'finish' as const,
      'check' as const,
    ),
  },
)

t.test('a history leads to the same, whatever becomes of helpers and server', async t => {
  const seen = { adopted: 0, refused: 0, drained: 0, crashes: 0 }
  await holds(
    t,
    'all record types, held or not, against a Map',
    fc.asyncProperty(fc.array(arbitraryTurn, { maxLength: 250, size: 'max' }), async turns => {
      const disk = new MemoryDisk()
      const history = new History()
      history.add([
        { type: 'createAccount', account: 0 },
        { type: 'createFile', account: 0, file: 0, modulo: 3 },
      ])
      let database = await openDatabase(disk, everything)
      history.replay(database)
      let running: Promise<void> | null = null
      let built: { job: BuildJob; result: Built } | null = null
      const check = () => {
        const fault = difference(database, history.model)
        if (fault !== null) throw new Error(fault)
      }
      const settle = async () => {
        await running
        running = null
      }
      for (const turn of turns) {
        if (typeof turn !== 'string') {
          if (history.add(turn) !== null) history.replay(database)
          if (running !== null) await new Promise(resolve => setImmediate(resolve))
        } else if (turn === 'begin') {
          await settle()
          running = checkpoint(database, true)
        } else if (turn === 'checkpoint') {
          await settle()
          await checkpoint(database)
        } else if (turn === 'build') {
          const job = buildJobs(database)[0]
          if (job === undefined) continue
          built = { job, result: await build(disk, job) }
        } else if (turn === 'adopt') {
          if (built === null) continue
          const { job, result } = built
          built = null
          if (await database.work.adopt(job, result.path, result.state)) seen.adopted++
          else seen.refused++
        } else if (turn === 'drain') {
          if (!database.work.draining) continue
          seen.drained++
          database.work.step(3)
        } else if (turn === 'finish') {
          await settle()
          await finish(disk, database)
          built = null
          check()
        } else if (turn === 'check') check()
        else {
          if (turn === 'crash') {
            await running?.catch(() => {})
            disk.crash()
            seen.crashes++
          } else {
            await settle()
            await database.close()
            const looking = await openDatabase(disk, { readOnly: true })
            history.replay(looking)
            const fault = difference(looking, history.model)
            if (fault !== null) throw new Error(`read only: ${fault}`)
            await looking.close()
          }
          running = null
          built = null
          database = await openDatabase(disk, everything)
          history.replay(database)
          check()
        }
      }
      await settle()
      check()
      await finish(disk, database)
      check()
      await checkpoint(database)
      await finish(disk, database)
      t.equal(database.work.holds().length, 0)
      // Nothing is left behind: the catalog, the journal, and at most one data file for each file.
      const names = (await disk.list('/server/database')).map(entry => entry.name)
      if (names.length > 2 + history.files().length) throw new Error(`left: ${names.join()}`)
      await database.close()
      // By one who does all of it at once.
      const plain = await openDatabase(new MemoryDisk())
      history.replay(plain)
      database = await openDatabase(disk)
      const [ours, theirs] = [await digestDatabase(database), await digestDatabase(plain)]
      return ours.equals(theirs)
    }),
    50,
  )
  t.ok(seen.adopted > 5, `${seen.adopted} results were taken in`)
  t.ok(seen.refused > 0, `${seen.refused} came too late`)
  t.ok(seen.drained > 5, `${seen.drained} times something was drained`)
  t.ok(seen.crashes > 5, `${seen.crashes} crashes`)
})

/** A file of 200 items that is being resized from 7 to 31. */
async function resizing(disk: MemoryDisk, bytes = 0) {
  const history = new History()
  history.add([
    { type: 'createAccount', account: 0 },
    { type: 'createFile', account: 0, file: 0, modulo: 7 },
  ])
  for (let id = 0; id < 60; id++) history.add([{ type: 'writeItem', file: 0, id, length: 50 }])
  const database = await openDatabase(disk, { longWork: { bytes } })
  history.replay(database)
  await checkpoint(database)
  history.add([{ type: 'resizeFile', file: 0, modulo: 31 }])
  history.replay(database)
  return { database, history, file: database.file('account0', 'file0')! }
}

t.test('the order of safety', async t => {
  const disk = new MemoryDisk()
  const { database, file } = await resizing(disk)
  t.equal(file.modulo, 31, 'the modulo is the ordered one at once')
  t.equal(file.generation.modulo, 7, 'the data are the old ones')
  t.same(buildJobs(database), [], 'no helper before the base lies on the disk')
  t.equal(database.checkpointDue(0), true)
  t.match(database.work.holds(), [{ account: 'account0', file: 'file0', state: 'waiting' }])
  await checkpoint(database)
  t.match(database.work.holds(), [{ state: 'building' }])
  const [job] = buildJobs(database)
  t.match(job, { operation: 'resize-file', target: { modulo: 31 } })
  const { path, state } = await build(disk, job!)
  t.equal(await database.work.adopt(job!, path, state), true)
  t.equal(file.generation.modulo, 31)
  t.match(database.work.holds(), [{ state: 'draining' }])
  t.equal(database.unchanged, false, 'a checkpoint is wanted though there was no transaction')
  database.work.step(Infinity)
  t.same(database.work.holds(), [])
  await checkpoint(database)
  t.match(database.work.jobs(), [{ kind: 'remove', operation: 'resize-file' }], 'of the old data')
})

t.test('small files are resized at once', async t => {
  const { database, file } = await resizing(new MemoryDisk(), 1 << 20)
  t.equal(file.generation.modulo, 31)
  t.same(database.work.holds(), [])
  t.equal(database.work.checkpointDue, false)
})

t.test('a scan sees each item once, from before the resize to after it', async t => {
  const disk = new MemoryDisk()
  const { database, history, file } = await resizing(disk)
  const seen: string[] = []
  let cursor: number | null = 0
  const look = () => {
    if (cursor !== null) cursor = file.scan(cursor, 1, id => seen.push(id.toString('latin1')))
  }
  for (let turns = 0; turns < 3; turns++) look()
  history.add([{ type: 'writeItem', file: 0, id: 3, length: 2000 }])
  history.replay(database)
  look()
  await checkpoint(database)
  const job = buildJobs(database)[0]!
  const { path, state } = await build(disk, job)
  await database.work.adopt(job, path, state)
  for (let turns = 0; turns < 5; turns++) {
    look()
    database.work.step(5)
  }
  while (database.work.draining) database.work.step(5)
  while (cursor !== null) look()
  t.equal(seen.length, 60)
  t.equal(new Set(seen).size, 60)
})

t.test('what a helper says is checked', async t => {
  const disk = new MemoryDisk()
  const { database, history } = await resizing(disk)
  await checkpoint(database)
  const job = buildJobs(database)[0]!
  const { path, state } = await build(disk, job)
  for (const wrong of [
    { itemCount: 59 },
    { modulo: 30 },
    { number: 1 },
    { itemBytes: 0 },
    { diskFrames: 3 },
  ]) {
    await t.rejects(database.work.adopt(job, path, { ...state, ...wrong }), { code: 'ERR_PROCESS' })
  }
  t.equal(difference(database, history.model), null)
  history.add([{ type: 'clearFile', file: 0 }])
  history.replay(database)
  t.equal(await database.work.adopt(job, path, state), false, 'nobody needs it any more')
  t.equal(await disk.exists(path), false)
  t.equal(difference(database, history.model), null)
})

t.test('a damaged source is found by the one who reads it', async t => {
  const disk = new MemoryDisk()
  const { database } = await resizing(disk)
  await checkpoint(database)
  const job = buildJobs(database)[0]!
  disk.overwrite(job.source.path, 5000, Buffer.from('damage'))
  await t.rejects(build(disk, job), { code: 'ERR_DATABASE_CORRUPT' })
})

t.test('groups that were never written are not read one by one', async t => {
  const disk = new MemoryDisk()
  const history = new History()
  history.add([
    { type: 'createAccount', account: 0 },
    { type: 'createFile', account: 0, file: 0, modulo: 3000 },
  ])
  let database = await openDatabase(disk)
  const scan = (): number => {
    let reads = 0
    disk.before = operation => void (reads += Number(operation === 'read'))
    let items = 0
    database.file('account0', 'file0')!.scan(0, Infinity, () => items++)
    disk.before = null
    t.equal(items, history.files()[0]?.file.items.size)
    return reads
  }
  const write = async (from: number, to: number) => {
    for (let id = from; id < to; id++) history.add([{ type: 'writeItem', file: 0, id, length: 20 }])
    history.replay(database)
    await checkpoint(database)
  }
  await write(0, 20)
  t.ok(scan() <= 20, 'only those that this process has written')
  await database.close()
  database = await openDatabase(disk)
  t.ok(scan() <= 20 + 3000 / 256 + 1, 'many at once, when nobody knows')
  await write(20, 40)
  t.ok(scan() <= 40, 'and then it is known')
  t.equal(difference(database, history.model), null)
})
