// The backlog of a slave as status shows it: transactions, the time that they cover, and how long the disk lasts.
import t from 'tap'
import { listSegments } from '../../src/log/segments.ts'
import { measureBacklog } from '../../src/report/backlog.ts'
import { commitEach, HandClock, logDirectory, openHistory } from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

t.test('what is stored and not applied', async t => {
  const disk = new MemoryDisk()
  const clock = new HandClock()
  const log = await openHistory({ disk, clock })
  const backlog = async (appliedTxn: number) =>
    measureBacklog(
      { disk, clock },
      logDirectory,
      await listSegments(disk, logDirectory),
      log.durableMark,
      appliedTxn,
    )
  t.strictSame(await backlog(0), {
    transactions: 0,
    bytes: 0,
    seconds: 0,
    secondsToDiskFull: null,
  })
  for (let i = 0; i < 40; i++) {
    clock.move(1000)
    await commitEach(log, 1, 100)
  }
  const segments = await listSegments(disk, logDirectory)
  t.ok(segments.length > 3)
  const all = await backlog(0)
  const bytes = segments.reduce((sum, segment) => sum + segment.bytes, 0)
  t.match(all, { transactions: 40, bytes, seconds: 39 })
  const rate = bytes / 40
  const expected = (await disk.freeBytes()) / rate
  t.ok(Math.abs(all.secondsToDiskFull! - expected) < expected * 0.01 + 1, 'as long as it lasts')
  const half = await backlog(20)
  t.match(half, { transactions: 20, seconds: 19 })
  t.ok(Math.abs(half.bytes - bytes / 2) < 2048)
  t.match(await backlog(40), { transactions: 0, bytes: 0, seconds: 0 })
  // Nothing has come for a day: what is left lasts longer.
  clock.move(86_400_000)
  t.ok((await backlog(20)).secondsToDiskFull! > 100 * all.secondsToDiskFull!)
  await log.removeBefore(30)
  t.match(await backlog(20), { transactions: 20 })
  await log.close()
})
