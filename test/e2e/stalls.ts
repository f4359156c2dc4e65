// Processes that stand still, and links that are cut, stalled and slow, with real processes over real TCP, while an
// application writes: nobody is taken for dead who is stopped, nobody waits for ever, and afterwards everything goes on
// by itself. Links go through a proxy; in the long form (HB_LONG=1) also between two network namespaces.
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { Faults } from '../helpers/faults.ts'
import { long } from '../helpers/long-form.ts'
import { Proxy } from '../helpers/proxy.ts'
import { hb, ok, Pair, running, statusOf, until } from '../helpers/servers.ts'
import { checkPair, Traffic } from '../helpers/traffic.ts'

/** Longer than every time-out of these servers; in the long form also than a lock takes to be stale elsewhere. */
const stopMs = long ? 12_000 : 2000
/** Helpers let everybody else go first. */
const helperSeconds = 300

function edit(directory: string, ...changes: readonly (readonly [RegExp, string])[]): void {
  const toml = path.join(directory, 'hb.toml')
  let text = readFileSync(toml, 'utf8')
  for (const [pattern, line] of changes) {
    if (!pattern.test(text)) throw new Error(`hb.toml has no ${String(pattern)}`)
    text = text.replace(pattern, line)
  }
  writeFileSync(toml, text)
}

