// The main job, end to end, by the commands that a person uses: what is written on the master is on the slave,
// in the same order, in the same bytes.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import {
  hb,
  hbProcess,
  hbWithInput,
  ok,
  okProcess,
  Pair,
  startAlone,
  statusOf,
} from '../helpers/servers.ts'

t.test('every kind of update reaches the slave', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'SALES')
  await ok('create-file', '-d', master, 'SALES', 'CUSTOMERS', '--modulo', '7')
  await ok('create-file', '-d', master, 'SALES', 'OLD')
  await ok('create-account', '-d', master, 'GONE')
  await ok('create-file', '-d', master, 'GONE', 'FILE')
  await okProcess('write', '-d', master, 'SALES', 'CUSTOMERS', 'ada', 'Ada Lovelace')
  await ok('write', '-d', master, 'SALES', 'CUSTOMERS', 'bob', 'Bob')
  await ok('delete', '-d', master, 'SALES', 'CUSTOMERS', 'bob')
  await ok('write', '-d', master, 'SALES', 'OLD', 'x', 'y')
  await ok('clear-file', '-d', master, 'SALES', 'OLD')
  await ok('delete-file', '-d', master, 'SALES', 'OLD')
  await ok('delete-account', '-d', master, 'GONE')
  await okProcess('resize-file', '-d', master, 'SALES', 'CUSTOMERS', '--modulo', '13')
  const bytes = Buffer.from([0, 1, 2, 255, 254, 10, 13, 0])
  t.equal((await hbWithInput(bytes, 'write', '-d', master, 'SALES', 'CUSTOMERS', 'raw')).code, 0)
  await ok('create-file', '-d', master, 'SALES', 'LATER', '--local')
  await ok('create-file', '-d', master, 'SALES', 'SCRATCH', '--local')
  for (const file of ['LATER', 'SCRATCH']) await ok('write', '-d', master, 'SALES', file, 'x', 'y')
  await ok('set-file', '-d', master, 'SALES', 'LATER', '--local', 'off')
  const { master: ours, slave: theirs } = await pair.digests()
  t.equal(theirs, ours)
  t.equal(await ok('read', '-d', slave, 'SALES', 'LATER', 'x'), 'y')
  t.equal((await hb('read', '-d', slave, 'SALES', 'SCRATCH', 'x')).code, 3)
  t.match(await ok('why', '-d', slave, 'SALES', 'SCRATCH'), /is not replicated\nit is local/)
  await ok('delete-file', '-d', master, 'SALES', 'SCRATCH')
  await ok('wait', '-d', master, '--timeout', '60')
  t.equal(await okProcess('read', '-d', slave, 'SALES', 'CUSTOMERS', 'ada'), 'Ada Lovelace')
  const exported = await ok('export', '-d', slave, 'SALES', 'CUSTOMERS')
  t.match(exported, `"value":${JSON.stringify(bytes.toString('base64'))}`)
  t.match(exported, '"base64":true')
  t.equal(await ok('list', '-d', slave, '--json'), await ok('list', '-d', master, '--json'))
  t.equal((await hb('read', '-d', slave, 'SALES', 'CUSTOMERS', 'bob')).code, 3)
  t.equal((await hb('read', '-d', slave, 'SALES', 'OLD', 'x')).code, 3)
  t.equal((await hb('read', '-d', slave, 'GONE', 'FILE', 'x')).code, 3)

  const refused = await hbProcess('write', '-d', slave, 'SALES', 'CUSTOMERS', 'eve', 'Eve')
  t.equal(refused.code, 4, 'nobody but the replayer writes on a slave')
  t.match(refused.stderr, /^hb: ERR_READ_ONLY: [^\n]+\n$/, 'one line')
})

