// When the master dies, with real processes over real TCP.
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import { hb, ok, Pair, statusOf } from '../helpers/servers.ts'

t.test('the master is killed, the slave takes over', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'SALES')
  await ok('create-file', '-d', master, 'SALES', 'ORDERS')
  await ok('write', '-d', master, 'SALES', 'ORDERS', '1', 'pears')
  await ok('wait', '-d', master)
  const server = await statusOf(slave)
  const digest = await ok('digest', '-d', slave)
  const { pid } = await statusOf(master)
  process.kill(pid ?? 0, 'SIGKILL')

  const dry = JSON.parse(await ok('promote', '-d', slave, '--dry-run', '--json')) as object
  t.match(dry, { name: 'beta', timeline: 2, lineage: null, lastTxn: 3, drained: 0, dryRun: true })
  t.equal((await statusOf(slave)).type, 'slave', 'nothing has been changed')

  const before = readFileSync(path.join(slave, 'hb.toml'), 'utf8')
  const report = JSON.parse(await ok('promote', '-d', slave, '--json')) as object
  t.match(report, { name: 'beta', timeline: 2, lineage: /^[0-9a-f]{32}$/, lastTxn: 3 })
  t.equal(
    readFileSync(path.join(slave, 'hb.toml'), 'utf8'),
    before.replace('type = "slave"', 'type = "master"'),
  )
  const after = await statusOf(slave)
  t.match(after, { type: 'master', running: true, pid: server.pid }, 'the same process, a shipper')
  t.equal(await ok('digest', '-d', slave), digest)
  t.match(await hb('promote', '-d', slave), { code: 4, stderr: /ERR_WRONG_TYPE.*master already/ })

  const opened = await Master.open(slave)
  t.equal(opened.lastTxn, 4, 'the promote record is a transaction of its own')
  await opened.account('SALES').file('ORDERS').write('2', 'apples')
  await opened.close()
  t.match(await ok('log', 'dump', '-d', slave, '--from', '4'), / promote +"beta"/)
  t.match(await hb('log', 'verify', '-d', slave), { code: 0 })
  await ok('stop', '-d', slave)
  await ok('start', '-d', slave)
  t.equal(await ok('read', '-d', slave, 'SALES', 'ORDERS', '2'), 'apples')
})

t.test('a stopped slave that does not apply is promoted with all that it holds', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  t.match(await hb('promote', '-d', slave), { code: 4, stderr: /ERR_UNSAFE.*never received/ })
  await pair.start()
  await ok('create-account', '-d', master, 'SALES')
  await ok('apply', '-d', slave, 'off')
  await ok('create-file', '-d', master, 'SALES', 'ORDERS')
  await ok('write', '-d', master, 'SALES', 'ORDERS', '1', 'pears')
  await ok('wait', '-d', master, '--level', 'durable')
  await ok('stop', '-d', slave)
  await ok('stop', '-d', master)
  const said = await ok('promote', '-d', slave)
  t.match(said, /2 transactions had been received and were applied first, though apply updates was/)
  t.equal(await ok('digest', '-d', slave), await ok('digest', '-d', master))
  await ok('write', '-d', slave, 'SALES', 'ORDERS', '2', 'apples')
})
