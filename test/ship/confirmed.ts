// A slave that is not what it was: restored from an older save, set up anew, replaced, on another timeline, or away.
// What it acknowledged before counts for nothing but the retention of the log.
import t from 'tap'
import { readAck } from '../../src/ship/ack-file.ts'
import { confirmedAck } from '../../src/ship/confirmed.ts'
import { neededAfter } from '../../src/ship/needed.ts'
import { HeldLocks } from '../helpers/acks.ts'
import {
  historyOne,
  identity,
  Master,
  noWatcher,
  Slave,
  until,
  type LinkWorld,
} from '../helpers/link-pair.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { MemoryNetwork } from '../helpers/memory-network.ts'
import { TestClock } from '../helpers/test-clock.ts'

interface World extends LinkWorld {
  readonly disk: MemoryDisk
}

function newWorld(): World {
  const [disk, network, clock] = [new MemoryDisk(), new MemoryNetwork(), new TestClock()]
  return { disk, network, clock, watcher: noWatcher, key: null }
}

const source = { directory: '/m/slaves', lock: '/m/run/shipper' }

/** What "hb wait", commit levels and switch go by. */
function confirmed({ disk }: World, locks = new HeldLocks()) {
  return confirmedAck({ disk, locks }, source, 'beta')
}

async function copyLog({ disk }: World, from: string, to: string): Promise<void> {
  await disk.makeDirectory(`${to}/log`)
  for (const { name } of await disk.list(`${from}/log`)) {
    const file = await disk.open(`${from}/log/${name}`, 'read')
    const bytes = Buffer.alloc(file.size())
    await file.read(bytes, 0, bytes.length, 0)
    await file.close()
    const copy = await disk.open(`${to}/log/${name}`, 'create')
    await copy.write(bytes, 0, bytes.length, 0)
    await copy.sync()
    await copy.close()
  }
  await disk.syncDirectory(`${to}/log`)
}

const reached = (master: Master, txn: number) =>
  until(`the slave has ${txn}`, () => master.status().durableTxn === txn)

const nothingConfirmed = { receivedTxn: null, durableTxn: null, appliedTxn: null }

/** A slave that has all of 60 transactions, and a copy of its log from the time when it had 20. */
async function pairWithSave(world: World) {
  const master = await Master.open(world, '/m')
  let slave = await Slave.open(world, '/s')
  const { target } = slave
  await master.put(20, 100)
  await master.ship([target])
  await reached(master, 20)
  await slave.close()
  await copyLog(world, '/s', '/save')
  slave = await Slave.open(world, '/s', { listen: target.address })
  await master.put(40, 100)
  await reached(master, 60)
  slave.apply(60, 1)
  await until('it is applied', () => master.status().appliedTxn === 60)
  t.match(await confirmed(world), { durableTxn: 60, appliedTxn: 60 })
  return { master, slave, target }
}

const replaced = [
  { what: 'set up anew', directory: '/empty', holds: 0, code: 'ERR_LINK_SEED' },
  { what: 'restored from an older save', directory: '/save', holds: 20, code: 'ERR_LINK_SEED' },
]

for (const { what, directory, holds, code } of replaced) {
  t.test(`a slave that was ${what}, when the log does not reach back`, async t => {
    const world = newWorld()
    const { master, slave, target } = await pairWithSave(world)
    await master.log.removeBefore(50)
    await slave.close()
    await until('the master has noticed', () => master.status().durableTxn === null)
    t.match(master.status(), { ...nothingConfirmed, lastKnown: { durableTxn: 60 } })
    t.equal(await confirmed(world), null, 'it may be anything by now')
    t.equal(await neededAfter(world.disk, source.directory, 'beta'), 60, 'retention goes on')

    const old = await Slave.open(world, directory, { listen: target.address })
    await until('it is refused', () => master.status().lastError?.code === code)
    const lastKnown = { receivedTxn: holds, durableTxn: holds, appliedTxn: holds }
    t.match(master.status(), { ...nothingConfirmed, lastKnown, lagTxns: 60 - holds })
    t.equal(await confirmed(world), null)
    t.equal(await neededAfter(world.disk, source.directory, 'beta'), holds, 'retention follows')
    await master.put(1)
    t.match(master.status(), nothingConfirmed)
    await master.hangUp()
    t.match(await readAck(world.disk, source.directory, 'beta'), { durableTxn: holds })
    await master.close()
    await old.close()
  })
}

