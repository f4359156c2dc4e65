// Where two histories part; taking a log back to there; and keeping what is cut off as a segment of its own.
import fc from 'fast-check'
import t from 'tap'
import type { LogPosition } from '../../src/log/chain.ts'
import { cutBack, placeOf } from '../../src/log/cut-back.ts'
import { extractBehind } from '../../src/log/extract.ts'
import { findFork, type History, type Timeline } from '../../src/log/fork.ts'
import { verifyLog } from '../../src/log/verify.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import { dumpFiles, dumpLog } from '../../src/report/log-dump.ts'
import { type Sink } from '../../src/text/line-buffer.ts'
import {
  attributes,
  commitEach,
  identity,
  logDirectory,
  openHistory,
  openLog,
  readAll,
} from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const lineage = (fill: number) => new Uint8Array(16).fill(fill)

t.test('the fork, by lineages', async t => {
  const at = (timeline: number, fill: number, firstTxn: number): Timeline => {
    return { timeline, lineageId: lineage(fill), firstTxn, chain: firstTxn * 10 }
  }
  const history = (endTxn: number, ...timelines: Timeline[]): History => {
    return { timelines, end: { txn: endTxn, chain: endTxn * 10 + 1 } }
  }
  const before = (firstTxn: number) => ({ txn: firstTxn - 1, chain: firstTxn * 10 })
  const end = (txn: number) => ({ txn, chain: txn * 10 + 1 })
  const [a, b, c, d] = [at(1, 1, 1), at(2, 2, 101), at(2, 3, 91), at(3, 4, 131)]
  const rows: readonly [string, History, History, LogPosition | null][] = [
    ['the old master had more', history(120, a), history(140, a, b), before(101)],
    ['the old master had less', history(90, a), history(140, a, b), end(90)],
    ['it had all, and no more', history(100, a), history(140, a, b), end(100)],
    ['both were promoted', history(120, a, b), history(120, a, c), before(91)],
    ['both, the other way round', history(120, a, c), history(120, a, b), before(91)],
    ['two promotions on', history(120, a), history(140, a, b, d), before(101)],
    ['the same timeline, ours longer', history(120, a, b), history(110, a, b), end(110)],
    ['the same history', history(120, a, b), history(120, a, b), end(120)],
    ['their log begins at the fork', history(120, a), history(140, b), before(101)],
    ['ours begins later', history(140, d), history(120, a), before(131)],
    ['a copy from behind the fork', history(110, at(1, 1, 111)), history(140, b), before(101)],
    ['both were promoted, and nothing before is left', history(120, b), history(120, c), null],
    ['an empty log', history(0), history(140, a), null],
  ]
  for (const [what, ours, theirs, fork] of rows) {
    t.strictSame(findFork(ours, theirs), fork, what)
  }
})

/** So many transactions, each in a block, some of them in later segments. */
async function makeLog(disk: MemoryDisk, count: number): Promise<LogPosition[]> {
  const log = await openHistory({ disk })
  const positions = [log.position]
  for (let txn = 1; txn <= count; txn++) positions.push(await put(log))
  await log.close()
  return positions
}

async function put(log: LogWriter): Promise<LogPosition> {
  const records = log.begin()
  log.ensureMapped(1, attributes)
  records.writeItem(1, `item-${log.lastTxn}`, 'v'.repeat(150))
  log.commit()
  await log.synced()
  return log.position
}

t.test('a log is cut back to any of its blocks, and goes on from there', async t => {
  for (let txn = 0; txn <= 20; txn++) {
    const disk = new MemoryDisk()
    const positions = await makeLog(disk, 20)
    const whole = await readAll(disk)
    const fork = positions[txn] ?? { txn: -1, chain: 0 }
    await cutBack(disk, logDirectory, await placeOf(disk, logDirectory, fork))
    const log = await openLog({ disk, ownPromises: false })
    t.strictSame(log.position, fork)
    t.strictSame(await readAll(disk), whole.slice(0, txn))
    await log.beginTimeline({ ...identity, timeline: 2, lineageId: lineage(9) })
    await put(log)
    await log.close()
    const { fault } = await verifyLog(disk, logDirectory, {})
    t.equal(fault, null)
  }
})

