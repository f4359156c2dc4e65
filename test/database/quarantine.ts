// Damaged frames: whatever bit flips, whatever sector cannot be read, whenever, what is read is what was written or
// refused; what the log brings after a clear-group record makes it whole again, in whatever parts, across crashes,
// checkpoints, helpers and resizes; and a replay from anywhere leads to the same.
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { buildGeneration, type Built } from '../../src/database/build.ts'
import { type Database } from '../../src/database/database.ts'
import { digestDatabase } from '../../src/database/digest.ts'
import { type BuildJob } from '../../src/database/helper-jobs.ts'
import { scrubDatabase } from '../../src/database/scrub.ts'
import { isHotBackupError } from '../../src/errors.ts'
import {
  arbitraryStep,
  checkpoint,
  difference,
  hastyClock,
  History,
  holds,
  idOf,
  openDatabase,
  type Step,
} from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const helped = { longWork: { bytes: 0 } }
const folder = '/server/database'
const elsewhere = '/server/helpers'
const frame = 4096

type Turn =
  | readonly Step[]
  | 'checkpoint'
  | 'begin'
  | 'crash'
  | 'heal'
  | 'build'
  | 'adopt'
  | 'background'
  | 'read'
  | { readonly damage: number }
  | { readonly repair: number }

const arbitraryTurn: fc.Arbitrary<Turn> = fc.oneof(
  { weight: 24, arbitrary: fc.array(arbitraryStep, { minLength: 1, maxLength: 4 }) },
  { weight: 4, arbitrary: fc.constantFrom('checkpoint' as const, 'begin' as const) },
  { weight: 3, arbitrary: fc.constantFrom('build' as const, 'adopt' as const) },
  { weight: 5, arbitrary: fc.record({ damage: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ repair: fc.nat() }) },
  { weight: 4, arbitrary: fc.constantFrom('background' as const, 'read' as const) },
  { weight: 2, arbitrary: fc.constantFrom('crash' as const, 'heal' as const) },
)

/** A slave's database with what happens to it, and the log that it follows. */
class World {
  readonly disk = new MemoryDisk()
  readonly history = new History()
  readonly flips: { readonly path: string; readonly offset: number; readonly value: number }[] = []
  readonly spoiled = new Set<string>()
  database!: Database
  running: Promise<void> | null = null
  built: { readonly job: BuildJob; readonly result: Built } | null = null
  readonly options: object

  constructor(options: object) {
    this.options = options
  }

  async open(): Promise<void> {
    this.database = await openDatabase(this.disk, this.options)
    this.history.replay(this.database)
  }

  async settle(): Promise<void> {
    await this.running
    this.running = null
  }

  async crash(): Promise<void> {
    await this.running?.catch(() => {})
    this.running = null
    this.built = null
    this.disk.crash()
    await this.open()
  }

  async damage(place: number): Promise<void> {
    const entries = await this.disk.list(folder)
    const names = entries.map(({ name }) => name).filter(name => /^[0-9a-f]{8}\./.test(name))
    const path = `${folder}/${names.sort()[place % names.length]}`
    if (names.length === 0) return
    const size = (await this.disk.exists(path)) ? this.disk.contents(path).length : 0
    if (size === 0) return // A checkpoint removes it, perhaps.
    const offset = (place * 769) % size
    if (place % 5 === 0) {
      this.disk.spoil(path, offset)
      this.spoiled.add(path)
      return
    }
    const value = this.disk.contents(path)[offset]! ^ (1 << (place % 8))
    this.disk.overwrite(path, offset, Buffer.from([value]))
    this.flips.push({ path, offset, value })
  }

  /** What was read wrongly once can be read again. */
  async heal(): Promise<void> {
    for (const path of this.spoiled) if (await this.disk.exists(path)) this.disk.repair(path)
    this.spoiled.clear()
    for (const { path, offset, value } of this.flips.splice(0)) {
      // Work in the background may remove it at any later moment, so all of the rest is done at once.
      if (!(await this.disk.exists(path)) || this.disk.contents(path)[offset] !== value) continue
      for (let bit = 1; bit < 256; bit *= 2) {
        this.disk.overwrite(path, offset, Buffer.from([value ^ bit]))
        if (!this.#damagedAt(path, offset)) break
      }
    }
  }

  #damagedAt(path: string, offset: number): boolean {
    const start = offset - (offset % frame)
    const bytes = this.disk.contents(path).subarray(start, start + frame)
    return bytes.some(byte => byte !== 0) && crc32(bytes.subarray(4)) !== bytes.readUInt32LE(0)
  }

