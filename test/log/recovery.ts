// Recovery: the table is complete, each damage gets its decision, and no crash at any step loses what was durable.
import * as fc from 'fast-check'
import t from 'tap'
import { isHotBackupError, type ErrorCode } from '../../src/errors.ts'
import { recoveryRows, rowMatches, type TailFault } from '../../src/log/recovery-table.ts'
import { decodeDurableMark, encodeDurableMark } from '../../src/log/durable.ts'
import { decodeSegmentHeader, encodeSegmentHeader, segmentName } from '../../src/log/segment.ts'
import { verifyLog } from '../../src/log/verify.ts'
import type { LogOptions } from '../../src/log/options.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import {
  attributes,
  commit,
  commitEach,
  failure,
  identity,
  logDirectory,
  openHistory,
  openLog,
  readAll,
  seeded,
  show,
} from '../helpers/log-samples.ts'
import { BlockChain } from '../../src/log/chain.ts'
import { scrubLog } from '../../src/log/scrub.ts'
import { SegmentScan } from '../../src/log/scan.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { runs } from '../helpers/long-form.ts'

const segmentPath = (firstTxn: number) => `${logDirectory}/${segmentName(firstTxn)}`
const durablePath = `${logDirectory}/durable`
const large: Partial<LogOptions> = { segmentBytes: 1024 * 1024 }

t.test('exactly one row of the table matches every combination', async t => {
  const faults: TailFault[] = ['nothing', 'torn', 'foreign', 'newer']
  const used = new Set<string>()
  for (const fault of faults) {
    for (let bits = 0; bits < 16; bits++) {
      const [last, promised, published, known] = [1, 2, 4, 8].map(bit => (bits & bit) !== 0) as [
        boolean,
        boolean,
        boolean,
        boolean,
      ]
      const rows = recoveryRows.filter(row =>
        rowMatches(row, { fault, last, promised, published, known }),
      )
      t.equal(rows.length, 1, `${fault} ${bits}`)
      const { label, decision } = rows[0]!
      used.add(label)
      // The promise of the whole thing: what anybody was told is durable is never cut off.
      if (decision === 'cut' || decision === 'clean') t.notOk(promised || published || known, label)
      if (decision === 'cut') t.ok(last && fault === 'torn', label)
    }
  }
  t.equal(used.size, recoveryRows.length, 'and each row is used')
})

/** Ten blocks in one segment, and log/durable as it was after `published` of them. */
interface Sample {
  readonly disk: MemoryDisk
  readonly written: string[]
  /** Where each block starts, and where the last one ends. */
  readonly offsets: number[]
}

async function sample(published: number, setting: Partial<LogOptions> = large): Promise<Sample> {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, ...setting })
  const offsets: number[] = []
  const written: string[] = []
  let mark: Buffer = Buffer.alloc(0)
  for (let i = 1; i <= 10; i++) {
    offsets.push(log.durableMark?.offset ?? 96)
    written.push(...(await commitEach(log, 1, setting === large ? 20 : 200)))
    if (i === published) mark = disk.contents(durablePath)
  }
  offsets.push(log.durableMark?.offset ?? 0)
  await log.close()
  disk.overwrite(durablePath, 0, mark)
  return { disk, written, offsets }
}

interface Damage {
  readonly name: string
  readonly published: number
  readonly setting?: Partial<LogOptions>
  readonly damage: (sample: Sample) => unknown
  /** Transactions that are left, or the error. */
  readonly expected: number | ErrorCode
  /** What verification says: it does not know of other bounds than the log's own. */
  readonly verified: 'torn' | 'corrupt' | 'clean' | ErrorCode
}

const flip =
  (block: number, byte = 80) =>
  ({ disk, offsets }: Sample) => {
    const at = offsets[block - 1]! + byte
    const old = disk.contents(segmentPath(1))[at]!
    disk.overwrite(segmentPath(1), at, Uint8Array.of(old ^ 0x40))
  }

const cutTo = async ({ disk }: Sample, firstTxn: number, length: number) => {
  const file = await disk.open(segmentPath(firstTxn), 'write')
  await file.truncate(length)
  await file.sync()
  await file.close()
}

