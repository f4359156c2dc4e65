// When the master dies, with real processes over real TCP.
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { isHotBackupError, Master } from '../../src/index.ts'
import {
  freePort,
  hb,
  killServer,
  ok,
  Pair,
  replay,
  startAlone,
  statusOf,
  type Outcome,
} from '../helpers/servers.ts'

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
  await killServer(master)

  const dry = JSON.parse(await ok('promote', '-d', slave, '--dry-run', '--json')) as object
  t.match(dry, { name: 'beta', timeline: 2, lineage: null, lastTxn: 3, drained: 0, dryRun: true })
  t.equal((await statusOf(slave)).type, 'slave', 'nothing has been changed')

  const before = readFileSync(path.join(slave, 'hb.toml'), 'utf8')
  const report = JSON.parse(await ok('promote', '-d', slave, '--json')) as object
  t.match(report, { name: 'beta', timeline: 2, lineage: /^[0-9a-f]{32}$/, lastTxn: 3 })
  t.equal(readFileSync(path.join(slave, 'hb.toml'), 'utf8'), before)
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
  await startAlone(slave)
  t.equal(await ok('read', '-d', slave, 'SALES', 'ORDERS', '2'), 'apples')
})

t.test('a stopped slave that does not apply is promoted with all that it holds', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  t.match(await hb('promote', '-d', slave), { code: 4, stderr: /ERR_UNSAFE.*never received/ })
  await pair.start()
  await ok('create-account', '-d', master, 'SALES')
  await ok('wait', '-d', master)
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

/** Runs a command again until it ends as expected; the machine is as slow as it likes. */
async function becomes(wanted: (outcome: Outcome) => boolean, ...args: string[]): Promise<Outcome> {
  for (;;) {
    const outcome = await hb(...args)
    if (wanted(outcome)) return outcome
  }
}

t.test('an old master that meets the new timeline takes no more updates', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  const old = await Master.open(master)
  const file = await (await old.createAccount('SALES')).createFile('ORDERS')
  await file.write('1', 'pears')
  await ok('wait', '-d', master)
  await ok('stop', '-d', master)
  await ok('promote', '-d', slave)
  await file.write('2', 'nobody has told it yet')
  await startAlone(master)
  let refused: unknown = null
  for (let count = 0; refused === null; count++) {
    await file.write('3', String(count)).catch((error: unknown) => {
      refused = error
    })
    await new Promise(setImmediate)
  }
  t.match(refused, {
    code: 'ERR_FENCED',
    message: /alpha is no longer the master: "beta" at 127.0.0.1:\d+ reported timeline 2/,
  })
  t.equal((await file.read('2'))?.toString(), 'nobody has told it yet', 'it can be read')
  await t.rejects(file.delete('1'), { code: 'ERR_FENCED' })
  t.match(JSON.parse(await ok('status', '-d', master, '--json')), {
    failure: /no longer the master/,
  })
  await old.close()
  const later = await hb('write', '-d', master, 'SALES', 'ORDERS', '4', 'x')
  t.match(later, { code: 4, stderr: /ERR_FENCED/ }, 'also when it is opened again')
  await ok('stop', '-d', master)
  await startAlone(master)
  t.match(await ok('status', '-d', master), /no longer the master/)
  t.match(await hb('read', '-d', slave, 'SALES', 'ORDERS', '2'), { code: 3 })
  await ok('write', '-d', slave, 'SALES', 'ORDERS', '2', 'apples')
})

