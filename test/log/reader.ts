// Readers: where they start, how far they go, what they refuse; the watch of log/durable; segments by themselves.
import * as fc from 'fast-check'
import t from 'tap'
import { isHotBackupError } from '../../src/errors.ts'
import { BlockChain, historyStart, type LogPosition } from '../../src/log/chain.ts'
import {
  decodeDurableMark,
  DurableWatch,
  encodeDurableMark,
  readDurableMark,
} from '../../src/log/durable.ts'
import { LogReader, type BlockRun } from '../../src/log/reader.ts'
import { recordTypeMax, RecordCursor, RecordEncoder } from '../../src/log/record.ts'
import { SegmentScan } from '../../src/log/scan.ts'
import { segmentName } from '../../src/log/segment.ts'
import { listSegments } from '../../src/log/segments.ts'
import { FileMaps, TransactionCursor } from '../../src/log/transactions.ts'
import { verifyLog } from '../../src/log/verify.ts'
import {
  attributes,
  commit,
  commitEach,
  failure,
  HandClock,
  logDirectory,
  openHistory,
  readAll,
  show,
} from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const durablePath = `${logDirectory}/durable`
const segmentPath = (firstTxn: number) => `${logDirectory}/${segmentName(firstTxn)}`

/** Blocks of one to four transactions in several segments; positions[n] is behind transaction n. */
async function history() {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk })
  const written: string[] = []
  const positions: LogPosition[] = [historyStart]
  /** Offset and segment behind each block. */
  const marks = [log.durableMark]
  for (let block = 0; block < 40; block++) {
    const count = 1 + (block % 4)
    for (let i = 0; i < count; i++) written.push(commit(log, [`i${block}-${i}`, 'v'.repeat(60)]))
    await log.synced()
    for (let i = 0; i < count; i++) positions.push({ ...log.position, txn: positions.length })
    marks.push(log.durableMark)
  }
  return { disk, log, written, positions, marks }
}

t.test('a reader starts behind any transaction', async t => {
  const { disk, log, written, positions } = await history()
  for (const from of positions) {
    const found = await readAll(disk, logDirectory, from)
    // The run starts with the block that holds `from`; the caller skips.
    const skipped = found.filter(shown => Number.parseInt(shown) > from.txn)
    t.strictSame(skipped, written.slice(from.txn))
    t.ok(found.length - skipped.length < 4)
  }
  await failure(
    LogReader.open(disk, logDirectory, { txn: written.length + 1, chain: 0 }),
    'ERR_LOG_GAP',
  )
  for (const txn of [1, 2, 50, written.length]) {
    const { chain } = positions[txn]!
    const other = { txn, chain: (chain ^ 1) >>> 0 }
    const error = await failure(LogReader.open(disk, logDirectory, other), 'ERR_LOG_FOREIGN')
    for (const value of [chain, other.chain]) {
      t.match(error.message, value.toString(16).padStart(8, '0'), 'both chain values are said')
    }
  }

  const [, second, third] = log.segments()
  const atSecond = positions[second!.firstTxn - 1]!
  const reader = await LogReader.open(disk, logDirectory, positions[1]!)
  const limit = log.durableMark!
  await reader.next(limit)
  await log.removeBefore(third!.firstTxn)
  await failure(LogReader.open(disk, logDirectory, positions[1]!), 'ERR_LOG_REMOVED')
  await failure(LogReader.open(disk, logDirectory, atSecond), 'ERR_LOG_REMOVED')
  const rest = async () => {
    while ((await reader.next(limit)) !== null);
  }
  await failure(rest(), 'ERR_LOG_REMOVED')
  await reader.close()
  const left = positions[third!.firstTxn - 1]!
  t.strictSame(await readAll(disk, logDirectory, left), written.slice(left.txn))
  const foreign = LogReader.open(disk, logDirectory, { txn: left.txn, chain: 1 })
  await failure((await foreign).next(limit), 'ERR_LOG_FOREIGN')

  const fourth = log.segments()[1]!
  const behind = await LogReader.open(disk, logDirectory, left)
  await disk.remove(fourth.path)
  const gap = async () => {
    while ((await behind.next(limit)) !== null);
  }
  await failure(gap(), 'ERR_LOG_CORRUPT')
  await log.close()
})

