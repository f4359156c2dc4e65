// Verification of a slave against its master through the log: random histories on two databases, whose layouts differ,
// with holds, checkpoints and crashes; exactly what is damaged is found and repaired.
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { buildGeneration } from '../../src/database/build.ts'
import { type Database } from '../../src/database/database.ts'
import { hashEnd } from '../../src/database/hash.ts'
import { ItemHasher } from '../../src/database/item-hash.ts'
import { isHotBackupError } from '../../src/errors.ts'
import { RecordEncoder } from '../../src/log/record.ts'
import { decodeVerify, encodeVerify, type VerifyRecord } from '../../src/log/verify-record.ts'
import { VerifyMarks } from '../../src/repair/verify-marks.ts'
import { compareWithMaster, type DifferenceAlarm } from '../../src/slave/comparison.ts'
import { Differences } from '../../src/slave/differences.ts'
import type { Difference } from '../../src/wire/messages/differences.ts'
import {
  arbitraryStep,
  checkpoint,
  difference,
  hastyClock,
  History,
  holds,
  idOf,
  openDatabase,
  type Step,
} from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const everything = { longWork: { bytes: 0 } }
const elsewhere = '/server/helpers'
const differencesPath = '/server/differences'

function transaction(encode: (encoder: RecordEncoder) => void): Buffer {
  const encoder = new RecordEncoder(256, 0)
  encode(encoder)
  encoder.endTransaction()
  return Buffer.from(encoder.bytes.subarray(0, encoder.end))
}

/** A database that replays a history, with helpers that work when the test says so. */
class Side {
  readonly disk = new MemoryDisk()
  readonly history: History
  database!: Database

  constructor(history: History) {
    this.history = history
  }

  async open(): Promise<void> {
    this.database = await openDatabase(this.disk, everything)
  }

  replay(): void {
    this.history.replay(this.database)
  }

  async act(act: 'checkpoint' | 'crash' | 'help' | 'drain'): Promise<void> {
    const { work } = this.database
    if (act === 'checkpoint') await checkpoint(this.database)
    else if (act === 'crash') await this.crash()
    else if (act === 'drain') {
      if (work.draining) work.step(3)
    } else await this.#help()
  }

  async crash(): Promise<void> {
    await this.database.close()
    this.disk.crash()
    await this.open()
    this.replay()
  }

  async #help(): Promise<void> {
    const { work } = this.database
    if (work.checkpointDue) await checkpoint(this.database)
    const job = work.jobs().find(({ kind }) => kind === 'build')
    if (job?.kind !== 'build') return
    await this.disk.makeDirectory(elsewhere)
    for (const { name } of await this.disk.list(elsewhere)) {
      await this.disk.remove(`${elsewhere}/${name}`)
    }
    const order = {
      sourceDirectory: '/server/database',
      source: job.source.state,
      targetDirectory: elsewhere,
      number: job.target.number,
      modulo: job.target.modulo,
      cacheBytes: 1,
    }
    const platform = { disk: this.disk, clock: hastyClock }
    const { path, state } = await buildGeneration(platform, order, () => {})
    await work.adopt(job, path, state)
  }
}

