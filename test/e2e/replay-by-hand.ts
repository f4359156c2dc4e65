// Updates applied by hand between real servers: up to just before a mistake, and of segments that come on a stick.
import { cpSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import type { ReplayReport } from '../../src/replay/replay-operations.ts'
import {
  killServer,
  ok,
  Pair,
  replay,
  startAlone,
  statusOf,
  temporaryDirectory,
} from '../helpers/servers.ts'

async function replayed(...args: readonly string[]): Promise<ReplayReport> {
  const { code, stdout, stderr } = await replay(...args, '--json')
  if (code !== 0) throw new Error(`hb-replay ${args.join(' ')} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout) as ReplayReport
}

t.test('a slave with updates off goes on to just before a mistake', async t => {
  const pair = await Pair.make(t)
  const master = await Master.open(pair.master)
  const file = await (await master.createAccount('A')).createFile('F')
  await pair.start()
  await pair.digests()
  await ok('apply', '-d', pair.slave, 'off')
  for (let i = 0; i < 50; i++) await file.write(`item ${i}`, `value ${i}`)
  const before = await ok('digest', '-d', pair.master)
  const good = (await statusOf(pair.master)).log.lastTxn
  await file.clear()
  await file.write('after', 'the mistake')
  await ok('wait', '-d', pair.master, '--level', 'durable', '--timeout', '60')

  const { apply } = await statusOf(pair.slave)
  t.match(apply, { on: false, backlog: { transactions: 52 } })
  t.ok(apply.backlog.bytes > 0)
  t.match(
    await ok('status', '-d', pair.slave),
    /Backlog +52 transactions, .*; the disk lasts .* at this rate|Backlog +52 transactions/,
  )
  const limit = ['--until-txn', String(good)]
  const dry = await replay('-d', pair.slave, ...limit, '--dry-run')
  t.match(
    dry.stdout,
    /^Nothing has been changed.\nWould apply 50 transactions, .*\n2 .*; apply updates is off.\nThe last transaction that would/,
  )
  t.equal((await statusOf(pair.slave)).apply.appliedTxn, good - 50)
  const { backlog } = await replayed('-d', pair.slave, ...limit)
  t.match(backlog, { fromTxn: good - 50, appliedTxn: good, lost: 0, remaining: 2 })
  t.equal(await ok('digest', '-d', pair.slave), before)

  const one = await replayed('-d', pair.slave, '--account', 'A', '--file', 'F', '--dry-run')
  t.match(one.selected, { selected: 2, applied: 0, others: 0 })
  const none = await replay('-d', pair.slave, '--file', 'OTHER')
  t.match(
    none.stdout,
    /^Applied 0 transactions about OTHER, .*\n2 transactions about others are still/,
  )

  // It stays there: killed, started, and asked again.
  await killServer(pair.slave)
  t.match((await replayed('-d', pair.slave, ...limit)).backlog, { fromTxn: good, appliedTxn: good })
  t.equal(await ok('digest', '-d', pair.slave), before)
  // On the stopped slave, ahead of its turn: the slave stands where it stood.
  const ahead = await replayed('-d', pair.slave, '--account', 'A')
  t.match(ahead, { backlog: null, selected: { selected: 2, applied: 2, others: 0 } })
  t.equal((await statusOf(pair.slave)).apply.appliedTxn, good)
  t.equal(await ok('digest', '-d', pair.slave), await ok('digest', '-d', pair.master))
  await startAlone(pair.slave)
  await ok('apply', '-d', pair.slave, 'on')
  const refused = await replay('-d', pair.slave, ...limit)
  t.match(refused, { code: 4, stderr: /^hb-replay: ERR_UNSAFE: .*"hb apply off" first/ })
  const digests = await pair.digests()
  t.equal(digests.slave, digests.master)
  t.equal((await replay('-d', pair.master)).code, 4, 'a master has nothing to replay')
  await master.close()
})

t.test('segments come on a stick', async t => {
  const pair = await Pair.make(t)
  const stick = path.join(temporaryDirectory(t), 'stick')
  const carry = () => {
    rmSync(stick, { recursive: true, force: true })
    cpSync(path.join(pair.master, 'log'), stick, { recursive: true })
  }
  const master = await Master.open(pair.master)
  const file = await (await master.createAccount('A')).createFile('F')
  await file.write('first', '1')
  await pair.start()
  await pair.digests()
  carry()
  const connected = await replay('-d', pair.slave, '--segments', stick)
  t.match(connected, { code: 4, stderr: /ERR_UNSAFE: alpha is connected/ })
  await ok('stop', '-d', pair.master) // The link is down; the application goes on.
  for (let i = 0; i < 30; i++) await file.write(`item ${i}`, 'x'.repeat(1000))
  carry()
  const last = (await statusOf(pair.master)).log.lastTxn
  const before = (await statusOf(pair.slave)).log.lastTxn
  const dry = await replayed('-d', pair.slave, '--segments', stick, '--dry-run')
  t.match(dry, {
    segments: { taken: last - before, firstTxn: before + 1, lastTxn: last, known: before },
    backlog: { appliedTxn: last },
  })
  t.equal((await statusOf(pair.slave)).log.lastTxn, before)
  const real = await replayed('-d', pair.slave, '--segments', stick)
  t.match(real, {
    segments: { taken: last - before, unproven: 0, torn: null },
    backlog: { fromTxn: before, appliedTxn: last },
  })
  t.equal((await statusOf(pair.slave)).apply.appliedTxn, last)
  t.equal(await ok('digest', '-d', pair.slave), await ok('digest', '-d', pair.master))

  // Nobody runs, and log/durable was left at home: the last update waits for a promise.
  await ok('stop', '-d', pair.slave)
  for (const item of ['one', 'two', 'three']) await file.write(item, '3')
  carry()
  rmSync(path.join(stick, 'durable'))
  const some = await replay('-d', pair.slave, '--segments', stick)
  t.match(some.stdout, /Stored 2 transactions of .*\n.*\n.* may not be durable on the master/)
  carry()
  t.match(await replayed('-d', pair.slave, '--segments', stick), { segments: { taken: 1 } })
  t.equal(await ok('digest', '-d', pair.slave), await ok('digest', '-d', pair.master))

  const other = await Pair.make(t)
  const stranger = await Master.open(other.master)
  await (await stranger.createAccount('A')).createFile('F')
  await stranger.close()
  const foreign = await replay('-d', pair.slave, '--segments', path.join(other.master, 'log'))
  t.match(foreign, { code: 1, stderr: /ERR_LOG_FOREIGN: .* belongs to another database/ })

  // The same bytes as over the link: the master goes on where the stick has ended.
  await startAlone(pair.slave)
  await startAlone(pair.master)
  await file.write('over', 'the link again')
  const digests = await pair.digests()
  t.equal(digests.slave, digests.master)
  const segments = readdirSync(path.join(pair.slave, 'log')).filter(name => name.endsWith('.log'))
  t.ok(segments.length > 0)
  await master.close()
})