t.test('runs are whole blocks of one segment, up to the limit', async t => {
  const { disk, log, written, marks } = await history()
  for (const [index, limit] of marks.entries()) {
    if (limit === null) continue
    for (const reuse of [false, true]) {
      const options = { readBytes: 1, reuse }
      const reader = await LogReader.open(disk, logDirectory, historyStart, options)
      const runs: BlockRun[] = []
      const shown: string[] = []
      for (let run = await reader.next(limit); run !== null; run = await reader.next(limit)) {
        runs.push(run)
        show(run, shown)
        const starts = run.segmentOffset === 96
        t.equal(run.segmentHeaderBytes !== null, starts)
        t.equal(run.firstTxn === run.segment.firstTxn, starts)
      }
      if (shown.join() !== written.slice(0, limit.txn).join()) t.fail(`limit ${limit.txn}`)
      t.strictSame(reader.position, { txn: limit.txn, chain: limit.chain })
      t.equal(
        runs.reduce((sum, run) => sum + run.blocks, 0),
        index,
      )
      t.equal(runs.at(-1)?.time, limit.time)
      if (!reuse)
        t.strictSame(
          runs.flatMap(run => show(run)),
          shown,
          'runs stay as they are',
        )
      t.equal(await reader.next(limit), null)
      await reader.close()
    }
  }
  await log.close()
})

t.test('a reader follows its writer', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk })
  const reader = await LogReader.open(disk, logDirectory, historyStart)
  t.equal(await readDurableMark(disk, logDirectory), null)
  const shown: string[] = []
  const written: string[] = []
  for (let round = 0; round < 60; round++) {
    written.push(...(await commitEach(log, 1 + (round % 3))))
    // Committed, not durable: readers do not see it.
    const pending = commit(log, ['pending', 'x'])
    const limit = (await readDurableMark(disk, logDirectory))!
    for (let run = await reader.next(limit); run !== null; run = await reader.next(limit)) {
      show(run, shown)
    }
    t.equal(shown.length, written.length)
    written.push(pending)
    await log.synced()
  }
  t.strictSame(shown, written.slice(0, -1))
  t.ok(log.segments().length > 3)
  await reader.close()
  await log.close()
})

t.test('blocks larger than a read, in a segment that is read alone', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, segmentBytes: 1024 * 1024 })
  const written: string[] = []
  for (const bytes of [10, 5000, 10, 100_000, 4096, 4000, 12_345]) {
    written.push(commit(log, ['a', 'v'.repeat(bytes)]))
    await log.synced()
  }
  await log.close()
  for (const readBytes of [1, 4096, 5000, 10_000, 1_000_000]) {
    const scan = await SegmentScan.open(disk, segmentPath(1), { readBytes, reuse: true })
    t.throws(() => scan.resume(null as unknown as BlockChain), TypeError)
    scan.enter(new BlockChain({ txn: scan.header.firstTxn - 1, chain: scan.header.chain }))
    const shown: string[] = []
    while (await scan.next()) show(scan, shown)
    t.strictSame(shown, written)
    t.equal(scan.fault, 'end')
    await scan.close()
  }
})

t.test('what is not valid below the limit is corrupt', async t => {
  const { disk, log, written, marks } = await history()
  await log.close()
  const third = marks[3]!
  disk.overwrite(segmentPath(1), marks[2]!.offset + 90, Uint8Array.of(0xff, 0xfe))
  const error = await failure(readAll(disk), 'ERR_LOG_CORRUPT')
  t.strictSame(error.place, {
    path: segmentPath(1),
    offset: marks[2]!.offset,
    txn: marks[2]!.txn + 1,
  })
  t.match(error.message, /CRC/)
  const reader = await LogReader.open(disk, logDirectory, historyStart)
  const shown: string[] = []
  show((await reader.next(log.durableMark!))!, shown)
  t.strictSame(shown, written.slice(0, marks[2]!.txn), 'what comes before is read')
  await failure(reader.next(log.durableMark!), 'ERR_LOG_CORRUPT')
  await failure(reader.next(third), 'ERR_LOG_CORRUPT')
  await reader.close()

  // Zeros are the end of a segment, but not below the limit.
  const fresh = await history()
  await fresh.log.close()
  const end = fresh.log.durableMark!
  const last = fresh.marks.findLast(mark => mark !== null && mark.txn < end.txn)!
  fresh.disk.overwrite(
    segmentPath(end.segmentFirstTxn),
    last.offset,
    Buffer.alloc(end.offset - last.offset),
  )
  await failure(readAll(fresh.disk), 'ERR_LOG_CORRUPT')

  // The search for a start goes by block headers.
  disk.overwrite(segmentPath(1), marks[2]!.offset, Buffer.alloc(72))
  await failure(
    LogReader.open(disk, logDirectory, { txn: third.txn, chain: third.chain }),
    'ERR_LOG_CORRUPT',
  )
  await disk.remove(durablePath)
  await failure(
    LogReader.open(disk, logDirectory, { txn: third.txn, chain: third.chain }),
    'ERR_LOG_GAP',
  )
  await failure(LogReader.open(disk, '/server/none', { txn: 1, chain: 0 }), 'ERR_LOG_GAP')
})

