// The database through its door: random histories of all record types against a plain Map, with checkpoints,
// reopening and replay; what does not fit is refused whole; damage is found; names; digests.
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { isDataFileName } from '../../src/database/data-file-name.ts'
import { type Database } from '../../src/database/database.ts'
import { digestAccount, digestDatabase, digestFile } from '../../src/database/digest.ts'
import { checkName, nameFault } from '../../src/database/names.ts'
import { scrubDatabase } from '../../src/database/scrub.ts'
import { isHotBackupError, type HotBackupError } from '../../src/errors.ts'
import { RecordEncoder } from '../../src/log/record.ts'
import {
  arbitraryStep,
  checkpoint,
  difference,
  History,
  holds,
  openDatabase,
} from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

t.test('a history leads to the same, however often it is checkpointed and reopened', async t => {
  const arbitraryTurn = fc.oneof(
    { weight: 20, arbitrary: fc.array(arbitraryStep, { minLength: 1, maxLength: 6 }) },
    { weight: 1, arbitrary: fc.constantFrom('checkpoint', 'begin', 'reopen', 'read only') },
  )
  await holds(
    t,
    'all record types against a Map',
    fc.asyncProperty(fc.array(arbitraryTurn, { maxLength: 300, size: 'max' }), async turns => {
      const disk = new MemoryDisk()
      const history = new History()
      history.add([
        { type: 'createAccount', account: 0 },
        { type: 'createFile', account: 0, file: 0, modulo: 3 },
      ])
      let database = await openDatabase(disk)
      history.replay(database)
      let running: Promise<void> | null = null
      for (const turn of turns) {
        if (typeof turn !== 'string') {
          if (history.add(turn) !== null) history.replay(database)
          // A checkpoint that was begun gets a chance to go on.
          if (running !== null) await new Promise(resolve => setImmediate(resolve))
          continue
        }
        if (turn === 'begin' && running === null) {
          running = checkpoint(database, true)
          continue
        }
        await running
        running = null
        if (turn === 'checkpoint') await checkpoint(database)
        if (turn === 'begin' || turn === 'checkpoint') continue
        const { stamp } = database
        await database.close()
        database = await openDatabase(disk, { readOnly: turn === 'read only' })
        t.same(database.stamp, stamp)
        history.replay(database)
        const fault = difference(database, history.model)
        if (fault !== null) throw new Error(fault)
        if (turn !== 'read only') continue
        await database.close()
        database = await openDatabase(disk)
        history.replay(database)
      }
      await running
      const fault = difference(database, history.model)
      if (fault !== null) throw new Error(fault)
      await checkpoint(database)
      // Nothing is left behind: the catalog, the journal, and at most one data file for each file.
      const names = (await disk.list('/server/database')).map(entry => entry.name)
      t.ok(names.filter(isDataFileName).length <= history.files().length, names.join())
      t.ok(names.length <= history.files().length + 2, names.join())
      await database.close()
      database = await openDatabase(disk)
      t.equal(database.appliedTxn, history.txn)
      const faultAfter = difference(database, history.model)
      if (faultAfter !== null) throw new Error(faultAfter)
      return true
    }),
    60,
  )
})

/** One transaction of what `encode` writes, with its bytes. */
function transaction(encode: (encoder: RecordEncoder) => void): Buffer {
  const encoder = new RecordEncoder(256, 0)
  encode(encoder)
  if (encoder.end > 0) encoder.endTransaction()
  return Buffer.from(encoder.bytes.subarray(0, encoder.end))
}

function apply(database: Database, encode: (encoder: RecordEncoder) => void): void {
  const bytes = transaction(encode)
  database.apply(bytes, 0, bytes.length, database.appliedTxn + 1)
}

async function smallDatabase(disk: MemoryDisk): Promise<Database> {
  const database = await openDatabase(disk)
  apply(database, encoder => {
    encoder.createAccount('sales')
    encoder.createFile(1, { account: 'sales', file: 'orders', modulo: 7 })
    encoder.createFile(4, { account: 'sales', file: 'customers', modulo: 2 })
    for (let i = 0; i < 100; i++) encoder.writeItem(1, `order${i}`, `value ${i}`)
  })
  return database
}

