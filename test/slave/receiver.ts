// A slave's port against everybody who may turn up there: masters that repeat, skip or replace, masters that are
// refused, and strangers. Over real sockets too, with and without a key.
import { Buffer } from 'node:buffer'
import { mkdtemp, rm } from 'node:fs/promises'
import * as net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import { BlockView } from '../../src/log/block.ts'
import { LogReader, type BlockRun } from '../../src/log/reader.ts'
import { encodeSegmentHeader } from '../../src/log/segment.ts'
import { LogWriter } from '../../src/log/writer.ts'
import { nodeClock } from '../../src/platform/node-clock.ts'
import { nodeDisk } from '../../src/platform/node-disk.ts'
import { nodeNetwork } from '../../src/platform/node-network.ts'
import { nodeWatcher } from '../../src/platform/node-watch.ts'
import { askHistory, askToPromote } from '../../src/ship/ask.ts'
import { checkHello, type SlaveSide } from '../../src/slave/receiver-handshake.ts'
import { Intake } from '../../src/slave/receiver-intake.ts'
import { SeedSession, type SeedTaker } from '../../src/slave/seed-session.ts'
import { Channel } from '../../src/wire/channel.ts'
import { encodeMessage, frameCrc, type Message } from '../../src/wire/messages.ts'
import type { Hello } from '../../src/wire/messages/hello.ts'
import type { Seed } from '../../src/wire/messages/seed.ts'
import { frameHeaderBytes, type MessageName } from '../../src/wire/protocol.ts'
import {
  Master,
  Slave,
  historyOne,
  identity,
  noWatcher,
  segmentsOf,
  until,
  untilReal,
  type LinkWorld,
} from '../helpers/link-pair.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'
import { MemoryNetwork } from '../helpers/memory-network.ts'
import { TestClock } from '../helpers/test-clock.ts'

const newWorld = () => ({
  disk: new MemoryDisk(),
  network: new MemoryNetwork(),
  clock: new TestClock(),
  watcher: noWatcher,
  key: null,
})

/** All that a log holds, run by run. */
async function runsOf(master: Master): Promise<BlockRun[]> {
  const { disk } = master.world
  const reader = await LogReader.open(disk, join(master.directory, 'log'), { txn: 0, chain: 0 })
  const mark = master.log.durableMark
  const runs: BlockRun[] = []
  if (mark === null) return runs
  for (let run = await reader.next(mark); run !== null; run = await reader.next(mark)) {
    runs.push(run)
  }
  await reader.close()
  return runs
}

/** The same, block by block. */
async function blocksOf(master: Master): Promise<BlockRun[]> {
  const view = new BlockView()
  return (await runsOf(master)).flatMap(run => {
    const blocks: BlockRun[] = []
    for (let start = run.start; start < run.end; start += view.length) {
      view.reset(run.bytes, start)
      blocks.push({
        ...run,
        start,
        end: start + view.length,
        firstTxn: view.firstTxn,
        position: { txn: view.lastTxn, chain: view.crc },
        segmentHeaderBytes: start === run.start ? run.segmentHeaderBytes : null,
        segmentOffset: run.segmentOffset + start - run.start,
      })
    }
    return blocks
  })
}

/** A master whose every word the test chooses. */
class Puppet {
  readonly heard: Message[] = []
  closed: HotBackupError | null | undefined = undefined
  readonly #channel: Channel

  private constructor(make: (puppet: Puppet) => Channel) {
    this.#channel = make(this)
  }

  static async connect(world: LinkWorld, slave: Slave): Promise<Puppet> {
    const connection = await world.network.connect(slave.receiver.address, world.key, 1000)
    const options = { heartbeatMs: 5000, timeoutMs: 30_000, durableTxn: () => 1000 }
    const all: readonly MessageName[] = ['welcome', 'refuse', 'ack', 'rewind', 'ping', 'pong']
    return new Puppet(
      puppet =>
        new Channel(connection, world.clock, options, all, {
          message: message => puppet.heard.push(message),
          writable: () => {},
          closed: error => {
            puppet.closed = error
          },
        }),
    )
  }

