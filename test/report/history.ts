// The history of an item: all that the log says about it and nothing else, with the place where it begins; and of a
// damaged log everything that can still be read, with the places that cannot.
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { hashId } from '../../src/database/hash.ts'
import { segmentFiles } from '../../src/log/segments.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import { itemHistory, type HistoryOptions, type HistoryReport } from '../../src/report/history.ts'
import { holds } from '../helpers/database-history.ts'
import { HandClock, identity, logDirectory, openHistory } from '../helpers/log-samples.ts'
import { runs } from '../helpers/long-form.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

interface Shown {
  readonly txn?: number
  readonly time?: string
  readonly type: string
  readonly value?: string
  readonly message?: string
}

const question: HistoryOptions = {
  account: 'A',
  file: 'F',
  id: Buffer.from('x'),
  json: true,
  form: null,
}

async function asked(
  disk: MemoryDisk,
  options: Partial<HistoryOptions> = {},
): Promise<HistoryReport & { readonly text: string }> {
  const pieces: Buffer[] = []
  const sink = async (bytes: Uint8Array) => void pieces.push(Buffer.from(bytes))
  const report = await itemHistory(disk, logDirectory, { ...question, ...options }, sink)
  return { ...report, text: Buffer.concat(pieces).toString() }
}

async function history(disk: MemoryDisk) {
  const { text, ...report } = await asked(disk)
  const lines = text.split('\n').filter(line => line !== '')
  return { ...report, lines: lines.map(line => JSON.parse(line) as Shown) }
}

type Step =
  | { readonly act: 'write' | 'delete'; readonly file: string; readonly id: string }
  | { readonly act: 'clear' | 'drop' | 'resize' | 'group'; readonly file: string }
  | { readonly act: 'drop account'; readonly account: string }

const file = fc.constantFrom('A F', 'A F', 'A G', 'B F')
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      act: fc.constantFrom('write' as const, 'write', 'delete'),
      file,
      id: fc.constantFrom('x', 'x', 'y', 'xx'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      act: fc.constantFrom('clear' as const, 'drop', 'resize', 'group'),
      file,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      act: fc.constant('drop account' as const),
      account: fc.constantFrom('A', 'B'),
    }),
  },
)
/** Of transactions, of which some share a block. */
const transactions = fc.array(
  fc.record({ steps: fc.array(step, { minLength: 1, maxLength: 3 }), alone: fc.boolean() }),
  { minLength: 5, maxLength: 40, size: 'max' },
)

/** A master, as far as its log goes. */
class World {
  readonly disk = new MemoryDisk()
  readonly clock = new HandClock()
  log!: LogWriter
  /** What is to be shown of A F x. */
  readonly expected: Shown[] = []
  readonly #numbers = new Map<string, number>()
  #nextNumber = 1

  static async of(
    given: readonly { steps: readonly Step[]; alone: boolean }[],
    timelines = true,
  ): Promise<World> {
    const world = new World()
    const { disk, clock } = world
    world.log = await openHistory({ disk, clock, segmentBytes: 1024 })
    for (const [index, { steps, alone }] of given.entries()) {
      if (alone) {
        await world.log.synced()
        clock.move(1000)
      }
      for (const one of steps) world.#step(one)
      if (timelines && index % 10 === 9) {
        await world.log.synced()
        const timeline = Math.floor(index / 10) + 2
        const lineageId = new Uint8Array(16).fill(timeline)
        await world.log.beginTimeline({ ...identity, lineageId, timeline })
      }
    }
    await world.log.synced()
    return world
  }

