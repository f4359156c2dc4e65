// A damaged log is repaired with the bytes of a peer, and only with bytes that belong there: whatever is broken,
// wherever, the segments are the peer's in the end, or nothing has changed.
import t, { type Test } from 'tap'
import { readDurableMark } from '../../src/log/durable.ts'
import { repairLog, type RepairOptions, type PieceSource } from '../../src/log/repair.ts'
import { readPiece } from '../../src/log/pieces.ts'
import { segmentName } from '../../src/log/segment.ts'
import { segmentFiles } from '../../src/log/segments.ts'
import { verifyLog } from '../../src/log/verify.ts'
import {
  commitEach,
  failure,
  identity,
  logDirectory,
  openHistory,
  openLog,
  readAll,
  seeded,
} from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { long } from '../helpers/long-form.ts'

const count = 16
const options: RepairOptions = { knownDurableTxn: count, ownPromises: false, sealedOnly: false }
const pathOf = (firstTxn: number) => `${logDirectory}/${segmentName(firstTxn)}`

interface Sample {
  readonly disk: MemoryDisk
  readonly written: readonly string[]
  /** First transactions of the segments. */
  readonly segments: readonly number[]
}

/** The same bytes each time: 24 transactions in segments of 1 KiB, or all in one. */
async function sample(segmentBytes = 1024, history = identity, itemBytes = 150): Promise<Sample> {
  const disk = new MemoryDisk()
  const log = await openLog({ disk, segmentBytes })
  await log.beginHistory(history)
  const written = await commitEach(log, count, itemBytes)
  await log.close()
  const segments = (await segmentFiles(disk, logDirectory)).map(file => file.firstTxn)
  return { disk, written, segments }
}

function peer({ disk }: Sample, databaseId = identity.databaseId): PieceSource & { bytes: number } {
  const source = {
    bytes: 0,
    async read(segmentFirstTxn: number, offset: number, length: number) {
      const question = { databaseId, segmentFirstTxn, offset, length }
      const piece = await readPiece(disk, logDirectory, question)
      source.bytes += piece?.length ?? 0
      return piece
    },
  }
  return source
}

/** Where the blocks of a segment start, and where the last one ends. */
function blocksOf({ disk }: Sample, firstTxn: number): number[] {
  const bytes = disk.contents(pathOf(firstTxn))
  const offsets = [96]
  for (let at = 96; at + 72 <= bytes.length && bytes.readUInt32LE(at) === 0x4b424248;) {
    at += bytes.readUInt32LE(at + 8)
    offsets.push(at)
  }
  return offsets
}

async function cutTo(disk: MemoryDisk, firstTxn: number, length: number): Promise<void> {
  const file = await disk.open(pathOf(firstTxn), 'write')
  await file.truncate(length)
  await file.sync()
  await file.close()
}

function flip({ disk }: Sample, firstTxn: number, offset: number): void {
  const old = disk.contents(pathOf(firstTxn))[offset]!
  disk.overwrite(pathOf(firstTxn), offset, Uint8Array.of(old ^ 0x10))
}

/** What is done to a segment; `blocks` as in blocksOf. */
type Damage = (sample: Sample, firstTxn: number, blocks: number[]) => unknown