  hello(changes: Partial<Hello> = {}): void {
    this.#channel.send({
      name: 'hello',
      serverName: 'puppet',
      slaveName: 'beta',
      serverId: identity(1),
      ...historyOne,
      firstTxn: 1,
      durable: { txn: 1000, chain: 0 },
      path: [],
      ...changes,
    })
  }

  seed(of: Pick<Seed, 'serverId' | 'durableTxn'> & Partial<Seed>): void {
    const names = { serverName: 'puppet', slaveName: 'beta' }
    const seed = { name: 'seed', ordered: true, ...names, ...historyOne } as const
    this.#channel.send({ ...seed, firstTxn: 1, ...of })
  }

  start(position: { txn: number; chain: number }): void {
    this.#channel.established('welcome', 'refuse', 'ack', 'rewind')
    this.#channel.send({ name: 'start', position })
  }

  segment(run: BlockRun): void {
    this.#channel.send({ name: 'segment', headerBytes: encodeSegmentHeader(run.segment) })
  }

  blocks(run: BlockRun): void {
    const { segmentOffset: offset, segment, bytes, start, end } = run
    const head = { segmentFirstTxn: segment.firstTxn, offset, durableTxn: 1000 }
    this.#channel.sendBlocks(head, bytes.subarray(start, end))
  }

  last<N extends MessageName>(name: N): Extract<Message, { name: N }> | undefined {
    return this.heard.findLast(
      (message): message is Extract<Message, { name: N }> => message.name === name,
    )
  }

  async hears(name: MessageName, count = 1): Promise<void> {
    const heard = () => this.heard.filter(message => message.name === name).length >= count
    await until(`${name} comes`, heard)
  }

  destroy(): void {
    this.#channel.destroy(null)
  }
}

t.test('runs may come twice, overlap or miss: the log is the same', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(100)
  const fine = await blocksOf(master)
  const coarse = await runsOf(master)
  t.ok(fine.length > 20 && coarse.length > 3)
  const all = [...fine, ...coarse]
  const whole = await segmentsOf(master)

  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(all.length - 1), { maxLength: 30 }),
      fc.boolean(),
      async (picks, headersToo) => {
        const disk = new MemoryDisk()
        const options = {
          fsync: { kind: 'commit' },
          segmentBytes: 2048,
          knownDurableTxn: 0,
        } as const
        const log = await LogWriter.open({ ...world, disk }, '/s/log', {
          ...options,
          ownPromises: false,
        })
        const intake = new Intake(log)
        const give = (run: BlockRun): void => {
          const before = log.lastTxn
          const { segmentOffset: offset, segment, bytes, start, end } = run
          const { firstTxn: segmentFirstTxn } = segment
          if (run.segmentHeaderBytes !== null && headersToo) intake.segment(run.segmentHeaderBytes)
          const own = Buffer.from(bytes.subarray(start, end))
          const verdict = intake.blocks({
            name: 'blocks',
            segmentFirstTxn,
            offset,
            durableTxn: 0,
            run: own,
          })
          const expected =
            run.position.txn <= before ? 'duplicate' : log.lastTxn > before ? 'appended' : 'missing'
          if (verdict !== expected) throw new Error(`${verdict} where ${expected} was expected`)
        }
        for (const pick of picks) {
          const run = all[pick]
          if (run !== undefined) give(run)
        }
        for (const run of coarse) {
          if (run.segmentHeaderBytes !== null) intake.segment(run.segmentHeaderBytes)
          give(run)
        }
        await log.durable()
        const slave = { world: { ...world, disk }, directory: '/s', log } as unknown as Slave
        const same = JSON.stringify(await segmentsOf(slave)) === JSON.stringify(whole)
        await log.close()
        return same
      },
    ),
    { numRuns: 60 },
  )
  await master.close()
})