  #shows(txn: number, type: string, value?: string): void {
    const time = new Date(this.clock.now()).toISOString()
    this.expected.push({ txn, time, type, ...(value !== undefined && { value }) })
  }

  #step(step: Step): void {
    const { log } = this
    const records = log.begin()
    const txn = log.lastTxn + 1
    if (step.act === 'drop account') {
      for (const [name, number] of this.#numbers) {
        const [account = '', file = ''] = name.split(' ')
        if (account !== step.account) continue
        log.ensureMapped(number, { account, file, modulo: 3 })
        records.deleteFile(number)
        this.#numbers.delete(name)
        if (name === 'A F') this.#shows(txn, 'delete-file')
      }
      records.deleteAccount(step.account)
      if (step.account === 'A') this.#shows(txn, 'delete-account')
      log.commit()
      return
    }
    const [account = '', file = ''] = step.file.split(' ')
    const attributes = { account, file, modulo: 3 }
    let number = this.#numbers.get(step.file)
    if (number === undefined) {
      number = this.#nextNumber++
      this.#numbers.set(step.file, number)
      records.createFile(number, attributes)
      log.markMapped(number)
    } else log.ensureMapped(number, attributes)
    const mine = step.file === 'A F'
    if (step.act === 'write') {
      const value = `${txn} `.repeat(txn % 40)
      records.writeItem(number, step.id, value)
      if (mine && step.id === 'x') this.#shows(txn, 'write-item', value)
    } else if (step.act === 'delete') {
      records.deleteItem(number, step.id)
      if (mine && step.id === 'x') this.#shows(txn, 'delete-item')
    } else if (step.act === 'clear') {
      records.clearFile(number)
      if (mine) this.#shows(txn, 'clear-file')
    } else if (step.act === 'resize') {
      records.resizeFile(number, 7)
    } else if (step.act === 'group') {
      const hash = hashId(Buffer.from('x'), 0, 1)
      const whole = txn % 2 === 0
      records.clearGroup(number, whole ? hash : hash + 1, whole ? hash + 1 : hash + 2)
      if (mine && whole) this.#shows(txn, 'clear-group')
    } else {
      records.deleteFile(number)
      this.#numbers.delete(step.file)
      if (mine) this.#shows(txn, 'delete-file')
    }
    log.commit()
  }
}

const txnOf = ({ txn = 0 }: Shown) => txn

t.test('all about the item, and nothing else', async t => {
  let shown = 0
  const property = fc.asyncProperty(transactions, fc.nat(3), async (given, removed) => {
    const { disk, log, expected } = await World.of(given)
    const first = log.segments()[removed]?.firstTxn ?? log.firstTxn
    if (first <= log.durableTxn) await log.removeBefore(first)
    const { lines, damage, operations } = await history(disk)
    if (damage !== null) throw damage
    const kept = expected.filter(line => txnOf(line) >= log.firstTxn)
    same(lines, [{ txn: log.firstTxn, type: 'log-start' }, ...kept])
    if (operations !== kept.length) throw new Error(`${operations} operations`)
    shown += operations
    // Also by a log that is closed.
    await log.close()
    same((await history(disk)).lines, lines)
  })
  await holds(t, 'any log', property, 60)
  t.ok(shown > 200, `${shown} operations`)
})

function same(found: readonly Shown[], wanted: readonly Shown[]): void {
  const text = (lines: readonly Shown[]) =>
    lines.map(({ txn, time, type, value }) => JSON.stringify({ txn, time, type, value })).join('\n')
  if (text(found) !== text(wanted)) throw new Error(`${text(found)}\nand not\n${text(wanted)}`)
}

type Damage =
  | { readonly kind: 'zero' | 'flip'; readonly at: number; readonly length: number }
  | { readonly kind: 'cut' | 'unreadable'; readonly at: number }
  | { readonly kind: 'missing' | 'other' | 'swap' | 'no mark' | 'wrong mark' }

const part = fc.double({ min: 0, max: 1, noNaN: true })
const damages: fc.Arbitrary<Damage[]> = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constantFrom('zero' as const, 'flip'),
      at: fc.oneof(fc.constantFrom(0, 50, 95, 96, 100), part),
      length: fc.constantFrom(1, 8, 104, 600),
    }),
    fc.record({ kind: fc.constantFrom('cut' as const, 'unreadable'), at: part }),
    fc.record({
      kind: fc.constantFrom('missing' as const, 'other', 'swap', 'no mark', 'wrong mark'),
    }),
  ),
  { minLength: 1, maxLength: 3 },
)

