// A master that hands over and gets no answer: when it may take updates again, and when only its slave may say so.
import t from 'tap'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { encodeAck } from '../../src/ship/ack-file.ts'
import { ControlServer } from '../../src/server/control/control.ts'
import { readFenced, writeFenced } from '../../src/server/failover/fence.ts'
import { layoutOf } from '../../src/server/layout.ts'
import { Master } from '../../src/server/master.ts'
import { setup } from '../../src/server/config/setup.ts'
import { switchServers } from '../../src/server/failover/switch.ts'
import { readDurableMark } from '../../src/log/durable.ts'
import { freePort } from '../helpers/servers.ts'

t.test('a slave that may have agreed before, and cannot be asked now', async t => {
  const layout = layoutOf(t.testdir())
  const beta = `127.0.0.1:${await freePort()}`
  await setup(nodePlatform, layout.directory, {
    type: 'master',
    name: 'alpha',
    keyFile: false,
    listen: null,
    slaves: [`beta=${beta}`, `gamma=127.0.0.1:${await freePort()}`],
    applyUpdates: true,
    logSlaveUpdates: false,
    autoCreate: false,
  })
  const master = await Master.open(layout.directory)
  await master.createAccount('SALES')
  await master.close()
  // The shipper has heard from it a moment ago; nobody listens there any more.
  const { disk } = nodePlatform
  const mark = await readDurableMark(disk, layout.log)
  const { txn = 0, chain = 0 } = mark ?? {}
  const at = { receivedTxn: txn, durableTxn: txn, appliedTxn: txn, durableChain: chain }
  const ack = encodeAck({ ...at, appliedTime: 0, time: 1, serverId: new Uint8Array(16) })
  const file = await disk.open(`${layout.slaves}/beta.ack`, 'create')
  await file.write(ack, 0, ack.length, 0)
  await file.close()
  const rows = ['beta', 'gamma'].map(name => ({ name, heardMs: 1, lastError: null }))
  const shipper = await ControlServer.start(nodePlatform, layout.shipperSocket, {
    status: () => Promise.resolve({ slaves: rows }),
  })
  const to = (name: string) =>
    switchServers(nodePlatform, layout.directory, { to: name, listen: null, timeoutMs: 100 })

  await t.rejects(to('beta'), { code: 'ERR_UNSAFE', message: /ECONNREFUSED/ })
  t.equal(await readFenced(disk, layout), null, 'never asked: it takes updates again')

  const asked = { timeline: 0, lineage: '', time: 1, switching: true, asked: true }
  await writeFenced(disk, layout, { ...asked, by: 'beta', address: beta })
  await t.rejects(to('beta'), { code: 'ERR_TIMEOUT', message: /not known whether beta has become/ })
  await t.rejects(to('gamma'), { code: 'ERR_FENCED', message: /is handing over to "beta"/ })
  t.match(await readFenced(disk, layout), { asked: true, by: 'beta' })
  await shipper.close()
})