t.test('what is missing is asked for, what comes again is acknowledged again', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(40)
  const [first, second, third] = await runsOf(master)
  if (first === undefined || second === undefined || third === undefined) {
    throw new TypeError('too few segments')
  }
  const slave = await Slave.open(world, '/s')
  const puppet = await Puppet.connect(world, slave)
  puppet.hello()
  await puppet.hears('welcome')
  t.match(puppet.last('welcome'), { position: { txn: 0, chain: 0 }, databaseId: identity(0) })
  t.equal(slave.receiver.status().state, 'Connected')
  puppet.start({ txn: 0, chain: 0 })
  await puppet.hears('ack')
  t.equal(slave.receiver.status().state, 'Reading network', 'the master holds more')

  puppet.segment(first)
  puppet.blocks(first)
  const firstEnd = first.position.txn
  await until('it is durable', () => puppet.last('ack')?.progress.durable.txn === firstEnd)
  const acks = puppet.heard.length
  puppet.segment(first)
  puppet.blocks(first)
  await until('an ack again', () => puppet.heard.length > acks)
  t.equal(puppet.last('ack')?.progress.receivedTxn, firstEnd)

  puppet.segment(third)
  await puppet.hears('rewind')
  t.strictSame(puppet.last('rewind')?.position, first.position)
  puppet.blocks(third)
  puppet.segment(second)
  puppet.blocks(second)
  puppet.start(first.position)
  await until('it streams again', () => slave.said.at(-1)?.message.includes('streaming') === true)
  t.equal(slave.log.lastTxn, firstEnd, 'what was under way is dropped')
  puppet.blocks(second)
  await puppet.hears('rewind', 2)
  puppet.start(first.position)
  puppet.segment(second)
  puppet.blocks(second)
  await until('it goes on', () => slave.log.durableTxn === second.position.txn)

  puppet.start(second.position)
  await puppet.hears('refuse')
  t.match(puppet.last('refuse'), {
    code: 'ERR_LINK_REFUSED',
    text: /the stream would start behind transaction/,
    sender: second.position,
  })
  await until('the slave is free', () => slave.receiver.status().state === 'Wait incoming call')
  await master.close()
  await slave.close()
})

t.test('a START that is not where the slave is', async t => {
  const world = newWorld()
  const slave = await Slave.open(world, '/s')
  const puppet = await Puppet.connect(world, slave)
  puppet.hello()
  puppet.start({ txn: 5, chain: 6 })
  await puppet.hears('refuse')
  t.match(puppet.last('refuse'), { text: /behind transaction 5 \(chain 00000006\).*holds nothing/ })
  await until('it is closed', () => puppet.closed !== undefined)
  await slave.close()
})

t.test(
  'a newer connection of the same server replaces the old one, another is refused',
  async t => {
    const world = newWorld()
    const slave = await Slave.open(world, '/s')
    const old = await Puppet.connect(world, slave)
    old.hello()
    old.start({ txn: 0, chain: 0 })
    await old.hears('ack')

    const stranger = await Puppet.connect(world, slave)
    stranger.hello({ serverId: identity(8), serverName: 'other' })
    await stranger.hears('refuse')
    t.match(stranger.last('refuse'), {
      code: 'ERR_LINK_REFUSED',
      text: /fed by "puppet" at caller:0/,
    })

    // Somebody who only connects replaces nobody.
    const silent = await Puppet.connect(world, slave)
    const fresh = await Puppet.connect(world, slave)
    t.equal(old.closed, undefined)
    fresh.hello()
    await fresh.hears('welcome')
    await old.hears('refuse')
    t.match(old.last('refuse'), { text: /a newer connection of the same server replaces/ })
    fresh.start({ txn: 0, chain: 0 })
    await fresh.hears('ack')
    t.match(slave.receiver.status(), { master: { address: 'caller:3' }, lastError: null })

    await world.clock.advance(35_000)
    t.not(silent.closed, undefined, 'a connection without HELLO times out')
    t.equal(fresh.closed, undefined)
    t.match(slave.receiver.status(), { strangers: 1 })
    fresh.destroy()
    await slave.close()
  },
)