const damages: Readonly<Record<string, Damage>> = {
  'the magic of the segment': (s, first) => flip(s, first, 0),
  'the version of the segment': (s, first) => flip(s, first, 8),
  'the lineage in the segment header': (s, first) => flip(s, first, 35),
  'the magic of the first block': (s, first, blocks) => flip(s, first, blocks[0]!),
  'the CRC of the first block': (s, first, blocks) => flip(s, first, blocks[0]! + 4),
  'the length of a block in the middle': (s, first, blocks) => flip(s, first, blocks[1]! + 9),
  'the chain of the last block': (s, first, blocks) => flip(s, first, blocks.at(-2)! + 16),
  'the promise of a block': (s, first, blocks) => flip(s, first, blocks[1]! + 40),
  'the body of the first block': (s, first, blocks) => flip(s, first, blocks[0]! + 90),
  'the body of the last block': (s, first, blocks) => flip(s, first, blocks.at(-2)! + 90),
  'header and body at once': (s, first, blocks) => {
    flip(s, first, 50)
    flip(s, first, blocks[1]! + 80)
  },
  'a sector of zeros': (s, first) => s.disk.overwrite(pathOf(first), 256, Buffer.alloc(512)),
  'rubbish all over': (s, first) => {
    const size = s.disk.contents(pathOf(first)).length
    s.disk.overwrite(pathOf(first), 0, Buffer.alloc(size, 'rubbish'))
  },
  'cut within a block': (s, first, blocks) => cutTo(s.disk, first, blocks[1]! + 20),
  'cut between blocks': (s, first, blocks) => cutTo(s.disk, first, blocks[1]!),
  'cut to nothing': (s, first) => cutTo(s.disk, first, 0),
}

async function segmentBytes({ disk, segments }: Sample, last: number): Promise<readonly string[]> {
  const mark = (await readDurableMark(disk, logDirectory))!
  return segments.map(first => {
    const bytes = disk.contents(pathOf(first))
    return bytes.toString('base64', 0, first === last ? mark.offset : bytes.length)
  })
}

/** Breaks, proves it broken, repairs, reads, appends, reads again. */
async function breakAndRepair(
  t: Test,
  size: number,
  damage: (broken: Sample) => unknown,
  damaged: number,
  itemBytes = 150,
): Promise<void> {
  const broken = await sample(size, identity, itemBytes)
  const whole = await sample(size, identity, itemBytes)
  await damage(broken)
  const { disk } = broken
  const { fault } = await verifyLog(disk, logDirectory, { ownPromises: false }).catch(
    (error: unknown) => ({ fault: error }),
  )
  t.ok(fault, 'it is broken')
  const source = peer(whole)
  const repaired = await repairLog(disk, logDirectory, options, source)
  t.equal(repaired.length, damaged)
  disk.crash()
  const last = whole.segments.at(-1)!
  t.strictSame(await segmentBytes(broken, last), await segmentBytes(whole, last))
  for (const { kept } of repaired) if (kept !== null) t.ok(await disk.exists(kept), 'it is kept')
  // What nobody was told of may be rubbish: recovery cuts it off.
  t.not((await verifyLog(disk, logDirectory, { ownPromises: false })).fault?.torn, false)
  t.strictSame(
    await repairLog(disk, logDirectory, options, source),
    [],
    'nothing is left to repair',
  )
  t.strictSame(await readAll(disk), whole.written)
  const log = await openHistory({ disk, segmentBytes: size, knownDurableTxn: count })
  const more = await commitEach(log, 3)
  await log.close()
  t.strictSame(await readAll(disk), [...whole.written, ...more])
}

t.test('whatever is damaged, in whichever segment', async t => {
  const { segments } = await sample()
  t.ok(segments.length >= 4, 'first, last, and some in between')
  const places = { first: 0, second: 1, last: segments.length - 1 }
  for (const [name, damage] of Object.entries(damages)) {
    await t.test(name, async t => {
      for (const index of Object.values(places)) {
        const first = segments[index]!
        const hurt = (broken: Sample) => damage(broken, first, blocksOf(broken, first))
        await breakAndRepair(t, 1024, hurt, 1)
      }
      await breakAndRepair(t, 1 << 20, broken => damage(broken, 1, blocksOf(broken, 1)), 1)
    })
  }
})