t.test('a master that is empty, or was put back to an older state, harms no slave', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'SALES')
  await ok('wait', '-d', master)
  await ok('stop', '-d', master)
  const saved = path.join(pair.root, 'saved')
  cpSync(master, saved, { recursive: true })
  await startAlone(master)
  await ok('create-file', '-d', master, 'SALES', 'ORDERS')
  await ok('write', '-d', master, 'SALES', 'ORDERS', '1', 'pears')
  await ok('wait', '-d', master)
  await ok('stop', '-d', master)
  const digest = await ok('digest', '-d', slave)

  rmSync(master, { recursive: true })
  cpSync(saved, master, { recursive: true })
  await ok('write', '-d', master, 'SALES', 'ORDERS', '2', 'x').catch(() => {})
  await ok('create-account', '-d', master, 'OTHER')
  await startAlone(master)
  const told = (outcome: Outcome) => /"lastError": \{/.test(outcome.stdout)
  const back = await becomes(told, 'status', '-d', master, '--json')
  t.match(back.stdout, /ERR_LINK_DIVERGED/)
  t.match(back.stdout, /holds transaction 2 .*this slave holds transaction 3 .*went back/)
  await ok('stop', '-d', master)

  rmSync(master, { recursive: true })
  const address = `127.0.0.1:${pair.port}`
  const key = path.join(slave, 'hb.key')
  const named = ['--type', 'master', '--name', 'alpha', '--slave', `beta=${address}`]
  await ok('setup', '-d', master, ...named, '--key', key)
  await ok('create-account', '-d', master, 'NEW')
  await startAlone(master)
  const empty = await becomes(told, 'status', '-d', master, '--json')
  t.match(empty.stdout, /ERR_LINK_FOREIGN/)
  t.equal(await ok('digest', '-d', slave), digest, 'the slave is as it was')
})

t.test('with a lease, a master that hears from no slave takes no updates', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  const toml = path.join(master, 'hb.toml')
  const text = readFileSync(toml, 'utf8')
    .replace('# heartbeat = "5s"', 'heartbeat = "100ms"')
    .replace('# lease = "0"', 'lease = "500ms"')
  writeFileSync(toml, text)
  t.match(await hb('create-account', '-d', master, 'A'), { code: 4, stderr: /ERR_LEASE/ })
  writeFileSync(toml, text.replace('lease = "500ms"', 'lease = "0"'))
  await ok('create-account', '-d', master, 'A')
  writeFileSync(toml, text)
  await pair.start()
  await becomes(outcome => outcome.code === 0, 'create-file', '-d', master, 'A', 'F')
  const opened = await Master.open(master)
  const file = opened.account('A').file('F')
  await file.write('1', 'x')
  await killServer(slave)
  let refused: unknown = null
  while (refused === null) {
    await file.write('2', 'x').catch((error: unknown) => {
      // The lease may end between the update and its answer, which is then not given.
      if (!isHotBackupError(error, 'ERR_UNCONFIRMED')) refused = error
    })
    await new Promise(setImmediate)
  }
  t.match(refused, { code: 'ERR_LEASE', message: /alpha has heard from no slave for 0.5 s/ })
  await startAlone(slave)
  for (let taken = false; !taken;) {
    taken = await file.write('3', 'x').then(
      () => true,
      () => false,
    )
    await new Promise(setImmediate)
  }
  t.equal((await file.read('3'))?.toString(), 'x')
  await opened.close()
})