const damages: readonly Damage[] = [
  { name: 'none', published: 10, damage: () => {}, expected: 10, verified: 'clean' },
  {
    name: 'log/durable is behind',
    published: 4,
    damage: () => {},
    expected: 10,
    verified: 'clean',
  },
  {
    name: 'the last block is torn (I)',
    published: 9,
    damage: flip(10),
    expected: 9,
    verified: 'torn',
  },
  {
    name: 'the file ends within the last block',
    published: 9,
    damage: s => cutTo(s, 1, s.offsets[10]! - 4),
    expected: 9,
    verified: 'torn',
  },
  {
    name: 'the file ends within the last header',
    published: 9,
    damage: s => cutTo(s, 1, s.offsets[9]! + 30),
    expected: 9,
    verified: 'torn',
  },
  {
    name: 'the header of the last block was never written, the rest was',
    published: 9,
    damage: s => s.disk.overwrite(segmentPath(1), s.offsets[9]!, Buffer.alloc(72)),
    expected: 9,
    verified: 'torn',
  },
  {
    name: 'below a later promise (E)',
    published: 5,
    damage: flip(8),
    expected: 'ERR_LOG_CORRUPT',
    verified: 'corrupt',
  },
  {
    name: 'the last promise but one says nothing of the block before',
    published: 5,
    damage: async s => {
      // Block 10 promises 9; without it, block 9 promises 8.
      await cutTo(s, 1, s.offsets[9]!)
      flip(9)(s)
    },
    expected: 8,
    verified: 'torn',
  },
  {
    name: 'below a later promise, on a slave: it is its master’s (I)',
    published: 5,
    setting: { ...large, ownPromises: false },
    damage: flip(8),
    expected: 7,
    verified: 'torn',
  },
  {
    name: 'a later block that was written in the same flush promises nothing',
    published: 10,
    damage: async s => {
      const log = await openLog({ disk: s.disk, ...large })
      const { offset } = log.durableMark!
      const mark = s.disk.contents(durablePath)
      commit(log, ['in', 'one'])
      log.cut()
      commit(log, ['flush', 'both'])
      await log.close()
      s.disk.overwrite(durablePath, 0, mark)
      s.disk.overwrite(segmentPath(1), offset + 80, Uint8Array.of(0xff))
    },
    expected: 10,
    verified: 'torn',
  },
  {
    name: 'bytes in an item that look like a later block with a promise',
    published: 9,
    damage: s => {
      const forged = s.disk.contents(segmentPath(1)).subarray(s.offsets[8], s.offsets[8]! + 72)
      forged.writeUInt32LE(72, 8)
      forged.writeUInt32LE(20, 24)
      forged.writeUInt32LE(15, 40)
      forged.writeUInt32LE(0, 68)
      s.disk.overwrite(segmentPath(1), s.offsets[10]! + 8, forged)
      flip(10)(s)
    },
    expected: 9,
    verified: 'torn',
  },
  {
    name: 'below log/durable (F)',
    published: 10,
    damage: flip(10),
    expected: 'ERR_LOG_CORRUPT',
    verified: 'corrupt',
  },
  {
    name: 'the log ends below log/durable (F)',
    published: 10,
    damage: s => cutTo(s, 1, s.offsets[9]!),
    expected: 'ERR_LOG_CORRUPT',
    verified: 'corrupt',
  },
  {
    name: 'below what a slave holds (G)',
    published: 8,
    setting: { ...large, knownDurableTxn: 10 },
    damage: flip(10),
    expected: 'ERR_LOG_CORRUPT',
    verified: 'torn',
  },
  {
    name: 'the log ends below what the database holds (G)',
    published: 10,
    setting: { ...large, knownDurableTxn: 11 },
    damage: () => {},
    expected: 'ERR_LOG_CORRUPT',
    verified: 'clean',
  },
  {
    name: 'log/durable is gone',
    published: 10,
    damage: s => s.disk.remove(durablePath),
    expected: 10,
    verified: 'clean',
  },
  {
    name: 'log/durable is damaged',
    published: 10,
    damage: s => s.disk.overwrite(durablePath, 16, Uint8Array.of(77)),
    expected: 10,
    verified: 'corrupt',
  },
  {
    name: 'log/durable names another block',
    published: 10,
    damage: async s => {
      const bytes = s.disk.contents(durablePath)
      const mark = decodeDurableMark(bytes)!
      s.disk.overwrite(
        durablePath,
        0,
        encodeDurableMark({ ...mark, chain: (mark.chain ^ 1) >>> 0 }),
      )
    },
    expected: 'ERR_LOG_CORRUPT',
    verified: 'corrupt',
  },
  {
    name: 'every segment is gone',
    published: 10,
    damage: s => s.disk.remove(segmentPath(1)),
    expected: 'ERR_LOG_CORRUPT',
    verified: 'corrupt',
  },
  {
    name: 'the segment header is damaged',
    published: 10,
    damage: s => s.disk.overwrite(segmentPath(1), 20, Uint8Array.of(1)),
    expected: 'ERR_LOG_CORRUPT',
    verified: 'corrupt',
  },
  {
    name: 'the segment header is damaged, and no bound is known',
    published: 10,
    damage: async s => {
      await s.disk.remove(durablePath)
      s.disk.overwrite(segmentPath(1), 20, Uint8Array.of(1))
    },
    expected: 'ERR_LOG_CORRUPT',
    verified: 'corrupt',
  },
  {
    name: 'a later version of the format',
    published: 10,
    damage: s => s.disk.overwrite(segmentPath(1), 8, Uint8Array.of(2)),
    expected: 'ERR_LOG_VERSION',
    verified: 'ERR_LOG_VERSION',
  },
  {
    name: 'a next segment whose header is torn',
    published: 10,
    damage: s => s.disk.open(segmentPath(11), 'create').then(file => file.close()),
    expected: 10,
    verified: 'torn',
  },
  {
    name: 'a next segment of another history (B)',
    published: 10,
    damage: async s => {
      const bytes = s.disk.contents(segmentPath(1)).subarray(0, 96)
      const header = decodeSegmentHeader(bytes, '')
      const file = await s.disk.open(segmentPath(11), 'create')
      await file.write(encodeSegmentHeader({ ...header, firstTxn: 11, chain: 5 }), 0, 96, 0)
    },
    expected: 'ERR_LOG_CORRUPT',
    verified: 'corrupt',
  },
  {
    name: 'a next.tmp with rubbish',
    published: 10,
    damage: async s => {
      const file = await s.disk.open(`${logDirectory}/next.tmp`, 'create')
      await file.write(Buffer.alloc(5000, 'rubbish'), 0, 5000, 0)
    },
    expected: 10,
    verified: 'clean',
  },
]

