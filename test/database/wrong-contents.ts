// A disk that gives other bytes than were written last: zeros, an older version of a frame, another frame, too few
// frames, an older copy of a whole file. Every item is read as it was written or not at all, no scan is short, and a
// scrub finds all of it.
import fc from 'fast-check'
import t from 'tap'
import { FrameCache } from '../../src/database/cache.ts'
import { type Database } from '../../src/database/database.ts'
import { digestDatabase } from '../../src/database/digest.ts'
import { emptyGroup } from '../../src/database/empty-group.ts'
import {
  addEntry,
  FrameKind,
  idStartOf,
  initFrame,
  setNext,
  Slab,
} from '../../src/database/frame.ts'
import { Generation } from '../../src/database/generation.ts'
import { visitGroup } from '../../src/database/group-walk.ts'
import { Groups } from '../../src/database/group.ts'
import { groupOf, hashId, tagOf } from '../../src/database/hash.ts'
import { scrubDatabase } from '../../src/database/scrub.ts'
import { isHotBackupError } from '../../src/errors.ts'
import { MiB } from '../../src/limits.ts'
import {
  checkpoint,
  directory,
  History,
  holds,
  idOf,
  openDatabase,
} from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const folder = `${directory}/database`
const dataFile = `${folder}/00000001.00000001`
const otherFile = `${folder}/00000002.00000002`
const frameBytes = 4096
const tempo = { took: () => Promise.resolve(), lookAgain: () => Promise.resolve() }
const refusals = ['ERR_GROUP_DAMAGED', 'ERR_DATABASE_CORRUPT'] as const

/** Two checkpoints of two files; each frame of the first data file was written by both, but for a few. */
interface Stored {
  readonly history: History
  readonly files: ReadonlyMap<string, Buffer>
  readonly older: ReadonlyMap<string, Buffer>
}

async function store(items = 24): Promise<Stored> {
  const history = new History()
  history.add([{ type: 'createAccount', account: 0 }])
  for (const file of [0, 1]) {
    history.add([{ type: 'createFile', account: 0, file, modulo: 3 }])
    for (let id = 0; id < items; id++) history.add([{ type: 'writeItem', file, id, length: 600 }])
    history.add([{ type: 'writeItem', file, id: items, length: 9000 }])
  }
  const disk = new MemoryDisk()
  const database = await openDatabase(disk, { cacheBytes: 8 * MiB })
  history.replay(database)
  await checkpoint(database)
  const older = await contentsOf(disk)
  // The same lengths: neither counts nor places change.
  for (let id = 0; id < items; id++) history.add([{ type: 'writeItem', file: 0, id, length: 600 }])
  history.add([{ type: 'writeItem', file: 0, id: items, length: 9000 }])
  history.replay(database)
  await checkpoint(database)
  await database.close()
  return { history, files: await contentsOf(disk), older }
}

async function contentsOf(disk: MemoryDisk): Promise<Map<string, Buffer>> {
  const entries = await disk.list(folder)
  const paths = entries.map(({ name }) => `${folder}/${name}`)
  return new Map(paths.map(path => [path, Buffer.from(disk.contents(path))]))
}

async function diskOf(files: ReadonlyMap<string, Buffer>): Promise<MemoryDisk> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(folder)
  for (const [path, bytes] of files) {
    const file = await disk.open(path, 'create')
    await file.write(bytes, 0, bytes.length, 0)
    await file.close()
  }
  return disk
}

const frameOf = (bytes: Buffer, frame: number) =>
  Buffer.from(bytes.subarray(frame * frameBytes, (frame + 1) * frameBytes))

