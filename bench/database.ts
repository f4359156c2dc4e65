// Measures the database in memory: updates through Database.apply from prepared record bytes, reads, and the
// digest, at several numbers of items. Usage: node bench/database.js [ITEMS…]   (default: 10000 200000 1000000)
//
// Method: a file with a modulo of items / 20 in a cache that holds it all. 400,000 random one-item transactions of
// 115 bytes (12 header, 15 id, 88 value) are encoded first; then they are applied in a row, three times, and the
// best counts. Time is processor time, so that neighbours on the machine count less. Ids and order come from a
// fixed seed.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Database } from '../src/database/database.ts'
import { digestFile } from '../src/database/digest.ts'
import { RecordEncoder } from '../src/log/record.ts'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { sized } from './workload.ts'

const operations = sized(400_000)
const recordBytes = 115
const value = Buffer.alloc(88, 'v')

let seed = 1
function random(below: number): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor((seed / 2 ** 32) * below)
}

function idOf(item: number): string {
  return `item:${String(item).padStart(10, '0')}`
}

async function measure(items: number): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'hotbackup-bench-'))
  const cacheBytes = 256 * 1024 * 1024 + items * 400
  const database = await Database.open(nodePlatform, directory, { cacheBytes })
  let txn = 0
  const one = new RecordEncoder(1 << 20, 0)
  const apply = () => {
    one.endTransaction()
    database.apply(one.bytes, 0, one.end, ++txn)
    one.reset()
  }
  one.createAccount('bench')
  apply()
  one.createFile(1, { account: 'bench', file: 'items', modulo: Math.ceil(items / 20) })
  apply()
  const filling = processorMs()
  for (let item = 0; item < items; item++) {
    one.writeItem(1, idOf(item), value)
    apply()
  }
  const filled = processorMs() - filling
  const file = database.fileByNumber(1)!

  const updates = new RecordEncoder(operations * recordBytes, 0)
  for (let i = 0; i < operations; i++) {
    value.writeUInt32LE(i)
    updates.writeItem(1, idOf(random(items)), value)
    updates.endTransaction()
  }
  const update = best(() => {
    for (let i = 0; i < operations; i++) {
      database.apply(updates.bytes, i * recordBytes, (i + 1) * recordBytes, ++txn)
    }
  })
  const ids: Buffer[] = []
  for (let i = 0; i < operations; i++) ids.push(Buffer.from(idOf(random(items))))
  let found = 0
  const has = best(() => {
    for (const id of ids) if (file.has(id)) found++
  })
  const read = best(() => {
    for (const id of ids) found += file.read(id)!.length > 0 ? 1 : 0
  })
  if (found !== 6 * operations) throw new Error('items are missing')
  const digesting = processorMs()
  await digestFile(file)
  const digested = processorMs() - digesting
  await database.close()
  await rm(directory, { recursive: true })
  console.log(
    `${items} items: fill ${rate(items, filled)}, update ${rate(operations, update)}, ` +
      `has ${rate(operations, has)}, read ${rate(operations, read)}, ` +
      `digest ${rate(items, digested)} (M/s); memory of frames ${Math.round(database.frameBytes / 2 ** 20)} MiB`,
  )
}

function processorMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Milliseconds of the fastest of three runs. */
function best(run: () => void): number {
  let least = Infinity
  for (let i = 0; i < 3; i++) {
    const start = processorMs()
    run()
    least = Math.min(least, processorMs() - start)
  }
  return least
}

function rate(count: number, ms: number): string {
  return (count / ms / 1000).toFixed(2)
}

const sizes = process.argv.slice(2).map(Number)
for (const items of sizes.length > 0 ? sizes : [10_000, 200_000, 1_000_000].map(sized))
  await measure(items)