/** Breaks, proves broken, recovers, appends again, reads again. */
t.test('each damage has its decision', async t => {
  for (const { name, published, setting = large, damage, expected, verified } of damages) {
    await t.test(name, async t => {
      const broken = await sample(published, large)
      await damage(broken)
      const { disk, written } = broken
      const ownPromises = setting.ownPromises ?? true
      const found = await verifyLog(disk, logDirectory, { ownPromises }).then(
        ({ fault }) => (fault === null ? 'clean' : fault.torn ? 'torn' : 'corrupt'),
        (error: unknown) => (isHotBackupError(error) ? error.code : 'other'),
      )
      t.equal(found, verified)

      if (typeof expected === 'string') {
        const before = disk.usedBytes
        const error = await failure(openLog({ disk, ...setting }), expected)
        t.ok(error.place.path, error.message)
        t.equal(disk.usedBytes, before, 'nothing was changed')
        return
      }
      const size = disk.contents(segmentPath(1)).length
      const log = await openLog({ disk, ...setting })
      t.equal(log.lastTxn, expected)
      t.equal(log.durableTxn, expected)
      const { cutBytes, tornPaths } = log.recovery
      t.equal(cutBytes > 0, verified === 'torn' && !name.includes('header is torn'))
      for (const path of tornPaths) t.ok(disk.contents(path).length <= size)
      const kept = written.slice(0, expected)
      t.strictSame(await readAll(disk), kept)
      const more = await commitEach(log, 3)
      await log.close()
      disk.crash()
      const again = await openLog({ disk, ...large })
      t.equal(again.recovery.cutBytes, 0)
      t.strictSame(await readAll(disk), [...kept, ...more])
      await again.close()
      t.equal((await verifyLog(disk, logDirectory)).fault, null)
    })
  }
})