/** Master and slave, and between them the history as a log. */
class Two {
  readonly history = new History()
  readonly master = new Side(this.history)
  readonly slave = new (class extends Side {
    differences!: Differences
    readonly alarms: DifferenceAlarm[] = []

    override async open(): Promise<void> {
      await super.open()
      this.differences = await Differences.open(this.disk, differencesPath, () => {})
      compareWithMaster(this.database, this.differences, hastyClock, alarm => {
        this.alarms.push(alarm)
      })
    }
  })(this.history)
  readonly #log = (bytes: Buffer) => {
    this.history.transactions.push(bytes)
    this.master.replay()
    return Promise.resolve(this.history.txn)
  }
  marks!: VerifyMarks

  async open(): Promise<void> {
    this.history.add([
      { type: 'createAccount', account: 0 },
      { type: 'createFile', account: 0, file: 0, modulo: 3 },
      { type: 'createFile', account: 0, file: 1, modulo: 5 },
    ])
    await this.slave.open()
    await this.openMaster()
    this.slave.replay()
  }

  async openMaster(): Promise<void> {
    if (this.master.database === undefined) await this.master.open()
    this.master.replay()
    this.marks = new VerifyMarks(this.master.database, {
      verify: async look => {
        const found = look()
        if (found === null) return null
        const value = encodeVerify(found.record)
        return this.#log(transaction(encoder => encoder.verify(found.fileNumber, value)))
      },
      repair: async (file, ids) => {
        const bytes = transaction(encoder => {
          for (const id of ids) {
            const value = file.read(id)
            if (value === null) encoder.deleteItem(file.number, id)
            else encoder.writeItem(file.number, id, value)
          }
        })
        await this.#log(bytes)
      },
    })
  }

  async pass(between: () => Promise<void> = async () => {}): Promise<void> {
    const begun = await this.marks.files(true)
    for (const file of this.marks.compared()) {
      for (let hash = 0; hash < hashEnd;) {
        hash = (await this.marks.slice(file, hash)).next
        await between()
      }
    }
    await this.marks.end(begun)
    this.slave.replay()
  }

  /** Brings the ranges that are known to be different down to their items. */
  async items(rows: readonly Difference[]): Promise<void> {
    for (const { account, file: name, from, to } of rows) {
      const file = this.master.database.file(account, name)!
      for (let hash = from; hash < to;) hash = (await this.marks.items(file, hash, to)).next
    }
    this.slave.replay()
  }

  async repair(): Promise<void> {
    const rows = this.slave.differences.rows()
    for (const { account, file, id } of rows) {
      await this.marks.repair(this.master.database.file(account, file)!, [id])
    }
    await this.items(rows)
  }

  known(): string[] {
    return this.slave.differences
      .rows()
      .map(({ kind, account, file, id }) => `${kind} ${account} ${file} ${id.toString('latin1')}`)
      .sort()
  }

  /** By looking at every item. */
  actual(): string[] {
    const found: string[] = []
    for (const { account, name, file } of this.history.files()) {
      const here = this.slave.database.file(account, name)!
      const note = (kind: string, id: string) => found.push(`${kind} ${account} ${name} ${id}`)
      for (const [id, value] of file.items) {
        const own = here.read(Buffer.from(id, 'latin1'))
        if (own === null) note('missing', id)
        else if (!own.equals(value)) note('changed', id)
      }
      here.scan(0, Infinity, id => {
        if (!file.items.has(id.toString('latin1'))) note('extra', id.toString('latin1'))
      })
    }
    return found.sort()
  }

  async close(): Promise<void> {
    await this.slave.differences.close()
    await this.slave.database.close()
    await this.master.database.close()
  }
}

interface Damage {
  readonly file: number
  readonly id: number
  /** Null deletes, "flip" changes a byte of what is there. */
  readonly value: string | null
}

type Turn =
  | { readonly what: 'updates'; readonly steps: readonly Step[] }
  | { readonly what: 'slice' | 'pass' | 'follow' }
  | {
      readonly what: 'master' | 'slave'
      readonly act: 'checkpoint' | 'crash' | 'help' | 'drain'
    }
  | { readonly what: 'damage'; readonly damage: Damage }

const acts = fc.constantFrom('checkpoint', 'crash', 'help', 'help', 'drain')
const turns = (damage: number): fc.Arbitrary<Turn> =>
  fc.oneof(
    {
      weight: 16,
      arbitrary: fc.record({
        what: fc.constant('updates'),
        steps: fc.array(arbitraryStep, { minLength: 1, maxLength: 4 }),
      }),
    },
    { weight: 6, arbitrary: fc.record({ what: fc.constantFrom('slice', 'slice', 'follow') }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('pass') }) },
    { weight: 5, arbitrary: fc.record({ what: fc.constantFrom('master', 'slave'), act: acts }) },
    {
      weight: damage,
      arbitrary: fc.record({
        what: fc.constant('damage'),
        damage: fc.record({
          file: fc.nat(5),
          id: fc.nat(70),
          value: fc.oneof(fc.option(fc.string({ maxLength: 20 })), fc.constant('flip')),
        }),
      }),
    },
  ) as fc.Arbitrary<Turn>

function spoil({ slave }: Two, { file, id, value }: Damage): void {
  const files = slave.database.accounts().flatMap(account => slave.database.files(account))
  const found = files[file % files.length]
  if (found === undefined) return
  const bytes = Buffer.from(idOf(id), 'latin1')
  const old = found.read(bytes)
  if (value === 'flip' && old !== null && old.length > 0) {
    old[0]! ^= 1
    slave.database.applyAside(transaction(encoder => encoder.writeItem(found.number, bytes, old)))
    return
  }
  slave.database.applyAside(
    transaction(encoder => {
      if (value === null) encoder.deleteItem(found.number, bytes)
      else encoder.writeItem(found.number, bytes, value)
    }),
  )
}

const seen = { slices: 0, found: 0, holds: 0 }

async function play(two: Two, history: readonly Turn[], check: () => void): Promise<void> {
  let place = { file: 0, hash: 0 }
  await two.open()
  for (const turn of history) {
    if (turn.what === 'updates') {
      if (two.history.add(turn.steps) !== null) two.master.replay()
    } else if (turn.what === 'follow') two.slave.replay()
    else if (turn.what === 'pass') await two.pass()
    else if (turn.what === 'damage') spoil(two, turn.damage)
    else if (turn.what === 'slice') {
      const files = two.marks.compared()
      const file = files[place.file % files.length]
      if (file === undefined) continue
      const { next: hash } = await two.marks.slice(file, place.hash)
      place = hash === hashEnd ? { file: place.file + 1, hash: 0 } : { ...place, hash }
      seen.slices++
    } else if ('act' in turn) {
      await two[turn.what].act(turn.act)
      if (turn.what === 'master' && turn.act === 'crash') await two.openMaster()
    }
    seen.holds += Number(two.slave.database.work.holds().length > 0)
    check()
  }
  two.slave.replay()
}

