// Shipper and receiver together, over a network in memory: the stream, every place where a connection can be cut,
// damage on the way, slow and hanging slaves, and each refusal as both sides see it.
import t, { type Test } from 'tap'
import { Buffer } from 'node:buffer'
import type { ErrorCode } from '../../src/errors.ts'
import { verifyLog } from '../../src/log/verify.ts'
import { readAck } from '../../src/ship/ack-file.ts'
import { Channel } from '../../src/wire/channel.ts'
import type { SmallMessage } from '../../src/wire/messages.ts'
import { isLater } from '../../src/wire/messages/fence.ts'
import type { Hello } from '../../src/wire/messages/hello.ts'
import type { Welcome } from '../../src/wire/messages/welcome.ts'
import { positionText } from '../../src/wire/position-text.ts'
import { wordFor } from '../../src/wire/status-words.ts'
import {
  Master,
  Slave,
  historyOne,
  identity,
  noWatcher,
  segmentsOf,
  statistics,
  until,
  type LinkWorld,
} from '../helpers/link-pair.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { MemoryNetwork, type Weather } from '../helpers/memory-network.ts'
import { TestClock } from '../helpers/test-clock.ts'

interface World extends LinkWorld {
  readonly disk: MemoryDisk
  readonly network: MemoryNetwork
  readonly clock: TestClock
}

function newWorld(): World {
  return {
    disk: new MemoryDisk(),
    network: new MemoryNetwork(),
    clock: new TestClock(),
    watcher: noWatcher,
    key: null,
  }
}

const caughtUp = (master: Master, index = 0) =>
  until('the slave has it all', () => master.status(index).durableTxn === master.log.lastTxn)

const copyLog = async (from: Master | Slave, to: string): Promise<void> => {
  const { disk } = from.world
  const target = `${to}/log`
  await disk.makeDirectory(target)
  for (const { name } of await disk.list(`${from.directory}/log`)) {
    const source = await disk.open(`${from.directory}/log/${name}`, 'read')
    const bytes = Buffer.alloc(source.size())
    await source.read(bytes, 0, bytes.length, 0)
    const file = await disk.open(`${target}/${name}`, 'create')
    await file.write(bytes, 0, bytes.length, 0)
    await file.sync()
    await file.close()
    await source.close()
  }
  await disk.syncDirectory(target)
}

