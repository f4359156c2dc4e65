// A master that hands over and is interrupted, or gets no answer: how it goes on, and when it may take updates again.
// And one that is over: its application hears of it.
import path from 'node:path'
import t from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import { placeOf } from '../../src/log/cut-back.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { writeFileAtomic } from '../../src/platform/atomic-file.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { readConfigText } from '../../src/config/config.ts'
import { newRole, writeRole } from '../../src/config/role.ts'
import { setup } from '../../src/config/setup.ts'
import { ControlClient } from '../../src/control/control-client.ts'
import { ask, handler } from '../../src/control/operation.ts'
import { status } from '../../src/control/status-operation.ts'
import { updateOperations } from '../../src/data/data-operations.ts'
import { failoverOperations } from '../../src/failover/failover-operations.ts'
import { ControlServer } from '../../src/control/control.ts'
import { readFenced, writeFenced } from '../../src/config/fence.ts'
import { switchServers } from '../../src/failover/switch.ts'
import { layoutOf, type Layout } from '../../src/config/layout.ts'
import { Master } from '../../src/server/master.ts'
import { ShipperServer } from '../../src/server/shipper-server.ts'
import { SlaveServer } from '../../src/server/slave-server.ts'
import { encodeAck } from '../../src/ship/ack-file.ts'
import { ackAt } from '../helpers/acks.ts'
import { freePort } from '../helpers/servers.ts'

const { disk } = nodePlatform

