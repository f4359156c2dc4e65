// The two ends of a seed without a network: the copy that a master makes, and what a slave makes of its pieces,
// interrupted, damaged, refused, and put in place with a crash between any two steps.
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { Database } from '../../src/database/database.ts'
import { digestDatabase } from '../../src/database/digest.ts'
import { replayLog } from '../../src/database/replay.ts'
import { HotBackupError } from '../../src/errors.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { encodeSegmentHeader } from '../../src/log/segment.ts'
import { segmentFiles } from '../../src/log/segments.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import type { Disk } from '../../src/platform/disk.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { loadConfig } from '../../src/config/config.ts'
import { setup } from '../../src/config/setup.ts'
import { readStaged, stageImage, type StagedImage } from '../../src/backup/seed-image.ts'
import { installSeed } from '../../src/backup/seed-install.ts'
import { DirectorySeedTaker } from '../../src/backup/seed-taker.ts'
import { scrub } from '../../src/repair/scrub.ts'
import { Seeder } from '../../src/backup/seeder.ts'
import { enterSlave } from '../../src/failover/joining.ts'
import { layoutOf, type Layout } from '../../src/config/layout.ts'
import { logEnd } from '../../src/log/log-end.ts'
import { Master } from '../../src/server/master.ts'
import { withData } from '../../src/server/sessions.ts'
import { readSeedHold } from '../../src/ship/seed-hold.ts'
import type { Seed } from '../../src/wire/messages/seed.ts'
import { digestOfMaster } from '../helpers/master-digest.ts'
import { temporaryDirectory } from '../helpers/servers.ts'

const idle = { expect: () => {}, took: async () => {} }
const { disk } = nodePlatform

async function makeMaster(t: Test, items: number): Promise<{ root: string; master: Master }> {
  const root = temporaryDirectory(t)
  const directory = path.join(root, 'alpha')
  await setup(nodePlatform, directory, {
    type: 'master',
    name: 'alpha',
    key: false,
    listen: null,
    slaves: ['beta=127.0.0.1:2001'],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  await disk.makeDirectory(path.join(root, 'beta'))
  const master = await Master.open(directory)
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 499 })
  await (await master.account('A').createFile('LOCAL', { local: true })).write('x', 'y')
  for (let i = 0; i < items; i++) {
    const written = file.write(`item ${i}`, `${i} `.repeat(150))
    if (i % 1000 === 0) await written
  }
  return { root, master }
}

async function staged(t: Test, master: Master): Promise<StagedImage> {
  const layout = layoutOf(master.directory)
  const config = await loadConfig(disk, layout)
  const image = await stageImage(nodePlatform, layout, config, 'beta', idle, idle)
  t.equal(await readSeedHold(disk, layout.slaves, 'beta'), image.manifest.lastTxn)
  t.strictSame((await readStaged(disk, layout, 'beta'))?.id, image.id, 'it is found again')
  return image
}

/** The copy as one stream. */
function bytesOf({ directory, manifest, manifestBytes }: StagedImage): Buffer {
  const files = manifest.files.map(file => readFileSync(path.join(directory, file.path)))
  return Buffer.concat([manifestBytes, ...files])
}

const emptyLog = { identity: null, lastTxn: 0 } as unknown as LogWriter

function takerOf(
  root: string,
  { auto = true, ...over }: { auto?: boolean; log?: LogWriter; completed?: () => void },
) {
  return new DirectorySeedTaker(nodePlatform, layoutOf(path.join(root, 'beta')), {
    name: 'beta',
    auto: () => auto,
    log: emptyLog,
    damaged: () => false,
    completed: () => {},
    ...over,
  })
}

async function give(
  taker: DirectorySeedTaker,
  image: StagedImage,
  bytes: Buffer,
  from: number,
  to: number,
): Promise<void> {
  const { id: imageId, totalBytes, manifestBytes } = image
  await taker.begin({
    name: 'seed-image',
    imageId,
    totalBytes,
    offset: from,
    manifestBytes: manifestBytes.length,
  })
  for (let at = from; at < to; at += 60_000) {
    await taker.take(at, bytes.subarray(at, Math.min(at + 60_000, to)))
  }
}

/** Database and log of a slave that was made of a copy, brought to the log's end. */
async function digestOf(directory: string): Promise<string> {
  const layout = layoutOf(directory)
  const database = await Database.open(nodePlatform, directory, {
    cacheBytes: 8 << 20,
    replica: true,
  })
  try {
    const mark = await readDurableMark(disk, layout.log)
    if (mark !== null) await replayLog(disk, layout.log, database, mark)
    return (await digestDatabase(database)).toString('hex')
  } finally {
    await database.close()
  }
}