t.test('the stream: same bytes, same segments, three positions', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  const slave = await Slave.open(world, '/s')
  t.equal(slave.receiver.status().state, 'Wait incoming call')
  await master.put(40)
  await master.ship([slave.target])
  await caughtUp(master)
  await master.put(25, 300)
  await caughtUp(master)

  t.ok(slave.log.segments().length > 5, 'several segments')
  t.strictSame(await segmentsOf(slave), await segmentsOf(master))
  t.same(slave.log.identity?.databaseId, historyOne.databaseId, 'adopted')
  const verified = await verifyLog(world.disk, '/s/log', { ownPromises: false })
  t.match(verified, { fault: null, lastTxn: 65 })

  t.match(master.status(), {
    name: 'beta',
    state: 'Idle',
    receivedTxn: 65,
    durableTxn: 65,
    appliedTxn: 0,
    lagTxns: 65,
    bytesInFlight: 0,
    lastError: null,
  })
  t.ok(master.status().bytesSent > 10_000)
  slave.apply(60, world.clock.now() - 5000)
  await until('applied is known', () => master.status().appliedTxn === 60)
  t.match(master.status(), { lagTxns: 5 })
  slave.apply(65, world.clock.now())
  await until('all is applied', () => master.status().lagTxns === 0)
  t.equal(master.status().lagSeconds, 0)
  t.match(slave.receiver.status(), {
    state: 'Idle',
    master: { name: 'alpha' },
    receivedTxn: 65,
    durableTxn: 65,
    appliedTxn: 65,
    masterDurableTxn: 65,
    lastError: null,
  })
  t.strictSame(slave.receiver.upstream, [identity(1)])
  t.match(await readAck(world.disk, '/m/slaves', 'beta'), {
    receivedTxn: 65,
    durableTxn: 65,
    durableChain: master.log.position.chain,
    appliedTxn: 65,
    serverId: identity(2),
  })

  await world.clock.advance(6000)
  await until('PONG has come', () => master.status().roundTripMs !== null)
  t.equal(master.status().state, 'Idle', 'a quiet link lives')
  const states = master.said.map(({ message }) => message.replace(/^.*": /, ''))
  t.strictSame(states, [
    'calling',
    'greeting',
    'seeking',
    'streaming everything from the first transaction',
  ])
  await master.close()
  await slave.close()
  t.equal(slave.receiver.status().state, 'Stopped')
})

t.test('a master without a transaction, and one that begins later', async t => {
  const world = newWorld()
  const slave = await Slave.open(world, '/s')
  const master = await Master.open(world, '/m')
  await master.ship([slave.target])
  await until('they agree that there is nothing', () => master.status().state === 'Idle')
  t.match(master.status(), { receivedTxn: 0, durableTxn: 0, appliedTxn: 0, lagTxns: 0 })
  await until('so does the slave', () => slave.receiver.status().state === 'Idle')
  await master.put(1)
  await caughtUp(master)
  t.equal(master.status().receivedTxn, 1)
  await master.close()
  await slave.close()
})

t.test(
  'a connection may be cut after any byte, either way: nothing is lost or doubled',
  async t => {
    for (const [direction, bytesMax] of [
      ['there', 560],
      ['back', 260],
    ] as const) {
      const world = newWorld()
      const { network } = world
      let cutAfter = 0
      let chunkBytes = 1
      network.prepare = (there: Weather, back: Weather) => {
        const weather = direction === 'there' ? there : back
        weather.cutAfter = cutAfter
        there.chunkBytes = chunkBytes
      }
      const master = await Master.open(world, '/m')
      const slave = await Slave.open(world, '/s')
      await master.put(1)
      await master.ship([slave.target])
      for (let bytes = 0; bytes <= bytesMax; bytes++) {
        cutAfter = bytes
        chunkBytes = [1, 7, 40, 100_000][bytes % 4] ?? 1
        network.wires.at(-1)?.cut()
        const calls = network.wires.length
        await master.put(1)
        await until('it was cut', () => network.wires[calls]?.closed === true || allDone(master))
        cutAfter = Infinity
        await caughtUp(master)
      }
      t.strictSame(await segmentsOf(slave), await segmentsOf(master), direction)
      t.equal(slave.log.lastTxn, bytesMax + 2)
      t.ok(network.wires.length > bytesMax)
      await master.close()
      await slave.close()
    }
  },
)

const allDone = (master: Master) =>
  master.status().durableTxn === master.log.lastTxn && master.status().state === 'Idle'

t.test('a slave that crashes goes on where its disk ends', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  let slave = await Slave.open(world, '/s')
  const { target } = slave
  await master.put(30)
  await master.ship([target])
  await caughtUp(master)
  await slave.close()
  await until('the master has noticed', () => master.status().state === 'Wait response to call')
  t.match(master.status(), { lastError: { message: /slave closed|nobody listens/ } })
  await master.put(10)
  await until('the queue is known', () => master.status().lagTxns === 40)
  t.match(master.status(), { durableTxn: null, lastKnown: { durableTxn: 30 } }, 'away')

  slave = await Slave.open(world, '/s', { listen: target.address })
  await caughtUp(master)
  t.equal(master.status().lastError, null)
  t.strictSame(await segmentsOf(slave), await segmentsOf(master))

  // A restarted shipper knows the acks, and goes on from them.
  await master.hangUp()
  await until('the slave has noticed', () => slave.receiver.status().master === null)
  world.network.down = true
  await master.ship([target])
  t.match(master.status(), { durableTxn: null, lastKnown: { durableTxn: 40 } })
  await until('several calls', () => world.clock.waits.filter(ms => ms > 1000).length > 8)
  world.network.down = false
  await master.put(1)
  await caughtUp(master)
  await master.close()
  await slave.close()
})

t.test('damage on the way is noticed, and the rest is asked for again', async t => {
  const world = newWorld()
  let damages = 1
  world.network.prepare = there => {
    there.damage = (bytes, offset) => {
      // Behind HELLO, START, SEGMENT and the head of BLOCKS: in the second block or so of the run.
      const target = 700 - offset
      if (damages === 0 || target < 0 || target >= bytes.length) return
      damages--
      bytes.writeUInt8(bytes.readUInt8(target) ^ 4, target)
    }
  }
  const master = await Master.open(world, '/m')
  await master.put(12)
  const slave = await Slave.open(world, '/s')
  await master.ship([slave.target])
  await caughtUp(master)
  t.strictSame(await segmentsOf(slave), await segmentsOf(master))
  t.equal(world.network.wires.length, 1, 'on the same connection')
  t.match(
    slave.said.find(({ message }) => /came damaged; asking/.test(message)),
    { level: 'warn', message: /what follows transaction \d+ \(chain [0-9a-f]{8}\) came damaged/ },
    'the good blocks before it are kept',
  )
  t.match(
    master.said.find(({ message }) => /asks again/.test(message)),
    { level: 'warn', message: /"beta" asks again for what follows transaction/ },
  )
  await slave.close()
  await master.close()
})