t.test('sectors that the disk does not give', async t => {
  const spoils: Readonly<Record<string, (blocks: number[]) => readonly number[]>> = {
    'the header': () => [0],
    'a block': blocks => [blocks.at(-2)! + 600],
    'two places': blocks => [100, blocks.at(-2)! + 3000],
  }
  const [size, itemBytes] = [40_000, 8000]
  const { segments } = await sample(size, identity, itemBytes)
  t.ok(segments.length >= 4, 'first, last, and some in between')
  for (const [name, offsets] of Object.entries(spoils)) {
    await t.test(name, async t => {
      for (const first of [segments[0]!, segments[1]!, segments.at(-1)!]) {
        const hurt = (broken: Sample) => {
          for (const offset of offsets(blocksOf(broken, first))) {
            broken.disk.spoil(pathOf(first), offset)
          }
        }
        await breakAndRepair(t, size, hurt, 1, itemBytes)
      }
    })
  }
})

t.test('more than one segment', async t => {
  const { segments } = await sample()
  const [, second, third] = segments as [number, number, number]
  const last = segments.at(-1)!
  const rows: Record<string, readonly [number, Damage]> = {
    'the same in two, next to each other': [
      2,
      s => {
        flip(s, second, 120)
        flip(s, third, 60)
      },
    ],
    'each one': [segments.length, s => segments.forEach(first => flip(s, first, 200))],
    'one is missing': [1, s => s.disk.remove(pathOf(second))],
    'two are missing': [
      2,
      async s => {
        await s.disk.remove(pathOf(second))
        await s.disk.remove(pathOf(third))
      },
    ],
    'the last one is missing': [1, s => s.disk.remove(pathOf(last))],
    'one is missing, the one before is cut': [
      2,
      async s => {
        await s.disk.remove(pathOf(third))
        await cutTo(s.disk, second, 150)
      },
    ],
    'something behind the last block': [
      1,
      s =>
        s.disk.overwrite(
          pathOf(second),
          s.disk.contents(pathOf(second)).length,
          Buffer.from('more'),
        ),
    ],
  }
  for (const [name, [damaged, damage]] of Object.entries(rows)) {
    await t.test(name, t => breakAndRepair(t, 1024, broken => damage(broken, 0, []), damaged))
  }
})

/** Nothing has changed, and nothing is left lying about. */
async function refused(t: Test, broken: Sample, source: PieceSource, why: RegExp): Promise<void> {
  const { disk } = broken
  const names = await disk.list(logDirectory)
  const before = names.map(({ name }) => disk.contents(`${logDirectory}/${name}`).toString('hex'))
  const error = await failure(repairLog(disk, logDirectory, options, source), 'ERR_LOG_CORRUPT')
  t.match(error.message, why)
  t.strictSame(await disk.list(logDirectory), names)
  const after = names.map(({ name }) => disk.contents(`${logDirectory}/${name}`).toString('hex'))
  t.strictSame(after, before)
}

t.test('a peer that cannot help changes nothing', async t => {
  const { segments } = await sample()
  const [, second, third] = segments as [number, number, number]
  await t.test('it is damaged at the same place', async t => {
    const [broken, other] = [await sample(), await sample()]
    for (const each of [broken, other]) flip(each, third, 200)
    await refused(t, broken, peer(other), /does not belong there: the block does not have the CRC/)
  })
  await t.test('its disk does not give it either', async t => {
    const [broken, other] = [await sample(), await sample()]
    for (const each of [broken, other]) each.disk.spoil(pathOf(third), 200)
    await refused(t, broken, peer(other), /the peer does not hold it/)
  })
  await t.test('it is damaged behind what it has given for another segment', async t => {
    const [broken, other] = [await sample(), await sample()]
    flip(broken, second, 200)
    for (const each of [broken, other]) flip(each, third, 200)
    await refused(t, broken, peer(other), /does not belong there/)
  })
  await t.test('it has another history of the same database', async t => {
    const broken = await sample()
    const other = await sample(1024, { ...identity, lineageId: new Uint8Array(16).fill(0x22) })
    flip(broken, third, 200)
    await refused(t, broken, peer(other), /does not belong there/)
  })
  await t.test('it has another history, and the header is damaged: it leads nowhere', async t => {
    const broken = await sample()
    const other = await sample(1024, { ...identity, lineageId: new Uint8Array(16).fill(0x22) })
    flip(broken, segments.at(-1)!, 20)
    await refused(t, broken, peer(other), /another history|cannot follow/)
  })
  await t.test('it has another database', async t => {
    const broken = await sample()
    const other = await sample(1024, { ...identity, databaseId: new Uint8Array(16).fill(0x22) })
    flip(broken, third, 200)
    await refused(t, broken, peer(other), /the peer does not hold it/)
  })
  await t.test('it is behind', async t => {
    const broken = await sample()
    const disk = new MemoryDisk()
    const log = await openHistory({ disk, segmentBytes: 1024 })
    await commitEach(log, 5, 150)
    await log.close()
    flip(broken, segments.at(-1)!, 120)
    await refused(t, broken, peer({ ...broken, disk }), /the peer does not hold it/)
  })
  await t.test('its connection breaks', async t => {
    const broken = await sample()
    flip(broken, second, 200)
    flip(broken, third, 200)
    const whole = peer(await sample())
    const breaking: PieceSource = {
      read: (first, offset, length) =>
        first === third ? Promise.reject(new Error('cut')) : whole.read(first, offset, length),
    }
    await t.rejects(repairLog(broken.disk, logDirectory, options, breaking), /cut/)
    t.notOk((await broken.disk.list(logDirectory)).some(({ name }) => name.endsWith('.repair')))
  })
})

