// Segments that are damaged at random: whatever reads a log comes to an end, with everything, with an error of its own
// or with the place of the damage. Nothing hangs, and no transaction is missing without a word.
import * as fc from 'fast-check'
import t, { type Test } from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import { historyStart, type LogPosition } from '../../src/log/chain.ts'
import { placeOf } from '../../src/log/cut-back.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { extractBehind } from '../../src/log/extract.ts'
import { mendLog } from '../../src/log/mend.ts'
import { readPiece } from '../../src/log/pieces.ts'
import { LogReader } from '../../src/log/reader.ts'
import { recoverLog } from '../../src/log/recovery.ts'
import { scrubLog } from '../../src/log/scrub.ts'
import { segmentFiles } from '../../src/log/segments.ts'
import { verifyLog } from '../../src/log/verify.ts'
import { logEnd } from '../../src/log/log-end.ts'
import { dumpFiles, dumpLog } from '../../src/report/log-dump.ts'
import {
  commit,
  identity,
  logDirectory,
  openHistory,
  readAll,
  show,
} from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { runs } from '../helpers/long-form.ts'

/** A whole pass takes some hundred operations; a loop that makes no progress takes any number. */
const operationsMax = 5000

interface Sample {
  readonly disk: MemoryDisk
  readonly written: readonly string[]
  readonly positions: readonly LogPosition[]
}

/** Blocks of one to three transactions, in segments of 1 KiB, the last one of them open. */
async function sample(): Promise<Sample> {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, segmentBytes: 1024 })
  const written: string[] = []
  const positions: LogPosition[] = [historyStart]
  for (let block = 0; block < 14; block++) {
    const count = 1 + (block % 3)
    for (let i = 0; i < count; i++) {
      written.push(commit(log, [`i${block}-${i}`, 'v'.repeat(20 + 40 * (block % 4))]))
    }
    await log.synced()
    positions.push(log.position)
  }
  await log.close()
  return { disk, written, positions }
}

const sound = await sample()

/** The same log on a disk of its own. */
async function another(): Promise<Sample> {
  const disk = new MemoryDisk()
  await disk.makeDirectory(logDirectory)
  for (const { name } of await sound.disk.list(logDirectory)) {
    const bytes = sound.disk.contents(`${logDirectory}/${name}`)
    const file = await disk.open(`${logDirectory}/${name}`, 'create')
    await file.write(bytes, 0, bytes.length, 0)
    await file.sync()
    await file.close()
  }
  await disk.syncDirectory(logDirectory)
  return { ...sound, disk }
}

type Mutation =
  | { readonly kind: 'zero' | 'flip'; readonly from: number; readonly length: number }
  | { readonly kind: 'cut'; readonly to: number }
  | { readonly kind: 'unreadable'; readonly at: number }
  | { readonly kind: 'directory' | 'missing' }

/** Places are parts of a segment; the edges of header and blocks come often, by the whole numbers. */
const place = fc.oneof(
  fc.constantFrom(0, 4, 12, 48, 95, 96, 100, 104, 112, 120, 168, 200),
  fc.double({ min: 0, max: 1, noNaN: true }),
)
const length = fc.oneof(
  fc.constantFrom(1, 8, 72, 104, 512, 4096),
  fc.integer({ min: 1, max: 2000 }),
)
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('zero' as const), from: place, length }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('flip' as const),
      from: place,
      length: fc.constant(1),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('cut' as const), to: place }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('unreadable' as const), at: place }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('missing' as const) }) },
)

const offsetIn = (size: number, at: number) => Math.min(size, at < 1 ? Math.floor(at * size) : at)

async function mutate(disk: MemoryDisk, path: string, change: Mutation): Promise<void> {
  const bytes = disk.contents(path)
  if (change.kind === 'zero' || change.kind === 'flip') {
    const from = offsetIn(bytes.length, change.from)
    const part = Buffer.from(bytes.subarray(from, from + change.length))
    for (let i = 0; i < part.length; i++) part[i] = change.kind === 'zero' ? 0 : part[i]! ^ 0x10
    disk.overwrite(path, from, part)
  } else if (change.kind === 'cut') {
    const file = await disk.open(path, 'write')
    await file.truncate(offsetIn(bytes.length, change.to))
    await file.sync()
    await file.close()
  } else if (change.kind === 'unreadable') {
    disk.spoil(path, offsetIn(bytes.length, change.at))
  } else {
    await disk.remove(path)
  }
}