t.test('a line that damages everything is given up in the end', async t => {
  const world = newWorld()
  world.network.prepare = there => {
    there.damage = bytes => {
      // The last byte of a run of zeros is padding or value: the frame stays right, the block does not.
      if (bytes.length > 200) bytes.writeUInt8(1, bytes.length - 1)
    }
  }
  const master = await Master.open(world, '/m', historyOne, 1 << 20)
  await master.put(1, 300)
  const slave = await Slave.open(world, '/s')
  await master.ship([slave.target])
  await until('it is refused', () => master.status().lastError?.code === 'ERR_LINK_REFUSED')
  t.match(master.status().lastError?.message, /"beta" refuses: .* came damaged 4 times/)
  t.equal(slave.log.lastTxn, 0)
  await master.close()
  await slave.close()
})

t.test('a slave that hangs holds up no other, is dropped, and catches up', async t => {
  const world = newWorld()
  const { network, clock } = world
  const master = await Master.open(world, '/m')
  const good = await Slave.open(world, '/s1')
  const bad = await Slave.open(world, '/s2', { name: 'gamma', serverId: identity(3) })
  await master.ship([good.target, { ...bad.target, name: 'gamma' }])
  await master.put(1)
  await caughtUp(master)
  await caughtUp(master, 1)
  t.equal(network.wires.length, 2)
  const [, wire] = network.wires
  if (wire === undefined) throw new TypeError('no wire')
  wire.there.stalled = true
  wire.back.stalled = true
  await master.put(20, 1000)
  await caughtUp(master)
  t.match(master.status(1), { durableTxn: 1, state: 'Writing to network' })
  await clock.advance(29_000)
  t.equal(wire.closed, false)
  t.equal(master.status(1).state, 'Writing to network')
  await clock.advance(5000)
  t.ok(wire.closed, 'after 30 seconds')
  await caughtUp(master, 1)
  t.strictSame(await segmentsOf(bad), await segmentsOf(master))
  const dropped = master.said.find(({ code }) => code === 'ERR_WIRE_TIMEOUT')
  t.match(dropped, { message: /gamma.*(was silent|did not read) for 30 s/ })
  await master.close()
  await good.close()
  await bad.close()
})

t.test('the window bounds what is sent ahead of the acks', async t => {
  const world = newWorld()
  // A run is of one segment, so none is longer than this and a block.
  const master = await Master.open(world, '/m', historyOne, 50_000)
  await master.put(200, 5000)
  const slave = await Slave.open(world, '/s')
  await master.ship([slave.target], { windowBytes: 100_000 })
  let most = 0
  await until('the slave has it all', () => {
    most = Math.max(most, master.status().bytesInFlight)
    return master.status().durableTxn === master.log.lastTxn
  })
  t.ok(most > 100_000 && most < 160_000, `one run more than the window: ${most}`)
  t.equal(master.status().bytesInFlight, 0)

  // No ack comes back: the stream stops at the window, and the state says what it waits for.
  const [wire] = world.network.wires
  if (wire === undefined) throw new TypeError('no wire')
  wire.back.stalled = true
  await master.put(200, 5000)
  await until('the window is full', () => master.status().bytesInFlight >= 100_000)
  await until('it is written', () => master.status().state === 'Waiting for ACK')
  for (let turn = 0; turn < 500; turn++) await new Promise(setImmediate)
  t.ok(master.status().bytesInFlight < 160_000)
  await master.close()
  await slave.close()
})

/** Runs until the link is refused, and checks that both sides say so, and that the slave was not touched. */
async function refusal(
  t: Test,
  master: Master,
  slave: Slave,
  code: ErrorCode,
  text: RegExp,
): Promise<void> {
  const before = await segmentsOf(slave)
  const calls = slave.world.network as MemoryNetwork
  await until('it is refused', () => master.status().lastError?.code === code)
  await until('it was called again', () => calls.wires.length > 1)
  await until('it says so', () => master.status().state === wordFor(code, 'master'))
  t.match(master.status(), { lastError: { code, message: text } })
  await until('the slave knows', () => slave.receiver.status().lastError?.code === code)
  t.match(slave.receiver.status().lastError?.message, text)
  t.match(
    master.said.find(said => said.code === code),
    { level: 'warn', message: text },
  )
  t.ok(
    slave.said.some(said => text.test(said.message)),
    'logged on the slave, too',
  )
  const { clock } = slave.world as World
  t.ok(
    clock.waits.some(ms => ms >= 500 && ms <= 1000),
    'the first wait after a refusal',
  )
  t.strictSame(await segmentsOf(slave), before, 'the slave is as it was')
  t.equal(await readAck(slave.world.disk, '/m/slaves', 'beta'), null, 'and acknowledged nothing')
  await master.close()
  await slave.close()
}