t.test('log/durable', async t => {
  const safe = fc.maxSafeNat()
  const mark = fc.record({
    txn: safe,
    chain: fc.nat(0xffffffff),
    segmentFirstTxn: safe,
    offset: safe,
    time: safe,
  })
  fc.assert(
    fc.property(mark, fc.nat(63), fc.integer({ min: 1, max: 255 }), (value, at, change) => {
      const bytes = encodeDurableMark(value)
      const decoded = decodeDurableMark(bytes)
      bytes[at]! ^= change
      return JSON.stringify(decoded) === JSON.stringify(value) && decodeDurableMark(bytes) === null
    }),
  )
  t.equal(decodeDurableMark(Buffer.alloc(10)), null)

  const disk = new MemoryDisk()
  const clock = new HandClock()
  let notice = () => {}
  let closed = 0
  const watcher = {
    watch: (_path: string, changed: () => void) => {
      notice = changed
      return { close: async () => void closed++ }
    },
  }
  await disk.makeDirectory(logDirectory)
  const watch = await DurableWatch.open({ disk, clock, watcher }, logDirectory)
  t.equal(watch.mark, null, 'the file need not be there')
  const first = watch.changed(0)
  t.equal(clock.timers, 1)
  const log = await openHistory({ disk })
  await commitEach(log, 3)
  clock.move(250)
  await first
  t.equal(watch.mark?.txn, 3, 'found by looking, without a notice')
  t.equal(clock.timers, 0, 'nobody waits, nobody looks')
  await watch.changed(2)

  let woken = 0
  const second = watch.changed(3).then(() => woken++)
  const later = watch.changed(4).then(() => woken++)
  await commitEach(log, 1)
  notice()
  await second
  t.equal(woken, 1)
  await commitEach(log, 1)
  notice()
  await later

  const now = disk.contents(durablePath)
  disk.overwrite(durablePath, 0, encodeDurableMark({ ...watch.mark!, txn: 2 }))
  notice()
  t.equal(watch.mark?.txn, 5, 'it never goes back')
  disk.overwrite(durablePath, 0, now)

  // A read in the middle of a write is read again; one that stays so counts for nothing.
  const whole = disk.contents(durablePath)
  let reads = 0
  disk.overwrite(durablePath, 20, Uint8Array.of(9))
  disk.before = (operation, path) => {
    if (operation === 'read' && path === durablePath && ++reads === 5) {
      disk.overwrite(durablePath, 0, whole)
    }
  }
  t.equal((await readDurableMark(disk, logDirectory))?.txn, 5)
  t.equal(reads, 5)
  disk.before = null
  disk.overwrite(durablePath, 20, Uint8Array.of(9))
  notice()
  t.equal(watch.mark?.txn, 5)
  t.equal(await readDurableMark(disk, logDirectory), null)
  disk.failNext('read', 'EIO', durablePath)
  notice()
  t.equal(watch.mark?.txn, 5, 'the disk’s errors are the writer’s to report')

  const never = watch.changed(99)
  await watch.close()
  await watch.close()
  await failure(never, 'ERR_CLOSED')
  await failure(watch.changed(0), 'ERR_CLOSED')
  notice()
  t.equal(closed, 1)
  await log.close()
})