t.test(
  'a segment header may come again, or from a promoted master, before its first block',
  async t => {
    const world = newWorld()
    const master = await Master.open(world, '/m')
    await master.put(3)
    const [run] = await runsOf(master)
    if (run === undefined) throw new TypeError('no run')
    const slave = await Slave.open(world, '/s')
    const intake = new Intake(slave.log)
    const header = encodeSegmentHeader(run.segment)
    t.equal(intake.segment(header), 'appended')
    t.equal(intake.segment(header), 'duplicate')
    const promoted = { ...run.segment, timeline: 2, lineageId: identity(5) }
    t.equal(intake.segment(encodeSegmentHeader(promoted)), 'appended')
    t.match(slave.log.identity, { timeline: 2 })
    t.throws(() => intake.segment(header), {
      code: 'ERR_LINK_DIVERGED',
      message: /this slave holds nothing; .*timeline 1, which cannot follow 2/,
    })
    t.throws(() => intake.segment(header.subarray(0, 50)), { code: 'ERR_LOG_CORRUPT' })
    t.equal(slave.log.segments().length, 1)
    await master.close()
    await slave.close()
  },
)

t.test('valid blocks of another history are never appended', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(2)
  const other = await Master.open(world, '/o')
  await other.put(1, 99)
  const slave = await Slave.open(world, '/s')
  const [run, foreign] = await blocksOf(master)
  if (run === undefined || foreign === undefined) throw new TypeError('no runs')
  const intake = new Intake(slave.log)
  intake.segment(encodeSegmentHeader(run.segment))
  const message = {
    name: 'blocks',
    segmentFirstTxn: 1,
    offset: run.segmentOffset,
    durableTxn: 0,
  } as const
  const [wrong] = await runsOf(other)
  const own = (from: BlockRun) => Buffer.from(from.bytes.subarray(from.start, from.end))
  t.equal(intake.blocks({ ...message, run: own(run) }), 'appended')
  // A valid block in its own place, but a block of the other log lies before it.
  const fork = await Slave.open(world, '/f')
  const forked = new Intake(fork.log)
  if (wrong === undefined) throw new TypeError('no run')
  forked.segment(encodeSegmentHeader(wrong.segment))
  forked.blocks({ ...message, run: own(wrong) })
  const offset = fork.log.segments()[0]?.bytes ?? 0
  t.equal(forked.blocks({ ...message, offset, run: own(foreign) }), 'damaged', 'another place')
  t.equal(fork.log.lastTxn, 1)
  for (const server of [master, other, slave, fork]) await server.close()
})

