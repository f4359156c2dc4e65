// A slave that has been damaged: one item changed, one missing and one too many among many are found and repaired by
// "hb verify" while an application goes on writing; and found by the master's own passes. With real processes.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { Master } from '../../src/index.ts'
import { RecordEncoder } from '../../src/log/record.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { loadConfig } from '../../src/config/config.ts'
import { layoutOf } from '../../src/config/layout.ts'
import { closeSlaveData, openSlaveData, startReplayer } from '../../src/replay/slave-parts.ts'
import { long } from '../helpers/long-form.ts'
import { hb, ok, Pair, startAlone, statusOf } from '../helpers/servers.ts'

const itemsMax = long ? 1_000_000 : 20_000

/** Writes to the database of a slave that does not run, past its log. */
async function damage(
  directory: string,
  account: string,
  file: string,
  encode: (encoder: RecordEncoder, fileNumber: number) => void,
): Promise<void> {
  const layout = layoutOf(directory)
  const config = await loadConfig(nodePlatform.disk, layout)
  const data = await openSlaveData(nodePlatform, layout, config, false)
  const events = { applied: () => {}, checkpointed: () => {}, failed: () => {} }
  const replayer = startReplayer(nodePlatform, layout, config, data, false, () => {}, events)
  await replayer.applyUntil({})
  const encoder = new RecordEncoder(1024, 0)
  encode(encoder, data.database.file(account, file)!.number)
  encoder.endTransaction()
  await replayer.applyAside(Buffer.from(encoder.bytes.subarray(0, encoder.end)))
  await replayer.stop()
  await closeSlaveData(data)
}

/** Updates of other items, until it is stopped; resolves with how many. */
function keepWriting(master: Master): () => Promise<number> {
  const file = master.account('SALES').file('CUSTOMERS')
  let stopped = false
  const writing = (async () => {
    let count = 0
    for (; !stopped; count++) {
      const id = `busy ${count % 500}`
      if (count % 7 === 6) await file.delete(id)
      else await file.write(id, `value ${count}`)
    }
    return count
  })()
  return () => {
    stopped = true
    return writing
  }
}

async function filled(t: Test): Promise<{ pair: Pair; master: Master }> {
  const pair = await Pair.make(t)
  const master = await Master.open(pair.master)
  const account = await master.createAccount('SALES')
  const file = await account.createFile('CUSTOMERS', { modulo: 1 + Math.floor(itemsMax / 10) })
  for (let i = 0; i < itemsMax; i++) {
    const written = file.write(`item ${i}`, `value ${i} `.repeat(8))
    if (i % 1000 === 999) await written
  }
  await (await account.createFile('SMALL', { modulo: 3 })).write('a', 'b')
  await pair.start()
  await ok('wait', '-d', pair.master, '--timeout', '120')
  return { pair, master }
}

const spoil = (encoder: RecordEncoder, fileNumber: number) => {
  encoder.writeItem(fileNumber, 'item 17', 'something else')
  encoder.deleteItem(fileNumber, 'item 4711')
  encoder.writeItem(fileNumber, 'never written', 'x')
}
const expected = [
  { kind: 'changed', account: 'SALES', file: 'CUSTOMERS', id: 'item 17' },
  { kind: 'extra', account: 'SALES', file: 'CUSTOMERS', id: 'never written' },
  { kind: 'missing', account: 'SALES', file: 'CUSTOMERS', id: 'item 4711' },
]

interface Report {
  readonly slaves: readonly {
    readonly found: readonly { readonly kind: string; readonly id: string }[]
    readonly repaired: readonly { readonly kind: string }[]
    readonly left: readonly { readonly kind: string }[]
  }[]
}

const byKind = <T extends { readonly kind: string }>(rows: readonly T[]) =>
  rows.toSorted((a, b) => (a.kind < b.kind ? -1 : 1))