t.test('only what is damaged is asked for', async t => {
  const [broken, whole] = [await sample(1 << 20), peer(await sample(1 << 20))]
  flip(broken, 1, blocksOf(broken, 1)[3]! + 80)
  const [repaired] = await repairLog(broken.disk, logDirectory, options, whole)
  const [from, to] = blocksOf(broken, 1).slice(3, 5) as [number, number]
  t.match(repaired, { offset: from, txn: 4, bytes: to - from })
})

t.test('a torn end is left to recovery', async t => {
  const broken = await sample()
  const log = await openLog({ disk: broken.disk, segmentBytes: 1024 })
  const mark = broken.disk.contents(`${logDirectory}/durable`)
  await commitEach(log, 1, 150)
  const { offset, segmentFirstTxn } = log.durableMark!
  await log.close()
  broken.disk.overwrite(`${logDirectory}/durable`, 0, mark)
  flip(broken, segmentFirstTxn, offset - 20)
  flip(broken, broken.segments[1]!, 200)
  const tail = broken.disk.contents(pathOf(segmentFirstTxn))
  const repaired = await repairLog(broken.disk, logDirectory, options, peer(await sample()))
  t.equal(repaired.length, 1)
  t.ok(broken.disk.contents(pathOf(segmentFirstTxn)).equals(tail))
  const recovered = await openLog({ disk: broken.disk, segmentBytes: 1024 })
  t.equal(recovered.lastTxn, count)
  await recovered.close()
})

