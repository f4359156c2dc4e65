// The writer: group commit, file maps, fsync policies, the slave's side, retention, and what a failing disk does.
import * as fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import { MiB, transactionBytesMax, unsyncedBytesMax } from '../../src/limits.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { LogReader } from '../../src/log/reader.ts'
import { RecordCursor, RecordType } from '../../src/log/record.ts'
import { segmentName } from '../../src/log/segment.ts'
import { listSegments } from '../../src/log/segments.ts'
import { TransactionCursor } from '../../src/log/transactions.ts'
import { verifyLog } from '../../src/log/verify.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import { nodeClock } from '../../src/platform/node-clock.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import {
  attributes,
  commit,
  commitEach,
  failure,
  HandClock,
  identity,
  logDirectory,
  openHistory,
  openLog,
  readAll,
} from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const turn = () => new Promise(resolve => setImmediate(resolve))
const segmentPath = (firstTxn: number) => `${logDirectory}/${segmentName(firstTxn)}`

t.test('writers that wait share blocks and promises', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, segmentBytes: 1 * MiB })
  commit(log, ['a', '1'])
  const first = log.synced()
  commit(log, ['b', '2'])
  t.equal(log.synced(), first, 'one promise for one block')
  t.equal(log.durableTxn, 0, 'nothing is written in the turn of the commit')
  t.ok(log.unsyncedBytes > 0)
  await first
  t.strictSame([log.durableTxn, log.unsyncedBytes], [2, 0])
  t.equal(log.synced(), log.synced(), 'what is durable needs no new promise')

  const writer = async (name: number) => {
    for (let i = 0; i < 10; i++) {
      commit(log, [`w${name}`, `${i}`])
      await log.synced()
    }
  }
  await Promise.all(Array.from({ length: 64 }, (_, name) => writer(name)))
  await log.close()
  const report = await verifyLog(disk, logDirectory)
  t.equal(report.transactions, 642)
  t.equal(report.blocks, 11, 'the 64 went together, ten times')
})

t.test('one who waits in a loop does not hold up timers and sockets', async t => {
  const log = await openHistory({ disk: new MemoryDisk(), segmentBytes: 1 * MiB })
  let [turns, done] = [0, false]
  const count = () => {
    turns++
    if (!done) setImmediate(count)
  }
  setImmediate(count)
  for (let i = 0; i < 200; i++) {
    commit(log, ['a', `${i}`])
    await log.synced()
  }
  done = true
  t.ok(turns >= 200 / 8 - 1, `${turns} turns`)
  await log.close()
})

t.test('records, maps and transactions as they were given', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk })
  const other = { account: 'SALES', file: 'CUSTOMERS', modulo: 3 }
  const encoder = log.begin()
  encoder.createAccount('SALES')
  encoder.createFile(2, other)
  log.markMapped(2)
  log.ensureMapped(2, other)
  t.throws(() => log.begin(), TypeError)
  t.throws(() => log.cut(), TypeError)
  t.equal(log.commit(), 1)
  t.equal(log.transactionStart, 72)
  t.equal(log.encoder.bytes.toString('utf8', 72 + 12, 72 + 17), 'SALES')

  log.begin()
  log.ensureMapped(1, attributes)
  t.throws(() => log.begin().writeItem(1, 'x', 'y'), TypeError)
  log.encoder.writeItem(1, 'x', 'y')
  log.abandon()
  log.abandon()
  t.throws(() => log.commit(), TypeError)
  log.begin()
  t.throws(() => log.commit(), TypeError, 'a transaction has records')
  t.throws(() => log.encoder.writeItem(1, 'i'.repeat(1025), ''), { code: 'ERR_ITEM_ID' })
  log.abandon()
  commit(log, ['after', 'abandon'])
  const position = log.cut()
  t.equal(position.txn, 2)
  t.strictSame(log.cut(), position, 'nothing to cut')
  commit(log, ['mapped', 'already'])
  await log.synced()
  t.strictSame(log.durablePosition, log.position)
  t.strictSame(log.chainAtEnd().position, log.position)

  const seen: string[] = []
  const reader = await LogReader.open(disk, logDirectory, { txn: 0, chain: 0 })
  const run = await reader.next((await readDurableMark(disk, logDirectory))!)
  const cursor = new TransactionCursor()
  const record = new RecordCursor()
  cursor.reset(run!)
  while (cursor.next()) {
    record.reset(run!.bytes, cursor.start, cursor.end)
    while (record.next()) {
      const mapped = record.type === RecordType.mapFile ? record.attributes().file : ''
      seen.push(`${cursor.txn} ${record.type} ${record.fileNumber} ${record.idText()}${mapped}`)
    }
  }
  await reader.close()
  t.strictSame(seen, ['1 7 0 SALES', '1 3 2 ', '2 9 1 ORDERS', '2 1 1 after', '3 1 1 mapped'])
  await log.close()
  t.throws(() => log.begin(), { code: 'ERR_CLOSED' })
  t.equal(log.close(), log.close())

  const again = await openHistory({ disk })
  commit(again, ['after', 'opening'])
  await again.synced()
  t.equal(again.lastTxn, 4)
  await again.close()
})