t.test('a slave that was away catches up; sealed segments are the same files', async t => {
  const pair = await Pair.make(t)
  const toml = path.join(pair.master, 'hb.toml')
  const { readFile, writeFile } = await import('node:fs/promises')
  await writeFile(
    toml,
    (await readFile(toml, 'utf8')).replace(/^#?\s*segment_size.*$/m, 'segment_size = "1MiB"'),
  )
  const master = await Master.open(pair.master)
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 997 })
  const big = Buffer.alloc(3 << 20, 'big item ')
  for (let i = 0; i < 20_000; i++) void file.write(`item ${i}`, `value ${i} `.repeat(12))
  await file.write('big', big)
  t.equal((await statusOf(pair.master)).running, false, 'no shipper yet')
  await pair.start()
  await ok('wait', '-d', pair.master, '--timeout', '60')
  for (let i = 0; i < 20_000; i += 3) void file.delete(`item ${i}`)
  await file.write('last', 'one')
  await ok('wait', '-d', pair.master, '--timeout', '60')

  const status = await statusOf(pair.master)
  t.match(status.slaves, [
    { name: 'beta', durableTxn: master.lastTxn, appliedTxn: master.lastTxn, lagTxns: 0 },
  ])
  const slaveStatus = await statusOf(pair.slave)
  t.equal(slaveStatus.apply.appliedTxn, master.lastTxn)
  t.equal(slaveStatus.log.durableTxn, master.lastTxn)

  const segments = readdirSync(path.join(pair.slave, 'log')).filter(name => /^\d+\.log$/.test(name))
  t.ok(segments.length > 3, `${segments.length} segments`)
  for (const name of segments.slice(0, -1)) {
    const ours = readFileSync(path.join(pair.master, 'log', name))
    const theirs = readFileSync(path.join(pair.slave, 'log', name))
    t.ok(ours.equals(theirs), `${name} is the same file on both sides`)
  }
  t.equal(
    await ok('digest', '-d', pair.slave),
    await ok('digest', '-d', pair.master),
    'through the process that has it open',
  )
  t.ok(Buffer.from(await okProcess('read', '-d', pair.slave, 'A', 'F', 'big')).equals(big))
  await master.close()
  t.equal(
    await ok('digest', '-d', pair.slave),
    await ok('digest', '-d', pair.master),
    'and by looking at the files',
  )
})

t.test(
  'apply off: the log takes everything, the database stands still, also after a restart',
  async t => {
    const pair = await Pair.make(t)
    await pair.start()
    await ok('create-account', '-d', pair.master, 'A')
    await ok('create-file', '-d', pair.master, 'A', 'F')
    await ok('write', '-d', pair.master, 'A', 'F', 'one', '1')
    await ok('wait', '-d', pair.master)
    await ok('apply', '-d', pair.slave, 'off')
    await ok('write', '-d', pair.master, 'A', 'F', 'two', '2')
    await ok('wait', '-d', pair.master, '--level', 'durable')
    t.equal((await hb('read', '-d', pair.slave, 'A', 'F', 'two')).code, 3)
    t.equal((await hb('wait', '-d', pair.master, '--timeout', '1')).code, 6, 'not applied')
    await ok('stop', '-d', pair.slave)
    await startAlone(pair.slave)
    const status = await statusOf(pair.slave)
    t.match(status, { apply: { on: false }, log: { durableTxn: 4 } })
    t.equal(status.apply.appliedTxn, status.apply.checkpointTxn, 'it stands at a checkpoint')
    t.equal((await hb('read', '-d', pair.slave, 'A', 'F', 'two')).code, 3)
    await ok('apply', '-d', pair.slave, 'on')
    await ok('wait', '-d', pair.slave, '--txn', '4')
    t.equal(await ok('read', '-d', pair.slave, 'A', 'F', 'two'), '2')
  },
)

t.test('one directory has one owner', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const slave = await hb('start', '-d', pair.slave)
  t.equal(slave.code, 4)
  t.match(slave.stderr, /ERR_RUNNING/)
  const master = await Master.open(pair.master)
  await t.rejects(Master.open(pair.master), { code: 'ERR_RUNNING' })
  await ok('create-account', '-d', pair.master, 'BY.CLI')
  t.same(master.accounts(), ['BY.CLI'], 'commands work through the process that has it open')
  await master.close()
  await t.rejects(master.createAccount('LATE'), { code: 'ERR_CLOSED' })
})