t.test('segments brought from elsewhere are verified as far as they go', async t => {
  const { disk, log } = await history()
  await log.close()
  const infos = await listSegments(disk, logDirectory)
  const paths = infos.map(info => info.path)
  const progress: number[] = []
  const onProgress = (bytes: number) => progress.push(bytes)
  const all = await verifyLog(disk, logDirectory, { onProgress })
  t.strictSame(await verifyLog(disk, [...paths].reverse()), all, 'in any order')
  t.equal(progress.at(-1), all.bytes)
  t.equal(
    all.bytes,
    infos.reduce((sum, info) => sum + info.bytes, 0),
  )
  t.strictSame([all.firstTxn, all.lastTxn, all.segments], [1, log.lastTxn, infos.length])
  const some = [paths[0]!, paths[2]!, paths[3]!]
  t.equal((await verifyLog(disk, some)).fault, null, 'a hole between files is no fault')
  const missing = failure(verifyLog(disk, ['/none']), 'ERR_DISK')
  await missing

  // In a directory a hole is one.
  await disk.remove(paths[1]!)
  const { fault } = await verifyLog(disk, logDirectory)
  t.match(fault, { path: paths[2], offset: 0, fault: 'order', torn: false })
  t.equal((await verifyLog(disk, '/server/none')).fault, null)
})

t.test('verification goes on when a server finishes what seemed torn', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, segmentBytes: 1024 * 1024 })
  const written = await commitEach(log, 3)
  const before = disk.contents(durablePath)
  const offset = log.durableMark!.offset
  await commitEach(log, 1)
  await log.close()
  const [after, whole] = [disk.contents(durablePath), disk.contents(segmentPath(1))]
  // As a reader may see it: half of the block, and the mark before it.
  disk.overwrite(segmentPath(1), offset + 80, Buffer.alloc(80))
  disk.overwrite(durablePath, 0, before)
  t.match((await verifyLog(disk, logDirectory)).fault, { torn: true, txn: 4, fault: 'crc' })
  let reads = 0
  disk.before = (operation, path) => {
    if (operation !== 'read' || path !== durablePath || ++reads !== 2) return
    disk.overwrite(segmentPath(1), 0, whole)
    disk.overwrite(durablePath, 0, after)
  }
  const report = await verifyLog(disk, logDirectory)
  t.strictSame([report.fault, report.transactions], [null, written.length + 1])
})

t.test('a cursor refuses blocks whose records do not add up', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk })
  commit(log, ['a', '1'])
  commit(log, ['b', '2'])
  await log.synced()
  await log.close()
  const bytes = disk.contents(segmentPath(1))
  const run = { bytes, start: 96, end: log.durableMark!.offset }
  const cursor = new TransactionCursor()
  const walk = () => {
    cursor.reset(run)
    while (cursor.next());
  }
  walk()
  t.equal(cursor.txn, 2)
  t.equal(cursor.blockTime, new HandClock().now())
  for (const count of [1, 3]) {
    bytes.writeUInt32LE(count, 96 + 20)
    t.throws(walk, { code: 'ERR_LOG_CORRUPT' })
  }
  bytes.writeUInt32LE(2, 96 + 20)
  const [type, flags] = [96 + 72, 96 + 73]
  for (const [at, value] of [
    [type, 0],
    [type, recordTypeMax + 1],
    [flags, 2],
    [type + 3, 0xff],
    [type + 11, 0xff],
  ] as const) {
    const was = bytes[at]!
    bytes[at] = value
    t.throws(walk, { code: 'ERR_LOG_CORRUPT' })
    bytes[at] = was
  }
})

t.test('file maps come from the records themselves', async t => {
  const encoder = new RecordEncoder(16, 0)
  encoder.mapFile(1, attributes)
  encoder.createFile(2, { ...attributes, file: 'NEW' })
  encoder.resizeFile(2, 99)
  encoder.resizeFile(3, 99)
  encoder.endTransaction()
  const cursor = new RecordCursor()
  cursor.reset(encoder.bytes, 0, encoder.end)
  const maps = new FileMaps()
  while (cursor.next()) maps.note(cursor)
  t.strictSame(maps.get(1), { ...attributes, flags: 0 })
  t.strictSame(maps.get(2), { ...attributes, file: 'NEW', modulo: 99, flags: 0 })
  t.equal(maps.get(3), undefined)
  maps.clear()
  t.equal(maps.get(1), undefined)
})

t.test('a log that was replaced by another is refused at the seam', async t => {
  const { disk, log } = await history()
  const limit = log.durableMark!
  await log.close()
  const [, second] = log.segments()
  const bytes = disk.contents(second!.path)
  bytes.writeUInt32LE(7, 56)
  disk.overwrite(second!.path, 0, bytes)
  const error = await failure(readAll(disk), 'ERR_LOG_CORRUPT')
  t.match(error.message, /header/)
  t.ok(isHotBackupError(error) && limit.txn > second!.firstTxn)
})