t.test('who is let in', async t => {
  const hello: Hello = {
    name: 'hello',
    serverName: 'alpha',
    slaveName: 'beta',
    serverId: identity(1),
    ...historyOne,
    firstTxn: 1,
    durable: { txn: 10, chain: 1 },
    path: [],
  }
  const full: SlaveSide = {
    name: 'beta',
    serverId: identity(2),
    identity: historyOne,
    position: { txn: 10, chain: 1 },
  }
  const empty: SlaveSide = { ...full, identity: null, position: { txn: 0, chain: 0 } }
  const later = { timeline: 2, lineageId: identity(9) }
  const rows: readonly [string, Partial<Hello>, SlaveSide, string | null][] = [
    ['the same position', {}, full, null],
    ['the master is ahead', { durable: { txn: 99, chain: 5 } }, full, null],
    ['empty slave, whole log', {}, empty, null],
    ['a promoted master', { ...later, durable: { txn: 99, chain: 5 } }, full, null],
    ['another path', { path: [identity(5)] }, full, null],
    ['itself', { serverId: identity(2) }, full, 'ERR_LINK_LOOP'],
    ['above itself', { path: [identity(3), identity(2)] }, empty, 'ERR_LINK_LOOP'],
    ['empty slave, log without start', { firstTxn: 2 }, empty, 'ERR_LINK_SEED'],
    ['another database', { databaseId: identity(9) }, full, 'ERR_LINK_FOREIGN'],
    ['another name', { slaveName: 'gamma' }, full, 'ERR_LINK_NAME'],
    ['another name, empty slave', { slaveName: 'gamma' }, empty, 'ERR_LINK_NAME'],
    [
      'an older timeline, and another name',
      { slaveName: 'gamma' },
      { ...full, identity: { ...historyOne, ...later } },
      'ERR_FENCED',
    ],
    ['an older timeline', {}, { ...full, identity: { ...historyOne, ...later } }, 'ERR_FENCED'],
    ['another lineage', { lineageId: identity(9) }, full, 'ERR_LINK_DIVERGED'],
    ['the slave is ahead', { durable: { txn: 9, chain: 1 } }, full, 'ERR_LINK_DIVERGED'],
  ]
  for (const [what, changes, slave, code] of rows) {
    const error = checkHello({ ...hello, ...changes }, slave)
    t.equal(error?.code ?? null, code, what)
    if (error === null) continue
    t.match(error.message, /alpha/, 'names the master')
    t.match(error.message, /this slave holds (nothing|transaction 10 \(chain 00000001\))/)
    t.match(error.message, /holds transaction (10|9|99) \(chain/)
  }
})

t.test(
  'a master of protocol version 1 is served as ever, and may not ask for statistics',
  async t => {
    const world = newWorld()
    const slave = await Slave.open(world, '/s')
    const connection = await world.network.connect(slave.receiver.address, world.key, 1000)
    let heard = Buffer.alloc(0)
    let closed = false
    connection.listen({
      data: bytes => (heard = Buffer.concat([heard, bytes])),
      drained: () => {},
      closed: () => (closed = true),
    })
    const hello = encodeMessage({
      name: 'hello',
      serverName: 'puppet',
      slaveName: 'beta',
      serverId: identity(1),
      ...historyOne,
      firstTxn: 1,
      durable: { txn: 1000, chain: 0 },
      path: [],
    })
    hello.writeUInt16LE(1, frameHeaderBytes + 2)
    hello.writeUInt32LE(frameCrc(hello, 0, hello.length), 12)
    connection.write(hello)
    await until('it is welcome', () => heard.length > frameHeaderBytes)
    t.equal(heard.readUInt16LE(frameHeaderBytes), 1)
    connection.write(encodeMessage({ name: 'start', position: { txn: 0, chain: 0 } }))
    await until('it streams', () => slave.said.some(said => said.message.includes('streaming')))
    t.notOk(closed)
    connection.write(encodeMessage({ name: 'ask-statistics', token: 1 }))
    await until('it is dropped', () => closed)
    await slave.close()
  },
)

t.test('a server may have its own reason to let nobody in', async t => {
  const world = newWorld()
  const refusal = () => new HotBackupError('ERR_WRONG_TYPE', 'this server is a master now')
  const slave = await Slave.open(world, '/s', { refusal })
  const puppet = await Puppet.connect(world, slave)
  puppet.hello()
  await puppet.hears('refuse')
  t.match(puppet.last('refuse'), { code: 'ERR_WRONG_TYPE', text: 'this server is a master now' })
  await slave.close()
})

t.test('idle strangers do not keep the master out', async t => {
  const world = newWorld()
  const slave = await Slave.open(world, '/s')
  const strangers: Puppet[] = []
  for (let count = 0; count < 40; count++) strangers.push(await Puppet.connect(world, slave))
  const master = await Puppet.connect(world, slave)
  master.hello()
  await master.hears('welcome')
  t.ok(slave.receiver.status().strangers >= 24, 'the oldest made room')
  master.destroy()
  await slave.close()
  await until('all are gone', () => strangers.every(stranger => stranger.closed !== undefined))
})

// ---- real sockets ----

async function realWorld(t: Test, key: Uint8Array | null): Promise<LinkWorld & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'hb-link-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return {
    path,
    disk: nodeDisk,
    network: nodeNetwork,
    clock: nodeClock,
    watcher: nodeWatcher,
    key: key === null ? null : { bytes: key },
  }
}

/** What a peer gets that sends these bytes and waits. */
function speak(slave: Slave, ...pieces: readonly Uint8Array[]): Promise<Buffer> {
  return new Promise(resolve => {
    const { host, port } = slave.receiver.address
    const heard: Buffer[] = []
    const socket = net.connect({ host, port }, () => {
      for (const piece of pieces) socket.write(piece)
    })
    socket.on('data', bytes => heard.push(bytes))
    socket.on('error', () => {})
    socket.on('close', () => resolve(Buffer.concat(heard)))
  })
}

