// Segments that are damaged at random: whatever reads a log comes to an end, with everything, with an error of its own
// or with the place of the damage. Nothing hangs, and no transaction is missing without a word.
import * as fc from 'fast-check'
import t, { type Test } from 'tap'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import { isNotFound } from '../../src/platform/disk.ts'
import type { Database } from '../../src/database/database.ts'
import { replayLog } from '../../src/database/replay.ts'
import { checkMissing, missingTransactions } from '../../src/failover/missing-segment.ts'
import { BlockChain, historyStart, type LogPosition } from '../../src/log/chain.ts'
import { placeOf } from '../../src/log/cut-back.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { extractBehind } from '../../src/log/extract.ts'
import { repairLog } from '../../src/log/repair.ts'
import { readPiece } from '../../src/log/pieces.ts'
import { LogReader } from '../../src/log/reader.ts'
import { recoverLog } from '../../src/log/recovery.ts'
import { scrubLog } from '../../src/log/scrub.ts'
import { timeOfTransaction } from '../../src/log/locate.ts'
import { listSegments, segmentFiles } from '../../src/log/segments.ts'
import { verifyLog } from '../../src/log/verify.ts'
import { logEnd } from '../../src/log/log-end.ts'
import { dumpFiles, dumpLog } from '../../src/report/log-dump.ts'
import { lastInTime } from '../../src/replay/replay-limit.ts'
import { outlineTransaction } from '../../src/replay/transaction-outline.ts'
import { itemHistory } from '../../src/report/history.ts'
import { OwnLog } from '../../src/ship/own-log.ts'
import { checkBrought } from '../../src/slave/brought-segments.ts'
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
  | { readonly kind: 'missing' | 'duplicate' | 'swap' }

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
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom('missing' as const, 'duplicate', 'swap') }),
  },
)

const offsetIn = (size: number, at: number) => Math.min(size, at < 1 ? Math.floor(at * size) : at)

async function put(disk: MemoryDisk, path: string, bytes: Uint8Array): Promise<void> {
  const file = await disk.open(path, 'write')
  await file.truncate(0)
  await file.write(bytes, 0, bytes.length, 0)
  await file.sync()
  await file.close()
}

/** `other`: another segment. */
async function mutate(
  disk: MemoryDisk,
  path: string,
  other: string,
  change: Mutation,
): Promise<void> {
  const bytes = Buffer.from(disk.contents(path))
  if (change.kind === 'zero' || change.kind === 'flip') {
    const from = offsetIn(bytes.length, change.from)
    const part = Buffer.from(bytes.subarray(from, from + change.length))
    for (let i = 0; i < part.length; i++) part[i] = change.kind === 'zero' ? 0 : part[i]! ^ 0x10
    disk.overwrite(path, from, part)
  } else if (change.kind === 'cut') {
    await put(disk, path, bytes.subarray(0, offsetIn(bytes.length, change.to)))
  } else if (change.kind === 'duplicate' || change.kind === 'swap') {
    if (!(await disk.exists(other))) return
    const others = Buffer.from(disk.contents(other))
    if (change.kind === 'swap') await put(disk, other, bytes)
    await put(disk, path, others)
  } else if (change.kind === 'unreadable') {
    disk.spoil(path, offsetIn(bytes.length, change.at))
  } else {
    await disk.remove(path)
  }
}

interface Vanishing {
  readonly path: string
  readonly after: number
}

/** Lets `work` end within so many operations of the disk. A file may vanish meanwhile. */
async function bounded<T>(
  disk: MemoryDisk,
  work: () => Promise<T>,
  vanishing: Vanishing | null = null,
): Promise<T> {
  let operations = 0
  disk.before = () => {
    if (++operations > operationsMax) throw new Error('it makes no progress')
    if (operations === vanishing?.after) disk.vanish(vanishing.path)
  }
  try {
    return await work()
  } finally {
    disk.before = null
  }
}