t.test('no history is ever taken for damage', async t => {
  const property = fc.asyncProperty(
    fc.array(turns(0), { maxLength: 120, size: 'max' }),
    async history => {
      const two = new Two()
      await play(two, history, () => {
        if (two.known().length > 0) throw new Error(`differs: ${two.known().join()}`)
      })
      await two.pass()
      const { comparedTxn, pass } = two.slave.differences.status
      if (two.known().length > 0) throw new Error(`differs: ${two.known().join()}`)
      if (comparedTxn !== two.history.txn || pass?.lastTxn !== comparedTxn) throw new Error('pass')
      if (two.slave.alarms.length > 0) throw new Error('an alarm')
      await two.close()
    },
  )
  await holds(t, 'with holds, checkpoints and crashes on both sides', property, 40)
  t.ok(seen.slices > 20 && seen.holds > 20, JSON.stringify(seen))
})

t.test('damage is found, all of it and nothing else, and repaired', async t => {
  const property = fc.asyncProperty(
    fc.array(turns(4), { maxLength: 80, size: 'max' }),
    fc.array(turns(0), { maxLength: 20, size: 'max' }),
    async (history, later) => {
      const two = new Two()
      await play(two, history, () => {})
      await two.pass()
      const actual = two.actual()
      seen.found += actual.length
      if ((actual.length === 0) !== (two.known().length === 0)) throw new Error('not seen')
      if (two.slave.alarms.length === 0 && actual.length > 0) throw new Error('no alarm')
      await two.items(two.slave.differences.rows())
      if (two.known().join('\n') !== actual.join('\n')) {
        throw new Error(`known: ${two.known().join()}; actual: ${actual.join()}`)
      }
      // What is known outlives the process.
      await two.slave.differences.close()
      const again = await Differences.open(two.slave.disk, differencesPath, () => {})
      if (again.rows().length !== actual.length) throw new Error('it was not kept')
      await two.repair()
      if (two.known().length > 0) throw new Error(`left: ${two.known().join()}`)
      const fault = difference(two.slave.database, two.history.model)
      if (fault !== null) throw new Error(fault)
      for (const turn of later) {
        if (turn.what === 'updates' && two.history.add(turn.steps) !== null) two.master.replay()
      }
      await two.pass()
      if (two.known().length > 0) throw new Error('repaired, and different again')
      await two.close()
    },
  )
  await holds(t, 'by range, then by item', property, 60)
  t.ok(seen.found > 10, JSON.stringify(seen))
})

t.test('what is known is bounded, and what finds no room is counted', async t => {
  const two = new Two()
  await two.open()
  const { database } = two.slave
  const [file] = database.files('account0')
  for (let id = 0; id < 1500; id++) {
    const bytes = transaction(encoder => encoder.writeItem(file!.number, `extra${id}`, 'x'))
    database.applyAside(bytes)
  }
  await two.pass()
  t.equal(two.known().length, 1, 'neighbours are one')
  await two.items(two.slave.differences.rows())
  t.match(two.known(), [/^groups/], 'there is no room for all the items')
  await two.close()
})

t.test('accounts and files that only one side has, or otherwise', async t => {
  const two = new Two()
  await two.open()
  const aside = (encode: (encoder: RecordEncoder) => void) =>
    two.slave.database.applyAside(transaction(encode))
  aside(encoder => encoder.createAccount('OTHER'))
  aside(encoder => encoder.createFile(99, { account: 'OTHER', file: 'F', modulo: 1 }))
  const [first, second] = two.slave.database.files('account0')
  aside(encoder => encoder.resizeFile(first!.number, 17))
  aside(encoder => encoder.deleteFile(second!.number))
  two.history.transactions.push(transaction(encoder => encoder.createAccount('EMPTY')))
  two.master.replay()
  two.slave.replay()
  aside(encoder => encoder.deleteAccount('EMPTY'))
  await two.pass()
  t.strictSame(
    two.slave.differences
      .rows()
      .map(({ text }) => text)
      .sort(),
    [
      'account EMPTY is missing',
      'account OTHER is not on the master',
      'file OTHER F is not on the master',
      'file account0 file0 has modulo 17, and 3 on the master',
      'file account0 file1 is missing',
    ],
  )
  t.equal(two.slave.alarms.length, 5)
  await two.pass()
  t.equal(two.slave.alarms.length, 5, 'each is told once')
  aside(encoder => encoder.resizeFile(first!.number, 3))
  await two.pass()
  t.equal(two.slave.differences.rows().length, 4)
  await two.close()
})