/** Has made one update, and is closed. */
async function makeMaster(directory: string, slaves: readonly string[]): Promise<Layout> {
  const layout = layoutOf(directory)
  await setup(nodePlatform, layout.directory, {
    type: 'master',
    name: 'alpha',
    key: false,
    listen: null,
    slaves,
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  const master = await Master.open(layout.directory)
  await master.createAccount('SALES')
  await master.close()
  return layout
}

/** A slave that was never heard. */
const silent = {
  address: 'x:1',
  state: 'Idle',
  sentTxn: 0,
  receivedTxn: null,
  durableTxn: null,
  appliedTxn: null,
  lastKnown: null,
  applying: null,
  lagTxns: 0,
  lagSeconds: null,
  lastError: null,
  bytesSent: 0,
  bytesInFlight: 0,
  roundTripMs: null,
} as const

t.test('a slave that may have agreed before, and cannot be asked now', async t => {
  const beta = `127.0.0.1:${await freePort()}`
  const gamma = `127.0.0.1:${await freePort()}`
  const layout = await makeMaster(t.testdir(), [`beta=${beta}`, `gamma=${gamma}`])
  // The shipper has heard from it a moment ago; nobody listens there any more.
  const mark = await readDurableMark(disk, layout.log)
  const { txn = 0, chain = 0 } = mark ?? {}
  const ack = encodeAck(ackAt(txn, { durableChain: chain }))
  const file = await disk.open(`${layout.slaves}/beta.ack`, 'create')
  await file.write(ack, 0, ack.length, 0)
  await file.close()
  const rows = ['beta', 'gamma'].map(name => ({ ...silent, name, heardMs: 1 }))
  const shipping = await nodePlatform.locks.acquire(layout.shipperLock, 'shipper', () => {})
  const shipper = await ControlServer.start(nodePlatform, layout.shipperSocket, () => {}, {
    handlers: [handler(status, async () => ({ shipper: { pid: 1, slaves: rows } }))],
  })
  const to = (name: string) =>
    switchServers(nodePlatform, layout.directory, { to: name, listen: null, timeoutMs: 100 })

  await t.rejects(to('beta'), { code: 'ERR_UNSAFE', message: /ECONNREFUSED/ })
  t.equal(await readFenced(disk, layout), null, 'never asked: it takes updates again')

  // An application that closes the master hears nobody any more, and still writes what it has taken.
  const closing = await nodePlatform.locks.acquire(layout.ownerLock, 'application', () => {})
  await t.rejects(to('beta'), { code: 'ERR_UNSAFE', message: /keeps the master open/ })
  await closing.release()
  t.equal(await readFenced(disk, layout), null)

  const asked = { timeline: 0, lineage: '', time: 1, switching: true, asked: true }
  await writeFenced(disk, layout, { ...asked, by: 'beta', address: beta })
  await t.rejects(to('beta'), { code: 'ERR_TIMEOUT', message: /not known whether beta has become/ })
  await t.rejects(to('gamma'), { code: 'ERR_FENCED', message: /is handing over to "beta"/ })
  t.match(await readFenced(disk, layout), { asked: true, by: 'beta' })
  await shipper.close()
  await shipping.release()
})

t.test('a slave that agrees, and cannot become the master', async t => {
  const beta = `127.0.0.1:${await freePort()}`
  const layout = await makeMaster(t.testdir(), [`beta=${beta}`])
  const there = layoutOf(path.join(t.testdirName, 'beta'))
  await setup(nodePlatform, there.directory, {
    type: 'slave',
    name: 'beta',
    key: false,
    listen: beta,
    slaves: [],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  const listen = { host: '127.0.0.1', port: await freePort() }
  let room = false
  const full: typeof disk = {
    ...disk,
    open: (file, mode) => {
      if (room || file !== `${there.promotion}.tmp`) return disk.open(file, mode)
      return Promise.reject(new HotBackupError('ERR_DISK_FULL', 'the disk is full'))
    },
  }
  const quiet = () => {}
  const startSlave = () =>
    SlaveServer.start({ ...nodePlatform, disk: full }, there.directory, quiet, quiet)
  const startShipper = () => ShipperServer.start(nodePlatform, layout.directory, quiet, quiet)
  const streaming = async (server: SlaveServer) => {
    while (server.status().receiver.state !== 'Idle') await new Promise(setImmediate)
  }
  let slave = await startSlave()
  let shipper = await startShipper()
  await streaming(slave)
  const options = { to: 'beta', listen, timeoutMs: 60_000 }
  const refused = switchServers(nodePlatform, layout.directory, options)
  refused.catch(() => {})
  await slave.reopen
  await shipper.stop()
  await slave.stop()
  slave = await startSlave()
  await t.rejects(refused, { code: 'ERR_UNSAFE', message: /beta has agreed, .*is a slave again/ })
  t.equal(await readFenced(disk, layout), null, 'it takes updates again')

  room = true
  shipper = await startShipper()
  await streaming(slave)
  const switched = switchServers(nodePlatform, layout.directory, options)
  t.equal(await slave.promoted, null)
  await Promise.all([shipper.stop(), slave.stop()])
  const master = await ShipperServer.start(nodePlatform, there.directory, quiet, quiet)
  t.match(await switched, { master: 'beta', missing: null })
  await master.stop()
})

t.test('interrupted when its role is "slave" already: given again, it goes on', async t => {
  const from = '127.0.0.1:2001'
  const layout = await makeMaster(t.testdir(), [`beta=${from}`])
  const mark = await readDurableMark(disk, layout.log)
  const { txn = 0, chain = 0 } = mark ?? {}
  const place = await placeOf(disk, layout.log, { txn, chain })
  const plan = {
    master: 'beta',
    from,
    listen: '127.0.0.1:2002',
    moved: true,
    forkTxn: txn,
    place,
    missing: null,
  }
  await writeFileAtomic(disk, layout.rejoin, Buffer.from(JSON.stringify(plan)))
  await writeRole(disk, layout, newRole('slave'))
  const options = { to: 'beta', listen: null, timeoutMs: 100 }
  const outcome = await switchServers(nodePlatform, layout.directory, options)
  t.match(outcome, { master: 'beta', forkTxn: txn, missing: null, pid: null })
  t.equal(await disk.exists(layout.rejoin), false)
  await t.rejects(switchServers(nodePlatform, layout.directory, options), {
    code: 'ERR_WRONG_TYPE',
  })
})

t.test('a shipper that starts tells an application that the master is over', async t => {
  const layout = await makeMaster(t.testdir(), ['beta=127.0.0.1:2001'])
  const master = await Master.open(layout.directory)
  // The shipper before has met the new master, and was killed before it could say so.
  const met = { timeline: 2, lineage: '22'.repeat(16), by: 'beta', address: 'x:1', time: 1 }
  await writeFenced(disk, layout, met)
  const quiet = () => {}
  const shipper = await ShipperServer.start(nodePlatform, layout.directory, quiet, quiet)
  while (master.status().failure === null) await new Promise(setImmediate)
  await t.rejects(master.createAccount('STOCK'), { code: 'ERR_FENCED' })
  await shipper.stop()
  await master.close()
})

t.test('a command that calls while the master opens waits until it knows of its fence', async t => {
  const layout = await makeMaster(t.testdir(), ['beta=127.0.0.1:2001'])
  const switching = { timeline: 0, lineage: '', by: 'beta', address: 'x:1', time: 1 }
  await writeFenced(disk, layout, { ...switching, switching: true })
  let asked = false
  const slow: typeof disk = {
    ...disk,
    open: async (file, mode) => {
      while (file === layout.fenced && !asked) await new Promise(setImmediate)
      return disk.open(file, mode)
    },
  }
  const opening = Master.open(layout.directory, { platform: { ...nodePlatform, disk: slow } })
  let client: ControlClient | null = null
  while (client === null) client = await ControlClient.connect(nodePlatform, layout.ownerSocket)
  const created = ask(client, updateOperations.createAccount, { account: 'STOCK' })
  created.catch(() => {})
  // It has come there, by now, when a question behind it has an answer.
  const second = await ControlClient.connect(nodePlatform, layout.ownerSocket)
  await ask(second!, status, {})
  asked = true
  await t.rejects(created, { code: 'ERR_FENCED' })
  const master = await opening
  t.strictSame(master.accounts(), ['SALES'])
  for (const each of [client, second!]) each.close()
  await master.close()
})

for (const [onLimit, waits] of [
  ['pace', true],
  ['refuse', false],
] as const) {
  t.test(`a full queue (${onLimit}) keeps nobody from hearing that the master is over`, async t => {
    const layout = await makeMaster(t.testdir(), ['beta=127.0.0.1:2001'])
    const text = await readConfigText(disk, layout)
    const limited = text
      .replace(/^# limit = "0"$/m, 'limit = "100KiB"')
      .replace(/^# on_limit = .*$/m, `on_limit = "${onLimit}"`)
    await writeFileAtomic(disk, layout.config, Buffer.from(limited))
    const master = await Master.open(layout.directory)
    const file = await master.account('SALES').createFile('F')
    // No slave takes anything.
    await file.write('id', Buffer.alloc(200 * 1024))
    while (master.status().queue.state === 'open') await new Promise(setImmediate)
    let settled = false
    const waiting = file.write('other', 'value').finally(() => (settled = true))
    waiting.catch(() => {})
    await new Promise(setImmediate)
    t.equal(settled, !waits)
    const met = { timeline: 2, lineage: '22'.repeat(16), by: 'beta', address: 'x:1', time: 1 }
    await writeFenced(disk, layout, met)
    const client = await ControlClient.connect(nodePlatform, layout.ownerSocket)
    await ask(client!, failoverOperations.fence, {})
    client!.close()
    await t.rejects(waiting, { code: waits ? 'ERR_FENCED' : 'ERR_QUEUE_FULL' })
    await t.rejects(file.write('third', 'value'), { code: 'ERR_FENCED' })
    await master.close()
  })
}