/** What `work` gives, or the error; anything but an error of the log is a failure. */
async function outcome<T>(
  disk: MemoryDisk,
  work: () => Promise<T>,
  vanishing: Vanishing | null = null,
): Promise<T | HotBackupError> {
  try {
    return await bounded(disk, work, vanishing)
  } catch (error) {
    if (error instanceof HotBackupError && error.code.startsWith('ERR_LOG_')) return error
    // The oldest segment is gone, which looks like one that was removed.
    if (isHotBackupError(error, 'ERR_LINK_SEED')) return error
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

/** Applies nothing: what the replay reads is what counts. */
function databaseAt(stamp: LogPosition, applied: number[]): Database {
  const database = {
    stamp,
    appliedTxn: stamp.txn,
    preload: () => Promise.resolve(),
    noteReplayed: () => {},
    apply: (_bytes: Uint8Array, _start: number, _end: number, txn: number) => applied.push(txn),
  }
  return database as unknown as Database
}

const welcomeAt = (position: LogPosition) => ({
  position,
  serverName: 'south',
  databaseId: identity.databaseId,
  lineageId: identity.lineageId,
  timeline: identity.timeline,
})

/** Whatever else reads a log, each by itself. It ends, and with an error of the log if with any. */
const others: Readonly<Record<string, (disk: MemoryDisk) => Promise<unknown>>> = {
  replay: async disk => {
    const mark = await readDurableMark(disk, logDirectory)
    const applied: number[] = []
    if (mark !== null) {
      await replayLog(disk, logDirectory, databaseAt(historyStart, applied), mark)
      if (applied.length !== mark.txn) throw new Error(`replay: ${applied.length}`)
    }
  },
  shipper: async disk => {
    const mark = await readDurableMark(disk, logDirectory)
    if (mark === null) return
    const log = new OwnLog(disk, logDirectory)
    await log.describe(mark)
    await log.history(mark)
    const reader = await log.locate(welcomeAt(sound.positions[4]!) as never, mark)
    try {
      while ((await reader.next(mark)) !== null);
    } finally {
      await reader.close()
    }
  },
  history: async disk => {
    const question = { account: 'SALES', file: 'ORDERS', id: Buffer.from('i3-0') }
    const options = { ...question, json: true, form: null }
    const { damage } = await itemHistory(disk, logDirectory, options, async () => {})
    if (damage !== null) throw damage
  },
  'until a time': async disk => {
    const mark = await readDurableMark(disk, logDirectory)
    await lastInTime(disk, logDirectory, databaseAt(historyStart, []), mark, Infinity)
  },
  outlines: async disk => {
    for (const { path, firstTxn } of await segmentFiles(disk, logDirectory)) {
      await outlineTransaction(disk, path, firstTxn + 1)
    }
  },
  times: async disk => {
    for (const { path, firstTxn } of await segmentFiles(disk, logDirectory)) {
      await timeOfTransaction(disk, path, firstTxn + 1)
    }
  },
  list: disk => listSegments(disk, logDirectory),
  'brought segments': async disk => {
    if ((await segmentFiles(disk, logDirectory)).length === 0) return
    await checkBrought(disk, [logDirectory], { identity: null, position: historyStart })
  },
  'missing updates': async disk => {
    for (const { path } of await segmentFiles(disk, logDirectory)) {
      await checkMissing(disk, path)
      for await (const _ of missingTransactions(disk, path)) void _
    }
  },
  reader: async disk => void (await readAll(disk)),
  dump: async disk => {
    const options = { from: 1, to: Number.MAX_SAFE_INTEGER, account: null, file: null, form: null }
    await dumpLog(disk, logDirectory, { ...options, json: false }, async () => {})
  },
  verify: async disk => void (await verifyLog(disk, logDirectory)),
  scrub: async disk => void (await scrubLog(disk, logDirectory, async () => {})),
  end: disk => logEnd(disk, logDirectory),
  place: disk => placeOf(disk, logDirectory, sound.positions[3]!),
  extract: disk => extractBehind(disk, logDirectory, sound.positions[3]!, '/server/other'),
}

/** They read files that are named to them, and not a log. */
const byName = new Set(['brought segments', 'missing updates', 'outlines', 'times'])

/** Throws when a consumer hangs, fails with anything but its own error, or leaves something out in silence. */
async function check(segment: number, changes: readonly Mutation[]): Promise<void> {
  const { disk, written, positions } = await another()
  const files = await segmentFiles(disk, logDirectory)
  const { path } = files[segment % files.length]!
  const other = files[(segment + 2) % files.length]!.path
  for (const change of changes) {
    if (await disk.exists(path)) await mutate(disk, path, other, change)
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
  for (const read of Object.values(others)) await outcome(disk, () => read(disk))
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
  const repaired = await outcome(disk, () =>
    repairLog(disk, logDirectory, { ...bounds, sealedOnly: false }, source),
  )
  if (repaired instanceof HotBackupError) {
    // What cannot be read behind the last block may have been durable, and no peer holds it.
    const open = path === files.at(-1)!.path
    if (open && changes.some(({ kind }) => kind === 'unreadable')) return
    throw repaired
  }
  if (oldest) return // It may have been removed: it is not missed.
  if ((await readAll(disk)).join() !== written.join()) throw new Error('repair: not everything')
  // Behind the last block there may be what recovery takes for a torn end.
  const { fault } = await verifyLog(disk, logDirectory)
  if (fault !== null && !fault.torn) throw new Error('repair: a fault is left')
}

t.test('the first block header of a sealed segment is zero', async t => {
  for (const change of [
    { kind: 'zero', from: 96, length: 104 },
    { kind: 'cut', to: 96 },
    { kind: 'cut', to: 0 },
  ] as const) {
    const { disk } = await another()
    const files = await segmentFiles(disk, logDirectory)
    await mutate(disk, files[1]!.path, files[2]!.path, change)
    const { error } = await readBehind(disk, historyStart)
    t.match(error, { code: 'ERR_LOG_CORRUPT', place: { path: files[1]!.path } })
    await check(1, [change])
  }
})

t.test('transactions are missing at the end of a sealed segment', async t => {
  const { disk } = await another()
  const [first, second] = await segmentFiles(disk, logDirectory)
  const end = disk.contents(first!.path).length
  await mutate(disk, first!.path, second!.path, { kind: 'zero', from: 400, length: end })
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

t.test('a segment that vanishes while it is read', async t => {
  const property = fc.asyncProperty(
    fc.constantFrom(...Object.keys(others)),
    fc.nat(20),
    fc.integer({ min: 1, max: 60 }),
    async (name, segment, after) => {
      const { disk } = await another()
      const files = await segmentFiles(disk, logDirectory)
      const { path } = files[segment % files.length]!
      try {
        await outcome(disk, () => others[name]!(disk), { path, after })
      } catch (error) {
        // Of a file that was named, it is said that it is not there.
        const said = isHotBackupError(error, 'ERR_USAGE') || isNotFound(error)
        if (!byName.has(name) || !said) throw error
      }
    },
  )
  await fc.assert(property, { numRuns: runs(240) })
  t.pass('every consumer comes to an end')
})

t.test('a reader that does not move on ends with an error', async t => {
  const accept = Object.getOwnPropertyDescriptor(BlockChain.prototype, 'accept')!
  const { disk } = await another()
  // A defect: the block is accepted, and the chain stays where it is.
  Object.defineProperty(BlockChain.prototype, 'accept', { ...accept, value: () => null })
  try {
    for (const [name, read] of Object.entries(others)) {
      const error = await outcome(disk, () => read(disk))
      const reads = !['times', 'list', 'scrub'].includes(name)
      if (reads)
        t.match(error, { code: 'ERR_LOG_CORRUPT', message: /does not get beyond byte/ }, name)
    }
  } finally {
    Object.defineProperty(BlockChain.prototype, 'accept', accept)
  }
})

const random = (t: Test, title: string, changes: fc.Arbitrary<Mutation[]>) =>
  t.test(title, async () => {
    const property = fc.asyncProperty(fc.nat(20), changes, check)
    await fc.assert(property, { numRuns: runs(120) })
  })

void random(t, 'one change anywhere', fc.tuple(mutation))
void random(t, 'several changes', fc.array(mutation, { minLength: 2, maxLength: 4 }))
