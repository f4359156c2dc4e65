// One file with many items: scans that go on across resizes, long chains, big items, and memory that stays
// within its bound while a file larger than the cache is filled and resized.
import fc from 'fast-check'
import t from 'tap'
import { type Database } from '../../src/database/database.ts'
import { digestFile } from '../../src/database/digest.ts'
import { itemBytesMax, itemIdBytesMax, MiB } from '../../src/limits.ts'
import { RecordEncoder } from '../../src/log/record.ts'
import { checkpoint, holds, openDatabase } from '../helpers/database-history.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const encoder = new RecordEncoder(1024, 0)

function apply(database: Database, encode: (encoder: RecordEncoder) => void): void {
  encoder.reset()
  encode(encoder)
  encoder.endTransaction()
  database.apply(encoder.bytes, 0, encoder.end, database.appliedTxn + 1)
}

async function withFile(
  modulo: number,
  options: { readonly cacheBytes?: number; readonly disk?: MemoryDisk } = {},
): Promise<Database> {
  const { disk = new MemoryDisk(), ...rest } = options
  const database = await openDatabase(disk, rest)
  apply(database, encoder => {
    encoder.createAccount('a')
    encoder.createFile(1, { account: 'a', file: 'f', modulo })
  })
  return database
}

t.test('a scan visits exactly once what is there all the while, also across resizes', async t => {
  const arbitraryEvent = fc.oneof(
    fc.record({ resize: fc.integer({ min: 1, max: 300 }) }),
    fc.record({ write: fc.nat({ max: 999 }) }),
    fc.record({ remove: fc.nat({ max: 999 }) }),
    fc.constant({ checkpoint: true as const }),
  )
  await holds(
    t,
    'scan in pieces',
    fc.asyncProperty(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 40 }),
      fc.array(arbitraryEvent, { minLength: 1, maxLength: 30 }),
      async (modulo, itemsMax, events) => {
        const database = await withFile(modulo)
        const file = database.fileByNumber(1)!
        for (let i = 0; i < 500; i++) {
          apply(database, encoder => encoder.writeItem(1, `stays${i}`, String(i)))
        }
        const seen = new Map<string, number>()
        let event = 0
        for (let cursor: number | null = 0; cursor !== null;) {
          let visited = 0
          cursor = file.scan(cursor, itemsMax, (id, value) => {
            visited++
            const key = id.toString()
            if (key.startsWith('stays') && key !== `stays${value.toString()}`) seen.set(key, 99)
            seen.set(key, (seen.get(key) ?? 0) + 1)
          })
          // At most one group too many, of which the largest is not known.
          if (modulo === 300 && events.length === 0 && visited > itemsMax + 50) return false
          const next = events[event++ % events.length]!
          if ('resize' in next) apply(database, encoder => encoder.resizeFile(1, next.resize))
          else if ('write' in next) {
            apply(database, encoder => encoder.writeItem(1, `comes${next.write}`, 'x'))
          } else if ('remove' in next) {
            apply(database, encoder => encoder.deleteItem(1, `comes${next.remove}`))
          } else if (database.stamp.txn < database.appliedTxn) await checkpoint(database)
        }
        await database.close()
        for (let i = 0; i < 500; i++) if (seen.get(`stays${i}`) !== 1) return false
        return [...seen.values()].every(times => times === 1)
      },
    ),
    40,
  )
})

t.test('a scan gives copies, or ids only, and lets its visitor read', async t => {
  const database = await withFile(3)
  const file = database.fileByNumber(1)!
  const big = Buffer.alloc(10_000, 'b')
  apply(database, encoder => {
    encoder.writeItem(1, 'small', 'value')
    encoder.writeItem(1, 'big', big)
  })
  const kept: [Buffer, Buffer][] = []
  file.scan(0, 1000, (id, value) => {
    t.same(file.read(id), value)
    kept.push([id, value])
  })
  apply(database, encoder => encoder.writeItem(1, 'small', 'other'))
  for (const [, value] of kept) t.ok(value.equals(big) || value.toString() === 'value')
  const ids: string[] = []
  file.scan(
    0,
    1000,
    (id, value) => {
      t.equal(value.length, 0)
      ids.push(id.toString())
    },
    false,
  )
  t.same(ids.sort(), ['big', 'small'])
  await database.close()
})

t.test('a file that is much too small works, slowly, and can be resized', async t => {
  const disk = new MemoryDisk()
  const database = await withFile(1, { disk, cacheBytes: 2 * MiB })
  const file = database.fileByNumber(1)!
  apply(database, encoder => {
    for (let i = 0; i < 2000; i++) encoder.writeItem(1, `item${i}`, 'v'.repeat(i % 300))
  })
  const digests = new Set<string>()
  for (const modulo of [50, 1, 3000, 2, 1]) {
    apply(database, encoder => encoder.resizeFile(1, modulo))
    t.equal(file.modulo, modulo)
    t.equal(file.itemCount, 2000)
    t.equal(file.read('item1234')?.length, 1234 % 300)
    if (modulo === 1) digests.add((await digestFile(file)).toString('hex'))
  }
  t.equal(digests.size, 1)
  const frames = file.generation.frameCount
  apply(database, encoder => {
    for (let i = 0; i < 2000; i += 2) encoder.deleteItem(1, `item${i}`)
    for (let i = 1; i < 2000; i += 2) encoder.deleteItem(1, `item${i}`)
  })
  t.equal(file.itemCount, 0)
  t.equal(file.bytes, 0)
  apply(database, encoder => {
    for (let i = 0; i < 1750; i++) encoder.writeItem(1, `item${i}`, 'v'.repeat(i % 300))
  })
  t.ok(file.generation.frameCount <= frames, 'frames that became free are used again')
  t.equal(file.itemCount, 1750)
  await checkpoint(database)
  await database.close()
  const again = await openDatabase(disk)
  t.equal(again.fileByNumber(1)?.itemCount, 1750)
  t.equal((await digestFile(again.fileByNumber(1)!)).length, 32)
  await again.close()
})