t.test('what the disk does not give may have been durable: it is never a torn end', async t => {
  const known = 12
  /** Log/durable names the first 12 transactions, of `last`. */
  const long = async (last: number, itemBytes = 3000): Promise<Sample> => {
    const disk = new MemoryDisk()
    const log = await openLog({ disk, segmentBytes: 1 << 23 })
    await log.beginHistory(identity)
    const written = await commitEach(log, known, itemBytes)
    await log.close()
    const mark = disk.contents(`${logDirectory}/durable`)
    const again = await openLog({ disk, segmentBytes: 1 << 23 })
    written.push(...(await commitEach(again, last - known, itemBytes)))
    await again.close()
    disk.overwrite(`${logDirectory}/durable`, 0, mark)
    return { disk, written, segments: [1] }
  }
  const bounds = { ...options, knownDurableTxn: 0 }
  const [broken, whole] = [await long(16), await long(16)]
  const end = blocksOf(broken, 1)[known]!
  for (const offset of [end - 1, end + 600, end + 5000]) broken.disk.spoil(pathOf(1), offset)

  const source = peer(await long(known))
  const before = broken.disk.contents(pathOf(1))
  const error = await failure(
    repairLog(broken.disk, logDirectory, bounds, source),
    'ERR_LOG_CORRUPT',
  )
  t.match(error.message, /transaction 13: damaged, and the peer does not hold it/)
  t.ok(broken.disk.contents(pathOf(1)).equals(before), 'nothing has changed')

  // A peer that has been given the rest has a mark that says so.
  const log = await openLog({ disk: whole.disk, segmentBytes: 1 << 20 })
  await log.close()
  t.equal((await repairLog(broken.disk, logDirectory, bounds, peer(whole))).length, 1)
  const recovered = await openLog({ disk: broken.disk, segmentBytes: 1 << 20 })
  t.equal(recovered.lastTxn, 16)
  await recovered.close()
  t.strictSame(await readAll(broken.disk), whole.written)

  // Behind a torn end, too far away to be met before the segment is copied.
  const far = await long(16, 300_000)
  const blocks = blocksOf(far, 1)
  flip(far, 1, blocks[3]! + 100)
  flip(far, 1, blocks[known]! + 100)
  far.disk.spoil(pathOf(1), blocks[16]! - 1)
  const some = peer(await long(known, 300_000))
  await failure(repairLog(far.disk, logDirectory, bounds, some), 'ERR_LOG_CORRUPT')
  far.disk.repair(pathOf(1))
  t.equal((await repairLog(far.disk, logDirectory, bounds, some)).length, 1, 'else it is torn')
})

t.test('on a master a later promise counts as well', async t => {
  const broken = await sample(1 << 20)
  const [, , , , , fifth] = blocksOf(broken, 1)
  await broken.disk.remove(`${logDirectory}/durable`)
  flip(broken, 1, fifth! + 80)
  await failure(openLog({ disk: broken.disk }), 'ERR_LOG_CORRUPT')
  const own = { ...options, knownDurableTxn: 0, ownPromises: true }
  const repaired = await repairLog(broken.disk, logDirectory, own, peer(await sample(1 << 20)))
  t.equal(repaired.length, 1)
  t.strictSame(await readAll(broken.disk), [])
  const log = await openLog({ disk: broken.disk })
  t.equal(log.lastTxn, count)
  await log.close()
})

t.test('while a server writes the last segment, that is left alone', async t => {
  const [broken, whole] = [await sample(), await sample()]
  const [, second] = broken.segments
  const last = broken.segments.at(-1)!
  flip(broken, second!, 200)
  const log = await openLog({ disk: broken.disk, segmentBytes: 1024 })
  const sealed = { ...options, sealedOnly: true }
  flip(broken, last, 120)
  t.equal((await repairLog(broken.disk, logDirectory, sealed, peer(whole))).length, 1)
  flip(broken, last, 120)
  const more = await commitEach(log, 5)
  await log.close()
  t.strictSame(await readAll(broken.disk), [...whole.written, ...more])
})

t.test('a power failure at any moment leaves a log that can be repaired', async t => {
  const random = seeded(7)
  const whole = await sample()
  const last = whole.segments.at(-1)!
  const step = long ? 1 : 4
  for (let at = 1, finished = false; !finished; at += step) {
    const broken = await sample()
    for (const first of broken.segments.slice(0, 2)) flip(broken, first, 200)
    await broken.disk.syncDirectory(logDirectory)
    let operations = 0
    broken.disk.before = () => {
      if (++operations === at) broken.disk.crash(() => random() < 0.5)
    }
    finished = await repairLog(broken.disk, logDirectory, options, peer(whole)).then(
      () => operations < at,
      () => false,
    )
    broken.disk.before = null
    await repairLog(broken.disk, logDirectory, options, peer(whole))
    t.strictSame(await segmentBytes(broken, last), await segmentBytes(whole, last), `at ${at}`)
    t.notOk((await broken.disk.list(logDirectory)).some(({ name }) => name.endsWith('.repair')))
  }
})