/** What happens to a frame of the first data file. */
const wrongs = {
  zeros: () => Buffer.alloc(frameBytes),
  'an older version': ({ older }, frame) => frameOf(older.get(dataFile)!, frame),
  "another group's frame": ({ files }, frame) => frameOf(files.get(dataFile)!, frame === 0 ? 1 : 0),
  'the same frame of another file': ({ files }, frame) => frameOf(files.get(otherFile)!, frame),
  'a half of it, and a half of the older one': ({ files, older }, frame) =>
    Buffer.concat([
      frameOf(files.get(dataFile)!, frame).subarray(0, frameBytes / 2),
      frameOf(older.get(dataFile)!, frame).subarray(frameBytes / 2),
    ]),
} satisfies Record<string, (stored: Stored, frame: number) => Buffer>

/** Null when nothing wrong is shown as right. */
async function lie(disk: MemoryDisk, history: History): Promise<string | null> {
  let database: Database
  try {
    database = await openDatabase(disk)
  } catch (error) {
    if (isHotBackupError(error, 'ERR_DATABASE_CORRUPT')) return null
    throw error
  }
  history.replay(database)
  try {
    for (const { account, name, file } of history.files()) {
      const found = database.file(account, name)!
      for (const [id, value] of file.items) {
        const read = orRefused(() => found.read(Buffer.from(id, 'latin1')))
        if (read === null) return `${name} has no ${JSON.stringify(id)}`
        if (read !== 'refused' && !read.equals(value)) return `${name} has an older item`
      }
      let items = 0
      const scanned = orRefused(() => {
        for (let cursor: number | null = 0; cursor !== null;) {
          cursor = found.scan(cursor, 10, (id, value) => {
            items++
            if (!file.items.get(id.toString('latin1'))?.equals(value)) items = -Infinity
          })
        }
      })
      if (scanned !== 'refused' && items !== file.items.size) return `${name} scans ${items} items`
    }
    return null
  } finally {
    await database.close()
  }
}

function orRefused<T>(work: () => T): T | 'refused' {
  try {
    return work()
  } catch (error) {
    if (isHotBackupError(error, ...refusals)) return 'refused'
    throw error
  }
}

async function digestOf(disk: MemoryDisk): Promise<string> {
  const database = await openDatabase(disk, { readOnly: true })
  try {
    return (await digestDatabase(database)).toString('hex')
  } catch (error) {
    if (isHotBackupError(error, ...refusals)) return 'refused'
    throw error
  } finally {
    await database.close()
  }
}

t.test(
  'every wrong content of every frame is found, and never taken for the right one',
  async t => {
    const stored = await store()
    const bytes = stored.files.get(dataFile)!
    const frames = bytes.length / frameBytes
    const whole = await digestOf(await diskOf(stored.files))
    t.not(whole, 'refused')
    const seen = { refused: 0, healed: 0 }
    for (let frame = 0; frame < frames; frame++) {
      for (const [name, wrong] of Object.entries(wrongs)) {
        const content = wrong(stored, frame)
        if (content.equals(frameOf(bytes, frame))) continue
        const disk = await diskOf(stored.files)
        disk.overwrite(dataFile, frame * frameBytes, content)
        const where = `frame ${frame}, ${name}`
        const scrubbed = await scrubDatabase(disk, folder, tempo)
        t.match(scrubbed, [{ path: dataFile, offset: frame * frameBytes, file: 'file0' }], where)
        if (scrubbed.length !== 1) t.fail(`${where}: ${scrubbed.length} damages`)
        const digest = await digestOf(disk)
        seen[digest === 'refused' ? 'refused' : 'healed']++
        if (digest !== 'refused' && digest !== whole) t.fail(`${where}: another digest`)
        const fault = await lie(disk, stored.history)
        if (fault !== null) t.fail(`${where}: ${fault}`)
      }
    }
    t.ok(seen.refused > 4 * 5, `${seen.refused} were refused`)
    // The page of checksums can be made again of the frames, which prove it.
    t.ok(seen.healed > 0 && seen.healed <= 5, `${seen.healed} could be made again`)
  },
)