t.test('three differences are found and repaired while an application writes', async t => {
  const { pair, master } = await filled(t)
  const stopWriting = keepWriting(master)
  t.match(await ok('verify', '-d', pair.master), /beta: the same\n$/, 'nothing in flight counts')
  await ok('stop', '-d', pair.slave)
  await damage(pair.slave, 'SALES', 'CUSTOMERS', spoil)
  await startAlone(pair.slave)

  const found = await hb('verify', '-d', pair.master, '--json')
  t.equal(found.code, 5)
  t.match(found.stderr, /^hb: ERR_DIFFERENT: not the same as the master: beta \(3 differences\)/)
  const [beta] = (JSON.parse(found.stdout) as Report).slaves
  t.match(byKind(beta!.left), expected)
  t.equal(beta!.left.length, 3)
  const { differences } = await statusOf(pair.slave)
  t.match(differences, { known: 3, more: 0 })
  t.match(await ok('status', '-d', pair.slave), /3 differences FROM THE MASTER/)
  t.match(readFileSync(path.join(pair.slave, 'messages.log'), 'utf8'), /differs from the master/)

  t.equal((await hb('verify', '-d', pair.master, 'SALES', 'SMALL')).code, 0, 'another file')
  const repaired = await hb('verify', '-d', pair.master, 'SALES', '--repair')
  t.equal(repaired.code, 0, repaired.stderr)
  t.match(repaired.stdout, /beta: 3 differences, 3 repaired\n/)
  for (const { kind, id } of expected) {
    t.match(repaired.stdout, `  repaired: SALES CUSTOMERS: "${id}" is ${kind}\n`)
  }
  t.match(await ok('verify', '-d', pair.master, '--repair'), /beta: the same\n$/)
  t.ok((await stopWriting()) > 100, 'the application went on')
  await ok('wait', '-d', pair.master, '--timeout', '120')
  t.match((await statusOf(pair.slave)).differences, { known: 0 })
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)
  await master.close()
  t.match(await ok('verify', '-d', pair.master), /beta: the same\n$/, 'without an application')
  await ok('stop', '-d', pair.master)
  t.match(await hb('verify', '-d', pair.master), { code: 4, stderr: /ERR_NOT_RUNNING/ })
  t.match(await hb('verify', '-d', pair.slave), { code: 4, stderr: /ERR_WRONG_TYPE/ })
  t.match(await hb('verify', '-d', pair.master, '--slave', 'x'), { code: 3 })
})

t.test('a master goes over all of it by itself', async t => {
  const pair = await Pair.make(t)
  const toml = path.join(pair.master, 'hb.toml')
  const text = readFileSync(toml, 'utf8').replace(/^# interval = .*$/m, 'interval = "1s"')
  writeFileSync(toml, text)
  const master = await Master.open(pair.master)
  const account = await master.createAccount('SALES')
  const file = await account.createFile('CUSTOMERS', { modulo: 101 })
  await account.createFile('EMPTY', { modulo: 67_000_000 })
  await account.createFile('LOCAL', { local: true })
  for (let i = 0; i < 5000; i++) void file.write(`item ${i}`, `value ${i}`)
  await pair.start()
  await ok('wait', '-d', pair.master, '--timeout', '120')
  const passes = async () => (await statusOf(pair.slave)).differences?.pass?.lastTxn ?? 0
  const nextPass = async () => {
    const before = await passes()
    // One that begins after this moment.
    for (let changes = 0, last = before; changes < 2;) {
      const now = await passes()
      if (now !== last) changes++
      last = now
    }
  }
  await nextPass()
  t.match((await statusOf(pair.slave)).differences, { known: 0, more: 0 })
  t.match(await ok('status', '-d', pair.master), /Verified +transactions/)
  await ok('stop', '-d', pair.slave)
  await damage(pair.slave, 'SALES', 'CUSTOMERS', spoil)
  await startAlone(pair.slave)
  await nextPass()
  const { differences } = await statusOf(pair.slave)
  t.ok(differences!.known >= 1 && differences!.known <= 3, `${differences!.known} ranges of groups`)
  const messages = readFileSync(path.join(pair.slave, 'messages.log'), 'utf8')
  t.match(messages, /SALES CUSTOMERS: group \d+ of 101 differs from the master, at transaction/)
  await ok('stop', '-d', pair.slave)
  await startAlone(pair.slave)
  t.ok((await statusOf(pair.slave)).differences!.known >= 1, 'it is known after a restart')
  await file.write('item 17', 'new')
  await file.write('item 4711', 'new')
  await file.delete('never written')
  t.match(await ok('verify', '-d', pair.master, '--repair'), /beta: /)
  t.match((await statusOf(pair.slave)).differences, { known: 0 })
  await master.close()
})