t.test('another database is refused', async t => {
  const world = newWorld()
  const stranger = await Master.open(world, '/x', { ...historyOne, databaseId: identity(9) })
  await stranger.put(3)
  await stranger.close()
  await copyLog(stranger, '/s')
  const slave = await Slave.open(world, '/s')
  const master = await Master.open(world, '/m')
  await master.put(5)
  await master.ship([slave.target])
  const text = /transaction 5 \(chain .*of database dbdb.*transaction 3 \(chain .*of database 0909/
  await refusal(t, master, slave, 'ERR_LINK_FOREIGN', text)
})

t.test('a slave that goes by another name is refused', async t => {
  const world = newWorld()
  const slave = await Slave.open(world, '/s', { name: 'zz' })
  const master = await Master.open(world, '/m')
  await master.put(5)
  await master.ship([slave.target])
  const text = /"alpha" calls this server "beta", and its name is "zz"; "alpha" holds .*this slave/
  await refusal(t, master, slave, 'ERR_LINK_NAME', text)
})

t.test('a slave that is entered twice, once by a wrong name, is fed by its own', async t => {
  const world = newWorld()
  const slave = await Slave.open(world, '/s')
  const master = await Master.open(world, '/m')
  await master.put(5)
  await master.ship([slave.target, { ...slave.target, name: 'gamma' }])
  await caughtUp(master)
  await until('the other is refused', () => master.status(1).state === 'Wrong name')
  await until('it was called again', () => world.network.wires.length > 3)
  await master.put(5)
  await caughtUp(master)
  t.match(master.status(1), { durableTxn: null, lastKnown: null })
  t.equal(await readAck(world.disk, '/m/slaves', 'gamma'), null, 'it counts once')
  const streams = slave.said.filter(({ message }) => /streaming/.test(message))
  t.equal(streams.length, 1, 'and its stream is not disturbed')
  await master.close()
  await slave.close()
})

t.test('a slave with another history is refused, by the chain value at its position', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(10)
  await master.log.close()
  await copyLog(master, '/s')
  const fork = await Master.open(world, '/s')
  await fork.put(1, 33)
  const there = positionText(fork.log.position)
  await fork.close()
  const again = await Master.open(world, '/m')
  await again.put(5)
  const slave = await Slave.open(world, '/s')
  await again.ship([slave.target])
  const escaped = there.replace(/[()]/g, '\\$&')
  const text = new RegExp(`${escaped}.*transaction 15 .*11 has the chain value`)
  await refusal(t, again, slave, 'ERR_LINK_DIVERGED', text)
})

t.test('a slave that is ahead is refused, and never cut back', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(10)
  await master.log.close()
  await copyLog(master, '/s')
  const longer = await Master.open(world, '/s')
  await longer.put(2)
  await longer.close()
  const again = await Master.open(world, '/m')
  const slave = await Slave.open(world, '/s')
  await again.ship([slave.target])
  const text = /"alpha" holds transaction 10 .* only, this slave holds transaction 12 .* went back/
  await refusal(t, again, slave, 'ERR_LINK_DIVERGED', text)
})

t.test('two servers that were promoted independently never feed each other', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(10)
  await master.log.close()
  await copyLog(master, '/s')
  const other = await Master.open(world, '/s')
  await other.log.beginTimeline({ ...historyOne, timeline: 2, lineageId: identity(0x22) })
  await other.put(2)
  await other.close()
  const again = await Master.open(world, '/m')
  await again.log.beginTimeline({ ...historyOne, timeline: 2, lineageId: identity(0x33) })
  await again.put(4)
  const slave = await Slave.open(world, '/s')
  await again.ship([slave.target])
  const text = /transaction 14 .*transaction 12 .*both on timeline 2, of the lineages 3333.*2222/
  await refusal(t, again, slave, 'ERR_LINK_DIVERGED', text)
})

t.test('a master of an older timeline is refused', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(10)
  await master.log.close()
  await copyLog(master, '/s')
  const promoted = await Master.open(world, '/s')
  await promoted.log.beginTimeline({ ...historyOne, timeline: 2, lineageId: identity(0x22) })
  await promoted.put(1)
  await promoted.close()
  const old = await Master.open(world, '/m')
  await old.put(9)
  const slave = await Slave.open(world, '/s')
  const told: unknown[] = []
  await old.ship([slave.target], {
    fenced: (fence, { name: slave }) => told.push({ ...fence, slave }),
  })
  const text = /transaction 19 .*on timeline 1, .*transaction 11 .*later timeline 2/
  await refusal(t, old, slave, 'ERR_FENCED', text)
  const lineageId = identity(0x22)
  t.match(told, [{ timeline: 2, lineageId, serverName: 'beta', slave: 'beta' }])
  const fence = { name: 'fence', serverName: 'x', ...historyOne, lineageId } as const
  const hello = { ...historyOne, timeline: 1 } as Hello
  t.equal(isLater({ ...fence, timeline: 2 }, hello), true)
  t.equal(isLater({ ...fence, timeline: 1 }, hello), false, 'its own timeline')
  t.equal(isLater({ ...fence, timeline: 2 }, null), false, 'it has said nothing')
  const foreign = { ...fence, timeline: 2, databaseId: identity(9) }
  t.equal(isLater(foreign, hello), false, 'another database')
})