t.test('a data file that is cut off anywhere, or is an older copy as a whole', async t => {
  const stored = await store()
  const length = stored.files.get(dataFile)!.length
  const cut = async (to: number) => {
    const disk = await diskOf(stored.files)
    const file = await disk.open(dataFile, 'write')
    await file.truncate(to)
    await file.close()
    return disk
  }
  for (let to = 0; to < length; to += to % frameBytes === 0 ? 100 : frameBytes - 100) {
    // The last page of checksums ends with zeros.
    if (
      stored.files
        .get(dataFile)!
        .subarray(to)
        .every(byte => byte === 0)
    )
      continue
    const disk = await cut(to)
    t.not((await scrubDatabase(disk, folder, tempo)).length, 0, `cut to ${to}: scrub`)
    t.equal(await lie(disk, stored.history), null, `cut to ${to}`)
  }
  const older = new Map(stored.files).set(dataFile, stored.older.get(dataFile)!)
  const disk = await diskOf(older)
  t.not((await scrubDatabase(disk, folder, tempo)).length, 0)
  t.equal(await lie(disk, stored.history), null)
  t.equal(await digestOf(disk), 'refused')
  // The other file is as it was.
  const database = await openDatabase(disk)
  t.ok(database.file('account0', 'file1')!.read(Buffer.from(idOf(3), 'latin1')))
  await database.close()
})

t.test('an older catalog, journal or data file, in any combination', async t => {
  const stored = await store()
  const [data, catalog, journal] = [dataFile, `${folder}/catalog`, `${folder}/journal`]
  const opened = new Set<string>()
  for (const older of [[data], [catalog], [journal], [data, catalog], [data, journal]]) {
    await look(older)
  }
  await look([catalog, journal])
  await look([data, catalog, journal])
  // The journal says only that one was in place: the frames prove that. Where catalog and data files agree they are an
  // older database, and the log leads it on.
  t.same(
    [...opened],
    ['data', 'journal', 'data,catalog', 'catalog,journal', 'data,catalog,journal'],
  )

  async function look(older: readonly string[]): Promise<void> {
    const files = new Map(stored.files)
    for (const path of older) files.set(path, stored.older.get(path)!)
    const disk = await diskOf(files)
    const names = older.map(path => (path === data ? 'data' : path.slice(folder.length + 1))).join()
    t.equal(await lie(disk, stored.history), null, names)
    const database = await openDatabase(disk).catch(() => null)
    if (database === null) return
    opened.add(names)
    await database.close()
  }
})

t.test('several wrong frames at once, in files of many groups', async t => {
  const history = new History()
  history.add([{ type: 'createAccount', account: 0 }])
  // Several pages of checksums, most of which are about groups that were never written.
  history.add([{ type: 'createFile', account: 0, file: 0, modulo: 5000 }])
  for (let id = 0; id < 60; id++) history.add([{ type: 'writeItem', file: 0, id, length: 50 }])
  const disk = new MemoryDisk()
  const database = await openDatabase(disk, { cacheBytes: 8 * MiB })
  history.replay(database)
  await checkpoint(database)
  const older = await contentsOf(disk)
  for (let id = 0; id < 60; id += 2) history.add([{ type: 'writeItem', file: 0, id, length: 50 }])
  history.replay(database)
  await checkpoint(database)
  await database.close()
  const files = await contentsOf(disk)
  const frames = files.get(dataFile)!.length / frameBytes
  const written = Array.from({ length: frames }, (_, frame) => frame).filter(
    frame => files.get(dataFile)!.readUInt32LE(frame * frameBytes) !== 0,
  )
  const arbitraryWrong = fc.record({
    frame: fc.oneof(fc.constantFrom(...written), fc.constantFrom(...written.slice(-4))),
    from: fc.constantFrom('zeros', 'older', 'other'),
  })
  await holds(
    t,
    'nothing wrong is shown as right',
    fc.asyncProperty(fc.array(arbitraryWrong, { minLength: 1, maxLength: 4 }), async wrongs => {
      const spoiled = await diskOf(files)
      let changed = false
      for (const { frame, from } of wrongs) {
        const source = (from === 'older' ? older : files).get(dataFile)!
        const content =
          from === 'zeros'
            ? Buffer.alloc(frameBytes)
            : frameOf(source, from === 'other' ? written[0]! : frame)
        changed ||= !content.equals(frameOf(files.get(dataFile)!, frame))
        spoiled.overwrite(dataFile, frame * frameBytes, content)
      }
      const fault = await lie(spoiled, history)
      if (fault !== null) throw new Error(fault)
      const same = frames > 0 && spoiled.contents(dataFile).equals(files.get(dataFile)!)
      return same || !changed || (await scrubDatabase(spoiled, folder, tempo)).length > 0
    }),
    10,
  )
})