t.test('each segment maps its files itself', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk })
  await commitEach(log, 40)
  await log.close()
  const segments = await listSegments(disk, logDirectory)
  t.ok(segments.length > 2)
  for (const { path, bytes, sealed } of segments) {
    const content = disk.contents(path)
    t.equal(content.subarray(96 + 72, 96 + 73).readUInt8(), RecordType.mapFile)
    if (sealed) t.equal(content.length, bytes, 'a sealed segment ends with its last block')
    else t.ok(content.length > bytes && content.subarray(bytes).every(byte => byte === 0))
  }
  t.strictSame(segments, log.segments())
})

t.test('a large transaction, and one that is too large', async t => {
  const directory = await fs.mkdtemp(join(tmpdir(), 'hb-log-'))
  t.teardown(() => fs.rm(directory, { recursive: true }))
  const setting = { disk: nodeDisk, clock: nodeClock, directory, segmentBytes: 1 * MiB }
  const log = await openHistory(setting)
  commit(log, ['small', 'one'])
  const value = Buffer.alloc(40 * MiB, 'v')
  const encoder = log.begin()
  encoder.writeItem(1, 'large', value)
  log.commit()
  t.ok(log.unsyncedBytes > unsyncedBytesMax)
  await log.drained()
  t.ok(log.unsyncedBytes <= unsyncedBytesMax)
  log.begin()
  for (let i = 0; i < 4; i++) log.encoder.writeItem(1, `${i}`, value)
  t.ok(log.encoder.end > transactionBytesMax)
  t.throws(() => log.commit(), { code: 'ERR_TRANSACTION_SIZE' })
  commit(log, ['small', 'again'])
  await log.close()
  const report = await verifyLog(nodeDisk, directory)
  t.strictSame([report.fault, report.transactions, report.segments], [null, 3, 2])
})

t.test('under the policies interval and os a sync comes later', async t => {
  for (const { fsync, delay } of [
    { fsync: { kind: 'interval', intervalMs: 20 } as const, delay: 20 },
    { fsync: { kind: 'os' } as const, delay: 1000 },
  ]) {
    const disk = new MemoryDisk()
    const clock = new HandClock()
    const log = await openHistory({ disk, clock, fsync, segmentBytes: 1 * MiB })
    const written = [commit(log, ['a', '1'])]
    await log.synced()
    t.equal(log.durableTxn, 0, 'written, not durable')
    t.equal(await readDurableMark(disk, logDirectory), null)
    clock.move(delay - 1)
    await turn()
    t.equal(log.durableTxn, 0)
    clock.move(1)
    await turn()
    t.equal(log.durableTxn, 1)
    t.equal(clock.timers, 0, 'an idle log has no timer')

    written.push(commit(log, ['b', '2']))
    const durable = log.durable()
    written.push(commit(log, ['c', '3']))
    await durable
    t.ok(log.durableTxn >= 2, 'a checkpoint need not wait for the timer')
    await log.close()
    disk.crash()
    t.strictSame(await readAll(disk), written)
  }
  const log = await openHistory({ disk: new MemoryDisk() })
  commit(log, ['a', '1'])
  await log.durable()
  t.equal(log.durableTxn, 1, 'under the policy commit it is the same')
  await log.close()
})