t.test('a copy goes on where it was durable, and is put in place whole', async t => {
  const { root, master } = await makeMaster(t, 25_000)
  const slave = path.join(root, 'beta')
  const image = await staged(t, master)
  const digest = await digestOfMaster(master)
  await master.account('A').file('F').write('later', 'than the copy')
  await master.close()
  const bytes = bytesOf(image)
  t.equal(bytes.length, image.totalBytes)
  t.ok(bytes.length > 20 << 20, `${bytes.length} bytes`)

  const first = takerOf(root, {})
  t.equal(first.neededAfter, Infinity)
  t.equal((await first.place()).offset, 0)
  t.equal(first.neededAfter, 0, 'of a copy that is being made nobody knows where it ends')
  await give(first, image, bytes, 0, bytes.length - 6_000_000)
  const { offset } = await first.place()
  t.ok(offset > 8 << 20 && offset < bytes.length - 6_000_000, 'some of it is not durable yet')
  await first.end()
  const { lastTxn } = image.manifest
  t.equal(first.neededAfter, lastTxn, 'acknowledged, and not in the copy: the log keeps it')

  // Another process; what is behind the durable offset is of no account.
  let completed = 0
  const second = takerOf(root, { completed: () => completed++ })
  const place = await second.place()
  t.strictSame([Buffer.from(place.imageId), place.offset], [Buffer.from(image.id), offset])
  await t.rejects(second.take(offset + 1, bytes.subarray(0, 9)), { code: 'ERR_WIRE' })
  await give(second, image, bytes, offset, bytes.length)
  t.notOk(await installSeed(disk, layoutOf(slave)), 'it has not been checked')
  await second.complete()
  t.equal((await second.place()).offset, bytes.length)
  t.equal(completed, 0, 'the master has not heard of it')
  await second.end()
  t.equal(completed, 1)

  // A crash between any two steps of putting it in place.
  for (let steps = 1; !(await installUntil(steps, layoutOf(slave))); steps++);
  t.notOk(await installSeed(disk, layoutOf(slave)), 'once')
  t.equal(await digestOf(slave), digest)
})

/** Puts a copy in place, until a crash after so many steps: then the answer is false. */
async function installUntil(steps: number, layout: Layout, otherDisk = false): Promise<boolean> {
  let left = steps
  const step =
    <A extends unknown[]>(work: (...args: A) => Promise<void>) =>
    (...args: A): Promise<void> =>
      left-- > 0 ? work(...args) : Promise.reject(new Error('crash'))
  const crashing: Disk = {
    ...disk,
    rename: step((from: string, to: string) => {
      const moves = path.dirname(from) !== path.dirname(to)
      return otherDisk && moves ? Promise.reject(otherDiskError(from)) : disk.rename(from, to)
    }),
    remove: step(disk.remove.bind(disk)),
    syncDirectory: step(disk.syncDirectory.bind(disk)),
  }
  try {
    await installSeed(crashing, layout)
    return true
  } catch (error) {
    if ((error as Error).message !== 'crash') throw error
    return false
  }
}

function otherDiskError(file: string): HotBackupError {
  const cause = Object.assign(new Error('EXDEV'), { code: 'EXDEV', syscall: 'rename' })
  return new HotBackupError('ERR_DISK', `cannot rename ${file}: EXDEV`, { path: file }, cause)
}

t.test('directories on other disks, and what else lies in them, stay', async t => {
  const { root, master } = await makeMaster(t, 300)
  const image = await staged(t, master)
  const digest = await digestOfMaster(master)
  await master.close()
  const bytes = bytesOf(image)
  const slave = layoutOf(path.join(root, 'beta'))
  for (const name of ['database', 'log']) {
    const elsewhere = path.join(root, 'elsewhere', name)
    mkdirSync(path.join(elsewhere, 'lost+found'), { recursive: true })
    writeFileSync(path.join(elsewhere, 'lost+found', 'theirs'), 'not ours')
    writeFileSync(path.join(elsewhere, 'README'), 'not ours')
    symlinkSync(elsewhere, path.join(slave.directory, name))
  }
  // The system moves nothing from one disk to another; then a crash between any two steps.
  for (const otherDisk of [false, true]) {
    const taker = takerOf(root, {})
    await give(taker, image, bytes, 0, bytes.length)
    await taker.complete()
    await taker.end()
    for (let steps = 1; !(await installUntil(steps, slave, otherDisk)); steps++);
    t.notOk(await installSeed(disk, slave), 'once')
    t.equal(await digestOf(slave.directory), digest)
    for (const name of ['database', 'log']) {
      t.ok(lstatSync(path.join(slave.directory, name)).isSymbolicLink(), `${name} is a link still`)
      for (const theirs of ['README', 'lost+found/theirs']) {
        t.equal(readFileSync(path.join(slave.directory, name, theirs), 'utf8'), 'not ours')
      }
    }
  }
})