async function spoil(disk: MemoryDisk, index: number, damage: Damage): Promise<void> {
  const files = await segmentFiles(disk, logDirectory)
  const path = files[index % files.length]!.path
  const neighbour = files[(index + 1) % files.length]!.path
  const bytes = Buffer.from(disk.contents(path))
  const replace = async (path: string, content: Buffer) => {
    const file = await disk.open(path, (await disk.exists(path)) ? 'write' : 'create')
    await file.truncate(0)
    await file.write(content, 0, content.length, 0)
    await file.close()
  }
  const offset =
    'at' in damage ? (damage.at < 1 ? Math.floor(damage.at * bytes.length) : damage.at) : 0
  switch (damage.kind) {
    case 'zero':
    case 'flip': {
      const piece = bytes.subarray(offset, offset + damage.length)
      for (let i = 0; i < piece.length; i++)
        piece[i] = damage.kind === 'zero' ? 0 : piece[i]! ^ 0x40
      disk.overwrite(path, Math.min(offset, bytes.length), piece)
      return
    }
    case 'cut':
      return replace(path, bytes.subarray(0, offset))
    case 'unreadable':
      disk.spoil(path, offset)
      return
    case 'missing':
      return disk.remove(path)
    case 'other':
      return replace(path, Buffer.from(disk.contents(neighbour)))
    case 'swap':
      await replace(path, Buffer.from(disk.contents(neighbour)))
      return replace(neighbour, bytes)
    case 'no mark':
      return disk.remove(`${logDirectory}/durable`)
    case 'wrong mark':
      if (await disk.exists(`${logDirectory}/durable`))
        disk.overwrite(`${logDirectory}/durable`, 20, Buffer.of(7))
  }
}

t.test('of a damaged log the rest is shown, and where it is damaged', async t => {
  let damaged = 0
  let whole = 0
  let kept = 0
  const property = fc.asyncProperty(
    transactions,
    fc.array(fc.tuple(fc.nat(20), damages), { minLength: 1, maxLength: 2 }),
    async (given, spoilt) => {
      const { disk, log, expected } = await World.of(given)
      const first = log.firstTxn
      const last = log.lastTxn
      await log.close()
      for (const [index, changes] of spoilt) {
        for (const change of changes) {
          if ((await segmentFiles(disk, logDirectory)).length > 0) await spoil(disk, index, change)
        }
      }
      let operations = 0
      disk.before = () => {
        if (++operations > 5000) throw new Error('it makes no progress')
      }
      const { lines, damage } = await history(disk)
      disk.before = null
      // Nothing is made up, and all is in order.
      const shown = lines.filter(({ type }) => type !== 'damage' && type !== 'log-start')
      const rest = [...expected]
      for (const line of shown) {
        const text = JSON.stringify(line)
        while (rest.length > 0 && JSON.stringify(rest[0]) !== text) rest.shift()
        if (rest.shift() === undefined) throw new Error(`${text} is not there, or not in order`)
      }
      // What is missing lies behind a place that is named, or before the start.
      const start = lines.find(({ type }) => type === 'log-start')?.txn ?? first
      const named = lines.filter(({ type }) => type === 'damage')
      if ((damage === null) !== (named.length === 0)) throw new Error('a damage is not counted')
      const texts = new Set(shown.map(line => JSON.stringify(line)))
      for (const line of expected) {
        if (texts.has(JSON.stringify(line)) || txnOf(line) < start) continue
        const before = named.filter(({ txn = last + 1 }) => txn <= txnOf(line))
        const behindAll = (await segmentFiles(disk, logDirectory)).length === 0
        if (
          before.length === 0 &&
          !behindAll &&
          !cutAtEnd(spoilt.flatMap(([, changes]) => changes))
        )
          throw new Error(`${JSON.stringify(line)} is missing, and nothing says so`)
      }
      if (damage !== null && damage.code !== 'ERR_LOG_CORRUPT') throw damage
      if (damage !== null) damaged++
      if (damage !== null && shown.length > 0) kept++
      if (damage !== null && shown.length === expected.length) whole++
    },
  )
  await holds(t, 'any damage', property, runs(100))
  t.ok(damaged > 40, `${damaged} were damaged`)
  t.ok(kept > 20, `of ${kept} there was something left`)
  t.ok(whole > 2, `of ${whole} nothing about the item was lost`)
})

/** Without log/durable, a log that is cut is a log that ends there. */
function cutAtEnd(changes: readonly Damage[]): boolean {
  return changes.some(({ kind }) => kind === 'no mark' || kind === 'wrong mark')
}