for (const key of [null, new Uint8Array(32).fill(9)]) {
  const how = key === null ? 'without a key' : 'with a key'

  t.test(`over TCP, ${how}: the log arrives byte for byte`, async t => {
    const world = await realWorld(t, key)
    const master = await Master.open(world, join(world.path, 'm'), historyOne, 1 << 20)
    let slave = await Slave.open(world, join(world.path, 's'))
    const { target } = slave
    await master.put(20)
    await master.ship([target])
    const caughtUp = () =>
      untilReal('the slave has it all', () => master.status().durableTxn === master.log.lastTxn)
    await caughtUp()
    for (let index = 0; index < 200; index++) {
      const records = master.log.begin()
      master.log.ensureMapped(1, { account: 'a', file: 'f', modulo: 1 })
      records.writeItem(1, `big${index}`, Buffer.alloc(60_000, index))
      master.log.commit()
      if (index % 20 === 0) await master.log.synced()
    }
    await master.log.synced()
    await caughtUp()
    t.ok(slave.log.segments().length > 5)
    t.strictSame(await segmentsOf(slave), await segmentsOf(master))

    await slave.close()
    await untilReal('the master has noticed', () => master.status().lastError !== null)
    await master.put(5)
    slave = await Slave.open(world, join(world.path, 's'), { listen: target.address })
    await caughtUp()
    t.equal(master.status().lastError, null)
    t.strictSame(await segmentsOf(slave), await segmentsOf(master))
    await master.close()
    await slave.close()
  })

  t.test(`over TCP, ${how}: strangers are dropped, and the slave lives`, async t => {
    const world = await realWorld(t, key)
    const slave = await Slave.open(world, join(world.path, 's'), {
      timeoutMs: 300,
      heartbeatMs: 100,
    })
    const hello = encodeMessage({
      name: 'hello',
      serverName: 'x',
      slaveName: 'beta',
      serverId: identity(1),
      ...historyOne,
      firstTxn: 1,
      durable: { txn: 1, chain: 0 },
      path: [],
    })
    const blocks = Buffer.from(hello)
    blocks.writeUInt8(6, 4)
    const strangers = [
      Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
      Buffer.from('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'latin1'),
      Buffer.alloc(300_000, 0xa5),
      hello.subarray(0, 40), // and never the rest
      blocks, // before the handshake
      Buffer.alloc(0),
    ]
    for (const bytes of strangers) {
      const heard = await speak(slave, bytes)
      // TLS may answer with an alert; the protocol does not answer at all.
      t.ok(key === null ? heard.length === 0 : heard.length < 64, `${heard.length} bytes`)
    }
    if (key === null) {
      const future = Buffer.from(hello)
      future.writeUInt8(2, 5)
      t.match((await speak(slave, future)).toString('latin1'), /framing version 2, this program 1/)
      const count = () => slave.receiver.status().strangers
      // One more has the wrong version; the one that said nothing never came so far.
      await untilReal('all are counted', () => count() === strangers.length)
    } else {
      const heard = await speak(slave, hello)
      t.notMatch(heard.toString('latin1'), /HBMS/, 'a stranger without the key is told nothing')
      t.equal(slave.receiver.status().strangers, 0, 'TLS has kept all of them out')
      const wrong = { ...world, key: { bytes: new Uint8Array(32).fill(8) } }
      const intruder = await Master.open(wrong, join(world.path, 'i'))
      await intruder.put(1)
      await intruder.ship([slave.target])
      await untilReal('it is refused', () => intruder.status().lastError?.code === 'ERR_KEY')
      t.equal(intruder.status().state, 'Wrong key')
      t.equal(slave.receiver.status().state, 'Wrong key')
      await intruder.close()
    }
    const master = await Master.open(world, join(world.path, 'm'))
    await master.put(3)
    await master.ship([slave.target])
    await untilReal('the master gets in', () => master.status().durableTxn === 3)
    t.match(slave.receiver.status(), { state: 'Idle', lastError: null })
    await master.close()
    await slave.close()
  })
}

t.test(
  'a master that gives a copy holds what it has sent since it said how much that is',
  async t => {
    const world = newWorld()
    const master = await Master.open(world, '/m')
    await master.put(3)
    const held: number[] = []
    const seeds = {
      admit: ({ durableTxn }: Seed) => {
        held.push(durableTxn)
        return new HotBackupError('ERR_LINK_REFUSED', 'not now')
      },
    } as unknown as SeedTaker
    const slave = await Slave.open(world, '/s', { seeds })
    await master.ship([slave.target])
    await until('all has come', () => slave.log.durableTxn === 3)
    for (const [serverId, durableTxn] of [
      [identity(1), 2],
      [identity(1), 5],
      [identity(7), 2],
    ] as const) {
      const puppet = await Puppet.connect(world, slave)
      puppet.seed({ serverId, durableTxn })
      await puppet.hears('refuse')
      puppet.destroy()
    }
    t.strictSame(held, [3, 5, 2], 'another one holds no more than it says')
    const mistaken = await Puppet.connect(world, slave)
    mistaken.seed({ serverId: identity(1), durableTxn: 5, slaveName: 'gamma' })
    await mistaken.hears('refuse')
    t.match(mistaken.last('refuse'), { code: 'ERR_LINK_NAME' })
    t.equal(held.length, 3, "the copy of another slave does not replace this one's data")
    await master.close()
    await slave.close()
  },
)

t.test('who may make a slave take over, and when', async t => {
  const world = newWorld()
  const master = await Master.open(world, '/m')
  await master.put(3)
  let begun = 0
  let reason: HotBackupError | null = null
  const handOver = { refusal: () => Promise.resolve(reason), begin: () => begun++ }
  const slave = await Slave.open(world, '/s', { handOver })
  const { address } = slave.receiver
  const peer = { address, key: null, timeoutMs: 30_000 }
  const { databaseId } = historyOne
  const request = (serverId: Uint8Array, end = master.log.position) =>
    askToPromote(world, peer, { name: 'promote', serverName: 'x', serverId, databaseId, end })
  await t.rejects(request(identity(1)), { message: /not the master whose updates/ }, 'no stream')
  await master.ship([slave.target])
  await until('all has come', () => slave.log.durableTxn === 3)
  await t.rejects(request(identity(7)), { message: /not the master whose updates/ }, 'a stranger')
  await t.rejects(request(identity(1)), { message: /has applied transaction 0 of 3/ })
  slave.apply(3, 1)
  const { chain } = master.log.position
  for (const end of [
    { txn: 4, chain },
    { txn: 2, chain },
    { txn: 3, chain: (chain ^ 1) >>> 0 },
  ]) {
    await t.rejects(request(identity(1), end), { message: /"x" ends with .*this slave holds/ })
  }
  reason = new HotBackupError('ERR_UNSAFE', 'not today')
  await t.rejects(request(identity(1)), { message: 'not today' })
  t.equal(begun, 0)
  reason = null
  t.match(await request(identity(1)), { name: 'welcome', position: { txn: 3 } })
  await until('it begins', () => begun === 1)
  reason = new HotBackupError('ERR_UNSAFE', 'not today')
  t.match(await request(identity(1)), { name: 'welcome' }, 'what has begun is not taken back')
  await t.rejects(request(identity(7)), { message: /not the master whose updates/ })
  const question = {
    name: 'join',
    register: true,
    serverName: 'x',
    serverId: identity(1),
    databaseId,
    host: '',
    port: 2000,
  } as const
  await t.rejects(askHistory(world, peer, question), {
    code: 'ERR_WRONG_TYPE',
    message: /a slave itself/,
  })
  await master.close()
  await slave.close()
})

t.test(
  'a copy whose connection has ended may fail to be put away: it goes on another time',
  async t => {
    const channel = { send: () => {} } as unknown as Channel
    const fails = () => Promise.reject(new HotBackupError('ERR_DISK', 'EIO'))
    const taker = { place: fails, end: fails } as unknown as SeedTaker
    const session = new SeedSession(channel, taker, () => {})
    await t.resolves(session.end())
  },
)