t.test('a step that fails, once or for good, is gone on with by the next start', async t => {
  const { root, master } = await makeMaster(t, 20)
  const image = await staged(t, master)
  const digest = await digestOfMaster(master)
  await master.close()
  const bytes = bytesOf(image)
  const slave = layoutOf(path.join(root, 'beta'))
  for (let nth = 1, failed = true; failed; nth++) {
    const taker = takerOf(root, {})
    await give(taker, image, bytes, 0, bytes.length)
    await taker.complete()
    await taker.end()
    failed = !(await installUntil(nth - 1, slave))
    // Behind the last step that counts nothing is left to do.
    if (existsSync(path.join(slave.seed, 'COMPLETE'))) {
      t.notOk(await installUntil(0, slave), 'nor now')
      t.ok(await installSeed(disk, slave))
    }
    t.equal(await digestOf(slave.directory), digest, `step ${nth}`)
  }
})

t.test('a scrub beside a copy that is put in place takes nothing for damage', async t => {
  const { master } = await makeMaster(t, 20)
  await master.close()
  const layout = layoutOf(master.directory)
  const complete = path.join(layout.seed, 'COMPLETE')
  await disk.makeDirectory(layout.seed)
  const scrubbed = async (gone: number) => {
    writeFileSync(complete, '')
    let looks = 0
    const beside: Disk = {
      ...disk,
      // The segments are gone, log/durable not yet; then it is over.
      list: async directory => {
        if (directory !== layout.log || ++looks > gone) return disk.list(directory)
        if (looks === gone) rmSync(complete)
        return []
      },
    }
    const options = { access: withData, repair: false, rate: 0, progress: () => {}, say: () => {} }
    return scrub({ ...nodePlatform, disk: beside }, master.directory, options)
  }
  t.strictSame((await scrubbed(1)).damages, [])
  t.strictSame((await scrubbed(4)).damages, [])
  rmSync(path.join(layout.log, '0000000000000001.log'))
  t.match((await scrubbed(1)).damages, [{ message: /the last segment is missing/ }])
})

t.test('a copy that is not what the master made is thrown away', async t => {
  const { root, master } = await makeMaster(t, 300)
  const image = await staged(t, master)
  await master.close()
  const bytes = bytesOf(image)
  for (const at of [image.manifestBytes.length + 5000, bytes.length - 1]) {
    const damaged = Buffer.from(bytes)
    damaged[at] = damaged[at]! ^ 1
    const taker = takerOf(root, { completed: () => t.fail('it is not whole') })
    await give(taker, image, damaged, 0, damaged.length)
    await t.rejects(taker.complete(), { code: 'ERR_SAVE_CORRUPT' })
    await taker.end()
    t.equal((await taker.place()).offset, 0)
    t.notOk(await installSeed(disk, layoutOf(path.join(root, 'beta'))))
  }
  const elsewhere = image.manifestBytes.toString().replace('database/catalog', '../../alpha/hb.to')
  const taker = takerOf(root, {})
  await t.rejects(
    give(taker, image, Buffer.concat([Buffer.from(elsewhere)]), 0, elsewhere.length),
    { code: 'ERR_SAVE_CORRUPT' },
  )

  // Half a copy on the master is none.
  const stage = path.join(master.directory, 'seed', 'beta')
  writeFileSync(path.join(stage, 'image-id'), '')
  t.equal(await readStaged(disk, layoutOf(master.directory), 'beta'), null)
})