/** Lets `work` end within so many operations of the disk. */
async function bounded<T>(disk: MemoryDisk, work: () => Promise<T>): Promise<T> {
  let operations = 0
  disk.before = () => {
    if (++operations > operationsMax) throw new Error('it makes no progress')
  }
  try {
    return await work()
  } finally {
    disk.before = null
  }
}

/** What `work` gives, or the error; anything but an error of the log is a failure. */
async function outcome<T>(disk: MemoryDisk, work: () => Promise<T>): Promise<T | HotBackupError> {
  try {
    return await bounded(disk, work)
  } catch (error) {
    if (error instanceof HotBackupError && error.code.startsWith('ERR_LOG_')) return error
    throw error
  }
}

/** What a reader gives before it ends, and the error that it ends with. */
async function readBehind(disk: MemoryDisk, from: LogPosition) {
  const found: string[] = []
  const mark = await readDurableMark(disk, logDirectory)
  const error = await outcome(disk, async () => {
    const reader = await LogReader.open(disk, logDirectory, from, { readBytes: 1 })
    try {
      for (let run = await reader.next(mark!); run !== null; run = await reader.next(mark!)) {
        show(run, found)
      }
    } finally {
      await reader.close()
    }
    return null
  })
  return { found: found.filter(line => Number.parseInt(line) > from.txn), error }
}

async function dumped(disk: MemoryDisk, to: number, paths: readonly string[] | null) {
  const pieces: Buffer[] = []
  const options = { from: 1, to, account: null, file: null, json: true, form: null }
  const sink = async (bytes: Uint8Array) => void pieces.push(Buffer.from(bytes))
  const error = await outcome(disk, async () => {
    if (paths === null) await dumpLog(disk, logDirectory, options, sink)
    else await dumpFiles(disk, paths, options, sink)
    return null
  })
  const txns = new Set<number>()
  for (const line of Buffer.concat(pieces).toString().split('\n')) {
    if (line !== '') txns.add((JSON.parse(line) as { txn: number }).txn)
  }
  return { txns: [...txns], error }
}