t.test('much that is not synced is synced before the timer', async t => {
  const disk = new MemoryDisk()
  const fsync = { kind: 'os' } as const
  const log = await openHistory({ disk, clock: new HandClock(), fsync, segmentBytes: 64 * MiB })
  const value = 'v'.repeat(1 * MiB)
  for (let i = 0; i < 40; i++) {
    commit(log, ['a', value])
    await log.synced()
    await log.drained()
  }
  t.ok(log.durableTxn > 20)
  t.ok(log.unsyncedBytes < unsyncedBytesMax)
  await log.close()
})

t.test('a slave’s log is its master’s, byte for byte', async t => {
  const [disk, slaveDisk] = [new MemoryDisk(), new MemoryDisk()]
  const master = await openHistory({ disk })
  const written = await commitEach(master, 40)
  await master.close()
  const slave = await openLog({ disk: slaveDisk, ownPromises: false })
  const chain = slave.chainAtEnd()
  const reader = await LogReader.open(disk, logDirectory, slave.position, { readBytes: 4096 })
  const marks: number[] = []
  slave.onDurable(mark => marks.push(mark.txn))
  const limit = master.durableMark!
  for (let run = await reader.next(limit); run !== null; run = await reader.next(limit)) {
    if (run.segmentHeaderBytes !== null) {
      chain.enterSegment(run.segment, 'sent')
      slave.appendSegment(run.segment, run.segmentHeaderBytes)
      // The link broke before the first block came: the master starts again with the header.
      slave.appendSegment(run.segment, run.segmentHeaderBytes)
    }
    for (let at = run.start; at < run.end; at += chain.block.length) {
      t.equal(chain.accept(run.bytes, at, run.end), null)
    }
    slave.appendBlocks(run.bytes.subarray(run.start, run.end), run.position, run.time)
    t.strictSame(slave.position, run.position)
    await slave.synced()
  }
  t.throws(() => slave.appendBlocks(Buffer.alloc(80), { txn: 3, chain: 0 }, 0), TypeError)
  t.throws(
    () => slave.appendSegment({ ...limitHeader(slave), firstTxn: 3 }, Buffer.alloc(96)),
    TypeError,
  )
  await slave.close()
  await reader.close()
  t.equal(marks.at(-1), 40)
  t.strictSame(await readAll(slaveDisk), written)
  const segments = await listSegments(disk, logDirectory)
  t.strictSame(await listSegments(slaveDisk, logDirectory), segments)
  for (const { path, sealed } of segments) {
    if (sealed) t.ok(disk.contents(path).equals(slaveDisk.contents(path)), path)
  }

  // It is promoted, with a timeline of its own, and goes on where it stood.
  const promoted = await openLog({ disk: slaveDisk, ownPromises: false, knownDurableTxn: 40 })
  const next = { ...identity, lineageId: new Uint8Array(16).fill(0x22), timeline: 2 }
  t.throws(() => promoted.beginTimeline(identity), TypeError)
  await promoted.beginTimeline(next)
  promoted.begin().promote('east', next.lineageId, next.timeline)
  promoted.commit()
  const more = [`41: promote`, ...(await commitEach(promoted, 3))]
  await promoted.close()
  slaveDisk.crash()
  const after = await openLog({ disk: slaveDisk })
  t.strictSame(after.identity?.lineageId, next.lineageId)
  t.strictSame(await readAll(slaveDisk), [...written, ...more])
  await after.close()
  t.equal((await verifyLog(slaveDisk, logDirectory)).fault, null)

  // An empty segment is replaced: promoted again before anything was written.
  const twice = await openLog({ disk: slaveDisk })
  await twice.beginTimeline({ ...next, timeline: 3, lineageId: new Uint8Array(16).fill(0x33) })
  await twice.beginTimeline({ ...next, timeline: 4, lineageId: new Uint8Array(16).fill(0x44) })
  await commitEach(twice, 1)
  await twice.close()
  const listed = await listSegments(slaveDisk, logDirectory)
  t.equal(listed.at(-1)?.timeline, 4)
  t.strictSame(twice.segments(), listed)
  t.equal((await verifyLog(slaveDisk, logDirectory)).fault, null)
})

function limitHeader(log: LogWriter) {
  return log.chainAtEnd().segment!
}

