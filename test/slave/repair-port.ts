// Damage in a log, and the other side of a link, which is asked for the bytes: a slave that streams, a slave that can
// let nobody in, and a master that calls its slave. What is done with the bytes is test/log/repair.ts's matter.
import t, { type Test } from 'tap'
import { fileFlags } from '../../src/log/file-flags.ts'
import { repairLog } from '../../src/log/repair.ts'
import type { RecordEncoder } from '../../src/log/record.ts'
import { verifyLog } from '../../src/log/verify.ts'
import { withSlavesLog } from '../../src/ship/ask-log.ts'
import { GroupAnswers } from '../../src/slave/group-answers.ts'
import { withMastersLog, type RepairPortOptions } from '../../src/slave/repair-port.ts'
import {
  Master,
  Slave,
  historyOne,
  identity,
  noWatcher,
  segmentsOf,
  until,
} from '../helpers/link-pair.ts'
import { failure } from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { MemoryNetwork } from '../helpers/memory-network.ts'
import { SlaveAtHand } from '../helpers/slave-at-hand.ts'
import { TestClock } from '../helpers/test-clock.ts'

function newWorld() {
  const [disk, network, clock] = [new MemoryDisk(), new MemoryNetwork(), new TestClock()]
  return { disk, network, clock, watcher: noWatcher, key: null }
}
type World = ReturnType<typeof newWorld>

/** A master and a slave that holds the same segments, and both go on. */
async function inStep(world: World): Promise<{ master: Master; slave: Slave }> {
  const master = await Master.open(world, '/m')
  const slave = await Slave.open(world, '/s')
  await master.put(40, 100)
  await master.ship([slave.target])
  await until('it has it all', () => master.status().durableTxn === master.log.lastTxn)
  return { master, slave }
}

function flip({ world, log }: Master | Slave, index: number, at = 200): void {
  const disk = world.disk as MemoryDisk
  const { path } = log.segments().at(index)!
  disk.overwrite(path, at, Uint8Array.of(disk.contents(path)[at]! ^ 1))
}

const closed = { knownDurableTxn: 0, ownPromises: false, sealedOnly: false }
const running = { ...closed, sealedOnly: true }

async function checkRepaired(t: Test, world: World, directory: string): Promise<void> {
  const { fault } = await verifyLog(world.disk, directory, { ownPromises: false })
  t.equal(fault, null, directory)
}

t.test('a slave that streams asks its master, beside the stream', async t => {
  const world = newWorld()
  const { master, slave } = await inStep(world)
  flip(slave, 1)
  flip(slave, 2, 20)
  const source = slave.receiver.mastersLog
  t.ok(source)
  const repair = repairLog(world.disk, '/s/log', running, source!)
  await master.put(5)
  t.equal((await repair).length, 2)
  await until('the stream goes on', () => master.status().durableTxn === master.log.lastTxn)
  t.strictSame(await segmentsOf(slave), await segmentsOf(master))
  t.equal(await source!.read(77_777, 0, 10), null, 'a segment that the master has not')
  t.equal((await source!.read(1, 2 ** 40, 10))?.length, 0, 'behind the end of one that it has')

  const late = source!.read(1, 0, 10)
  await master.hangUp()
  await t.rejects(late, { code: 'ERR_WIRE' })
  await t.rejects(source!.read(1, 0, 10), { code: 'ERR_WIRE' })
  await until('it has noticed', () => slave.receiver.mastersLog === null)
  await slave.close()
  await master.close()
})

