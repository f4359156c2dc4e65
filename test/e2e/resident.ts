// The resident server and its supervisor, with real processes: parts that are killed, programs that have the master
// open, and "hb run" through promotion, rejoin and switch.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { layoutOf } from '../../src/config/layout.ts'
import { Master } from '../../src/index.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import {
  edit,
  freePort,
  hb,
  killServer,
  ok,
  Pair,
  statusOf,
  until,
  type Status,
} from '../helpers/servers.ts'

const program = new URL('../../src/cli/hb.js', import.meta.url).pathname

interface Running extends Status {
  readonly server: { readonly pid: number | null }
  readonly shipper: { readonly pid: number | null }
}

const processesOf = async (directory: string): Promise<{ server: number; shipper: number }> => {
  const { server, shipper } = (await statusOf(directory)) as Running
  return { server: server.pid ?? 0, shipper: shipper.pid ?? 0 }
}

const write = (directory: string, id: string) => ok('write', '-d', directory, 'A', 'F', id, id)

async function makeFile(directory: string): Promise<void> {
  await ok('create-account', '-d', directory, 'A')
  await ok('create-file', '-d', directory, 'A', 'F')
}

async function killed(directory: string, part: 'server' | 'shipper'): Promise<number> {
  const pid = (await processesOf(directory))[part]
  process.kill(pid, 'SIGKILL')
  await until(`${part} ${pid} is gone`, async () => (await processesOf(directory))[part] !== pid)
  return pid
}

async function backAgain(directory: string, part: 'server' | 'shipper'): Promise<void> {
  await until(`the ${part} is back`, async () => {
    const { server, shipper } = await processesOf(directory)
    return (part === 'server' ? server : shipper) !== 0
  })
}

t.test('each part dies and comes back alone', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  await ok('start', '-d', slave)
  t.match(
    await ok('start', '-d', master),
    /^started, process \d+ \(server\) and \d+ \(shipper\)\n$/,
  )
  await makeFile(master)
  const first = await processesOf(master)
  t.match(await statusOf(master), { running: true, pid: first.server, type: 'master' })
  t.match(await hb('start', '-d', master), {
    code: 4,
    stderr: `ERR_RUNNING: alpha is running already: process ${first.server} (server)`,
  })
  await t.rejects(Master.open(master), { code: 'ERR_RUNNING', hint: /use "connect"/ })

  await killed(master, 'shipper')
  await write(master, 'without a shipper')
  await backAgain(master, 'shipper')
  await ok('start', '-d', master)
  t.equal((await hb('start', '-d', master)).code, 4, 'once')
  await ok('wait', '-d', master, '--timeout', '60')
  t.equal((await processesOf(master)).server, first.server, 'the server has not noticed')

  await ok('apply', '-d', slave, 'off')
  const { shipper } = await processesOf(master)
  await write(master, 'before the end')
  await killed(master, 'server')
  await ok('wait', '-d', master, '--level', 'durable', '--timeout', '60')
  await backAgain(master, 'server')
  t.equal((await processesOf(master)).shipper, shipper, 'the shipper has not noticed')
  t.equal(await ok('read', '-d', master, 'A', 'F', 'before the end'), 'before the end')
  await write(master, 'after it')
  await ok('apply', '-d', slave, 'on')
  const digests = await pair.digests()
  t.equal(digests.slave, digests.master)

  t.match(await ok('stop', '-d', master), /^stopped \(pid \d+\)\n$/)
  t.match(await statusOf(master), { running: false, pid: null, state: 'Stopped' })
  t.match(await hb('stop', '-d', master), { code: 4, stderr: /ERR_NOT_RUNNING/ })
})

t.test('programs share a master, and its server is killed', async t => {
  const { master } = await Pair.make(t)
  await ok('start', '-d', master)
  const programs = ['one', 'two'].map(name => new Sharing(master, name))
  for (let times = 0; times < 2; times++) {
    await until('both get on', async () => {
      for (const { errors } of programs) if (errors !== '') throw new Error(errors)
      return programs.every(({ taken }) => taken.size > 50 * (times + 1))
    })
    await killed(master, 'server')
    await backAgain(master, 'server')
  }
  for (const each of programs) t.equal(await each.ended, 0, each.errors)
  const [one, two] = programs.map(({ taken }) => taken)
  t.strictSame(
    [...one!].filter(number => two!.has(number)),
    [],
    'no number was taken twice',
  )
  const orders = new Set((await ok('list', '-d', master, 'SHOP', 'ORDERS')).trim().split('\n'))
  t.strictSame(
    [...one!, ...two!].filter(number => !orders.has(number)),
    [],
    'nothing is lost',
  )
  t.equal(await ok('read', '-d', master, 'SHOP', 'COUNTERS', 'ORDER'), String(orders.size))
})

/** A process of examples/shared.ts. */
class Sharing {
  readonly taken = new Set<string>()
  errors = ''
  readonly ended: Promise<unknown>