  /** The master writes a group, or a part of it, into the log. */
  repair(choice: number): void {
    const { ranges } = this.database.quarantine
    const range = ranges[choice % Math.max(1, ranges.length)]
    if (range === undefined) return
    const middle = Math.floor((range.from + range.to) / 2)
    const half = choice % 3 === 0 && middle > range.from
    this.history.repair(range.fileNumber, range.from, half ? middle : range.to)
    this.history.replay(this.database)
  }

  async build(): Promise<void> {
    this.built = null
    const job = this.database.work.jobs().find(job => job.kind === 'build')
    if (job === undefined) return
    await this.disk.makeDirectory(elsewhere)
    for (const { name } of await this.disk.list(elsewhere)) {
      await this.disk.remove(`${elsewhere}/${name}`)
    }
    const order = {
      sourceDirectory: folder,
      source: job.source.state,
      targetDirectory: elsewhere,
      number: job.target.number,
      modulo: job.target.modulo,
      cacheBytes: 1,
    }
    try {
      const platform = { disk: this.disk, clock: hastyClock }
      this.built = { job, result: await buildGeneration(platform, order, () => {}) }
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_DATABASE_CORRUPT')) throw error
      this.database.work.suspectSource(job)
    }
  }

  async adopt(): Promise<boolean> {
    if (this.built === null) return false
    const { job, result } = this.built
    this.built = null
    return this.database.work.adopt(job, result.path, result.state)
  }

  /** Every item is what was written, or refused. Returns how many were refused. */
  read(): number {
    let refused = 0
    for (const { account, name, file } of this.history.files()) {
      const here = this.database.file(account, name)
      if (here === undefined) throw new Error(`${account} ${name} is missing`)
      for (let id = 0; id <= 60; id++) {
        const expected = file.items.get(idOf(id)) ?? null
        try {
          const found = here.read(Buffer.from(idOf(id), 'latin1'))
          const same = found === null ? expected === null : expected?.equals(found)
          if (same !== true) throw new Error(`${account} ${name} has another item ${id}`)
        } catch (error) {
          if (!isHotBackupError(error, 'ERR_GROUP_DAMAGED')) throw error
          refused++
        }
      }
    }
    return refused
  }

  /** All of it is found and repaired, and everything else is done. */
  async finish(): Promise<void> {
    await this.settle()
    await this.crash() // Nothing is in memory that hides what the disk has.
    const { work, quarantine } = this.database
    for (const { account, name } of this.history.files()) {
      work.suspect(this.database.file(account, name)!)
    }
    for (let round = 0; ; round++) {
      if (round === 500) {
        const jobs = JSON.stringify(work.jobs())
        throw new Error(`no end: ${quarantine.size} ranges, ${jobs}, ${work.checkpointDue}`)
      }
      while (work.busy) work.step(7)
      if (quarantine.size > 0) this.repair(round)
      else if (work.checkpointDue) await checkpoint(this.database)
      else if (work.jobs().length > 0) await this.#jobs()
      else return
    }
  }

  async #jobs(): Promise<void> {
    for (const job of this.database.work.jobs()) {
      if (job.kind !== 'remove') continue
      await this.disk.remove(job.path)
      this.database.work.removed(job)
    }
    await this.build()
    await this.adopt()
  }
}

/** Counts that are no longer exact went below zero in a hold, which no catalog could keep. */
const belowZero: readonly Turn[] = [
  [
    { type: 'writeItem', file: 0, id: 51, length: 4423 },
    { type: 'writeItem', file: 0, id: 0, length: 0 },
  ],
  [{ type: 'resizeFile', file: 0, modulo: 1 }],
  [{ type: 'writeItem', file: 0, id: 51, length: 1900 }],
  [{ type: 'writeItem', file: 0, id: 0, length: 1900 }],
  [{ type: 'deleteItem', file: 0, id: 0 }],
  { damage: 0 },
  [{ type: 'writeItem', file: 0, id: 0, length: 4000 }],
  'checkpoint',
  [{ type: 'createFile', account: 0, file: 0, modulo: 1 }],
  { repair: 0 },
  'build',
  [{ type: 'deleteItem', file: 0, id: 0 }],
  { damage: 0 },
  [{ type: 'createFile', account: 0, file: 0, modulo: 1 }],
  'checkpoint',
  'background',
  'checkpoint',
  'crash',
  [{ type: 'deleteItem', file: 0, id: 0 }],
  'background',
  'build',
  [{ type: 'writeItem', file: 0, id: 0, length: 0 }],
  { damage: 532122047 },
  [{ type: 'writeItem', file: 0, id: 0, length: 4000 }],
  'background',
  'crash',
  [{ type: 'deleteItem', file: 0, id: 0 }],
  [{ type: 'writeItem', file: 1, id: 0, length: 0 }],
  'build',
  { damage: 0 },
  { damage: 1542855925 },
  'background',
]