t.test('what is applied is counted by operation', async t => {
  const database = await smallDatabase(new MemoryDisk())
  apply(database, encoder => {
    encoder.writeItem(4, 'ada', 'Ada Lovelace')
    encoder.deleteItem(1, 'order7')
    encoder.deleteItem(1, 'never there')
    encoder.resizeFile(4, 5)
    encoder.clearFile(1)
    encoder.deleteFile(4)
  })
  t.throws(() => apply(database, encoder => encoder.clearFile(9)))
  database.passOver(3)
  const { since, records, itemBytes, ...counts } = database.operations.totals()
  t.strictSame(counts, { transactions: 2, lost: 1, leftOut: 0 })
  t.ok(since >= 0)
  const orders = Array.from({ length: 100 }, (_, i) => `order${i}value ${i}`).join('')
  t.equal(itemBytes, orders.length + 'adaAda Lovelace'.length)
  t.strictSame(records, [101, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
  await database.close()
})

t.test('a transaction that does not fit changes nothing at all', async t => {
  const disk = new MemoryDisk()
  const database = await smallDatabase(disk)
  t.equal(database.nextFileNumber, 5)
  const before = (await digestDatabase(database)).toString('hex')
  const attributes = { account: 'sales', file: 'new', modulo: 3 }
  const refused: [RegExp, (encoder: RecordEncoder) => void][] = [
    [/write-item for file number 9: no such file/, encoder => encoder.writeItem(9, 'a', 'b')],
    [/delete-item for file number 2: no such file/, encoder => encoder.deleteItem(2, 'a')],
    [/empty/, encoder => encoder.writeItem(1, '', 'b')],
    [/no such file/, encoder => encoder.clearFile(3)],
    [/no such file/, encoder => encoder.resizeFile(3, 10)],
    [/no such file/, encoder => encoder.deleteFile(3)],
    [/the number belongs to sales customers/, encoder => encoder.createFile(4, attributes)],
    [/the number 0/, encoder => encoder.createFile(0, attributes)],
    [/exists already/, encoder => encoder.createFile(9, { ...attributes, file: 'orders' })],
    [/no account "x"/, encoder => encoder.createFile(9, { ...attributes, account: 'x' })],
    [/starts with \./, encoder => encoder.createFile(9, { ...attributes, file: '..' })],
    [/exists already/, encoder => encoder.createAccount('sales')],
    [/slash/, encoder => encoder.createAccount('a/b')],
    [/no account/, encoder => encoder.deleteAccount('stock')],
    [/still has files/, encoder => encoder.deleteAccount('sales')],
    [/no such file \(sales new\)/, encoder => encoder.mapFile(9, attributes)],
    [/that is sales orders here, and sales new/, encoder => encoder.mapFile(1, attributes)],
    [/without records/, () => {}],
    [
      /no such file/,
      encoder => {
        encoder.deleteFile(4)
        encoder.writeItem(4, 'a', 'b')
      },
    ],
    [
      /not one whole transaction/,
      encoder => {
        encoder.writeItem(1, 'order1', 'x')
        encoder.endTransaction()
        encoder.writeItem(1, 'order2', 'x')
      },
    ],
  ]
  for (const [message, encode] of refused) {
    // Alone, and behind records that do fit.
    t.throws(() => apply(database, encode), { code: 'ERR_APPLY', message })
    t.throws(
      () =>
        apply(database, encoder => {
          encoder.createAccount('other')
          encoder.createFile(8, { account: 'other', file: 'f', modulo: 1 })
          encoder.writeItem(8, 'a', 'b')
          encoder.writeItem(1, 'order1', 'changed')
          encoder.resizeFile(1, 3)
          encode(encoder)
          // Nothing behind the others would be a transaction like any other.
          if (message.source.includes('without')) encoder.deleteAccount('other')
        }),
      { code: 'ERR_APPLY' },
    )
  }
  const cut = transaction(encoder => encoder.writeItem(1, 'order1', 'x'))
  t.throws(() => database.apply(cut, 0, cut.length - 1, 2), { code: 'ERR_LOG_CORRUPT' })
  t.equal((await digestDatabase(database)).toString('hex'), before)
  t.equal(database.appliedTxn, 1)
  t.equal(database.nextFileNumber, 5)

  apply(database, encoder => {
    encoder.mapFile(1, { account: 'sales', file: 'orders', modulo: 99 })
    encoder.deleteFile(1)
    encoder.deleteFile(4)
    encoder.deleteAccount('sales')
    encoder.createAccount('sales')
    encoder.createFile(6, { account: 'sales', file: 'orders', modulo: 1 })
    encoder.writeItem(6, 'order1', 'new')
  })
  t.same(database.file('sales', 'orders')?.read('order1')?.toString(), 'new')
  t.equal(database.file('sales', 'orders')?.itemCount, 1)
  t.equal(database.fileByNumber(1), undefined)
  apply(database, encoder => encoder.deleteItem(6, 'never was'))
  t.equal(database.appliedTxn, 3)
  database.passOver(7)
  t.equal(database.appliedTxn, 7)
  await database.close()
})

t.test('with auto-create, what a record refers to is created as the master has it', async t => {
  const database = await openDatabase(new MemoryDisk(), { autoCreate: true })
  apply(database, encoder => {
    encoder.mapFile(9, { account: 'sales', file: 'orders', modulo: 13 })
    encoder.writeItem(9, 'order1', 'value')
  })
  apply(database, encoder => encoder.createFile(3, { account: 'stock', file: 'parts', modulo: 5 }))
  t.same(database.accounts(), ['sales', 'stock'])
  const file = database.file('sales', 'orders')
  t.match(file, { number: 9, modulo: 13, itemCount: 1 })
  t.equal(database.file('stock', 'parts')?.modulo, 5)
  t.equal(database.nextFileNumber, 10)
  t.throws(() => apply(database, encoder => encoder.writeItem(7, 'a', 'b')), { code: 'ERR_APPLY' })
  const taken = { account: 'sales', file: 'orders', modulo: 1 }
  t.throws(() => apply(database, encoder => encoder.mapFile(8, taken)), { code: 'ERR_APPLY' })
  await database.close()
})

t.test('a file that was deleted or whose id cannot be holds nothing', async t => {
  const database = await smallDatabase(new MemoryDisk())
  const file = database.file('sales', 'orders')!
  for (const id of ['', 'x'.repeat(1025), 'é'.repeat(513), Buffer.alloc(1025)]) {
    t.equal(file.read(id), null)
    t.equal(file.has(id), false)
  }
  t.equal(file.read('order7')?.toString(), 'value 7')
  t.equal(file.has(Buffer.from('order7')), true)
  t.same(file.attributes, { account: 'sales', file: 'orders', modulo: 7, flags: 0 })
  t.equal(file.lastTxn, 1)
  apply(database, encoder => encoder.deleteFile(1))
  t.equal(file.deleted, true)
  t.equal(file.read('order7'), null)
  t.equal(file.has('order7'), false)
  t.equal(
    file.scan(0, 100, () => t.fail()),
    null,
  )
  await t.rejects(digestFile(file), { code: 'ERR_NO_FILE' })
  await database.close()
  t.throws(() => apply(database, encoder => encoder.createAccount('x')), { code: 'ERR_CLOSED' })
})

t.test('digests depend on the content and on nothing else', async t => {
  const one = await smallDatabase(new MemoryDisk())
  const two = await openDatabase(new MemoryDisk())
  apply(two, encoder => {
    encoder.createAccount('sales')
    encoder.createFile(2, { account: 'sales', file: 'customers', modulo: 9 })
    encoder.createFile(3, { account: 'sales', file: 'orders', modulo: 1 })
    for (let i = 150; i >= 0; i--) encoder.writeItem(3, `order${i}`, `${'x'.repeat(i * 50)}`)
    for (let i = 100; i <= 150; i++) encoder.deleteItem(3, `order${i}`)
    for (let i = 99; i >= 0; i--) encoder.writeItem(3, `order${i}`, `value ${i}`)
    encoder.resizeFile(3, 7)
  })
  const [orders, others] = [one.fileByNumber(1)!, two.fileByNumber(3)!]
  t.same(await digestFile(orders), await digestFile(others))
  t.not(
    (await digestAccount(one, 'sales')).toString('hex'),
    (await digestAccount(two, 'sales')).toString('hex'),
  )
  apply(two, encoder => encoder.resizeFile(2, 2))
  t.same(await digestAccount(one, 'sales'), await digestAccount(two, 'sales'))
  t.same(await digestDatabase(one), await digestDatabase(two))
  apply(two, encoder => encoder.createAccount('empty'))
  t.notSame(await digestDatabase(one), await digestDatabase(two))

  // As the definition in digest.ts says, by other means.
  const u32 = (value: number) => Buffer.from(new Uint32Array([value]).buffer)
  const sha = (...parts: (Buffer | string)[]) =>
    parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest()
  let sum = 0n
  for (let i = 0; i < 100; i++) {
    const id = `order${i}`
    sum += BigInt(`0x${sha(u32(id.length), id, `value ${i}`).reverse().toString('hex')}`)
  }
  const total = Buffer.from((sum % 2n ** 256n).toString(16).padStart(64, '0'), 'hex').reverse()
  const count = Buffer.from(new BigUint64Array([100n]).buffer)
  const expected = sha(u32(5), 'sales', u32(6), 'orders', u32(7), count, total)
  t.same(await digestFile(orders), expected)

  // A file that never stands still has no digest; one that changes once has.
  apply(one, encoder => encoder.resizeFile(1, 5000))
  let changes = 0
  const change = async () => {
    if (changes-- > 0) apply(one, encoder => encoder.writeItem(1, 'order1', String(changes)))
  }
  changes = 1
  t.equal((await digestFile(orders, change)).length, 32)
  changes = 100
  await t.rejects(digestFile(orders, change), { code: 'ERR_DATABASE_CHANGED' })
  await one.close()
  await two.close()
})

const tempo = { took: () => Promise.resolve(), lookAgain: () => Promise.resolve() }

t.test('damage in any file of the database is found', async t => {
  const pristine = async () => {
    const disk = new MemoryDisk()
    const database = await smallDatabase(disk)
    apply(database, encoder => encoder.writeItem(1, 'big', Buffer.alloc(30_000, 1)))
    await checkpoint(database)
    await database.close()
    return disk
  }
  const paths = (await (await pristine()).list('/server/database')).map(
    entry => `/server/database/${entry.name}`,
  )
  t.equal(
    paths.length,
    3,
    'the catalog, the journal, and the data file of the one file that has items',
  )
  const readAll = async (disk: MemoryDisk) => {
    const database = await openDatabase(disk)
    try {
      return (await digestDatabase(database)).toString('hex')
    } finally {
      await database.close()
    }
  }
  const whole = await readAll(await pristine())
  await holds(
    t,
    'a flipped bit',
    fc.asyncProperty(
      fc.constantFrom(...paths),
      fc.nat(),
      fc.nat({ max: 7 }),
      async (path, place, bit) => {
        const disk = await pristine()
        const bytes = disk.contents(path)
        const offset = place % bytes.length
        disk.overwrite(path, offset, Buffer.from([bytes[offset]! ^ (1 << bit)]))
        const found = await readAll(disk).catch((thrown: unknown) => thrown)
        const codes = ['ERR_DATABASE_CORRUPT', 'ERR_GROUP_DAMAGED'] as const
        if (isHotBackupError(found, ...codes)) return found.place.path === path
        // It was in what can be made again, or where nothing was ever written: no item is another one.
        const scrubbed = await scrubDatabase(disk, '/server/database', tempo)
        return found === whole && (path.endsWith('journal') || scrubbed[0]?.path === path)
      },
    ),
    200,
  )
  const corrupt = async (damage: (disk: MemoryDisk) => void | Promise<void>, message: RegExp) => {
    const disk = await pristine()
    await damage(disk)
    await t.rejects(readAll(disk), { code: /ERR_DATABASE_CORRUPT|ERR_GROUP_DAMAGED/, message })
  }
  const [catalog, data] = [paths.find(path => path.endsWith('catalog'))!, paths[0]!]
  const frame = (disk: MemoryDisk, number: number) =>
    disk.contents(data).subarray(number * 4096, (number + 1) * 4096)
  await corrupt(
    disk => disk.overwrite(data, 4096, frame(disk, 0)),
    /belongs to another place: frame 0/,
  )
  await corrupt(
    disk => disk.overwrite(data, 4096, Buffer.alloc(4096)),
    /was written, and holds zeros/,
  )
  await corrupt(disk => disk.overwrite(data, 8 * 4096, Buffer.alloc(4096)), /holds zeros/)
  await corrupt(disk => disk.remove(data), /is missing/)
  await corrupt(disk => disk.remove(catalog), /a journal and no catalog/)
  await corrupt(async disk => {
    const file = await disk.open(data, 'write')
    await file.truncate(4096)
    await file.close()
  }, /cannot be proved/)

  // A disk that fails in the middle of a transaction: the database takes no more, and is repaired by replay.
  const disk = await pristine()
  const database = await openDatabase(disk)
  disk.failNext('read', 'ENODEV')
  const several = (encoder: RecordEncoder) => {
    encoder.writeItem(4, 'first', 'x')
    encoder.writeItem(1, 'order1', 'x')
  }
  t.throws(() => apply(database, several), { code: 'ERR_DISK' })
  t.throws(() => apply(database, several), { code: 'ERR_STOPPED' })
  t.equal(database.appliedTxn, 2)
  await t.rejects(checkpoint(database), { code: 'ERR_STOPPED' })
  t.equal(database.failure?.code, 'ERR_DISK')
  await database.close()
  const again = await openDatabase(disk)
  t.equal(again.fileByNumber(4)?.has('first'), false)
  apply(again, several)
  t.equal(again.fileByNumber(1)?.read('order1')?.toString(), 'x')
  await again.close()
})

t.test('names', async t => {
  for (const name of [
    'a',
    'Sales 2024',
    'größe',
    '客户',
    'a.b-c',
    '~',
    'x'.repeat(64),
    'ä'.repeat(32),
  ]) {
    t.equal(nameFault(name), null, name)
  }
  const wrong = ['', '.', '..', '.hidden', '-rf', 'a/b', '/', 'a\\b', 'a\0', 'a\n', '\x7f', '\x85']
  for (const name of [...wrong, 'x'.repeat(65), 'ä'.repeat(33), 'a\ud800']) {
    t.throws(() => checkName('account', name), { code: 'ERR_NAME', message: /the account name "/ })
  }
  const error = t.throws(() => checkName('file', '../etc')) as unknown as HotBackupError
  t.match(error.message, 'the file name "../etc" has a slash')
})
