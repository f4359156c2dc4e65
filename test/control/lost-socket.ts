// A control socket that is deleted while its process works: it is made again, and commands wait for it meanwhile.
import {
  existsSync,
  mkdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'
import t from 'tap'
import { isHotBackupError } from '../../src/errors.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { setup } from '../../src/config/setup.ts'
import { ControlClient } from '../../src/control/control-client.ts'
import { ControlServer } from '../../src/control/control.ts'
import { ask, handler } from '../../src/control/operation.ts'
import { reach, statusOf } from '../../src/control/reach.ts'
import { status } from '../../src/control/status-operation.ts'
import { writeFenced } from '../../src/config/fence.ts'
import { layoutOf, type Layout } from '../../src/config/layout.ts'
import { Master } from '../../src/server/master.ts'
import type { Log } from '../../src/config/messages-log.ts'
import { ShipperServer } from '../../src/server/shipper-server.ts'
import { SlaveServer } from '../../src/server/slave-server.ts'
import { freePort, hb, ok, temporaryDirectory, until } from '../helpers/servers.ts'

const quiet = () => {}
const shipper = { pid: 7, slaves: [] }
const services = { handlers: [handler(status, async () => ({ shipper }))] }

async function answers(client: ControlClient): Promise<boolean> {
  return (await ask(client, status, {})).shipper?.pid === 7
}

async function reached(socket: string): Promise<boolean> {
  const client = await ControlClient.connect(nodePlatform, socket)
  try {
    return client !== null && (await answers(client))
  } catch (error) {
    // Another listener, which says nothing.
    if (isHotBackupError(error, 'ERR_CLOSED')) return false
    throw error
  } finally {
    client?.close()
  }
}

const losses: Readonly<Record<string, (socket: string) => void>> = {
  'the socket is deleted': socket => unlinkSync(socket),
  'its directory is deleted': socket => rmSync(path.dirname(socket), { recursive: true }),
  'its directory is renamed': socket =>
    renameSync(path.dirname(socket), `${path.dirname(socket)}.old`),
  'it is renamed': socket => renameSync(socket, `${socket}.old`),
  'a file replaces it': socket => {
    unlinkSync(socket)
    writeFileSync(socket, 'x')
  },
  'a link replaces it': socket => {
    unlinkSync(socket)
    symlinkSync('/nowhere', socket)
  },
  'the socket of another process replaces it': socket => {
    unlinkSync(socket)
    const other = createServer(connection => connection.destroy())
    other.listen(socket)
    t.teardown(() => other.close())
  },
}

t.test('a socket is made again, whatever has become of it', async t => {
  const root = temporaryDirectory(t)
  const places = Object.entries(losses).flatMap(([what, lose], index) => [
    { what, lose, directory: path.join(root, String(index)) },
    // Listened at by way of an open handle of the directory.
    {
      what: `${what}, long path`,
      lose,
      directory: path.join(root, 'd'.repeat(120), String(index)),
    },
  ])
  await Promise.all(
    places.map(async ({ what, lose, directory }) => {
      const socket = path.join(directory, 'run', 'owner.sock')
      // Others listen at a path as it is.
      if (socket.length > 100 && what.includes('another process')) return
      mkdirSync(path.dirname(socket), { recursive: true })
      const said: string[] = []
      const say: Log = (level, message) => void said.push(`${level} ${message}`)
      const server = await ControlServer.start(nodePlatform, socket, say, services)
      const before = await ControlClient.connect(nodePlatform, socket)
      lose(socket)
      await until(what, () => reached(socket))
      t.equal(statSync(socket).mode & 0o777, 0o600, what)
      t.ok(before !== null && (await answers(before)), `${what}: older connections go on`)
      t.strictSame(said, [`warn the socket ${socket} was gone, and has been made again`])
      // A socket that was deleted a second time, and never missed.
      unlinkSync(socket)
      before?.close()
      await server.close()
      t.notOk(existsSync(socket), `${what}: closed`)
    }),
  )
})

t.test('what cannot be made again is reported once, and tried again', async t => {
  const directory = path.join(temporaryDirectory(t), 'north')
  const socket = path.join(directory, 'run', 'owner.sock')
  mkdirSync(path.dirname(socket), { recursive: true })
  const said: string[] = []
  const say: Log = (level, message) => void said.push(`${level} ${message}`)
  const server = await ControlServer.start(nodePlatform, socket, say, services)
  renameSync(directory, `${directory}.moved`)
  await until('it is missed', async () => said.length > 0)
  t.match(said, [/^error this process cannot be reached: .*owner\.sock/])
  t.notOk(existsSync(directory), 'nothing is made where the server was')
  renameSync(`${directory}.moved`, directory)
  unlinkSync(socket)
  await until('it is there again', () => reached(socket))
  t.equal(said.length, 2)
  await server.close()
})

t.test('a process without its socket is waited for while it holds its lock', async t => {
  const layout = layoutOf(temporaryDirectory(t))
  mkdirSync(layout.run)
  t.equal(await reach(nodePlatform, layout, 'owner'), null, 'there is no process')
  const short = await nodePlatform.locks.acquire(layout.ownerLock, 'recovery', quiet)
  t.equal(await reach(nodePlatform, layout, 'owner'), null, 'it never listens')
  t.equal(await statusOf(nodePlatform, layout, 'owner'), null)
  await short.release()

  const lock = await nodePlatform.locks.acquire(layout.ownerLock, 'slave', quiet)
  await t.rejects(reach(nodePlatform, layout, 'owner', 100), {
    code: 'ERR_REOPENING',
    message: /^process \d+ \(slave\) has .* open and does not listen to commands$/,
  })
  const [client, answer] = [
    reach(nodePlatform, layout, 'owner'),
    statusOf(nodePlatform, layout, 'owner'),
  ]
  const server = await ControlServer.start(nodePlatform, layout.ownerSocket, quiet, services)
  ;(await client)?.close()
  t.strictSame(await answer, { shipper })
  await server.close()
  await lock.release()
  t.equal(await statusOf(nodePlatform, layout, 'owner'), null)
})

async function made(directory: string, type: 'master' | 'slave', address: string): Promise<Layout> {
  const layout = layoutOf(directory)
  await setup(nodePlatform, directory, {
    type,
    name: type === 'master' ? 'alpha' : 'beta',
    key: false,
    listen: type === 'slave' ? address : null,
    slaves: type === 'master' ? [`beta=${address}`] : [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  return layout
}

t.test('commands of all kinds find servers whose sockets were just deleted', async t => {
  const root = temporaryDirectory(t)
  const address = `127.0.0.1:${await freePort()}`
  const alpha = await made(path.join(root, 'alpha'), 'master', address)
  const beta = await made(path.join(root, 'beta'), 'slave', address)
  const slave = await SlaveServer.start(nodePlatform, beta.directory, quiet, quiet)
  const shipper = await ShipperServer.start(nodePlatform, alpha.directory, quiet, quiet)
  const master = await Master.open(alpha.directory)
  await master.createAccount('SALES')
  const lose = () => {
    for (const socket of [alpha.ownerSocket, alpha.shipperSocket, beta.ownerSocket]) {
      rmSync(socket, { force: true })
    }
  }
  const on = (server: Layout, ...args: string[]) => ok(...args, '-d', server.directory)
  await on(alpha, 'wait', '--timeout', '60')

  lose()
  t.equal(await on(beta, 'wait', '--timeout', '60'), 'transaction 1 is applied\n')
  lose()
  t.equal(await on(alpha, 'wait', '--timeout', '60'), 'transaction 1 is applied\n')
  lose()
  for (const server of [alpha, beta]) {
    const status = JSON.parse(await on(server, 'status', '--json')) as Record<string, unknown>
    const { running, state, failure, apply, slaves } = status
    const slavesFound = server === alpha ? [{ state: 'Idle', appliedTxn: 1, lagTxns: 0 }] : []
    t.match(
      { running, state, failure, apply, slaves },
      {
        running: true,
        state: 'Idle',
        failure: null,
        apply: { appliedTxn: 1 },
        slaves: slavesFound,
      },
    )
  }
  lose()
  t.match(await on(beta, 'check', '--disk', 'off'), /^OK: beta \(slave\): Idle, transaction 1 of 1/)
  lose()
  t.match(await on(alpha, 'statistics', '--json'), /"name": "beta"/)
  lose()
  await on(alpha, 'reload')
  lose()
  await on(beta, 'reload')
  lose()
  await on(alpha, 'seed', '--slave', 'beta')
  lose()
  await on(alpha, 'verify')
  lose()
  await on(alpha, 'save', '--to', path.join(root, 'save'))
  lose()
  await on(beta, 'apply', 'off')
  lose()
  t.match(await hb('forget', '-d', alpha.directory, 'beta'), {
    stderr: /ERR_CONFIG: beta has a table/,
  })
  await master.close()
  await shipper.stop()
  await slave.stop()
})

t.test('an application whose socket was deleted hears that the master is over', async t => {
  const layout = await made(temporaryDirectory(t), 'master', '127.0.0.1:2001')
  const master = await Master.open(layout.directory)
  await master.createAccount('SALES')
  unlinkSync(layout.ownerSocket)
  const met = { timeline: 2, lineage: '22'.repeat(16), by: 'beta', address: 'x:1', time: 1 }
  await writeFenced(nodePlatform.disk, layout, met)
  const shipper = await ShipperServer.start(nodePlatform, layout.directory, quiet, quiet)
  await until('it hears of it', async () => master.status().failure !== null)
  await t.rejects(master.createAccount('STOCK'), { code: 'ERR_FENCED' })
  await shipper.stop()
  await master.close()
})