t.test('a slave that can let nobody in asks the master that calls', async t => {
  const world = newWorld()
  const { master, slave } = await inStep(world)
  flip(slave, -1)
  flip(slave, 0, 10)
  const { address } = slave.receiver
  const others = newWorld()
  const foreign = await Master.open({ ...world, disk: others.disk }, '/f', {
    ...historyOne,
    databaseId: identity(0xee),
  })
  await foreign.put(3)
  await master.hangUp()
  await slave.close()

  const { databaseId } = historyOne
  const said: string[] = []
  const options: RepairPortOptions = {
    serverId: identity(2),
    databaseId,
    key: null,
    listen: address,
    heartbeatMs: 1000,
    timeoutMs: 10_000,
    waitMs: 20_000,
    logger: (_level, message) => said.push(message),
  }
  let tries = 0
  const repaired = withMastersLog(world, options, async source => {
    // The first connection breaks; the master calls again.
    if (tries++ === 0) {
      for (const wire of world.network.wires) wire.cut()
      await source.read(1, 0, 10)
    }
    return repairLog(world.disk, '/s/log', closed, source)
  })
  await foreign.ship([{ name: 'beta', address }])
  await until('it is refused', () => foreign.status().lastError !== null)
  t.match(foreign.status().lastError, { code: 'ERR_LINK_FOREIGN' })
  await master.ship([{ name: 'beta', address }])
  t.equal((await repaired).length, 2)
  t.equal(tries, 2)
  t.match(said, ['"alpha" is asked for what is damaged in the log'])
  await checkRepaired(t, world, '/s/log')
  await foreign.close()
  await master.hangUp()

  await t.test('nobody calls', async t => {
    const waiting = failure(
      withMastersLog(world, options, () => Promise.resolve()),
      'ERR_TIMEOUT',
    )
    await world.clock.advance(21_000)
    t.match((await waiting).message, /no master that holds the same log has called for 20 s/)
  })

  const again = await Slave.open(world, '/s', { listen: address })
  await master.ship([again.target])
  await master.put(3)
  await until('it follows', () => master.status().durableTxn === master.log.lastTxn)
  t.strictSame(await segmentsOf(again), await segmentsOf(master))
  await again.close()
  await master.close()
})

t.test('a master asks its slave', async t => {
  const world = newWorld()
  const { master, slave } = await inStep(world)
  flip(master, 1)
  flip(master, -1)
  const { address } = slave.receiver
  const peer = { address, key: null, timeoutMs: 10_000 }
  const repaired = await withSlavesLog(world, peer, historyOne.databaseId, source =>
    repairLog(world.disk, '/m/log', closed, source),
  )
  t.equal(repaired.length, 2)
  await checkRepaired(t, world, '/m/log')
  t.equal(slave.receiver.status().strangers, 0)
  t.equal(slave.receiver.status().state, 'Idle', 'the stream was not disturbed')

  flip(master, 1)
  const wrong = withSlavesLog(world, peer, identity(0xee), source =>
    repairLog(world.disk, '/m/log', closed, source),
  )
  const { message } = await failure(wrong, 'ERR_LOG_CORRUPT')
  t.match(message, /the peer does not hold it/, 'another database')
  await master.close()
  await slave.close()
})

t.test('a group is given of a file that the slave holds as a whole alone', async t => {
  const slave = await SlaveAtHand.open(true)
  const answers = new GroupAnswers('south', slave.database, slave.log)
  const put = async (encode: (encoder: RecordEncoder) => void) => {
    encode(slave.log.begin())
    slave.log.commit()
    await slave.log.synced()
    await until('it is applied', () => slave.replayer.appliedTxn === slave.log.lastTxn)
  }
  const ask = () => {
    const { databaseId, lineageId } = slave.log.identity!
    const group = { fileNumber: 1, from: 0, to: 2 ** 32, offset: 0, token: 1 }
    const txn = slave.log.lastTxn
    return answers.piece({ name: 'ask-group', databaseId, lineageId, txn, ...group })
  }
  const file = { account: 'A', file: 'F', modulo: 1 }
  await put(encoder => {
    encoder.createAccount('A')
    encoder.createFile(1, { ...file, flags: fileFlags.filling })
    encoder.writeItem(1, 'one', 'of two')
  })
  t.throws(ask, { code: 'ERR_LINK_REFUSED', message: /"south" does not hold all of A F/ })
  await put(encoder => {
    encoder.writeItem(1, 'the other', 'as well')
    encoder.setFile(1, { ...file, flags: 0 })
  })
  t.ok(ask().total > 0)
  await slave.close()
})