t.test('earlier segments were durable before the next was made', async t => {
  const small: Partial<LogOptions> = { segmentBytes: 1024 }
  const cases: { name: string; damage: (s: Sample, segments: number[]) => unknown }[] = [
    { name: 'a flipped byte (D)', damage: flip(2) },
    {
      name: 'a segment is missing',
      damage: ({ disk }, [, second]) => disk.remove(segmentPath(second!)),
    },
    { name: 'a segment is cut', damage: s => cutTo(s, 1, s.offsets[1]!) },
    {
      name: 'a segment under a wrong name',
      damage: ({ disk }, [, second]) => disk.rename(segmentPath(second!), segmentPath(second! - 1)),
    },
  ]
  for (const { name, damage } of cases) {
    await t.test(name, async t => {
      const broken = await sample(1, small)
      const { disk } = broken
      const log = await openLog({ disk, ...small })
      const segments = log.segments().map(segment => segment.firstTxn)
      t.ok(segments.length > 2, 'three segments or more')
      await log.close()
      const mark = (await sample(1, small)).disk.contents(durablePath)
      disk.overwrite(durablePath, 0, mark)
      await damage(broken, segments)
      t.equal((await verifyLog(disk, logDirectory)).fault?.torn, false)
      await failure(openLog({ disk, ...small }), 'ERR_LOG_CORRUPT')
    })
  }
})

t.test('a torn copy is never written over', async t => {
  const { disk, offsets } = await sample(9)
  const tail = disk.contents(segmentPath(1)).subarray(offsets[9])
  for (let i = 0; i < 3; i++) {
    // The same tail comes back, as if a crash had torn the same block again.
    const torn = Buffer.from(tail)
    torn[100]! ^= 1 + i
    disk.overwrite(segmentPath(1), offsets[9]!, torn.subarray(0, offsets[10]! - offsets[9]!))
    const log = await openLog({ disk, ...large })
    disk.crash()
    const copy = disk.contents(log.recovery.tornPaths[0]!)
    t.ok(copy.length > 0 && torn.indexOf(copy) === 0, 'the copy is durable')
    t.strictSame(log.recovery.tornPaths, [`${segmentPath(1)}.torn${i === 0 ? '' : `.${i}`}`])
    t.equal(log.recovery.cutBytes, offsets[10]! - offsets[9]! - trailingZeros(torn, offsets))
    await log.close().catch(() => {})
  }
})

function trailingZeros(tail: Buffer, offsets: number[]): number {
  let end = offsets[10]! - offsets[9]!
  const length = end
  while (tail[end - 1] === 0) end--
  return length - end
}