t.test('a slave whose timeline was given up is told where the histories part', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(10)
  await master.log.close()
  await copyLog(master, '/s')
  const given = await Master.open(world, '/s')
  await given.log.beginTimeline({ ...historyOne, timeline: 2, lineageId: identity(0x22) })
  await given.put(2)
  await given.close()
  const again = await Master.open(world, '/m')
  await again.log.beginTimeline({ ...historyOne, timeline: 2, lineageId: identity(0x33) })
  await again.put(3)
  await again.log.beginTimeline({ ...historyOne, timeline: 3, lineageId: identity(0x44) })
  await again.put(3)
  const slave = await Slave.open(world, '/s')
  await again.ship([slave.target])
  const text =
    /"beta" holds transaction 12 .* timeline 2, lineage 2222.* that number on timeline 2, lineage 3333.* diverged/
  await refusal(t, again, slave, 'ERR_LINK_DIVERGED', text)
})

t.test('a slave follows its promoted master, also from behind the promotion', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  const slave = await Slave.open(world, '/s')
  await master.put(10)
  await master.ship([slave.target])
  await caughtUp(master)
  await master.hangUp()
  await master.put(5)
  await master.log.beginTimeline({ ...historyOne, timeline: 2, lineageId: identity(0x22) })
  await master.put(5)
  await master.ship([slave.target])
  await caughtUp(master)
  t.equal(slave.log.identity?.timeline, 2)
  t.strictSame(await segmentsOf(slave), await segmentsOf(master))
  await master.hangUp()
  await master.ship([slave.target])
  await master.put(1)
  await caughtUp(master)
  await master.close()
  await slave.close()
})

t.test('a slave follows when all that it has of a lost timeline is the header', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(10)
  await master.log.close()
  await copyLog(master, '/s')
  const lost = await Master.open(world, '/s')
  await lost.log.beginTimeline({ ...historyOne, timeline: 2, lineageId: identity(0x22) })
  await lost.close()
  const again = await Master.open(world, '/m')
  await again.log.beginTimeline({ ...historyOne, timeline: 3, lineageId: identity(0x33) })
  await again.put(4)
  const slave = await Slave.open(world, '/s')
  t.equal(slave.log.identity?.timeline, 2)
  await again.ship([slave.target])
  await caughtUp(again)
  t.strictSame(await segmentsOf(slave), await segmentsOf(again))
  await again.close()
  await slave.close()
})

t.test('a shipper that has stopped takes no slave any more', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(2)
  const slave = await Slave.open(world, '/s')
  const shipper = await master.ship([slave.target])
  await caughtUp(master)
  await shipper.stop()
  const calls = world.network.wires.length
  await shipper.add(slave.target)
  await shipper.remove(slave.target.name)
  t.equal(world.network.wires.length, calls)
  t.equal(master.status().state, 'Stopped')
  await master.close()
  await slave.close()
})

t.test('a slave whose next transaction was removed needs a seed; so does an empty one', async t => {
  for (const emptySlave of [true, false]) {
    const world = newWorld()
    const master = await Master.open(world, '/m')
    await master.put(5)
    if (!emptySlave) {
      await master.log.close()
      await copyLog(master, '/s')
    }
    const again = emptySlave ? master : await Master.open(world, '/m')
    await again.put(60)
    t.ok((await again.log.removeBefore(50)) > 0)
    const slave = await Slave.open(world, '/s')
    await again.ship([slave.target])
    const text = emptySlave
      ? /this slave holds nothing, .*starts with transaction \d+ only; "alpha" holds transaction 65/
      : /"beta" holds transaction 5 .*starts with transaction \d+ and ends with transaction 65/
    await refusal(t, again, slave, 'ERR_LINK_SEED', text)
  }
})