/** Servers that lose patience soon. */
async function hastyPair(t: Test): Promise<Pair> {
  const pair = await Pair.make(t)
  for (const directory of [pair.master, pair.slave]) {
    edit(
      directory,
      [/^(# )?segment_size = .*$/m, 'segment_size = "64KiB"'],
      [/^# heartbeat = .*$/m, 'heartbeat = "200ms"'],
      [/^# timeout = "30s"$/m, 'timeout = "1s"'],
      [/^\[helpers\]$/m, '[helpers]\nsize = "64KiB"'],
      [/^# patience = .*$/m, 'patience = "10s"'],
    )
  }
  return pair
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

async function pidOf(directory: string): Promise<number> {
  const { pid } = await statusOf(directory)
  if (pid === null) throw new Error(`nothing runs in ${directory}`)
  return pid
}

t.test('each process is stopped for longer than every time-out', { timeout: 900_000 }, async t => {
  const pair = await hastyPair(t)
  const { master, slave } = pair
  const faults = Faults.prepare(pair.root)
  await pair.start()
  const traffic = Traffic.start(master, 'S', 30)
  t.teardown(() => traffic.kill())
  await traffic.more(300)
  const app = traffic.process.pid ?? 0
  const [shipper, receiver] = [await pidOf(master), await pidOf(slave)]
  for (const [name, pid] of Object.entries({ app, shipper, receiver })) {
    process.kill(pid, 'SIGSTOP')
    await pause(stopMs)
    // It is there, and nobody may take its place.
    if (name === 'app') {
      const second = Traffic.start(master, 'SECOND', 30)
      await second.ended()
      t.equal(second.count, 0, 'its master is opened by nobody else')
    } else {
      const started = await hb('start', '-d', name === 'shipper' ? master : slave)
      t.match(started, { code: 4, stderr: /ERR_RUNNING/ }, name)
    }
    process.kill(pid, 'SIGCONT')
    await traffic.more(100)
    await ok('wait', '-d', master, '--timeout', '60')
  }
  t.strictSame([await pidOf(master), await pidOf(slave)], [shipper, receiver], 'the same processes')

  // A command is stopped in the middle of its output: nobody waits for it.
  const cli = new URL('../../src/cli/hb.js', import.meta.url).pathname
  const command = spawn(process.execPath, [cli, 'log', 'follow', '-d', master], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(command.stdout, 'data')
  command.kill('SIGSTOP')
  await traffic.more(300)
  await ok('wait', '-d', master, '--timeout', '60')
  command.kill('SIGCONT')
  await once(command.stdout, 'data')
  command.kill('SIGTERM')
  await once(command, 'exit')

  if (!long) {
    await traffic.kill()
    await checkPair(t, pair, traffic.ids)
    return
  }
  // A helper that says nothing is ended, and its work begun again.
  traffic.process.kill('SIGUSR2')
  const stop = {
    name: 'helper stops',
    role: 'helper',
    operation: 'write',
    what: '/helpers/',
    moment: 'after',
    nth: 1,
    act: 'stop',
  } as const
  faults.order(stop)
  const helped = async () => {
    const both = await Promise.all([master, slave].map(statusOf))
    return both.every(({ helpers, holds }) => helpers.length === 0 && holds.length === 0)
  }
  // Once a checkpoint has been made the file is large enough for a helper. Another order would begin its work anew.
  for (let modulo = 997; faults.hits.length === 0; modulo++) {
    await ok('resize-file', '-d', master, 'KILL', 'ITEMS', '--modulo', String(modulo))
    const over = async () => faults.hits.length > 0 || helped()
    await until('a helper stops, or has done it', over, helperSeconds)
  }
  faults.withdraw()
  await until('the helpers have done it', helped, helperSeconds)
  await traffic.kill()
  await checkPair(t, pair, traffic.ids)
})

t.test('a master that was stopped for longer than its lease', { timeout: 120_000 }, async t => {
  const pair = await hastyPair(t)
  const { master, slave } = pair
  await pair.start()
  const first = Traffic.start(master, 'FIRST', 30)
  await first.more(20)
  await first.kill()
  edit(master, [/^# lease = "0"$/m, 'lease = "1s"'])
  const traffic = Traffic.start(master, 'L', 30)
  t.teardown(() => traffic.kill())
  await traffic.more(100)
  const shipper = await pidOf(master)
  process.kill(traffic.process.pid ?? 0, 'SIGSTOP')
  process.kill(shipper, 'SIGSTOP')
  await pause(stopMs)
  await ok('promote', '-d', slave)
  await pause(200) // What it had said before is heard.
  const [before, refusals] = [traffic.count, traffic.refusals.length]
  process.kill(traffic.process.pid ?? 0, 'SIGCONT')
  await traffic.refused(refusals)
  t.match(traffic.refusals.at(-1), /ERR_LEASE|ERR_UNCONFIRMED/)
  await pause(500)
  t.equal(traffic.count, before, 'nothing was acknowledged')
  process.kill(shipper, 'SIGCONT')
  await traffic.ended() // It is fenced.
  t.equal(traffic.count, before)
  await ok('write', '-d', slave, 'KILL', 'ITEMS', 'new', 'master')
})

t.test('a link that is cut, stalled and slow', { timeout: 900_000 }, async t => {
  const pair = await hastyPair(t)
  const { master, slave } = pair
  const proxy = await Proxy.start(t, pair.port)
  edit(master, [/^address = ".*"$/m, `address = "${proxy.address}"`])
  await pair.start()
  const traffic = Traffic.start(master, 'P', 30)
  t.teardown(() => traffic.kill())
  await traffic.more(100)
  const caughtUp = () => ok('wait', '-d', master, '--timeout', '60')
  await caughtUp()
  // At any byte: in the handshake of TLS, in HELLO, in the middle of blocks.
  const cuts = long ? 60 : 6
  for (let count = 0; count < cuts; count++) {
    const { connections } = proxy
    proxy.cutAfter(count % 3 === 0 ? 1 + 97 * count : 1000 + Math.floor(Math.random() * 20_000))
    proxy.cut()
    await until('it is cut', () => Promise.resolve(proxy.connections > connections))
    await pause(50)
    proxy.repair()
  }
  await caughtUp()
  t.pass(`cut ${cuts} times`)
  proxy.stall()
  const says = async (directory: string) => ok('status', '-d', directory, '--json')
  await until('the master hangs up', async () => /ERR_WIRE_TIMEOUT/.test(await says(master)))
  await until('so does the slave', async () => /Wait incoming call/.test(await says(slave)))
  await traffic.more(100)
  proxy.repair()
  await caughtUp()
  t.pass('stalled')
  proxy.slow(200, 20)
  proxy.cut()
  const linked = /Reading network|Idle|Connected/
  await until('it is linked again', async () => linked.test(await says(slave)))
  const { connections } = proxy
  await traffic.more(100)
  t.equal(proxy.connections, connections, 'slow is not dead')
  proxy.repair()
  await caughtUp()
  // Another connection of the same server takes the place of the first.
  proxy.stall()
  await traffic.more(20)
  await ok('stop', '-d', master)
  edit(master, [/^address = ".*"$/m, `address = "127.0.0.1:${pair.port}"`])
  await running(master)
  await caughtUp()
  t.pass('twice')
  proxy.repair()
  await traffic.kill()
  await checkPair(t, pair, traffic.ids)
})

/** Two network namespaces with a cable between them; why not, when this machine gives none. */
function layCable(t: Test): { near: string; far: string; address: string } | string {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const [near, far] = [`hbn${process.pid}`, `hbf${process.pid}`]
  const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' })
  try {
    for (const space of [near, far]) {
      ip('netns', 'add', space)
      t.teardown(() => ip('netns', 'del', space))
    }
    ip('link', 'add', near, 'netns', near, 'type', 'veth', 'peer', 'name', far, 'netns', far)
    for (const [space, own] of [
      [near, '10.77.0.1/24'],
      [far, '10.77.0.2/24'],
    ] as const) {
      ip('-n', space, 'addr', 'add', own, 'dev', space)
      ip('-n', space, 'link', 'set', space, 'up')
      ip('-n', space, 'link', 'set', 'lo', 'up')
    }
  } catch (error) {
    return `no network namespaces: ${String(error)}`
  }
  return { near, far, address: '10.77.0.2' }
}

t.test('a cable between two network namespaces', { timeout: 600_000 }, async t => {
  const cable = long ? layCable(t) : 'in the long form only'
  if (typeof cable === 'string') {
    t.pass(`skipped: ${cable}`)
    return
  }
  const { near, far, address } = cable
  const pair = await hastyPair(t)
  const { master, slave } = pair
  edit(master, [/^address = ".*"$/m, `address = "${address}:${pair.port}"`])
  edit(slave, [/^listen = ".*"$/m, `listen = "${address}:${pair.port}"`])
  const cli = new URL('../../src/cli/hb.js', import.meta.url).pathname
  const inside = (space: string, ...args: string[]) =>
    execFileSync('ip', ['netns', 'exec', space, process.execPath, cli, ...args])
  inside(far, 'start', '-d', slave)
  inside(near, 'start', '-d', master)
  const traffic = Traffic.start(master, 'N', 30)
  t.teardown(() => traffic.kill())
  await traffic.more(100)
  const caughtUp = () => ok('wait', '-d', master, '--timeout', '60')
  await caughtUp()
  const link = (state: string) => execFileSync('ip', ['-n', far, 'link', 'set', far, state])
  const shape = (...how: string[]) =>
    spawnSync('tc', ['-n', near, 'qdisc', ...how], { stdio: 'ignore' }).status === 0
  const trouble = ['netem', 'delay', '50ms', '20ms', 'loss', '5%', 'duplicate', '2%']
  for (let round = 0; round < 3; round++) {
    link('down') // Nobody hears of an end.
    await until('it is noticed', async () =>
      /ERR_WIRE_TIMEOUT|ERR_CONNECT/.test(await ok('status', '-d', master, '--json')),
    )
    await traffic.more(50)
    link('up')
    await caughtUp()
    const troubled = shape('add', 'dev', near, 'root', ...trouble)
    if (!troubled) t.comment('this machine cannot make packets late, lost or doubled')
    await traffic.more(200)
    await caughtUp()
    if (troubled) shape('del', 'dev', near, 'root')
  }
  await traffic.kill()
  await checkPair(t, pair, traffic.ids)
})