t.test('every flipped byte of a segment is noticed, and never read as data', async t => {
  const { disk, written, offsets } = await sample(10)
  const path = segmentPath(1)
  const whole = disk.contents(path).subarray(0, offsets[10])
  const mark = disk.contents(durablePath)
  for (let at = 0; at < whole.length; at++) {
    const was = whole[at]!
    disk.overwrite(path, at, Uint8Array.of(was ^ (1 << (at % 8))))
    const alone = await verifyLog(disk, [path]).catch((error: unknown) => error)
    const noticed =
      isHotBackupError(alone, 'ERR_LOG_VERSION') || (alone as { fault: unknown }).fault
    if (!noticed) t.fail(`byte ${at}: not noticed`)
    const read = await readAll(disk).catch((error: unknown) => error)
    if (!isHotBackupError(read, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION', 'ERR_LOG_GAP')) {
      t.fail(`byte ${at}: read ${String(read)}`)
    }
    const opened = await openLog({ disk, ...large }).catch((error: unknown) => error)
    if (!isHotBackupError(opened, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION'))
      t.fail(`byte ${at}: opened`)
    disk.overwrite(path, at, Uint8Array.of(was))
  }
  t.strictSame(disk.contents(durablePath), mark)
  t.strictSame(await readAll(disk), written, 'and whole again it is read')
})

t.test(
  'a segment that is cut anywhere is torn or ends clean, and keeps what came before',
  async t => {
    const { disk, written, offsets } = await sample(10)
    const whole = disk.contents(segmentPath(1)).subarray(0, offsets[10])
    for (let length = 0; length <= whole.length; length++) {
      const alone = new MemoryDisk()
      await alone.makeDirectory('/d')
      const file = await alone.open('/d/part.log', 'create')
      await file.write(whole, 0, length, 0)
      const report = await verifyLog(alone, ['/d/part.log'])
      const blocks = offsets.filter(offset => offset <= length).length - 1
      const atEnd = offsets.includes(length)
      if (atEnd ? report.fault !== null : report.fault?.torn !== true) t.fail(`length ${length}`)
      if (report.transactions !== Math.max(0, blocks)) t.fail(`length ${length}: transactions`)
      if (length < 96) continue
      const scan = await SegmentScan.open(alone, '/d/part.log')
      scan.enter(new BlockChain({ txn: 0, chain: 0 }))
      const shown: string[] = []
      while (await scan.next()) show(scan, shown)
      if (shown.join() !== written.slice(0, blocks).join()) t.fail(`length ${length}: content`)
    }
  },
)

t.test('what the disk does not give is damage, and never a torn end', async t => {
  const { disk, written, offsets } = await sample(10)
  const path = segmentPath(1)
  const whole = disk.contents(path)
  for (let at = 0; at < offsets[10]!; at += 512) {
    disk.spoil(path, at)
    const error = await failure(openLog({ disk, ...large }), 'ERR_LOG_CORRUPT')
    t.match(error.message, /cannot be read \(EIO\)/)
    const [damage, ...more] = await scrubLog(disk, logDirectory, async () => {})
    t.strictSame(more, [])
    t.match(damage, { path, message: /EIO|cannot read/ })
    disk.repair(path)
  }
  t.ok(disk.contents(path).equals(whole), 'nothing has been cut')
  t.strictSame(await readAll(disk), written, 'and it is read when the disk gives it again')
})

t.test('impossible lengths are never believed', async t => {
  for (const length of [2 ** 31, 2 ** 32 - 8, 0, 71, 73, 129 * 1024 * 1024 + 8]) {
    const { disk, offsets } = await sample(9)
    const field = Buffer.alloc(4)
    field.writeUInt32LE(length)
    disk.overwrite(segmentPath(1), offsets[9]! + 8, field)
    // As if the records filled it.
    field.writeUInt32LE(Math.max(0, length - 72))
    disk.overwrite(segmentPath(1), offsets[9]! + 68, field)
    const { fault } = await verifyLog(disk, logDirectory)
    t.equal(fault?.fault, 'length', String(length))
    const log = await openLog({ disk, ...large })
    t.equal(log.lastTxn, 9)
    await log.close()
  }
})

/** The whole life of a log; every transaction for which synced() resolved goes into `durable`. */
async function life(disk: MemoryDisk, durable: string[], all: string[]): Promise<void> {
  let log: LogWriter | null = null
  for (let opened = 0; opened < 2; opened++) {
    log = await openHistory({ disk, segmentBytes: 1024 })
    for (let i = 0; i < 6; i++) {
      const burst = i % 3 === 0 ? 3 : 1
      for (let n = 0; n < burst; n++) {
        all.push(commit(log, [`a-${log.lastTxn + 1}`, 'x'.repeat(90)], ['b', `${i}`]))
      }
      // Two blocks, and now and then a change of segments, in one flush.
      if (i % 2 === 0) log.cut()
      all.push(commit(log, ['c', 'y'.repeat(i * 100)]))
      await log.synced()
      durable.splice(0, durable.length, ...all)
    }
    await log.close()
  }
}

t.test('a power failure at any step loses nothing that was durable', async t => {
  const steps = await (async () => {
    const disk = new MemoryDisk()
    let count = 0
    disk.before = () => count++
    await life(disk, [], [])
    return count
  })()
  t.ok(steps > 90, `${steps} steps`)
  for (let step = 1; step <= steps; step++) {
    for (const seed of [0, step]) {
      const chance = seeded(seed)
      const keep = seed === 0 ? () => false : () => chance() < 0.5
      const disk = new MemoryDisk()
      const [durable, all]: [string[], string[]] = [[], []]
      let count = 0
      disk.before = () => {
        if (++count === step) disk.crash(keep)
      }
      await life(disk, durable, all).catch((error: unknown) => {
        if (!isHotBackupError(error)) throw error
      })
      // The next recovery is interrupted too, a few steps in.
      let left = step % 23
      disk.before = () => {
        if (left-- === 0) disk.crash(keep)
      }
      await openHistory({ disk, segmentBytes: 1024 }).catch((error: unknown) => {
        if (!isHotBackupError(error, 'ERR_DISK', 'ERR_STOPPED')) throw error
      })
      disk.before = null
      disk.crash()
      const log = await openHistory({ disk, segmentBytes: 1024 })
      const found = await readAll(disk)
      if (
        found.length < durable.length ||
        found.join('\n') !== all.slice(0, found.length).join('\n')
      ) {
        t.fail(`step ${step}, seed ${seed}: ${found.length} of ${durable.length} durable`)
      }
      const more = await commitEach(log, 2)
      await log.close()
      disk.crash()
      t.ok(more.length === 2 && (await verifyLog(disk, logDirectory)).fault === null)
    }
  }
})

t.test('what a failed sync may have lost is written again before it is believed', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, ...large })
  const before = await commitEach(log, 2)
  // The system takes the pages for clean, as Linux does; they are only in its cache.
  disk.failNext('sync', 'EIO', segmentPath(1))
  const lost = commit(log, ['item-3', 'in the cache only'])
  await failure(log.synced(), 'ERR_STOPPED')
  await log.close()
  const again = await openHistory({ disk, ...large })
  t.equal(again.recovery.foundTxns, 1)
  disk.crash()
  t.strictSame(await readAll(disk), [...before, lost])
})