t.test(
  'a slave right before the start of a log is compared with what the log continues',
  async t => {
    const world = newWorld()
    const master = await Master.open(world, '/m')
    await master.put(80)
    const first = master.log.segments()[3]?.firstTxn ?? 0
    const slave = await Slave.open(world, '/s')
    await master.ship([slave.target])
    await caughtUp(master)
    await master.hangUp()
    await slave.close()
    // What the slave holds now ends right before that segment.
    for (const { path, firstTxn } of master.log.segments()) {
      if (firstTxn >= first) await world.disk.remove(path.replace('/m/', '/s/'))
    }
    await world.disk.remove('/s/log/durable')
    await master.log.removeBefore(first)
    t.equal(master.log.firstTxn, first)

    const back = await Slave.open(world, '/s')
    t.equal(back.log.lastTxn, first - 1)
    await master.ship([back.target])
    await until('the slave has it all', () => back.log.durableTxn === 80)
    await caughtUp(master)
    t.equal(back.log.lastTxn, 80)
    t.match(await readAck(world.disk, '/m/slaves', 'beta'), { durableTxn: 80 })
    await master.hangUp()
    await back.close()

    const other = await Master.open(world, '/x')
    await other.put(first - 1, 21)
    const there = positionText(other.log.position).replace(/[()]/g, '\\$&')
    await other.close()
    await copyLog(other, '/f')
    await world.disk.remove('/m/slaves/beta.ack')
    const fork = await Slave.open(world, '/f')
    const calls = world.network.wires.length
    await master.ship([fork.target])
    await until('it was called again', () => world.network.wires.length > calls + 1)
    const text = new RegExp(`${there}.*ends with transaction 80.*has the chain value`)
    await refusal(t, master, fork, 'ERR_LINK_DIVERGED', text)
  },
)

t.test('loops are refused: itself, a copied directory, a server further up', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(2)
  const slave = await Slave.open(world, '/s', { serverId: identity(1) })
  await master.ship([slave.target])
  const fed = /"alpha" is fed by this very server .*holds transaction 2 .*slave holds nothing/
  await refusal(t, master, slave, 'ERR_LINK_LOOP', fed)

  const other = newWorld()
  const middle = await Master.open(other, '/m')
  await middle.put(2)
  const above = await Slave.open(other, '/s')
  await middle.ship([above.target], { upstream: [identity(7), identity(2)] })
  await refusal(t, middle, above, 'ERR_LINK_LOOP', /"alpha" is fed by this very server/)
})

t.test('a path that changes is told at once', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  const slave = await Slave.open(world, '/s')
  let upstream = [identity(5)]
  await master.put(1)
  await master.ship([slave.target], { upstream: () => upstream })
  await caughtUp(master)
  t.strictSame(slave.receiver.upstream, [identity(5), identity(1)])
  const before = slave.receiver.upstream
  upstream = [identity(6), identity(5)]
  await master.put(1)
  await until('the slave knows', () => slave.receiver.upstream !== before)
  t.strictSame(slave.receiver.upstream, [identity(6), identity(5), identity(1)])
  await caughtUp(master)
  await master.close()
  await slave.close()
})

t.test('a log that rots or goes away under its shipper', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(30)
  const path = master.log.segments()[1]?.path ?? ''
  world.disk.overwrite(path, 200, Buffer.from([1, 2, 3]))
  const slave = await Slave.open(world, '/s')
  await master.ship([slave.target])
  await until('it is refused', () => master.status().lastError?.code === 'ERR_LOG_CORRUPT')
  t.match(master.status(), {
    state: 'Damaged log',
    lastError: { message: /byte \d+, transaction \d+/ },
  })
  await until('the slave knows', () => slave.receiver.status().lastError !== null)
  t.match(slave.receiver.status().lastError, {
    code: 'ERR_LOG_CORRUPT',
    message: /"alpha" refuses/,
  })
  t.ok(slave.log.lastTxn > 0, 'what came before the rot was sent')
  t.strictSame((await segmentsOf(slave))[0], (await segmentsOf(master))[0])
  await master.close()
  await slave.close()
})

t.test(
  'a sealed segment without its first block is damage to the shipper, and streams on when repaired',
  async t => {
    for (const cut of [false, true]) {
      const world = newWorld()
      const master = await Master.open(world, '/m')
      await master.put(30)
      const path = master.log.segments()[1]?.path ?? ''
      const whole = world.disk.contents(path)
      if (cut) {
        const file = await world.disk.open(path, 'write')
        await file.truncate(96)
        await file.close()
      } else world.disk.overwrite(path, 96, Buffer.alloc(104))
      const slave = await Slave.open(world, '/s')
      const damaged: string[] = []
      await master.ship([slave.target], { damaged: error => void damaged.push(error.code) })
      await until('it is refused', () => master.status().lastError?.code === 'ERR_LOG_CORRUPT')
      t.match(master.status(), {
        state: 'Damaged log',
        lastError: { message: /byte 96, transaction/ },
      })
      t.strictSame(damaged.slice(0, 1), ['ERR_LOG_CORRUPT'], 'its repair is asked for')
      world.disk.overwrite(path, 0, whole)
      await until('the slave has it all', () => slave.log.lastTxn === master.log.lastTxn)
      t.strictSame(await segmentsOf(slave), await segmentsOf(master))
      await master.close()
      await slave.close()
    }
  },
)

