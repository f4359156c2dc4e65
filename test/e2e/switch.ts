// Master and slave change places, there and back, with an application that has the master open; and when they do not.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import { Faults } from '../helpers/faults.ts'
import { long } from '../helpers/long-form.ts'
import { freePort, hb, ok, Pair, running, startAlone, statusOf } from '../helpers/servers.ts'

t.test('there and back, with nothing lost', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  const opened = await Master.open(master)
  const file = await (await opened.createAccount('SALES')).createFile('ORDERS')
  let acknowledged = 0
  let refused: unknown = null
  const writing = (async () => {
    while (refused === null) {
      await file.write(String(acknowledged + 1), 'x').then(
        () => acknowledged++,
        (error: unknown) => {
          refused = error
        },
      )
      await new Promise(setImmediate)
    }
  })()
  await ok('wait', '-d', master, '--timeout', '60')
  const listen = `127.0.0.1:${await freePort()}`
  const said = await ok('switch', '-d', master, '--to', 'beta', '--listen', listen)
  t.match(said, /^beta is the master now/)
  await writing
  t.match(refused, { code: 'ERR_FENCED' })
  t.match(await statusOf(slave), { type: 'master', running: true })
  t.match(await statusOf(master), { type: 'slave', running: true })

  const other = await Master.open(slave)
  const orders = other.account('SALES').file('ORDERS')
  t.equal(orders.itemCount, acknowledged, 'every update that was acknowledged, and no other')
  await orders.write('there', 'apples')
  await other.close()
  await ok('wait', '-d', slave, '--timeout', '60')
  t.equal(await ok('digest', '-d', master), await ok('digest', '-d', slave))

  t.match(await ok('switch', '-d', slave, '--to', 'alpha'), /^alpha is the master now/)
  await ok('write', '-d', master, 'SALES', 'ORDERS', 'back', 'figs')
  await ok('wait', '-d', master, '--timeout', '60')
  t.equal(await ok('digest', '-d', slave), await ok('digest', '-d', master))
  t.equal(await ok('read', '-d', slave, 'SALES', 'ORDERS', 'there'), 'apples')
  t.match(JSON.parse(await ok('status', '-d', master, '--json')), { timeline: 3, failure: null })
})

t.test('what is not safe is refused, and the master goes on', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'SALES')
  const to = (...args: string[]) => hb('switch', '-d', master, '--to', ...args)
  t.match(await to('gamma'), { code: 3, stderr: /ERR_NO_SLAVE/ })
  t.match(await to('beta'), { code: 4, stderr: /ERR_UNSAFE: the shipper of alpha does not run/ })
  await startAlone(master)
  t.match(await to('beta'), { code: 4, stderr: /ERR_UNSAFE: beta takes no updates from alpha/ })
  await startAlone(slave)
  await ok('wait', '-d', master, '--timeout', '60')
  await ok('apply', '-d', slave, 'off')
  await ok('create-file', '-d', master, 'SALES', 'ORDERS')
  const late = await to('beta', '--timeout', '0.5')
  t.match(late, {
    code: 4,
    stderr: /beta has stored transaction 2 and applied 1 of 2, after 0.5 s/,
  })
  await ok('write', '-d', master, 'SALES', 'ORDERS', '1', 'it takes updates')
  t.match(await statusOf(slave), { type: 'slave' })
  t.match(await hb('switch', '-d', slave, '--to', 'x'), { code: 4, stderr: /ERR_WRONG_TYPE/ })
})

const rounds = long ? 40 : 2
const cli = new URL('../../src/cli/hb.js', import.meta.url).pathname

const halfASlave = {
  name: 'the role is changed',
  role: 'hb switch',
  operation: 'rename',
  what: '/role$',
  moment: 'after',
  // Twice before it is only tried.
  nth: 3,
  act: 'kill',
} as const

t.test('a role that cannot be written is found before the slave is asked', async t => {
  const pair = await Pair.make(t)
  await pair.start()
  const { master, slave } = pair
  await ok('create-account', '-d', master, 'SALES')
  await ok('wait', '-d', master, '--timeout', '60')
  const listen = `127.0.0.1:${await freePort()}`
  const change = ['switch', '-d', master, '--to', 'beta', '--listen', listen]
  const obstacle = path.join(master, 'role.tmp')
  mkdirSync(path.join(obstacle, 'full'), { recursive: true })
  const refused = await hb(...change)
  t.equal(refused.code, 1)
  t.match(refused.stderr, /^hb: ERR_DISK: cannot [^;]*role\.tmp/)
  t.match(await statusOf(slave), { type: 'slave' })
  await ok('create-account', '-d', master, 'STOCK')
  rmSync(obstacle, { recursive: true })
  t.match(await ok(...change), /^beta is the master now/)
})

t.test('killed at any moment, the command is given again and completes it', async t => {
  const pair = await Pair.make(t)
  const faults = Faults.prepare(pair.root)
  await pair.start()
  const listen = `127.0.0.1:${await freePort()}`
  let [master, slave] = [
    { directory: pair.master, name: 'alpha' },
    { directory: pair.slave, name: 'beta' },
  ]
  await ok('create-account', '-d', master.directory, 'SALES')
  for (let round = 0; round < rounds; round++) {
    await ok('create-account', '-d', master.directory, `ROUND.${round}`)
    await ok('wait', '-d', master.directory, '--timeout', '60')
    const args = ['switch', '-d', master.directory, '--to', slave.name]
    if (master.name === 'alpha') args.push('--listen', listen)
    // The first time where the role says already that this is a slave, and the command is not at its end.
    faults.order(...(round === 0 ? [halfASlave] : []))
    const child = spawn(process.execPath, [cli, ...args], { stdio: 'ignore' })
    // Starting takes a part of it.
    const kill = () => void (round > 0 && child.kill('SIGKILL'))
    const timer = setTimeout(kill, 150 + Math.floor(Math.random() * 500))
    await once(child, 'exit')
    clearTimeout(timer)
    if (round === 0) await faults.hit(halfASlave)
    const { directory } = master
    const isSlave = async () =>
      (await statusOf(directory)).type === 'slave' && !existsSync(path.join(directory, 'rejoin'))
    for (let tries = 1; !(await isSlave()); tries++) {
      if ((await statusOf(directory)).type === 'master') await running(directory)
      const { code, stderr } = await hb(...args)
      // The shipper may not have heard of the promotion yet.
      if (code !== 0 && (tries > 100 || !/ERR_UNSAFE/.test(stderr))) throw new Error(stderr)
    }
    for (const { directory } of [slave, master]) await running(directory)
    ;[master, slave] = [slave, master]
    await ok('wait', '-d', master.directory, '--timeout', '60')
    const accounts = await ok('list', '-d', master.directory, '--json')
    if (!accounts.includes(`ROUND.${round}`)) t.fail(`round ${round} is lost`)
    const digests = [
      await ok('digest', '-d', master.directory),
      await ok('digest', '-d', slave.directory),
    ]
    if (digests[0] !== digests[1]) t.fail(`round ${round} differs`)
  }
  t.pass(`${rounds} rounds`)
})