t.test('a frame that cannot be read is a difference', async t => {
  const two = new Two()
  await two.open()
  two.history.add([{ type: 'writeItem', file: 0, id: 1, length: 10 }])
  two.master.replay()
  two.slave.replay()
  await checkpoint(two.slave.database)
  await two.slave.database.close()
  const { disk } = two.slave
  for (const { name } of await disk.list('/server/database')) {
    if (!/^[0-9a-f]{8}\./.test(name)) continue
    const file = await disk.open(`/server/database/${name}`, 'write')
    for (let at = 100; at < file.size(); at += 4096) await file.write(Buffer.from('?'), 0, 1, at)
    await file.close()
  }
  await two.slave.open()
  await two.pass()
  t.match(two.slave.differences.rows(), [{ kind: 'unreadable', text: /wrong CRC/ }])
  t.match(two.slave.alarms, [{ file: 'file0', message: /cannot be read/ }])
  await two.close()
})

t.test('the hash is MurmurHash3_x86_128', async t => {
  // The verification of SMHasher: the hash of the hashes of all prefixes of 0, 1, 2 …
  const hasher = new ItemHasher()
  const key = Uint8Array.from({ length: 256 }, (_, index) => index)
  for (const shift of [0, 1]) {
    const bytes = new Uint8Array(256 + shift)
    bytes.set(key, shift)
    const hashes = Buffer.alloc(16 * 256)
    for (let length = 0; length < 256; length++) {
      const words = hasher.hash(bytes, shift, shift + length, 256 - length)
      words.forEach((word, index) => hashes.writeUInt32LE(word, 16 * length + 4 * index))
    }
    t.equal(hasher.hash(hashes, 0, hashes.length, 0)[0], 0xb3ece62a)
  }
  // However an item lies.
  const item = Buffer.from('item-idvalue')
  const one = [...hasher.item(item, 0, 7, item, 7, 12)]
  t.strictSame([...hasher.item(Buffer.from('xitem-id'), 1, 8, Buffer.from('yvalue'), 1, 6)], one)
  t.notSame([...hasher.item(item, 0, 8, item, 8, 12)], one, 'the id ends elsewhere')
})

t.test('verify records, there and back, and bounds before belief', async () => {
  const word = fc.nat(0xffffffff)
  const words = (length: number) =>
    fc.uint32Array({ minLength: length, maxLength: length === 4 ? 4 : 50 })
  const bounds = { modulo: fc.integer({ min: 1, max: 1000 }), from: fc.nat(1000) }
  const to = fc.integer({ min: 1001, max: hashEnd })
  const name = fc.string({ minLength: 1, maxLength: 20 })
  const buffer = (minLength: number, maxLength: number) =>
    fc.uint8Array({ minLength, maxLength }).map(bytes => Buffer.from(bytes))
  const plain = { noNullPrototype: true } as const
  const range = {
    form: fc.constant('range'),
    ...bounds,
    to,
    items: word,
    bytes: fc.maxSafeNat(),
    span: fc.integer({ min: 1, max: 100 }),
    digest: words(4),
    tags: words(0),
  }
  const item = fc.record({ id: buffer(1, 100), hash: buffer(16, 16) }, plain)
  const items = { form: fc.constant('items'), ...bounds, to, items: fc.array(item) }
  const modulo = fc.integer({ min: 1, max: 1000 })
  const file = { number: word, account: name, file: name, modulo, flags: fc.nat(7) }
  const files = {
    form: fc.constant('files'),
    whole: fc.boolean(),
    accounts: fc.array(name),
    files: fc.array(fc.record(file, plain)),
  }
  const end = { form: fc.constant('end'), txn: fc.maxSafeNat() }
  const record = fc.oneof(
    fc.record(range, plain),
    fc.record(items, plain),
    fc.record(files, plain),
    fc.record(end, plain),
  ) as fc.Arbitrary<VerifyRecord>
  fc.assert(
    fc.property(record, fc.nat(), fc.nat(255), (value, at, byte) => {
      const bytes = Buffer.concat([Buffer.from('xyz'), encodeVerify(value)])
      if (!isDeepStrictEqual(decodeVerify(bytes, 3, bytes.length), value)) return false
      bytes[3 + (at % (bytes.length - 3))] = byte
      const cut = 3 + (at % (bytes.length - 3))
      for (const end of [bytes.length, cut]) {
        try {
          decodeVerify(bytes, 3, end)
        } catch (error) {
          if (!isHotBackupError(error, 'ERR_LOG_CORRUPT')) return false
        }
      }
      return true
    }),
    { numRuns: 500 },
  )
})