t.test('a slave that cannot store says so, and takes it up again when it can', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(3)
  const slave = await Slave.open(world, '/s')
  await master.ship([slave.target])
  await caughtUp(master)
  slave.log.fail(new Error('the disk has gone') as never)
  await master.put(2)
  await until('it is refused', () => master.status().lastError?.code === 'ERR_STOPPED')
  t.match(master.status(), {
    state: 'Cannot store',
    durableTxn: null,
    lastKnown: { durableTxn: 3 },
  })
  await until('it is told why at once', () =>
    master.said.some(({ message }) => /slave cannot store updates.*disk has gone/.test(message)),
  )
  await slave.receiver.stop()
  await slave.log.close()
  const again = await Slave.open(world, '/s', { listen: slave.target.address })
  await caughtUp(master)
  t.equal(again.log.lastTxn, 5)
  await master.close()
  await again.close()
})

t.test('a slave is paused while its disk is behind', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m', historyOne, 64 << 20)
  for (let index = 0; index < 40; index++) {
    const records = master.log.begin()
    master.log.ensureMapped(1, { account: 'a', file: 'f', modulo: 1 })
    records.writeItem(1, 'big', Buffer.alloc(1 << 20, index))
    master.log.commit()
  }
  await master.log.synced()
  const slave = await Slave.open(world, '/s')
  // Every write to the slave's disk waits until this opens.
  let open = () => {}
  const opened = new Promise<void>(resolve => {
    open = resolve
  })
  const { disk } = world
  const segmentWrites = disk.open.bind(disk)
  disk.open = async (path, mode) => {
    const file = await segmentWrites(path, mode)
    if (!path.startsWith('/s/log/0')) return file
    return {
      ...file,
      path,
      size: () => file.size(),
      read: (...args) => file.read(...args),
      write: async (...args) => {
        await opened
        await file.write(...args)
      },
      sync: () => file.sync(),
      truncate: length => file.truncate(length),
      close: () => file.close(),
    }
  }
  await master.ship([slave.target], { windowBytes: 64 << 20 })
  await until('the slave has more than it may', () => slave.log.unsyncedBytes > 32 << 20)
  for (let turn = 0; turn < 2000; turn++) await new Promise(setImmediate)
  t.ok(slave.log.unsyncedBytes < 35 << 20, 'it stops reading')
  t.equal(slave.log.durableTxn, 0)
  open()
  await caughtUp(master)
  t.equal(slave.log.durableTxn, 40)
  await master.close()
  await slave.close()
})

t.test('a slave that does not keep to the protocol is dropped, and believed nothing', async t => {
  const nobody = identity(0)
  const start = { txn: 0, chain: 0 }
  const progress = {
    receivedTxn: 0,
    durable: start,
    appliedTxn: 0,
    appliedTime: 0,
    applying: 'on' as const,
  }
  const welcome: Welcome = {
    name: 'welcome',
    version: 1,
    serverName: 'beta',
    serverId: identity(2),
    databaseId: nobody,
    lineageId: nobody,
    timeline: 0,
    position: start,
    progress,
  }
  const ack = (receivedTxn: number, durableTxn: number): SmallMessage => ({
    name: 'ack',
    progress: { ...progress, receivedTxn, durable: { txn: durableTxn, chain: 1 } },
  })
  const rows: readonly {
    readonly what: string
    readonly onHello: readonly SmallMessage[]
    readonly onStart: readonly SmallMessage[]
    readonly text: RegExp
    readonly code?: ErrorCode
  }[] = [
    {
      what: 'an ack of what was not sent',
      onHello: [welcome],
      onStart: [ack(99, 0)],
      text: /99 was acknowledged, \d was sent/,
    },
    {
      what: 'an ack taken back',
      onHello: [welcome],
      onStart: [ack(3, 2), ack(3, 1)],
      text: /taken back/,
    },
    {
      what: 'rewind to the future',
      onHello: [welcome],
      onStart: [{ name: 'rewind', position: { txn: 9, chain: 0 } }],
      text: /transaction 9 .* is asked for again, \d was sent/,
    },
    {
      what: 'another slave',
      onHello: [{ ...welcome, serverName: 'gamma' }],
      onStart: [],
      text: /the server at p:1 is called "gamma", and hb.toml calls it "beta"/,
      code: 'ERR_LINK_NAME',
    },
    {
      what: 'two welcomes',
      onHello: [welcome, welcome],
      onStart: [],
      text: /0x02 WELCOME may not come now/,
    },
    {
      what: 'a master at the slave port',
      onHello: [{ name: 'start', position: start }],
      onStart: [],
      text: /0x03 START may not come now/,
    },
  ]
  for (const { what, onHello, onStart, text, code = 'ERR_WIRE' } of rows) {
    const world = newWorld()
    const master = await Master.open(world, '/m')
    await master.put(3)
    const options = { heartbeatMs: 5000, timeoutMs: 30_000, durableTxn: () => 0 }
    const listener = await world.network.listen({ host: 'p', port: 1 }, null, connection => {
      let runs = 0
      const channel = new Channel(connection, world.clock, options, ['hello'], {
        message: message => {
          const { name } = message
          if (name === 'hello') {
            channel.established('start', 'segment', 'blocks', 'refuse')
            for (const answer of onHello) channel.send(answer)
          }
          // The run has been counted as sent, then.
          if (name === 'blocks' && runs++ === 0) for (const answer of onStart) channel.send(answer)
        },
        writable: () => {},
        closed: () => {},
      })
    })
    await master.ship([{ name: 'beta', address: listener.address }])
    await until(what, () => text.test(master.status().lastError?.message ?? ''))
    t.match(master.status(), { lastError: { code } }, what)
    const kept = await readAck(world.disk, '/m/slaves', 'beta')
    t.ok(kept === null || kept.receivedTxn <= 3)
    await listener.close()
    await master.close()
  }
})