async function plain(t: Test, count: number): Promise<World> {
  const steps: Step[] = []
  for (let i = 0; i < count; i++) steps.push({ act: 'write', file: 'A F', id: 'x' })
  const given = steps.map(step => ({ steps: [step], alone: true }))
  const world = await World.of(given, false)
  t.teardown(() => world.log.close())
  return world
}

t.test('a damaged block costs its own transactions only', async t => {
  const { disk, expected } = await plain(t, 40)
  const [, second] = await segmentFiles(disk, logDirectory)
  // Its first block: behind the header, and the block's own.
  disk.overwrite(second!.path, 96 + 72 + 40, Buffer.of(1, 2, 3))
  const { lines, damage } = await history(disk)
  const lost = second!.firstTxn
  t.match(lines, [
    { type: 'log-start', txn: 1 },
    ...expected.filter(line => txnOf(line) < lost),
    { type: 'damage', txn: lost, message: /0000\.log|\.log: the block does not have the CRC/ },
    ...expected.filter(line => txnOf(line) > lost),
  ])
  t.match(damage, {
    code: 'ERR_LOG_CORRUPT',
    place: { path: second!.path, offset: 96, txn: lost },
    message: /the history may lack what was written there$/,
  })
})

t.test('a damaged header costs nothing', async t => {
  const { disk, expected } = await plain(t, 40)
  const [first, second] = await segmentFiles(disk, logDirectory)
  for (const path of [first!.path, second!.path]) disk.overwrite(path, 20, Buffer.of(1, 2, 3))
  const { lines, damage } = await history(disk)
  t.strictSame(
    lines.filter(({ type }) => type === 'write-item'),
    expected,
  )
  t.equal(lines.filter(({ type }) => type === 'damage').length, 2)
  t.match(damage, { place: { path: first!.path, offset: 0 }, message: /first of 2 places/ })
})

t.test('segments that are removed while it reads are no damage', async t => {
  const { disk, log, expected } = await plain(t, 30)
  const third = log.segments()[2]!.firstTxn
  let opened = 0
  disk.before = operation => {
    if (operation === 'open' && ++opened === 2) {
      disk.before = null
      void log.removeBefore(third)
    }
  }
  const { lines, damage } = await history(disk)
  t.equal(damage, null)
  t.match(lines.at(-1), expected.at(-1)!)
  const start = lines.findLast(({ type }) => type === 'log-start')!
  const kept = expected.filter(line => txnOf(line) >= start.txn!)
  t.strictSame(lines.slice(lines.indexOf(start) + 1), kept)
})

t.test('for people', async t => {
  const { disk, log, clock } = await plain(t, 2)
  clock.move(1000)
  const records = log.begin()
  log.ensureMapped(1, { account: 'A', file: 'F', modulo: 3 })
  records.writeItem(1, 'x', Buffer.of(0x41, 0xfe, 0x42))
  records.clearFile(1)
  records.writeItem(1, 'x', 'long '.repeat(2000))
  log.commit()
  await log.synced()
  const time = new Date(clock.now()).toISOString()
  const { text } = await asked(disk, { json: false })
  t.match(text, new RegExp(`^ {9}1  [^ ]+  write-item      2 B  "1 "\n`))
  t.match(
    text,
    `         3  ${time}  write-item      3 B  "A\\xfeB"\n         3  ${time}  clear-file\n`,
  )
  t.match(text, /  10,000 B  "(long ?)+[^"]*"…\n$/)
  const marks = await asked(disk, { json: false, form: 'marks' })
  t.match(marks.text, '  3 B  "A^B"\n')
  const whole = await asked(disk, { form: 'hex' })
  t.match(whole.text, '"value":"41fe42"')
  t.match(whole.text, `"value":"${Buffer.from('long '.repeat(2000)).toString('hex')}"`)
  await log.removeBefore(Infinity)
  disk.overwrite(`${logDirectory}/durable`, 20, Buffer.of(1))
  const damaged = await asked(disk, { json: false })
  t.match(damaged.text, /\nDamaged up to the next line: .*durable: it is not valid/)
})