t.test('the old master comes back as a slave; what it alone had is saved', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'SALES')
  await ok('create-file', '-d', master, 'SALES', 'ORDERS')
  await ok('write', '-d', master, 'SALES', 'ORDERS', '1', 'pears')
  await ok('wait', '-d', master)
  await ok('stop', '-d', master)
  const old = await Master.open(master)
  const file = old.account('SALES').file('ORDERS')
  await file.write('1', 'plums')
  await file.write('lost', 'and found')
  const promoting = ok('promote', '-d', slave)
  await promoting
  await old.close()
  await ok('write', '-d', slave, 'SALES', 'ORDERS', '2', 'apples')

  writeFileSync(path.join(master, 'rejoin'), 'begun')
  for (const command of [['start'], ['create-account', 'X']]) {
    const [name = '', ...rest] = command
    const begun = await hb(name, '-d', master, ...rest)
    t.match(begun, { code: 4, stderr: /ERR_REJOINING/ }, 'nobody opens it in the middle')
  }
  rmSync(path.join(master, 'rejoin'))
  const from = `127.0.0.1:${pair.port}`
  const listen = `127.0.0.1:${await freePort()}`
  const said = await ok('rejoin', '-d', master, '--from', from, '--listen', listen)
  t.match(said, /Both have everything up to transaction 3/)
  t.match(said, /2 transactions of alpha had not reached beta: 4 to 5, 2 updates of items/)
  t.match(said, /SALES ORDERS: 2 updates/)
  const saved = path.join(master, 'missing-updates')
  const [list = '', segment = ''] = readdirSync(saved).sort()
  t.match(await ok('log', 'verify', path.join(saved, segment)), /transactions 4 to 5/)
  const dumped = await ok('log', 'dump', path.join(saved, segment))
  t.match(dumped, /4 .*write-item +SALES ORDERS +"1".*"plums"/)
  t.match(dumped, /5 .*write-item +SALES ORDERS +"lost"/)
  const lines = readFileSync(path.join(saved, list), 'utf8').trimEnd().split('\n')
  t.strictSame(
    lines.map(line => JSON.parse(line) as object),
    [
      { txn: 4, type: 'write-item', account: 'SALES', file: 'ORDERS', id: '1' },
      { txn: 5, type: 'write-item', account: 'SALES', file: 'ORDERS', id: 'lost' },
    ],
  )

  await startAlone(master)
  await ok('wait', '-d', slave, '--slave', 'alpha', '--timeout', '60')
  t.equal(await ok('digest', '-d', master), await ok('digest', '-d', slave))
  t.equal(await ok('read', '-d', master, 'SALES', 'ORDERS', '1'), 'pears')
  t.match(await statusOf(master), { type: 'slave', running: true })
  t.match(await ok('rejoin', '-d', master, '--from', from), /beta has everything that alpha had/)
  await ok('write', '-d', slave, 'SALES', 'ORDERS', '3', 'figs')
  await ok('wait', '-d', slave, '--timeout', '60')
  t.equal(await ok('read', '-d', master, 'SALES', 'ORDERS', '3'), 'figs')

  await ok('write', '-d', slave, 'SALES', 'ORDERS', '1', 'cherries')
  const missing = ['-d', slave, '--missing', path.join(saved, segment)]
  const left =
    /(?:kip|kipped) 1 transaction:\n {2}4 {2}SALES ORDERS "1": has been changed here since\n$/
  const dry = await replay(...missing, '--dry-run')
  t.match(dry.stdout, /^Nothing has been changed.\nWould apply 1 transaction of 4 to 5.\n/)
  t.match(dry.stdout, left)
  t.equal((await hb('read', '-d', slave, 'SALES', 'ORDERS', 'lost')).code, 3)
  const brought = await replay(...missing)
  t.match(brought, { code: 0, stdout: /^Applied 1 transaction of 4 to 5.\n/ }, brought.stderr)
  t.match(brought.stdout, left)
  t.equal(await ok('read', '-d', slave, 'SALES', 'ORDERS', '1'), 'cherries')
  await ok('wait', '-d', slave, '--timeout', '60')
  t.equal(await ok('read', '-d', master, 'SALES', 'ORDERS', 'lost'), 'and found')
  t.match(await replay('-d', master, ...missing.slice(2)), { code: 4, stderr: /ERR_WRONG_TYPE/ })
})