t.test('a slave that was restored, when the log reaches back', async t => {
  const world = newWorld()
  const { master, slave, target } = await pairWithSave(world)
  await slave.close()
  await until('the master has noticed', () => master.status().durableTxn === null)
  const old = await Slave.open(world, '/save', { listen: target.address })
  await reached(master, 60)
  t.match(master.status(), { appliedTxn: 0, lagTxns: 60 }, 'it applies everything again')
  t.match(await confirmed(world), { durableTxn: 60, appliedTxn: 0 })
  await master.close()
  await old.close()
})

t.test('a slave that holds another history', async t => {
  const world = newWorld()
  const { master, slave, target } = await pairWithSave(world)
  await slave.close()
  const lineage = { ...historyOne, lineageId: identity(0x99) }
  const other = await Master.open(world, '/o', lineage)
  await other.put(30)
  await other.close()
  await copyLog(world, '/o', '/other')
  const strange = await Slave.open(world, '/other', { listen: target.address })
  await until('it is refused', () => master.status().lastError?.code === 'ERR_LINK_DIVERGED')
  t.match(master.status(), { ...nothingConfirmed, lastKnown: { durableTxn: 30 } })
  t.equal(await confirmed(world), null)
  await master.close()
  await strange.close()
})

t.test('another server in the place of the slave', async t => {
  const world = newWorld()
  const { master, slave, target } = await pairWithSave(world)
  await slave.close()
  await until('the master has noticed', () => master.status().durableTxn === null)
  const options = { listen: target.address, serverId: identity(9) }
  const other = await Slave.open(world, '/another', options)
  await reached(master, 60)
  t.ok(master.said.some(({ message }) => /another server than before/.test(message)))
  t.match(await confirmed(world), { serverId: identity(9), appliedTxn: 0 })
  await master.close()
  await other.close()
})

t.test('the shipper is killed, stopped, and started again', async t => {
  const world = newWorld()
  const { master, slave } = await pairWithSave(world)
  const locks = new HeldLocks()
  t.match(await confirmed(world, locks), { durableTxn: 60 })
  locks.alive = false
  t.equal(await confirmed(world, locks), null, 'killed: its files still say "confirmed"')
  const left = await readAck(world.disk, source.directory, 'beta')
  t.equal(left?.confirmed, true)

  await slave.receiver.stop()
  await master.hangUp()
  t.equal(await confirmed(world), null, 'stopped')
  const network = world.network as MemoryNetwork
  network.down = true
  await master.ship([slave.target])
  t.match(master.status(), { ...nothingConfirmed, lastKnown: { durableTxn: 60 } })
  t.equal(await confirmed(world), null, 'started, and the slave is not reached')
  await master.close()
  await slave.close()
})

t.test('acks of another database are worth nothing', async t => {
  const world = newWorld()
  const { master, slave, target } = await pairWithSave(world)
  await master.close()
  await slave.close()
  const history = { ...historyOne, databaseId: identity(0xaa) }
  const anew = await Master.open(world, '/n', history)
  await world.disk.makeDirectory('/n/slaves')
  await world.disk.rename('/m/slaves/beta.ack', '/n/slaves/beta.ack')
  await anew.put(3)
  const foreign = await Slave.open(world, '/s', { listen: target.address })
  await anew.ship([target])
  await until('it is refused', () => anew.status().lastError?.code === 'ERR_LINK_FOREIGN')
  t.match(anew.status(), { ...nothingConfirmed, lastKnown: { durableTxn: 0 }, lagTxns: 3 })
  t.equal(await neededAfter(world.disk, '/n/slaves', 'beta'), 0)
  await anew.close()
  await foreign.close()
})