  constructor(directory: string, name: string) {
    const file = new URL('../../examples/shared.js', import.meta.url).pathname
    const child = spawn(process.execPath, [file, directory, name, '400'])
    createInterface({ input: child.stdout }).on('line', line => this.taken.add(line))
    child.stderr.on('data', (bytes: Buffer) => {
      this.errors += bytes.toString()
    })
    this.ended = once(child, 'close').then(([code]) => code as unknown)
  }
}

t.test('a server that is away beside its shipper is a failure', async t => {
  const { master } = await Pair.make(t)
  const layout = layoutOf(master)
  const held = [layout.supervisorLock, layout.shipperLock].map(lock =>
    nodePlatform.locks.acquire(lock, 'shipper', () => {}),
  )
  const locks = await Promise.all(held)
  t.match(await statusOf(master), { running: true, failure: /^the server has ended/ })
  t.match(await hb('check', '-d', master), { code: 2, stdout: /the server has ended/ })
  for (const lock of locks) await lock.release()
})

t.test('a slave that was killed is started again by hb start', async t => {
  const { slave } = await Pair.make(t)
  await ok('start', '-d', slave)
  const { pid } = await statusOf(slave)
  await killServer(slave)
  await ok('start', '-d', slave)
  t.not((await statusOf(slave)).pid, pid)
  await ok('stop', '-d', slave)
})

t.test('a supervisor raises its alarms by the hb.toml that was read again', async t => {
  const { master } = await Pair.make(t)
  await ok('start', '-d', master)
  const heard = path.join(master, 'heard')
  edit(master, /^# command = ""$/m, `command = "cat >>${heard}"`)
  await ok('reload', '-d', master)
  await killed(master, 'shipper')
  await until('the alarm has come', async () => {
    return existsSync(heard) && /the shipper has died \(SIGKILL\)/.test(readFileSync(heard, 'utf8'))
  })
})

t.test('a program that has the master open keeps it', async t => {
  const { master } = await Pair.make(t)
  const open = await Master.open(master)
  t.match(
    await ok('start', '-d', master),
    `process ${process.pid} has the master open, and the server takes over when it ends\n`,
  )
  t.match(await statusOf(master), {
    running: true,
    server: { pid: null },
    shipper: { pid: Number },
  })
  t.match(await hb('start', '-d', master), { code: 4, stderr: /already: process \d+ \(shipper\)/ })
  await open.createAccount('A')
  await open.close()
  await backAgain(master, 'server')
  await ok('create-account', '-d', master, 'B')
})

class Run {
  readonly process: ChildProcess
  said = ''

  constructor(t: Test, directory: string) {
    this.process = spawn(process.execPath, [program, 'run', '-d', directory], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.process.stderr?.on('data', (bytes: Buffer) => {
      this.said += bytes.toString()
    })
    t.teardown(() => this.process.kill('SIGKILL'))
  }

  get runs(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  async end(): Promise<unknown> {
    const ended = once(this.process, 'exit')
    this.process.kill('SIGTERM')
    return (await ended)[0]
  }
}

t.test('hb run goes on through promotion, rejoin and switch', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  const [onMaster, onSlave] = [new Run(t, master), new Run(t, slave)]
  await backAgain(master, 'shipper')
  await backAgain(slave, 'server')
  await makeFile(master)
  await ok('wait', '-d', master, '--timeout', '60')
  t.match(await hb('run', '-d', master), { code: 4, stderr: /ERR_RUNNING/ })

  t.equal(await onMaster.end(), 0)
  t.match(onMaster.said, /hb-server has stopped/)
  const before = await processesOf(slave)
  t.match(await ok('promote', '-d', slave), 'Its shipper runs.')
  await write(slave, 'after the promotion')
  await backAgain(slave, 'shipper')
  t.equal(
    (await processesOf(slave)).server,
    before.server,
    'the same process has become the master',
  )

  const returned = new Run(t, master)
  await backAgain(master, 'shipper')
  const listen = `127.0.0.1:${await freePort()}`
  const from = `127.0.0.1:${pair.port}`
  const rejoined = await ok('rejoin', '-d', master, '--from', from, '--listen', listen)
  t.match(rejoined, /Its server runs \(pid \d+\)\./)
  t.match(await statusOf(master), { type: 'slave', running: true, shipper: { pid: null } })
  await ok('wait', '-d', slave, '--timeout', '60')
  t.equal(await ok('read', '-d', master, 'A', 'F', 'after the promotion'), 'after the promotion')

  t.match(await ok('switch', '-d', slave, '--to', 'alpha'), /Its server runs \(pid \d+\)\./)
  await backAgain(master, 'shipper')
  await write(master, 'after the switch')
  await ok('wait', '-d', master, '--timeout', '60')
  t.ok(onSlave.runs && returned.runs, 'the processes of the service manager are the same')
  t.equal(await ok('read', '-d', slave, 'A', 'F', 'after the switch'), 'after the switch')
  t.strictSame([await returned.end(), await onSlave.end()], [0, 0])
})