t.test('old segments go when they may, oldest first', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk })
  await commitEach(log, 60)
  const before = log.segments()
  const third = before[2]!
  t.equal(await log.removeBefore(third.firstTxn - 1), 1)
  t.equal(log.firstTxn, before[1]!.firstTxn)
  t.equal(await log.removeBefore(third.firstTxn), 1)
  await failure(LogReader.open(disk, logDirectory, { txn: 0, chain: 0 }), 'ERR_LOG_REMOVED')
  const torn = await disk.open(`${third.path}.torn.1`, 'create')
  await torn.close()
  t.equal(await log.removeBefore(Infinity), before.length - 3, 'the last one stays')
  t.notOk(await disk.exists(`${third.path}.torn.1`))
  await log.close()
  disk.crash()
  const again = await openHistory({ disk })
  t.equal(again.segments().length, 1)
  t.equal(again.lastTxn, 60)

  // Neither what is not durable, nor what is durable while its successor has no file yet.
  for (let i = 0; i < 20; i++) {
    commit(again, ['a', 'v'.repeat(500)])
    again.cut()
  }
  t.ok(again.segments().length > 3)
  t.equal(await again.removeBefore(Infinity), 0)
  await again.synced()
  await again.removeBefore(Infinity)
  const next = again.beginTimeline({ ...identity, timeline: 2 })
  t.equal(await again.removeBefore(Infinity), 0)
  await next
  // log/durable names it, as long as the new one is empty.
  t.equal(await again.removeBefore(Infinity), 0)
  commit(again, ['a', 'of the new timeline'])
  await again.synced()
  t.equal(await again.removeBefore(Infinity), 1)
  await again.close()
})

t.test('a full disk is waited for: what is committed is written when there is room', async t => {
  for (const place of ['log', 'durable'] as const) {
    const [disk, clock] = [new MemoryDisk(), new HandClock()]
    const log = await openHistory({ disk, clock })
    await commitEach(log, 2)
    const changes: (string | null)[] = []
    log.diskRoom.onChange(lack => changes.push(lack?.code ?? null))
    const path = place === 'log' ? segmentPath(1) : `${logDirectory}/durable`
    disk.failNext('write', 'ENOSPC', path)
    commit(log, ['a', '1'])
    const waiting = log.synced()
    let done = false
    void waiting.then(() => (done = true))
    for (let turns = 0; changes.length === 0 && turns < 100; turns++) await turn()
    t.strictSame(changes, ['ERR_DISK_FULL'], place)
    t.throws(() => log.begin(), { code: 'ERR_DISK_FULL' })
    await failure(log.drained(), 'ERR_DISK_FULL')
    t.equal(log.failed, null)
    // It is full still.
    disk.failNext('write', 'ENOSPC', path)
    clock.move(500)
    for (let turns = 0; turns < 20; turns++) await turn()
    t.strictSame([done, log.durableTxn, changes.length], [false, 2, 1])
    clock.move(500)
    await waiting
    t.strictSame(changes, ['ERR_DISK_FULL', null], 'there is room')
    t.equal(log.durableTxn, 3)
    await commitEach(log, 20)
    await log.close()
    disk.crash()
    const again = await openHistory({ disk })
    t.equal(again.lastTxn, 23)
    t.equal((await verifyLog(disk, logDirectory)).fault, null)
    await again.close()
  }
})

t.test('before a full disk holds up anything, what may find no room is refused', async t => {
  const [disk, clock] = [new MemoryDisk(), new HandClock()]
  const log = await openHistory({ disk, clock, segmentBytes: 8192 })
  disk.capacityBytes = disk.usedBytes + 100
  let refused: unknown = null
  while (refused === null) {
    try {
      const records = log.begin()
      log.ensureMapped(1, attributes)
      records.writeItem(1, `${log.lastTxn}`, 'v'.repeat(100))
      log.checkRoom()
      log.commit()
    } catch (error) {
      refused = error
      log.abandon()
    }
    await log.synced()
  }
  t.ok(isHotBackupError(refused, 'ERR_DISK_FULL'))
  t.equal(log.durableTxn, log.lastTxn, 'all that was taken is durable')
  disk.capacityBytes = Number.MAX_SAFE_INTEGER
  clock.move(500)
  for (let turns = 0; log.diskRoom.lack !== null && turns < 100; turns++) await turn()
  await commitEach(log, 200, 100)
  const { lastTxn } = log
  await log.close()

  // Opened on a full disk it can be read; closed on one, what waits is not waited for.
  disk.capacityBytes = disk.usedBytes
  const again = await openHistory({ disk, clock, segmentBytes: 65_536 })
  t.equal(again.lastTxn, lastTxn)
  disk.failNext('write', 'ENOSPC', (await listSegments(disk, logDirectory)).at(-1)!.path)
  commit(again, ['a', '1'])
  const waiting = failure(again.synced(), 'ERR_STOPPED')
  for (let turns = 0; again.diskRoom.lack === null && turns < 100; turns++) await turn()
  disk.failNext('write', 'ENOSPC')
  await failure(again.close(), 'ERR_STOPPED')
  t.ok(isHotBackupError((await waiting).cause, 'ERR_DISK_FULL'))
})