t.test('a slave is asked for its statistics', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  const slave = await Slave.open(world, '/s')
  await master.put(5)
  await master.ship([slave.target])
  await caughtUp(master)
  const [{ statistics: told, roundTripMs }, again] = await Promise.all([
    master.statistics(),
    master.statistics(),
  ])
  const { bytesReceived, ...rest } = told
  t.strictSame(rest, statistics)
  t.ok(bytesReceived > 500 && roundTripMs >= 0)
  t.strictSame(again.statistics.records, statistics.records)
  await t.rejects(master.statistics('gamma'), { code: 'ERR_NO_SLAVE' })
  await slave.receiver.stop()
  await until('the link is down', () => master.status().state === 'Wait response to call')
  await t.rejects(master.statistics(), { code: 'ERR_NO_STATISTICS', message: /not connected/ })
  await master.close()
  await slave.close()
})

t.test('older peers, and those that do not answer, are asked in vain and live on', async t => {
  const rows = [
    { version: 1, error: { code: 'ERR_NO_STATISTICS', message: /older hotbackup/ } },
    { version: 2, error: { code: 'ERR_TIMEOUT', message: /has not answered for 30 s/ } },
    { version: 2, hangsUp: true, error: { code: 'ERR_NO_STATISTICS', message: /ended before/ } },
  ]
  for (const { version, hangsUp = false, error } of rows) {
    const world = newWorld()
    const master = await Master.open(world, '/m')
    await master.put(3)
    const start = { txn: 0, chain: 0 }
    const progress = {
      receivedTxn: 0,
      durable: start,
      appliedTxn: 0,
      appliedTime: 0,
      applying: 'on' as const,
    }
    const nobody = identity(0)
    const welcome: Welcome = {
      name: 'welcome',
      version,
      serverName: 'beta',
      serverId: identity(2),
      databaseId: nobody,
      lineageId: nobody,
      timeline: 0,
      position: start,
      progress,
    }
    const asked: string[] = []
    const options = { heartbeatMs: 5000, timeoutMs: 90_000, durableTxn: () => 0 }
    const listener = await world.network.listen({ host: 'p', port: 1 }, null, connection => {
      const channel = new Channel(connection, world.clock, options, ['hello'], {
        message: ({ name }) => {
          asked.push(name)
          if (name === 'hello') {
            channel.established('start', 'segment', 'blocks', 'refuse', 'ask-statistics')
            channel.send(welcome)
          } else if (name === 'ask-statistics' && hangsUp) channel.destroy(null)
        },
        writable: () => {},
        closed: () => {},
      })
    })
    await master.ship([{ name: 'beta', address: listener.address }])
    await until('it streams', () => asked.includes('blocks'))
    const answer = master.statistics()
    const outcome = t.rejects(answer, error)
    if (version > 1) await until('it was asked', () => asked.includes('ask-statistics'))
    if (!hangsUp) await world.clock.advance(31_000)
    await outcome
    t.equal(asked.includes('ask-statistics'), version > 1, 'an older slave would hang up')
    await listener.close()
    await master.close()
  }
})

t.test('a slave that takes the call and says nothing', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(1)
  const silent = { data: () => {}, drained: () => {}, closed: () => {} }
  const listener = await world.network.listen({ host: 'p', port: 1 }, null, connection =>
    connection.listen(silent),
  )
  await master.ship([{ name: 'beta', address: listener.address }])
  await until('it is connected', () => master.status().state === 'Connected')
  await world.clock.advance(31_000)
  t.match(master.status().lastError, {
    code: 'ERR_WIRE_TIMEOUT',
    message: /the handshake with p:1 was not complete after 30 s/,
  })
  await master.close()
  await listener.close()
})
