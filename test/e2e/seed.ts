// Seeds between real servers: a new slave, and one that was away for too long, get a copy of the database over the link
// while the master works; by themselves, or by an operator's order.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import { hb, killServer, ok, Pair, startAlone, statusOf } from '../helpers/servers.ts'

function edit(directory: string, pattern: RegExp, text: string): void {
  const toml = path.join(directory, 'hb.toml')
  const before = readFileSync(toml, 'utf8')
  if (!pattern.test(before)) throw new Error(`hb.toml has no ${String(pattern)}`)
  writeFileSync(toml, before.replace(pattern, text))
}

async function makePair(test: Parameters<typeof Pair.make>[0]): Promise<Pair> {
  const pair = await Pair.make(test)
  edit(pair.master, /^(# )?segment_size = .*$/m, 'segment_size = "64KiB"')
  edit(pair.master, /^# keep_time = .*$/m, 'keep_time = "0"')
  return pair
}

/** A master whose log no longer begins at the beginning: it had no slave yet. */
async function grownMaster(pair: Pair): Promise<Master> {
  const toml = path.join(pair.master, 'hb.toml')
  const text = readFileSync(toml, 'utf8')
  writeFileSync(toml, text.replace(/\[\[slaves\]\][^]*$/, ''))
  let master = await Master.open(pair.master)
  const account = await master.createAccount('A')
  await account.createFile('LOCAL', { local: true })
  await account.file('LOCAL').write('x', 'here only')
  const file = await account.createFile('F', { modulo: 211 })
  for (let i = 0; i < 20_000; i++) {
    const written = file.write(`item ${i}`, `value ${i} `.repeat(20))
    if (i % 1000 === 0) await written
  }
  await master.close()
  writeFileSync(toml, text)
  master = await Master.open(pair.master)
  return master
}

/** Writes until it is told to stop. */
function writing(master: Master): () => Promise<void> {
  const file = master.account('A').file('F')
  let done = false
  const work = (async () => {
    for (let i = 0; !done; i++) await file.write(`item ${i % 20_000}`, `new ${i} `.repeat(15))
  })()
  return async () => {
    done = true
    await work
  }
}

t.test('a new slave takes a copy by itself', async t => {
  const pair = await makePair(t)
  edit(pair.slave, /^# auto_seed = false$/m, 'auto_seed = true')
  const master = await grownMaster(pair)
  t.ok((await statusOf(pair.master)).log.firstTxn > 1, 'the log does not reach back')
  const stop = writing(master)
  await pair.start()
  const txn = master.lastTxn
  await ok('wait', '-d', pair.master, '--txn', String(txn), '--timeout', '60')
  await stop()
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)
  t.equal(
    (await hb('read', '-d', pair.slave, 'A', 'LOCAL', 'x')).code,
    3,
    'local files stay behind',
  )
  t.match(await ok('why', '-d', pair.slave, 'A', 'LOCAL'), /beta is a slave and does not hold it/)
  await ok('stop', '-d', pair.slave)
  await startAlone(pair.slave)
  await master.account('A').file('F').write('after', 'the restart')
  const again = await pair.digests()
  t.equal(again.slave, again.master)
  await master.close()
})

t.test('a copy that is ordered goes on after cuts, and is throttled', async t => {
  const pair = await makePair(t)
  edit(pair.master, /^# seed_rate = .*$/m, 'seed_rate = "6MiB"')
  const master = await grownMaster(pair)
  await pair.start()
  const refused = async () => (await statusOf(pair.master)).slaves[0]?.state === 'Needs a copy'
  while (!(await refused()));
  t.match(await ok('status', '-d', pair.master), /ERR_LINK_SEED/, 'nothing happens by itself')
  const stop = writing(master)
  const order = ok('seed', '-d', pair.master, '--slave', 'beta')
  const seeding = async () => {
    const { slaves } = JSON.parse(await ok('status', '-d', pair.master, '--json')) as {
      slaves: { seed: { step: string; bytes: number } | null }[]
    }
    return slaves[0]?.seed ?? null
  }
  for (let seed = await seeding(); seed?.step !== 'sending';) seed = await seeding()
  // The slave is killed on the way; the master goes on where the copy is durable.
  await killServer(pair.slave)
  await startAlone(pair.slave)
  t.match(await order, /beta has taken a copy/)
  await stop()
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)

  const none = await hb('seed', '-d', pair.master, '--slave', 'gamma')
  t.equal(none.code, 3)
  // A master that has lost what its slave holds never gets it from a copy.
  await master.close()
  await ok('stop', '-d', pair.master)
  t.equal((await hb('seed', '-d', pair.master, '--slave', 'beta')).code, 4, 'nobody ships')
})