t.test('checkpoints go on beside what is wrong, which stays found', async t => {
  for (const wrong of ['group', 'page', 'both']) {
    const stored = await store()
    const last = stored.files.get(dataFile)!.length / frameBytes - 1
    const frames = { group: [2], page: [last], both: [2, last] }[wrong]!
    const disk = await diskOf(stored.files)
    for (const frame of frames) {
      disk.overwrite(dataFile, frame * frameBytes, frameOf(stored.older.get(dataFile)!, frame))
    }
    const { history } = stored
    for (let round = 0; round < 3; round++) {
      const database = await openDatabase(disk)
      for (let id = round; id < 24; id += 7) {
        history.add([{ type: 'writeItem', file: 0, id, length: 600 }])
      }
      history.replay(database)
      await checkpoint(database)
      await database.close()
      t.equal(await lie(disk, history), null, `${wrong}, round ${round}`)
    }
    const left = await scrubDatabase(disk, folder, tempo)
    t.equal(left.length === 0, wrong === 'page', `${wrong}: what proves itself is written again`)
  }
})

t.test('a chain that loops, or that two groups share, is damage, and ends', t => {
  const owner = { fileNumber: 1, number: 1 }
  const generation = Generation.empty(1, 1, 2, true)
  // What lies in the frames, as a program at fault would have left it.
  const next = new Map<number, number>()
  const store = {
    readFrame: (_: Generation, frame: number, slab: Slab, base: number) => {
      const kind = frame < 2 ? FrameKind.group : FrameKind.overflow
      initFrame(slab, base, kind, owner.fileNumber, owner.number, frame)
      setNext(slab, base, next.get(frame) ?? 0)
      const id = Buffer.from(`item ${frame}`)
      const hash = hashId(id, 0, id.length)
      const entry = addEntry(slab, base, tagOf(hash), id.length, 0, false)
      slab.u8.set(id, idStartOf(entry))
    },
    isBlank: () => false,
    renewSums: () => null,
    spillFrame: () => {},
  }
  const walk = (group: number) => {
    const cache = new FrameCache(1 * MiB, store)
    cache.register(generation)
    const groups = new Groups(cache)
    const looked = () => groups.has(generation, idIn(group), 0, idIn(group).length)
    const visited = () => visitGroup(cache, generation, group, new Slab(1), () => {}, true)
    return { looked, visited, emptied: () => emptyGroup(cache, generation, group) }
  }
  generation.frameCount = 100
  for (const loop of [2, 9, 40, 60]) {
    for (let frame = 2; frame < 60; frame++) next.set(frame, frame + 1)
    next.set(0, 2)
    next.set(60, loop)
    const { looked, visited, emptied } = walk(0)
    t.throws(looked, { code: 'ERR_DATABASE_CORRUPT', message: /leads back/ })
    t.throws(visited, { code: 'ERR_DATABASE_CORRUPT' })
    emptied()
  }
  next.clear()
  next.set(0, 2)
  next.set(1, 2)
  const faults = [0, 1].map(group => orRefused(walk(group).visited))
  t.ok(faults.includes('refused'), 'an item of the other group')
  t.end()
})

/** An id of that group of two, which is not there. */
function idIn(group: number): Buffer {
  for (let number = 0; ; number++) {
    const id = Buffer.from(`none ${number}`)
    if (groupOf(hashId(id, 0, id.length), 2) === group) return id
  }
}