t.test('a slave takes no copy that would cost it something', t => {
  const id = (fill: number) => new Uint8Array(16).fill(fill)
  const seed: Seed = {
    name: 'seed',
    ordered: false,
    serverName: 'alpha',
    slaveName: 'beta',
    serverId: id(1),
    databaseId: id(2),
    lineageId: id(3),
    timeline: 5,
    firstTxn: 100,
    durableTxn: 200,
  }
  const holding = (over: object, lastTxn: number) =>
    ({
      identity: { databaseId: id(2), lineageId: id(3), timeline: 5, ...over },
      lastTxn,
    }) as unknown as LogWriter
  const cases: [LogWriter, Partial<Seed>, auto: boolean, HotBackupError['code'] | null][] = [
    [emptyLog, {}, true, null],
    [emptyLog, {}, false, 'ERR_LINK_SEED'],
    [emptyLog, { ordered: true }, false, null],
    [holding({}, 98), {}, true, null],
    [holding({}, 99), {}, true, 'ERR_LINK_SEED'],
    [holding({}, 99), { ordered: true }, false, null],
    [holding({}, 201), { ordered: true }, true, 'ERR_LINK_DIVERGED'],
    [holding({ databaseId: id(9) }, 1), { ordered: true }, true, 'ERR_LINK_FOREIGN'],
    [holding({ lineageId: id(9) }, 1), { ordered: true }, true, 'ERR_LINK_DIVERGED'],
    [holding({ lineageId: id(9), timeline: 6 }, 1), { ordered: true }, true, 'ERR_LINK_DIVERGED'],
    [holding({ lineageId: id(9), timeline: 4 }, 1), {}, true, 'ERR_LINK_DIVERGED'],
    [holding({ lineageId: id(9), timeline: 4 }, 1), { ordered: true }, true, null],
  ]
  for (const [index, [log, over, auto, code]] of cases.entries()) {
    const taker = takerOf('/nowhere', { log, auto })
    t.equal(taker.admit({ ...seed, ...over })?.code ?? null, code, `case ${index}`)
  }
  t.end()
})

t.test('no copy is made whose log would end before its database', async t => {
  const { master } = await makeMaster(t, 20)
  await master.account('A').file('F').write('the last', 'of them')
  const mark = path.join(master.directory, 'log', 'durable')
  const bytes = readFileSync(mark)
  // What a write that failed has left.
  writeFileSync(mark, Buffer.concat([bytes.subarray(0, 20), Buffer.alloc(bytes.length - 20)]))
  const layout = layoutOf(master.directory)
  const config = await loadConfig(disk, layout)
  const image = () => stageImage(nodePlatform, layout, config, 'beta', idle, idle)
  await t.rejects(image(), { code: 'ERR_DATABASE_CHANGED', message: /durable is not valid/ })
  writeFileSync(mark, bytes)
  t.equal((await image()).manifest.lastTxn, master.lastTxn)
  await master.close()
})

t.test('what the slave holds beyond the copy stays, if it is sound', async t => {
  const { root, master } = await makeMaster(t, 300)
  const image = await staged(t, master)
  const bytes = bytesOf(image)
  const file = master.account('A').file('F')
  for (let i = 0; i < 50; i++) await file.write(`later ${i}`, 'than the copy')
  const digest = await digestOfMaster(master)
  const slave = layoutOf(path.join(root, 'beta'))
  const take = async (before = async () => {}) => {
    const taker = takerOf(root, {})
    await give(taker, image, bytes, 0, bytes.length)
    await taker.complete()
    await taker.end()
    await before()
    t.ok(await installSeed(disk, slave))
    return (await readDurableMark(disk, slave.log))?.txn
  }
  cpSync(path.join(master.directory, 'log'), slave.log, { recursive: true })
  const crashes = async () => {
    for (let steps = 1, done = false; !done; steps++) {
      const there = layoutOf(path.join(root, `crash ${steps}`))
      cpSync(slave.directory, there.directory, { recursive: true })
      done = await installUntil(steps, there)
      if (!done) await installSeed(disk, there)
      t.equal((await readDurableMark(disk, there.log))?.txn, master.lastTxn, `${steps} steps`)
      t.notOk(await installSeed(disk, there), 'once')
    }
  }
  t.equal(await take(crashes), master.lastTxn, 'the log goes as far as before')
  t.equal(await digestOf(slave.directory), digest)

  const durable = readFileSync(path.join(slave.log, 'durable'))
  const older = readFileSync(path.join(image.directory, 'log', 'durable'))
  await take(async () => writeFileSync(path.join(slave.log, 'durable'), older))
  t.equal(
    (await logEnd(disk, slave.log))?.txn,
    master.lastTxn,
    'a power failure took the mark back',
  )
  writeFileSync(path.join(slave.log, 'durable'), durable)

  const mark = await readDurableMark(disk, slave.log)
  const segment = path.join(slave.log, '0000000000000001.log')
  const damaged = readFileSync(segment)
  damaged[mark!.offset - 100] = damaged[mark!.offset - 100]! ^ 1
  writeFileSync(segment, damaged)
  t.equal(await take(), image.manifest.lastTxn, 'what is damaged goes')
  await master.close()

  // Promoted since the copy was made.
  const [lineageId, databaseId] = [new Uint8Array(16).fill(1), new Uint8Array(16).fill(2)]
  const taker = takerOf(root, {})
  await give(taker, image, bytes, 0, bytes.length)
  await taker.complete()
  const header = { databaseId, lineageId, timeline: 2, firstTxn: 9999, chain: 0, created: 0 }
  writeFileSync(path.join(slave.log, '0000000000009999.log'), encodeSegmentHeader(header))
  t.notOk(await installSeed(disk, slave), 'a copy of an earlier timeline is thrown away')
  t.ok(existsSync(path.join(slave.log, '0000000000009999.log')))
  t.notOk(existsSync(path.join(slave.seed, 'COMPLETE')))
})