/** Throws when a consumer hangs, fails with anything but its own error, or leaves something out in silence. */
async function check(segment: number, changes: readonly Mutation[]): Promise<void> {
  const { disk, written, positions } = await another()
  const files = await segmentFiles(disk, logDirectory)
  const { path } = files[segment % files.length]!
  for (const change of changes) {
    if (await disk.exists(path)) await mutate(disk, path, change)
  }
  const prefix = (found: readonly string[], of: readonly string[], what: string) => {
    if (found.join() !== of.slice(0, found.length).join()) throw new Error(`${what}: other data`)
  }
  // Readers, from everywhere: replay, shipper and recovery of the database are no others.
  let whole = true
  for (const from of positions) {
    const wanted = written.slice(from.txn)
    const { found, error } = await readBehind(disk, from)
    prefix(found, wanted, 'reader')
    if (error === null && found.length !== wanted.length) throw new Error('reader: too few')
    if (
      error !== null &&
      !['ERR_LOG_CORRUPT', 'ERR_LOG_REMOVED', 'ERR_LOG_VERSION'].includes(error.code)
    )
      throw error
    if (from.txn === 0) whole = error === null
  }
  // Dump, as far as it is asked for.
  const { length } = written
  for (const to of [3, 9, length]) {
    const { txns, error } = await dumped(disk, to, null)
    const gone = error === null && txns.length !== to && !(segment % files.length === 0)
    if (gone) throw new Error(`dump to ${to}: ${txns.length}`)
  }
  for (const file of files) {
    if (await disk.exists(file.path)) await dumped(disk, Number.MAX_SAFE_INTEGER, [file.path])
  }
  // Verification and scrubbing find it.
  const report = await outcome(disk, () => verifyLog(disk, logDirectory))
  const clean = !(report instanceof HotBackupError) && report.fault === null
  if (clean && report.lastTxn !== length) throw new Error('verify: something is missing')
  const damages = await outcome(disk, () => scrubLog(disk, logDirectory, async () => {}))
  const quiet = !(damages instanceof HotBackupError) && damages.length === 0
  const oldest = segment % files.length === 0 && !(await disk.exists(path))
  if (!whole && !oldest && clean) throw new Error('verify says nothing')
  if (!whole && !oldest && quiet) throw new Error('scrub says nothing')
  if (whole && !quiet) throw new Error(`scrub says ${JSON.stringify(damages)}`)
  await outcome(disk, () => logEnd(disk, logDirectory))
  const fork = positions[3]!
  await outcome(disk, () => placeOf(disk, logDirectory, fork))
  const extract = await outcome(disk, () => extractBehind(disk, logDirectory, fork, '/server/x'))
  if (!(extract instanceof HotBackupError) && extract !== length)
    throw new Error('extract: too few')
  // A peer that is whole gives everything back, and recovery then has nothing to do.
  const bounds = { knownDurableTxn: 0, ownPromises: true }
  const recovered = await outcome(disk, () => recoverLog(disk, logDirectory, bounds))
  if (!(recovered instanceof HotBackupError) && recovered.report.lastTxn < length) {
    throw new Error('recovery: something is missing')
  }
  const source = {
    read: (segmentFirstTxn: number, offset: number, length: number) => {
      const { databaseId } = identity
      return readPiece(sound.disk, logDirectory, { databaseId, segmentFirstTxn, offset, length })
    },
  }
  const mended = await outcome(disk, () =>
    mendLog(disk, logDirectory, { ...bounds, sealedOnly: false }, source),
  )
  if (mended instanceof HotBackupError) {
    // What cannot be read behind the last block may have been durable, and no peer holds it.
    const open = path === files.at(-1)!.path
    if (open && changes.some(({ kind }) => kind === 'unreadable')) return
    throw mended
  }
  if (oldest) return // It may have been removed: it is not missed.
  if ((await readAll(disk)).join() !== written.join()) throw new Error('mend: not everything')
  // Behind the last block there may be what recovery takes for a torn end.
  const { fault } = await verifyLog(disk, logDirectory)
  if (fault !== null && !fault.torn) throw new Error('mend: a fault is left')
}

t.test('the first block header of a sealed segment is zero', async t => {
  for (const change of [
    { kind: 'zero', from: 96, length: 104 },
    { kind: 'cut', to: 96 },
    { kind: 'cut', to: 0 },
  ] as const) {
    const { disk } = await another()
    const files = await segmentFiles(disk, logDirectory)
    await mutate(disk, files[1]!.path, change)
    const { error } = await readBehind(disk, historyStart)
    t.match(error, { code: 'ERR_LOG_CORRUPT', place: { path: files[1]!.path } })
    await check(1, [change])
  }
})

t.test('transactions are missing at the end of a sealed segment', async t => {
  const { disk } = await another()
  const [first, second] = await segmentFiles(disk, logDirectory)
  const end = disk.contents(first!.path).length
  await mutate(disk, first!.path, { kind: 'zero', from: 400, length: end })
  const { error } = await readBehind(disk, historyStart)
  t.match(
    error,
    { code: 'ERR_LOG_CORRUPT', place: { path: first!.path } },
    'the damaged one is named',
  )
  const before = await dumped(disk, second!.firstTxn - 1, null)
  t.match(before.error, { code: 'ERR_LOG_CORRUPT' }, 'also where only these are asked for')
})

t.test('a changed CRC of the block before the start is damage, not another history', async t => {
  const { disk, positions } = await another()
  const [first] = await segmentFiles(disk, logDirectory)
  disk.overwrite(first!.path, 96 + 4, Buffer.of(1, 2, 3, 4))
  const { error } = await readBehind(disk, positions[1]!)
  t.match(error, { code: 'ERR_LOG_CORRUPT', place: { path: first!.path, offset: 96 } })
})

const random = (t: Test, title: string, changes: fc.Arbitrary<Mutation[]>) =>
  t.test(title, async () => {
    const property = fc.asyncProperty(fc.nat(20), changes, check)
    await fc.assert(property, { numRuns: runs(120) })
  })

void random(t, 'one change anywhere', fc.tuple(mutation))
void random(t, 'several changes', fc.array(mutation, { minLength: 2, maxLength: 4 }))