t.test('a server whose role is lost is stopped, and becomes a slave again', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'SALES')
  await ok('wait', '-d', master)
  await ok('promote', '-d', slave)
  const role = path.join(master, 'role')
  const known = readFileSync(role)

  writeFileSync(role, '')
  t.match(await hb('stop', '-d', master), { code: 0 }, 'at work')
  t.match(await hb('stop', '-d', master), { code: 4, stderr: /ERR_NOT_RUNNING/ })
  t.match(await hb('start', '-d', master), { code: 4, stderr: /ERR_ROLE.*"hb rejoin"/ })
  const serverId = path.join(master, 'server.id')
  const id = readFileSync(serverId)
  writeFileSync(role, known)
  writeFileSync(serverId, '')
  const nobody = { code: 4, stderr: /ERR_NOT_A_SERVER: .*server.id is .*\. Put it back from/ }
  t.match(
    await hb('start', '-d', master),
    nobody,
    'with the hint of the process that did not start',
  )
  writeFileSync(serverId, id)
  writeFileSync(role, '')
  const back = ['rejoin', '-d', master, '--from', `127.0.0.1:${pair.port}`]
  const listen = `127.0.0.1:${await freePort()}`
  await ok(...back, '--listen', listen)
  await ok('start', '-d', master)
  await ok('wait', '-d', slave)

  rmSync(role)
  await ok(...back)
  t.match(await statusOf(master), { type: 'slave', running: true }, 'it was running, and goes on')
  await ok('wait', '-d', slave)
  t.equal(await ok('digest', '-d', master), await ok('digest', '-d', slave))
})

t.test('another slave of the old master follows the new one, also when it had more', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  const other = path.join(pair.root, 'gamma')
  const address = `127.0.0.1:${await freePort()}`
  const key = path.join(master, 'hb.key')
  const named = ['--type', 'slave', '--name', 'gamma', '--listen', address, '--key', key]
  await ok('setup', '-d', other, ...named)
  t.teardown(() => hb('stop', '-d', other))
  const toml = path.join(master, 'hb.toml')
  const slaves = `${readFileSync(toml, 'utf8')}\n[[slaves]]\nname = "gamma"\naddress = "${address}"\n`
  writeFileSync(toml, slaves)
  await startAlone(other)
  await pair.start()
  await ok('create-account', '-d', master, 'SALES')
  await ok('wait', '-d', master, '--timeout', '60')
  await ok('stop', '-d', slave)
  await ok('create-file', '-d', master, 'SALES', 'ORDERS')
  await ok('wait', '-d', master, '--slave', 'gamma', '--timeout', '60')
  await ok('stop', '-d', master)
  await startAlone(slave)
  await ok('promote', '-d', slave)
  const said = await ok('rejoin', '-d', other, '--from', `127.0.0.1:${pair.port}`)
  t.match(said, /1 transaction of gamma had not reached beta: 2 to 2/)
  t.match(said, /Its server runs/)
  await ok('create-account', '-d', slave, 'NEW')
  await ok('wait', '-d', slave, '--timeout', '60')
  t.equal(await ok('digest', '-d', other), await ok('digest', '-d', slave))
})

t.test('an old master whose database files are behind the fork takes a new copy', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'SALES')
  await ok('wait', '-d', master, '--timeout', '60')
  await ok('stop', '-d', slave)
  const old = await Master.open(master)
  await old.account('SALES').createFile('ORDERS')
  await old.checkpoint()
  await old.close()
  await ok('stop', '-d', master)
  await ok('promote', '-d', slave)
  await startAlone(slave)
  const to = ['-d', master, '--from', `127.0.0.1:${pair.port}`]
  const listen = ['--listen', `127.0.0.1:${await freePort()}`]
  const refused = await hb('rejoin', ...to, ...listen)
  t.match(refused, {
    code: 4,
    stderr: /ERR_UNSAFE: .*up to 2, behind the fork at 1, which are saved/,
  })
  t.match(await statusOf(master), { type: 'master', log: { lastTxn: 2 } }, 'nothing has changed')
  const said = await ok('rejoin', ...to, ...listen, '--new-copy')
  t.match(said, /1 transaction of alpha had not reached beta: 2 to 2/)
  t.match(said, /It is empty, and needs a copy/)
  await startAlone(master)
  await ok('wait', '-d', slave, '--timeout', '60')
  t.equal(await ok('digest', '-d', master), await ok('digest', '-d', slave))
})