/** Segments are small, and go when nothing needs them. */
function withSmallLog(config: string): string {
  return config
    .replace(/^# segment_size = .*$/m, 'segment_size = "64KiB"')
    .replace(/^# keep_time = .*$/m, 'keep_time = "0"')
}

t.test('what the slave holds beyond the copy stays, though its log begins later', async t => {
  const { root, master: first } = await makeMaster(t, 1)
  await first.close()
  const layout = layoutOf(first.directory)
  const config = readFileSync(layout.config, 'utf8')
  writeFileSync(layout.config, withSmallLog(config))
  const master = await Master.open(first.directory)
  const file = master.account('A').file('F')
  const fill = async (value: string) => {
    for (let i = 0; i < 2; i++) await file.write(`${i}`, value.repeat(40_000))
  }
  // The copy's log goes on while its database is copied.
  const busy = { expect: () => {}, took: () => fill('x') }
  const loaded = await loadConfig(disk, layout)
  const image = await stageImage(nodePlatform, layout, loaded, 'beta', busy, idle)
  const bytes = bytesOf(image)
  await fill('y')
  const digest = await digestOfMaster(master)
  const last = master.lastTxn
  await master.close()
  const slave = layoutOf(path.join(root, 'beta'))
  cpSync(layout.log, slave.log, { recursive: true })
  const copied = await segmentFiles(disk, path.join(image.directory, 'log'))
  t.ok(copied.length > 3, `${copied.length} segments`)
  // Its own database was further, so its log was removed up to here.
  for (const { path: file, firstTxn } of await segmentFiles(disk, slave.log)) {
    if (firstTxn < copied.at(-1)!.firstTxn) rmSync(file)
  }
  const taker = takerOf(root, {})
  await give(taker, image, bytes, 0, bytes.length)
  await taker.complete()
  await taker.end()
  for (let steps = 1, done = false; !done; steps++) {
    const there = layoutOf(path.join(root, `crash ${steps}`))
    cpSync(slave.directory, there.directory, { recursive: true })
    done = await installUntil(steps, there)
    if (!done) await installSeed(disk, there)
    t.equal((await readDurableMark(disk, there.log))?.txn, last, `${steps} steps`)
    if (done) t.equal(await digestOf(there.directory), digest)
  }
})

t.test('the log is kept from the end of the copy on, whatever the ack says', async t => {
  const { master } = await makeMaster(t, 3000)
  const layout = layoutOf(master.directory)
  const firstTxn = async () => (await segmentFiles(disk, layout.log))[0]?.firstTxn ?? 0
  const config = readFileSync(layout.config, 'utf8')
  await master.checkpoint()
  await master.close()
  t.equal(await firstTxn(), 1, 'a slave that has never answered may need everything')
  writeFileSync(layout.config, withSmallLog(config))
  const again = await Master.open(master.directory)
  const file = again.account('A').file('F')
  for (let i = 0; i < 5; i++) await file.write(`${i}`, 'x'.repeat(40_000))
  const { manifest } = await staged(t, again)
  for (let i = 0; i < 5; i++) await file.write(`${i}`, 'y'.repeat(40_000))
  await again.close()
  const first = await firstTxn()
  t.ok(first > 1 && first <= manifest.lastTxn + 1, `from ${first} on, not ${manifest.lastTxn + 1}`)
})

t.test(
  'an order for a slave that was entered since the start, and ends with the server',
  async t => {
    const { master } = await makeMaster(t, 1)
    const layout = layoutOf(master.directory)
    const config = await loadConfig(disk, layout)
    const seeder = new Seeder(
      nodePlatform,
      layout,
      config,
      () => {},
      () => undefined,
    )
    await t.rejects(seeder.order('gamma').next(), { code: 'ERR_NO_SLAVE' })
    await enterSlave(nodePlatform, layout, 'gamma', '127.0.0.1:2002')
    const order = seeder.order('gamma')
    t.match(await order.next(), { value: { step: 'asking' } })
    const [ended] = await Promise.allSettled([order.next(), seeder.stop()])
    t.match(ended, { status: 'rejected', reason: { code: /ERR_CLOSED|ERR_CONNECT/ } })
    await master.close()
  },
)