t.test('cutting back is completed after a crash anywhere', async t => {
  for (const keep of [false, true]) {
    for (let operation = 1; ; operation++) {
      const disk = new MemoryDisk()
      const positions = await makeLog(disk, 20)
      const fork = positions[9] ?? { txn: -1, chain: 0 }
      const place = await placeOf(disk, logDirectory, fork)
      let count = 0
      disk.before = () => {
        if (++count === operation) disk.crash(() => keep)
        if (count >= operation) throw new Error('the machine is off')
      }
      await cutBack(disk, logDirectory, place).catch(() => {})
      disk.before = null
      await cutBack(disk, logDirectory, place)
      const log = await openLog({ disk, ownPromises: false, knownDurableTxn: fork.txn })
      t.strictSame(log.position, fork)
      await log.close()
      if (count < operation) break
    }
  }
})

t.test('a place that the log does not have', async t => {
  const disk = new MemoryDisk()
  const positions = await makeLog(disk, 20)
  const { txn, chain } = positions[7] ?? { txn: -1, chain: 0 }
  const wrong = placeOf(disk, logDirectory, { txn, chain: chain ^ 1 })
  await t.rejects(wrong, { code: 'ERR_LOG_FOREIGN', message: /transaction 7 has the chain value/ })
  // A fork lies within both logs, so a log that ends before it has lost blocks.
  await t.rejects(placeOf(disk, logDirectory, { txn: 21, chain }), { code: 'ERR_LOG_CORRUPT' })
  const log = await openLog({ disk })
  await log.removeBefore(15)
  await log.close()
  await t.rejects(placeOf(disk, logDirectory, { txn, chain }), { code: 'ERR_LOG_REMOVED' })
})

const copyPath = '/server/missing/log'

async function dumped(dump: (sink: Sink) => Promise<void>): Promise<string[]> {
  let text = ''
  await dump(async bytes => {
    text += Buffer.from(bytes).toString()
  })
  return text.split('\n').filter(line => !line.includes('map-file'))
}

t.test('what lies behind a position is copied whole, and can be read alone', async t => {
  const property = fc.asyncProperty(fc.nat(19), fc.boolean(), async (txn, promoted) => {
    const disk = new MemoryDisk()
    const positions = await makeLog(disk, 20)
    if (promoted) {
      const log = await openLog({ disk })
      await log.beginTimeline({ ...identity, timeline: 2, lineageId: lineage(9) })
      await commitEach(log, 3)
      await log.close()
    }
    await disk.makeDirectory('/server/missing')
    const from = positions[txn] ?? { txn: -1, chain: 0 }
    const seen: string[] = []
    const lastTxn = await extractBehind(disk, logDirectory, from, copyPath, (record, at, maps) =>
      seen.push(`${at} ${maps.get(record.fileNumber)?.file}`),
    )
    if (lastTxn !== (promoted ? 23 : 20)) throw new Error(`it ends with ${lastTxn}`)
    if (!seen.includes(`${txn + 1} ${attributes.file}`)) throw new Error(seen.join())
    const { fault } = await verifyLog(disk, [copyPath])
    if (fault !== null) throw new Error(fault.message)
    const options = {
      from: txn + 1,
      to: Infinity,
      account: null,
      file: null,
      json: true,
      form: null,
    }
    const ours = await dumped(sink => dumpLog(disk, logDirectory, options, sink))
    const copy = await dumped(sink => dumpFiles(disk, [copyPath], options, sink))
    if (ours.join() !== copy.join()) throw new Error('the copy holds something else')
  })
  await fc.assert(property, { numRuns: 40 })
  t.pass('whatever the position')
})

t.test('a disk that is full leaves nothing that could be taken for a copy', async t => {
  const disk = new MemoryDisk()
  const positions = await makeLog(disk, 20)
  await disk.makeDirectory('/server/missing')
  disk.failNext('write', 'ENOSPC', `${copyPath}.tmp`)
  const from = positions[3] ?? { txn: -1, chain: 0 }
  const failed = extractBehind(disk, logDirectory, from, copyPath)
  await t.rejects(failed, { code: 'ERR_DISK_FULL' })
  t.equal(await disk.exists(copyPath), false)
  t.equal(await extractBehind(disk, logDirectory, from, copyPath), 20, 'with room it works')
})