t.test('what is committed while something is given up for room is written behind that', async t => {
  const [disk, clock] = [new MemoryDisk(), new HandClock()]
  const log = await openHistory({ disk, clock, segmentBytes: 8192 })
  disk.capacityBytes = disk.usedBytes + 100
  let givenUp = 0
  log.spare = {
    any: true,
    giveUp: async () => {
      // The log looks for something to do while the history goes.
      await turn()
      await turn()
      // At first all of the history is needed: so the next segment is not made ahead.
      if (givenUp++ === 0) return false
      disk.capacityBytes = Number.MAX_SAFE_INTEGER
      return true
    },
  }
  for (let i = 0; i < 200; i++) {
    const records = log.begin()
    log.ensureMapped(1, attributes)
    records.writeItem(1, `${log.lastTxn}`, 'v'.repeat(100))
    log.checkRoom()
    log.commit()
    let durable = false
    void log.synced().then(() => {
      durable = true
    })
    for (let turns = 0; !durable && turns < 100; turns++) await turn()
    if (!durable) {
      t.fail(`transaction ${log.lastTxn} is never written`)
      break
    }
  }
  t.ok(givenUp > 1)
  await log.close()
})

t.test('a new segment waits for room, whatever it is that finds none', async t => {
  const steps = [
    ['open', 'next.tmp'],
    ['write', 'next.tmp'],
    ['rename', 'next.tmp'],
  ] as const
  for (const [operation, name] of steps) {
    const [disk, clock] = [new MemoryDisk(), new HandClock()]
    const log = await openHistory({ disk, clock, segmentBytes: 65_536 })
    const written = await commitEach(log, 3)
    disk.failNext(operation, 'ENOSPC', `${logDirectory}/${name}`)
    // Of the zeros ahead of need, which is no harm, and of the header.
    if (operation === 'write') disk.failNext(operation, 'ENOSPC', `${logDirectory}/${name}`)
    const beginning = log.beginTimeline({ ...identity, timeline: 2 })
    for (let turns = 0; log.diskRoom.lack === null && turns < 100; turns++) await turn()
    if (log.diskRoom.lack === null) t.fail(`${operation} did not fail`)
    clock.move(500)
    await beginning
    await turn()
    written.push(...(await commitEach(log, 3)))
    await log.close()
    disk.crash()
    t.strictSame(await readAll(disk), written, operation)
  }
  // A sync that fails is final, for want of room as well.
  const disk = new MemoryDisk()
  const log = await openHistory({ disk })
  disk.failNext('sync', 'ENOSPC', segmentPath(1))
  commit(log, ['a', '1'])
  await failure(log.synced(), 'ERR_STOPPED')
  await log.close()
})