t.test('items and ids of every size, up to the largest', async t => {
  const disk = new MemoryDisk()
  const database = await withFile(5, { disk, cacheBytes: 16 * MiB })
  const sizes = [0, 1, 1900, 1983, 1984, 1985, 4063, 4064, 4065, 8128, 100_000, 300_000]
  const valueOf = (size: number) => Buffer.alloc(size, size % 251)
  const id = Buffer.alloc(itemIdBytesMax, 0xfe)
  // Every size becomes every other.
  for (const from of sizes) {
    for (const to of sizes) {
      apply(database, encoder => encoder.writeItem(1, 'item', valueOf(from)))
      apply(database, encoder => encoder.writeItem(1, id, valueOf(to)))
      apply(database, encoder => encoder.writeItem(1, 'item', valueOf(to)))
      const found = database.fileByNumber(1)!.read('item')!
      if (!found.equals(valueOf(to))) t.fail(`${from} → ${to}`)
      if (!database.fileByNumber(1)!.read(id)!.equals(valueOf(to))) t.fail(`long id, ${to}`)
      if (database.fileByNumber(1)!.bytes !== 2 * to + 4 + itemIdBytesMax) t.fail('bytes')
    }
    await checkpoint(database)
  }
  const largest = Buffer.alloc(itemBytesMax)
  for (let i = 0; i < largest.length; i += 1000)
    largest.writeUInt32LE(i, Math.min(i, largest.length - 4))
  apply(database, encoder => encoder.writeItem(1, 'largest', largest))
  t.ok(database.overfull, 'it is more than the cache')
  t.ok(database.fileByNumber(1)!.read('largest')!.equals(largest))
  await checkpoint(database)
  t.notOk(database.overfull)
  t.ok(database.frameBytes <= 16 * MiB)
  await database.close()
  const again = await openDatabase(disk)
  t.ok(again.fileByNumber(1)!.read('largest')!.equals(largest))
  const frames = again.fileByNumber(1)!.generation.frameCount
  apply(again, encoder => encoder.deleteItem(1, 'largest'))
  apply(again, encoder => encoder.writeItem(1, 'largest', largest))
  t.equal(again.fileByNumber(1)!.generation.frameCount, frames)
  await again.close()
})

t.test('a file larger than the cache is filled and resized within the bound', async t => {
  const disk = new MemoryDisk()
  const database = await withFile(200, { disk, cacheBytes: 1 * MiB })
  const file = database.fileByNumber(1)!
  const value = Buffer.alloc(500, 'v')
  for (let i = 0; i < 10_000; i++) {
    apply(database, encoder => encoder.writeItem(1, `item${i}`, value))
    if (database.overfull) await checkpoint(database, true)
  }
  t.ok(file.generation.frameCount * 4096 > 5 * MiB)
  t.ok(database.frameBytes <= 1 * MiB, 'filling')
  await checkpoint(database)
  const before = await digestFile(file)
  apply(database, encoder => encoder.resizeFile(1, 1500))
  t.ok(database.frameBytes <= 1 * MiB, 'resizing')
  t.ok(file.read('item4711')?.equals(value))
  apply(database, encoder => encoder.resizeFile(1, 200))
  t.same(await digestFile(file), before)
  t.notOk(database.overfull, 'what was spilled holds nobody up')
  await checkpoint(database)
  await database.close()
  disk.crash()
  const again = await openDatabase(disk)
  t.same(await digestFile(again.fileByNumber(1)!), before)
  t.equal((await disk.list('/server/database')).length, 3, 'the generations in between are gone')
  await again.close()
})

t.test('many files share few open handles', async t => {
  const disk = new MemoryDisk()
  const database = await openDatabase(disk)
  const files = 300
  apply(database, encoder => {
    encoder.createAccount('a')
    for (let number = 1; number <= files; number++) {
      encoder.createFile(number, { account: 'a', file: `file${number}`, modulo: 1 })
      encoder.writeItem(number, 'item', `of file ${number}`)
    }
  })
  await checkpoint(database)
  await database.close()
  const again = await openDatabase(disk)
  const open = new Set<string>()
  let opens = 0
  disk.before = (operation, path) => {
    if (operation === 'open') opens++
    if (operation === 'open') open.add(path)
  }
  for (let round = 1; round <= 2; round++) {
    for (let number = 1; number <= files; number++) {
      const value = again.fileByNumber(number)!.read('item')?.toString()
      if (value !== `of file ${number}`) t.fail(`file ${number}: ${value}`)
    }
  }
  t.equal(open.size, files)
  t.equal(opens, 2 * files, 'the ones that were used least recently are closed')
  apply(again, encoder => {
    for (let number = 1; number <= files; number++)
      encoder.writeItem(number, 'more', 'x'.repeat(5000))
    for (let number = 1; number <= files; number += 2) encoder.deleteFile(number)
  })
  await checkpoint(again)
  t.equal((await disk.list('/server/database')).length, 2 + files / 2)
  await again.close()
})
