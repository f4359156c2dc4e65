// Long work by helpers, with real processes: a large file is resized, cleared and deleted while updates go on, and
// helper and slave are killed at any instant. What comes out is what no kill would have given, and nothing is left.
import { existsSync, readdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t, { type Test } from 'tap'
import { Master, type File } from '../../src/index.ts'
import { ok, Pair, statusOf } from '../helpers/servers.ts'

const rounds = process.env['HB_LONG'] === '1' ? 200 : 4
const seed = Number(process.env['HB_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Reproducible choices (mulberry32). */
function choices(start: number): (below: number) => number {
  let state = start
  return below => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

async function makePair(t: Test): Promise<Pair> {
  const pair = await Pair.make(t)
  for (const directory of [pair.master, pair.slave]) {
    const toml = path.join(directory, 'hb.toml')
    const text = await readFile(toml, 'utf8')
    await writeFile(toml, text.replace('[helpers]\n', '[helpers]\nsize = "64KiB"\n'))
  }
  return pair
}

async function fill(file: File, items: number): Promise<void> {
  for (let id = 0; id < items; id++) void file.write(`item ${id}`, `value ${id} `.repeat(8))
  await file.write('last', 'one')
}

/** Waits until there is no long work any more on either side. */
async function settled(...directories: string[]): Promise<void> {
  for (const directory of directories) {
    for (;;) {
      const { helpers, holds } = await statusOf(directory)
      if (helpers.length === 0 && holds.length === 0) break
    }
  }
}

t.test('a large file is resized, cleared and deleted while updates go on', async t => {
  const pair = await makePair(t)
  await pair.start()
  const master = await Master.open(pair.master)
  t.teardown(() => master.close())
  const account = await master.createAccount('A')
  const large = await account.createFile('LARGE', { modulo: 101 })
  const small = await account.createFile('SMALL')
  await fill(large, 20_000)
  await large.resize(997)
  t.equal(large.modulo, 997, 'the modulo is the ordered one at once')
  t.match(master.status().holds, [{ account: 'A', file: 'LARGE' }])
  for (let id = 0; id < 500; id++) {
    void large.write(`item ${id * 7}`, 'held')
    void large.delete(`item ${id * 7 + 1}`)
    void small.write(`${id}`, 'x')
  }
  t.equal(String(await large.read('item 7')), 'held')
  t.equal(await large.read('item 1'), null)
  t.equal(String(await large.read('item 2')), 'value 2 '.repeat(8))
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours, 'while helpers may work')
  await settled(pair.master, pair.slave)
  t.same(await pair.digests(), { master: ours, slave: ours }, 'and after')
  await large.clear()
  await fill(large, 5000)
  await account.deleteFile('LARGE')
  await master.checkpoint()
  const after = await pair.digests()
  t.equal(after.slave, after.master)
  await settled(pair.master, pair.slave)
  for (const directory of [pair.master, pair.slave]) {
    t.same(readdirSync(path.join(directory, 'helpers')), [], 'nothing is left')
  }
})

t.test('while nothing is applied the database stands still', async t => {
  const pair = await makePair(t)
  await pair.start()
  const master = await Master.open(pair.master)
  t.teardown(() => master.close())
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 101 })
  await fill(file, 20_000)
  await file.resize(499)
  await ok('wait', '-d', pair.master, '--timeout', '60')
  await ok('apply', '-d', pair.slave, 'off')
  const files = () => readdirSync(path.join(pair.slave, 'database'))
  const catalog = () => readFile(path.join(pair.slave, 'database', 'catalog'))
  const [filesBefore, catalogBefore] = [files(), await catalog()]
  await file.write('more', 'x')
  await ok('wait', '-d', pair.master, '--level', 'durable', '--timeout', '60')
  const added = files().filter(name => !filesBefore.includes(name))
  t.same(added, [], 'nothing is taken in; what nobody needs any more may go')
  t.ok((await catalog()).equals(catalogBefore))
  await ok('apply', '-d', pair.slave, 'on')
  await settled(pair.slave)
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)
})

t.test(`helper and slave are killed at any instant (HB_SEED=${seed})`, async t => {
  const choose = choices(seed)
  const pair = await makePair(t)
  await pair.start()
  const master = await Master.open(pair.master)
  t.teardown(() => master.close())
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 101 })
  await fill(file, 10_000)
  let killed = 0
  for (let round = 0; round < rounds; round++) {
    await file.resize(101 + choose(900))
    for (let id = 0; id < 300; id++) {
      void file.write(`item ${choose(12_000)}`, `round ${round}`)
      void file.delete(`item ${choose(12_000)}`)
    }
    const { pid, helpers } = await statusOf(pair.slave)
    const victims = [helpers[0]?.pid, pid].filter(victim => typeof victim === 'number')
    for (const victim of victims) {
      if (choose(2) === 0) continue
      try {
        process.kill(victim, 'SIGKILL')
        killed++
        if (victim !== pid) continue
        while ((await statusOf(pair.slave)).running);
        await ok('start', '-d', pair.slave)
      } catch {
        // It was done in time.
      }
    }
    if (choose(3) === 0) continue
    await settled(pair.slave)
    const { master: ours, slave: theirs } = await pair.digests()
    if (theirs !== ours) t.fail(`round ${round}: the digests differ`)
  }
  await settled(pair.master, pair.slave)
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours, `after ${killed} kills`)
  t.same(readdirSync(path.join(pair.slave, 'helpers')), [])
  // Its checkpoint names the last generation alone.
  await ok('apply', '-d', pair.slave, 'off')
  await settled(pair.slave)
  const left = readdirSync(path.join(pair.slave, 'database'))
  t.ok(left.length <= 2 && existsSync(path.join(pair.slave, 'database', 'catalog')), left.join())
})