for (const [how, options] of Object.entries({ 'with helpers': helped, 'at once': {} })) {
  t.test(`whatever is damaged is refused, and repaired by the log, resizing ${how}`, async t => {
    const seen = { damaged: 0, refused: 0, repaired: 0, crashes: 0, adopted: 0 }
    await holds(
      t,
      'any history',
      fc.asyncProperty(fc.array(arbitraryTurn, { minLength: 30, maxLength: 90 }), async turns => {
        const world = new World(options)
        const { history } = world
        history.add([
          { type: 'createAccount', account: 0 },
          { type: 'createFile', account: 0, file: 0, modulo: 3 },
          { type: 'createFile', account: 0, file: 1, modulo: 5 },
        ])
        await world.open()
        for (const turn of turns) {
          const { database } = world
          const { size } = database.quarantine
          if (Array.isArray(turn)) {
            if (history.add(turn as Step[]) !== null) history.replay(database)
          } else if (typeof turn === 'object' && 'damage' in turn) {
            await world.damage(turn.damage)
          } else if (typeof turn === 'object' && 'repair' in turn) {
            world.repair(turn.repair)
            if (database.quarantine.size < size) seen.repaired++
          } else if (turn === 'checkpoint' || turn === 'begin') {
            await world.settle()
            world.running = checkpoint(database, turn === 'begin')
            if (turn === 'checkpoint') await world.settle()
          } else if (turn === 'crash') {
            seen.crashes++
            await world.crash()
          } else if (turn === 'heal') await world.heal()
          else if (turn === 'build') await world.build()
          else if (turn === 'adopt') seen.adopted += Number(await world.adopt())
          else if (turn === 'background') {
            if (database.work.busy) database.work.step(5)
          } else seen.refused += world.read()
          seen.damaged += Math.max(0, world.database.quarantine.size - size)
        }
        await world.finish()
        const fault = difference(world.database, history.model)
        if (fault !== null) throw new Error(fault)
        await checkpoint(world.database)
        await world.crash()
        const again = difference(world.database, history.model)
        if (again !== null) throw new Error(`after a crash: ${again}`)
        // A healthy server that replays the same log.
        const plain = await openDatabase(new MemoryDisk())
        history.replay(plain)
        const [ours, theirs] = [await digestDatabase(world.database), await digestDatabase(plain)]
        return ours.equals(theirs) && difference(plain, history.model) === null
      }),
      100,
      [[belowZero]],
    )
    t.ok(seen.damaged > 10, `${seen.damaged} groups were found damaged`)
    t.ok(seen.refused > 10, `${seen.refused} reads were refused`)
    t.ok(seen.repaired > 0, `${seen.repaired} times one was repaired on the way`)
    t.ok(seen.crashes > 10, `${seen.crashes} crashes`)
    if (options === helped) t.ok(seen.adopted > 0, `${seen.adopted} results of helpers`)
  })
}

t.test('a sector that the disk does not give is damage of its group, and of no other', async t => {
  const world = new World({})
  world.history.add([
    { type: 'createAccount', account: 0 },
    { type: 'createFile', account: 0, file: 0, modulo: 3 },
    ...Array.from({ length: 40 }, (_, id): Step => ({ type: 'writeItem', file: 0, id, length: 9 })),
  ])
  await world.open()
  await checkpoint(world.database)
  const { disk } = world
  const [{ name } = { name: '' }] = await disk.list(folder)
  disk.spoil(`${folder}/${name}`, frame + 513)
  await world.crash()
  const found = await scrubDatabase(disk, folder, {
    took: async () => {},
    lookAgain: async () => {},
  })
  t.match(found, [{ group: 1, offset: frame, message: /group 1: frame 1 cannot be read/ }])
  const refused = world.read()
  t.ok(refused > 0 && refused < 40, `${refused} of 40 items are refused`)
  t.match(world.database.quarantine.ranges, [{ cause: { message: /frame 1 .*cannot be read/ } }])
  world.repair(1)
  await checkpoint(world.database)
  await world.crash()
  t.equal(world.read(), 0)
  t.strictSame(
    await scrubDatabase(disk, folder, { took: async () => {}, lookAgain: async () => {} }),
    [],
  )
})
