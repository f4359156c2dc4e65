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
    slaves: [{ name: 'beta', backlogTxns: 0, lastAcknowledgedTxn: 2 }],
  })
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