t.test(
  'random histories, crashes and damage: always a whole prefix, never less than durable',
  async t => {
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('commit' as const),
          sizes: fc.array(fc.nat(600), { minLength: 1, maxLength: 4 }),
        }),
      },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('sync' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('abandon' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash' as const), seed: fc.nat() }) },
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 40 }),
        fc.integer({ min: 1024, max: 4096 }),
        async (steps, segmentBytes) => {
          const disk = new MemoryDisk()
          let log = await openHistory({ disk, segmentBytes })
          let [all, durable, removed]: [string[], number, number] = [[], 0, 0]
          const check = async () => {
            const first = log.firstTxn
            const found = await readAll(disk, logDirectory, await positionBefore(disk, first))
            const expected = all.slice(first - 1, first - 1 + found.length)
            if (found.join('\n') !== expected.join('\n')) throw new Error('read something else')
            return first - 1 + found.length
          }
          for (const one of steps) {
            if (one.kind === 'commit') {
              all.push(
                commit(log, ...one.sizes.map((size, i) => [`i${i}`, 'v'.repeat(size)] as const)),
              )
            } else if (one.kind === 'abandon') {
              log.begin().writeItem(1, 'never', 'seen')
              log.ensureMapped(9, attributes)
              log.abandon()
            } else if (one.kind === 'cut') {
              if (log.cut().txn !== all.length) throw new Error('cut is not at the end')
            } else if (one.kind === 'sync') {
              await log.synced()
              durable = all.length
            } else if (one.kind === 'remove') {
              removed = Math.max(removed, Math.floor(durable / 2))
              await log.removeBefore(removed)
            } else {
              if (one.kind === 'reopen') {
                await log.close()
                durable = all.length
              } else {
                const chance = seeded(one.seed)
                disk.crash(() => chance() < 0.5)
              }
              log = await openLog({ disk, segmentBytes })
              const kept = await check()
              if (kept < durable) throw new Error(`${kept} kept, ${durable} were durable`)
              all = all.slice(0, kept)
              durable = kept
            }
          }
          await log.close()
          if ((await check()) !== all.length) throw new Error('the end is missing')
          if ((await verifyLog(disk, logDirectory)).fault !== null) throw new Error('verification')
        },
      ),
      { numRuns: runs(75) },
    )
    t.pass('any history')
  },
)

/** A position at the start of the log, which its first segment's header says. */
async function positionBefore(disk: MemoryDisk, firstTxn: number) {
  const bytes = disk.contents(segmentPath(firstTxn))
  return { txn: firstTxn - 1, chain: bytes.readUInt32LE(56) }
}

t.test('a log without history', async t => {
  const disk = new MemoryDisk()
  await failure(openLog({ disk, knownDurableTxn: 1 }), 'ERR_LOG_CORRUPT')
  const log = await openLog({ disk })
  t.equal(log.identity, null)
  t.strictSame([log.firstTxn, log.lastTxn, log.durableMark], [1, 0, null])
  t.throws(() => log.begin(), TypeError)
  await log.beginHistory(identity)
  t.strictSame(log.identity?.databaseId, identity.databaseId)
  t.throws(() => log.beginHistory(identity), TypeError)
  await log.close()
})