t.test('a failure of the disk is final', async t => {
  for (const operation of ['write', 'sync'] as const) {
    const disk = new MemoryDisk()
    const log = await openHistory({ disk })
    await commitEach(log, 2)
    disk.failNext(operation, 'EIO', segmentPath(1))
    commit(log, ['lost', ''])
    const error = await failure(log.synced(), 'ERR_STOPPED')
    t.ok(isHotBackupError(error.cause, 'ERR_DISK'))
    t.equal(error.place.path, segmentPath(1))
    t.throws(() => log.begin(), { code: 'ERR_STOPPED', cause: error.cause as Error })
    t.equal(log.failed, error)
    await failure(log.synced(), 'ERR_STOPPED')
    await failure(log.durable(), 'ERR_STOPPED')
    await failure(log.drained(), 'ERR_STOPPED')
    t.equal(log.durableTxn, 2)
    await log.close()
    t.equal((await readDurableMark(disk, logDirectory))?.txn, 2)
  }

  const stopped = await openHistory({ disk: new MemoryDisk() })
  commit(stopped, ['a', '1'])
  const waiting = stopped.synced()
  const lost = new HotBackupError('ERR_LOCK_LOST', 'the lock is lost')
  stopped.fail(lost)
  t.equal((await failure(waiting, 'ERR_STOPPED')).cause, lost)
  await stopped.close()
  t.equal(stopped.durableTxn, 0, 'nothing is written any more')

  // Another process may own the log by now: what a sync under way has finished is not published.
  const disk = new MemoryDisk()
  const late = await openHistory({ disk, segmentBytes: 1 * MiB })
  commit(late, ['a', 'v'.repeat(100_000)])
  disk.before = operation => {
    if (operation === 'sync') late.fail(lost)
  }
  await failure(late.synced(), 'ERR_STOPPED')
  await late.close()
  t.equal(await readDurableMark(disk, logDirectory), null)

  const closing = new MemoryDisk()
  const last = await openHistory({ disk: closing })
  commit(last, ['a', '1'])
  closing.failNext('sync')
  await failure(last.close(), 'ERR_STOPPED')
})

t.test('the next segment is made ahead, and found again', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, segmentBytes: 4096 })
  while ((log.durableMark?.offset ?? 0) < 3000) await commitEach(log, 1)
  await turn()
  const next = `${logDirectory}/next.tmp`
  t.equal(disk.contents(next).length, 8192)
  await log.close()
  let made = 0
  disk.before = (operation, path) => {
    if (operation === 'write' && path === next) made++
  }
  const again = await openHistory({ disk, segmentBytes: 4096 })
  await commitEach(again, 12)
  t.equal(again.segments().length, 2)
  t.equal(made, 1, 'only its header was written')
  await again.close()
  disk.before = null

  // What the process before has left is used only if it is zeros.
  await disk.remove(next)
  const file = await disk.open(next, 'create')
  await file.write(Buffer.alloc(8192, 'rubbish'), 0, 8192, 0)
  await file.close()
  const third = await openHistory({ disk, segmentBytes: 4096 })
  const count = third.segments().length
  while (third.segments().length === count) await commitEach(third, 1)
  const last = third.segments().at(-1)!
  t.ok(
    disk
      .contents(last.path)
      .subarray(last.bytes)
      .every(byte => byte === 0),
  )
  await third.close()

  // Half-made, it is not left behind.
  const half = new MemoryDisk()
  const large = await openHistory({ disk: half, segmentBytes: 16 * MiB })
  commit(large, ['a', 'v'.repeat(9 * MiB)])
  await large.synced()
  await large.close()
  const left = (await half.exists(next)) ? half.contents(next).length : null
  t.ok(left === null || left === 17 * MiB, `${left}`)
})

t.test('on a real disk, with more than fits a turn', async t => {
  const directory = await fs.mkdtemp(join(tmpdir(), 'hb-log-'))
  t.teardown(() => fs.rm(directory, { recursive: true }))
  const log = await openHistory({
    disk: nodeDisk,
    clock: nodeClock,
    directory,
    segmentBytes: 1 * MiB,
  })
  const written: string[] = []
  for (let i = 0; i < 20_000; i++) {
    written.push(commit(log, [`item-${i}`, 'v'.repeat(200)]))
    if (i % 3000 === 0) await log.synced()
    else if (i % 1000 === 0) await turn()
  }
  await log.close()
  t.equal(log.durableTxn, 20_000)
  const again = await openHistory({ disk: nodeDisk, clock: nodeClock, directory })
  t.equal(again.recovery.foundTxns, 0)
  await again.close()
  const found = await readAll(nodeDisk, directory)
  t.ok(found.length === written.length && found.every((shown, i) => shown === written[i]))
  const report = await verifyLog(nodeDisk, directory)
  t.strictSame([report.fault, report.transactions], [null, 20_000])
})
