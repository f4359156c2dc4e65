// What operators look at: hb query, hb queue and hb log follow, on real servers.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import t from 'tap'
import { hb, ok, Pair } from '../helpers/servers.ts'

t.test('query and queue', async t => {
  const pair = await Pair.make(t)
  const asked = await hb('query', '-d', pair.master)
  t.equal(asked.code, 4)
  t.match(asked.stderr, /ERR_NOT_RUNNING/)
  await ok('create-account', '-d', pair.master, 'A')
  await ok('create-file', '-d', pair.master, 'A', 'F')
  t.match(await ok('queue', '-d', pair.master), /no limit; open\n[^]*beta .* 2 transactions/)
  await pair.start()
  await ok('wait', '-d', pair.master, '--timeout', '60')
  t.match(JSON.parse(await ok('query', '-d', pair.master, '--json')), {
    name: 'alpha',
    type: 'master',
    pid: Number,
    receivedTxns: 2,
    currentTxn: 2,
    lastAcknowledgedTxn: 2,
  })
  t.match(
    await ok('query', '-d', pair.slave),
    /Total received +2 transactions[^]*Apply updates +on/,
  )
  t.match(JSON.parse(await ok('queue', '-d', pair.master, '--json')), {
    bytes: 0,
    lastTxn: 2,
    slaves: [{ name: 'beta', backlogTxns: 0, sentTxn: 2, lastAcknowledgedTxn: 2 }],
  })

  // What the slave tells of itself is what the master hears over the link.
  await ok('write', '-d', pair.master, 'A', 'F', 'ada', 'Ada Lovelace')
  await ok('wait', '-d', pair.master, '--timeout', '60')
  const operations = { 'create-account': 1, 'create-file': 1, 'write-item': 1, 'delete-item': 0 }
  const counts = { name: 'beta', transactions: 3, lost: 0, leftOut: 0, itemBytes: 15, operations }
  const own = JSON.parse(await ok('statistics', '-d', pair.slave, '--json'))
  t.match(own, { servers: [{ ...counts, roundTripMs: null }] })
  const heard = JSON.parse(await ok('statistics', '-d', pair.master, '--json'))
  t.match(heard, { servers: [{ ...counts, roundTripMs: Number }] })
  t.equal(heard.servers[0].since, own.servers[0].since)
  t.ok(heard.servers[0].bytesReceived > 200)
  const text = await ok('statistics', '-d', pair.master, '--slave', 'beta')
  t.match(text, /Round trip +[\d.]+ ms\n[^]*Transactions +3\n[^]*write-item +1\n/)
  t.match(await hb('statistics', '-d', pair.master, '--slave', 'nobody'), { code: 3 })
  await ok('stop', '-d', pair.slave)
  const away = await hb('statistics', '-d', pair.master)
  t.match(away, { code: 4, stderr: /ERR_NO_STATISTICS: "beta" is not connected/ })
})

t.test('the log as it grows', async t => {
  const pair = await Pair.make(t)
  await ok('create-account', '-d', pair.master, 'A')
  await ok('create-file', '-d', pair.master, 'A', 'F')
  const cli = new URL('../../src/cli/hb.js', import.meta.url).pathname
  const child = spawn(process.execPath, [cli, 'log', 'follow', '-d', pair.master, '--from', '2'])
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const next = async () => (await lines.next()).value as string
  t.match(await next(), /2 .*create-file .*A F/)
  await ok('write', '-d', pair.master, 'A', 'F', 'ada', 'Ada Lovelace')
  let line = await next()
  while (!line.includes('write-item')) line = await next() // A map comes first in a new segment.
  t.match(line, /3 .*write-item .*"ada".*"Ada Lovelace"/)
  child.kill('SIGINT')
  await once(child, 'exit')
})
