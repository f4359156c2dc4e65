// The wire protocol: every message there and back, every way of being cut short or wrong, arbitrary bytes, and who is
// taken for dead.
import fc from 'fast-check'
import t from 'tap'
import { HotBackupError, isHotBackupError } from '../../src/errors.ts'
import { blockBytesMax, cascadeServersMax, refusalBytesMax } from '../../src/limits.ts'
import { crc32 } from '../../src/log/crc.ts'
import { pieceBytesMax } from '../../src/log/repair.ts'
import { Liveness, type LivenessView } from '../../src/wire/liveness.ts'
import { MessageReader } from '../../src/wire/message-reader.ts'
import {
  encodeBlocksHead,
  encodeMessage,
  smallBytesMax,
  type Message,
  type SmallMessage,
} from '../../src/wire/messages.ts'
import { applyingWords } from '../../src/wire/messages/ack.ts'
import { differenceKinds } from '../../src/wire/messages/differences.ts'
import { timelinesMax } from '../../src/wire/messages/history.ts'
import { refusalOf } from '../../src/wire/messages/refuse.ts'
import { recordTypesMax } from '../../src/wire/messages/statistics.ts'
import {
  MessageType,
  chooseVersion,
  frameHeaderBytes,
  protocolVersionMax,
  protocolVersionMin,
  type MessageName,
} from '../../src/wire/protocol.ts'

const everyName = Object.keys(MessageType) as MessageName[]
const identity = (fill: number) => new Uint8Array(16).fill(fill)
const far = Number.MAX_SAFE_INTEGER

const progress = {
  receivedTxn: 120,
  durable: { txn: 100, chain: 0xfedcba98 },
  appliedTxn: 99,
  appliedTime: 1_700_000_000_123,
  applying: 'later',
} as const

const samples: readonly SmallMessage[] = [
  {
    name: 'hello',
    version: protocolVersionMax,
    serverName: 'Zürich',
    slaveName: 'betä',
    serverId: identity(1),
    databaseId: identity(2),
    lineageId: identity(3),
    timeline: 0xffffffff,
    firstTxn: 1,
    durable: { txn: far, chain: 0xffffffff },
    path: Array.from({ length: cascadeServersMax }, (_, index) => identity(index + 10)),
  },
  {
    name: 'hello',
    version: protocolVersionMax,
    serverName: 'm'.repeat(64),
    slaveName: 's'.repeat(64),
    serverId: identity(1),
    databaseId: identity(2),
    lineageId: identity(3),
    timeline: 1,
    firstTxn: 5,
    durable: { txn: 4, chain: 0 },
    path: [],
  },
  {
    name: 'welcome',
    version: protocolVersionMax,
    serverName: 'beta',
    serverId: identity(4),
    databaseId: identity(0),
    lineageId: identity(0),
    timeline: 0,
    position: { txn: 120, chain: 7 },
    progress,
  },
  { name: 'start', position: { txn: 2 ** 40 + 3, chain: 0x80000000 } },
  {
    name: 'refuse',
    code: 'ERR_LINK_DIVERGED',
    text: 'é'.repeat(refusalBytesMax / 2),
    sender: { txn: 9, chain: 1 },
    peer: { txn: far, chain: 0xffffffff },
  },
  { name: 'segment', headerBytes: new Uint8Array(96).map((_, index) => index) },
  { name: 'ack', progress },
  { name: 'rewind', position: { txn: 0, chain: 0 } },
  { name: 'ping', token: 77, durableTxn: 100 },
  { name: 'pong', token: far, durableTxn: 0 },
  {
    name: 'fence',
    timeline: 2,
    serverName: 'süd',
    databaseId: identity(2),
    lineageId: identity(4),
  },
  {
    name: 'join',
    register: true,
    serverName: 'nord',
    serverId: identity(1),
    databaseId: identity(2),
    host: '',
    port: 65535,
  },
  {
    name: 'history',
    serverName: 'süd',
    serverId: identity(5),
    databaseId: identity(2),
    timelines: Array.from({ length: timelinesMax }, (_, index) => ({
      lineageId: identity(index),
      firstTxn: index + 1,
      chain: 0xffffffff - index,
      timeline: index + 7,
    })),
    end: { txn: far, chain: 1 },
  },
  {
    name: 'promote',
    serverName: 'nord',
    serverId: identity(1),
    databaseId: identity(2),
    end: { txn: far, chain: 0xffffffff },
  },
  {
    name: 'seed',
    ordered: true,
    serverName: 'nörd',
    slaveName: 'süd',
    serverId: identity(1),
    databaseId: identity(2),
    lineageId: identity(3),
    timeline: 3,
    firstTxn: 77,
    durableTxn: far,
  },
  { name: 'seed-state', imageId: identity(9), offset: far },
  {
    name: 'seed-image',
    imageId: identity(9),
    totalBytes: far,
    offset: 12345,
    manifestBytes: 0xffffffff,
  },
  { name: 'seed-data', offset: far, data: new Uint8Array(300).fill(7) },
  { name: 'ask-statistics', token: far },
  { name: 'ask-differences', token: far, start: 0xffffffff },
  {
    name: 'differences',
    token: 1,
    page: {
      status: { comparedTxn: far, pass: null, known: 0xffffffff, more: 1 },
      start: 3,
      rows: differenceKinds.map(kind => ({
        kind,
        account: 'a'.repeat(64),
        file: kind === 'structure' ? '' : 'f'.repeat(64),
        modulo: 9,
        from: 1,
        to: 2 ** 32,
        txn: far,
        id: Buffer.alloc(1024, 0xff),
        text: 'x'.repeat(256),
      })),
    },
  },
  {
    name: 'statistics',
    token: 7,
    statistics: {
      since: 1_700_000_000_123,
      bytesReceived: far,
      transactions: 1,
      lost: 2,
      leftOut: 3,
      itemBytes: far,
      records: Array.from({ length: recordTypesMax }, (_, index) => far - index),
    },
  },
  {
    name: 'ask-log',
    token: far,
    databaseId: identity(2),
    segmentFirstTxn: far,
    offset: 96,
    length: pieceBytesMax,
  },
  { name: 'log-piece', token: far, data: null },
  { name: 'log-piece', token: far, data: new Uint8Array(777).fill(7) },
  { name: 'ask-repair', token: far, fileNumber: 7, from: 8, to: 2 ** 32 },
  { name: 'repaired', token: far, txn: far, text: 'größer' },
  {
    name: 'ask-group',
    token: far,
    databaseId: identity(2),
    lineageId: identity(3),
    txn: far,
    fileNumber: 7,
    from: 0,
    to: 1,
    offset: far,
  },
  {
    name: 'group-piece',
    token: far,
    total: far,
    digest: new Uint8Array(32).fill(9),
    data: new Uint8Array(777).fill(7),
  },
]

function read(bytes: Buffer, chunkBytes: number, allowed = everyName): Message[] {
  const messages: Message[] = []
  const reader = new MessageReader(message => messages.push(message))
  reader.allow(...allowed)
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    reader.push(bytes.subarray(at, at + chunkBytes))
  }
  return messages
}

/** Gives a frame the CRC that it should have, so that what is behind the CRC gets tested. */
function repaired(frame: Buffer, payloadBytes = frame.length - frameHeaderBytes): Buffer {
  const header = crc32(frame, 0, 12)
  const end = frameHeaderBytes + payloadBytes
  frame.writeUInt32LE(crc32(frame, frameHeaderBytes, end, header), 12)
  return frame
}

/** The code of the error that `work` throws, when it says something; else what was wrong. */
function refusal(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (!(error instanceof HotBackupError)) return String(error)
    return /\S/.test(error.message) ? error.code : 'no message'
  }
  return 'taken'
}

function run(head: { segmentFirstTxn: number; offset: number; durableTxn: number }, bytes: Buffer) {
  return Buffer.concat([encodeBlocksHead(head, bytes.length), bytes])
}

t.test('every message comes out as it went in, in pieces of any size', async t => {
  const covered = new Set(samples.map(sample => sample.name))
  t.strictSame(
    everyName.filter(name => name !== 'blocks' && !covered.has(name as SmallMessage['name'])),
    [],
    'a sample of each',
  )
  const head = { segmentFirstTxn: 3, offset: 2 ** 33, durableTxn: 50 }
  const body = Buffer.from(Array.from({ length: 5000 }, (_, index) => index * 7))
  const stream = Buffer.concat([
    ...samples.map(encodeMessage),
    run(head, body),
    ...samples.map(encodeMessage),
  ])
  const expected = [...samples, { name: 'blocks', ...head, run: body }, ...samples]
  for (const chunkBytes of [1, 2, 15, 16, 17, 39, 40, 41, 97, 1000, stream.length]) {
    t.strictSame(read(stream, chunkBytes), expected, `${chunkBytes} bytes at a time`)
  }
})

t.test('a run shares no memory with what it was read from, and has its own length', async t => {
  const bytes = run({ segmentFirstTxn: 1, offset: 96, durableTxn: 1 }, Buffer.alloc(72, 1))
  const [message] = read(bytes, bytes.length)
  bytes.fill(0)
  if (message?.name !== 'blocks') throw new TypeError('no blocks')
  t.equal(message.run[0], 1)
  t.equal(message.run.buffer.byteLength, 72)
})

t.test(
  'each message cut short anywhere is no message; its frame cut short is an error',
  async t => {
    // Judged in one go for each message: a line of output for each length would take longer than the test.
    for (const sample of samples) {
      const whole = encodeMessage(sample)
      const wrong: string[] = []
      for (let length = 0; length < whole.length; length++) {
        if (read(whole.subarray(0, length), 7).length > 0) wrong.push(`cut to ${length}`)
      }
      // The header says that the payload is shorter than its fields.
      for (let length = frameHeaderBytes; length < whole.length; length++) {
        const cut = Buffer.from(whole.subarray(0, length))
        cut.writeUInt32LE(length - frameHeaderBytes, 8)
        const code = refusal(() => read(repaired(cut), length))
        if (code !== 'ERR_WIRE' && code !== 'ERR_LINK_REFUSED') {
          wrong.push(`payload of ${length - frameHeaderBytes}: ${code}`)
        }
      }
      t.strictSame(wrong, [], sample.name)
    }
  },
)

t.test('what may not be believed is refused before its payload comes', async t => {
  const ping = () => encodeMessage({ name: 'ping', token: 1, durableTxn: 1 })
  const header = (change: (frame: Buffer) => void, allowed = everyName) => {
    const frame = ping()
    change(frame)
    return () => read(frame.subarray(0, frameHeaderBytes), 5, allowed)
  }
  const wire = (message: RegExp) => ({ code: 'ERR_WIRE', message })
  t.throws(
    header(f => f.writeUInt8(0x49, 0)),
    wire(/does not speak/),
  )
  t.throws(
    header(f => f.writeUInt8(99, 4)),
    wire(/unknown message type 0x63/),
  )
  t.throws(
    header(f => f.writeUInt8(0, 4)),
    wire(/unknown message type 0x00/),
  )
  t.throws(
    header(() => {}, ['hello']),
    wire(/0x09 PING may not come now/),
  )
  t.throws(
    header(f => f.writeUInt32LE(17, 8)),
    wire(/0x09 PING of 17 bytes, where 16 to 16/),
  )
  t.throws(
    header(f => f.writeUInt32LE(0xffffffff, 8)),
    wire(/of 4294967295 bytes/),
  )
  t.throws(
    header(f => f.writeUInt8(2, 5)),
    {
      code: 'ERR_LINK_REFUSED',
      message: /framing version 2, this program 1/,
    },
  )
  const blocks = (length: number) => {
    const bytes = run({ segmentFirstTxn: 1, offset: 96, durableTxn: 1 }, Buffer.alloc(72))
    bytes.writeUInt32LE(length, 8)
    return () => read(bytes.subarray(0, frameHeaderBytes), 16)
  }
  t.throws(blocks(24 + blockBytesMax + 1), wire(/0x06 BLOCKS of/), 'longer than any block')
  t.throws(blocks(24 + 71), wire(/0x06 BLOCKS of 95 bytes/), 'shorter than any block')
  t.doesNotThrow(blocks(24 + blockBytesMax))

  for (let bit = 0; bit < ping().length * 8; bit++) {
    const frame = ping()
    frame.writeUInt8(frame.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    t.throws(() => read(frame, 64), { name: 'HotBackupError' }, `bit ${bit} of PING turned`)
  }
  const damaged = run({ segmentFirstTxn: 1, offset: 96, durableTxn: 1 }, Buffer.alloc(72))
  damaged.writeUInt8(97, 24)
  t.throws(() => read(damaged, 64), wire(/0x06 BLOCKS has a wrong CRC/))
  t.ok(smallBytesMax < 2048, 'a stranger can make us keep two kilobytes at most')
})

t.test('fields that contradict each other or cannot be counted with are refused', async t => {
  const changed = (sample: number, change: (frame: Buffer) => void) => {
    const message = samples[sample]
    if (message === undefined) throw new TypeError('no such sample')
    const frame = encodeMessage(message)
    change(frame)
    return () => read(repaired(frame), frame.length)
  }
  const at = (offset: number) => frameHeaderBytes + offset
  const wire = (message: RegExp) => ({ code: 'ERR_WIRE', message })
  t.throws(
    changed(0, f => f.fill(0xff, at(56), at(64))),
    wire(/impossible number in a hello/),
  )
  t.throws(
    changed(0, f => f.writeUInt8(17, at(76))),
    wire(/a path of 17 servers/),
  )
  t.throws(
    changed(0, f => f.writeUInt8(0, at(77))),
    wire(/a name of 0 bytes/),
  )
  t.throws(
    changed(0, f => f.writeUInt8(65, at(77))),
    wire(/a name of 65 bytes/),
  )
  t.throws(
    changed(2, f => f.writeUInt8(0, at(2))),
    wire(/a name of 0 bytes/),
  )
  t.throws(
    changed(2, f => f.writeUInt16LE(9, at(0))),
    wire(/protocol version 9/),
  )
  t.throws(
    changed(2, f => f.writeUInt8(119, at(56))),
    wire(/two ends of one log/),
  )
  t.throws(
    changed(6, f => f.writeUInt8(121, at(8))),
    wire(/durable 121, received 120/),
  )
  t.throws(
    changed(4, f => f.writeUInt16LE(1000, at(2))),
    wire(/24 bytes too many/),
  )
  const statistics = samples.findIndex(({ name }) => name === 'statistics')
  t.throws(
    changed(statistics, f => f.writeUInt16LE(0, at(56))),
    wire(/0 record types/),
  )
  t.throws(
    changed(statistics, f => f.writeUInt16LE(63, at(56))),
    wire(/8 bytes too many/),
  )
  const [asked, piece] = ['ask-log', 'log-piece'].map(wanted =>
    samples.findIndex(({ name }) => name === wanted),
  ) as [number, number]
  t.throws(
    changed(asked, f => f.writeUInt32LE(0, at(40))),
    wire(/a piece of 0 bytes/),
  )
  t.throws(
    changed(asked, f => f.writeUInt32LE(65537, at(40))),
    wire(/a piece of 65537 bytes/),
  )
  t.throws(
    changed(piece, f => f.writeUInt8(2, at(8))),
    wire(/an impossible answer/),
  )
  t.throws(
    changed(piece, f => f.writeUInt32LE(1, at(12))),
    wire(/an impossible answer/),
  )
  t.throws(
    changed(piece + 1, f => f.writeUInt32LE(776, at(12))),
    wire(/1 bytes too many/),
  )
  const [repair, group] = ['ask-repair', 'ask-group'].map(wanted =>
    samples.findIndex(({ name }) => name === wanted),
  ) as [number, number]
  t.throws(
    changed(repair, f => f.writeUInt32LE(8, at(16))),
    wire(/hashes from 8 to 8/),
  )
  t.throws(
    changed(group, f => f.writeUInt32LE(1, at(52))),
    wire(/hashes from 1 to 1/),
  )
  t.throws(
    changed(group + 1, f => f.writeUInt32LE(776, at(48))),
    wire(/1 bytes too many/),
  )
  t.throws(() => encodeMessage({ name: 'ping', token: -1, durableTxn: 0 }), TypeError)
  t.throws(() => encodeMessage({ name: 'ping', token: 2 ** 53, durableTxn: 0 }), TypeError)
  t.throws(() => encodeMessage({ name: 'segment', headerBytes: Buffer.alloc(9999) }), TypeError)
})

t.test('versions are negotiated, and refused in words', async t => {
  const hello = samples[0]
  if (hello === undefined) throw new TypeError('no hello')
  const ofVersions = (low: number, high: number) => {
    const frame = encodeMessage(hello)
    frame.writeUInt16LE(low, frameHeaderBytes)
    frame.writeUInt16LE(high, frameHeaderBytes + 2)
    return repaired(frame)
  }
  const newer = protocolVersionMax + 1
  const [message] = read(ofVersions(protocolVersionMin, newer), 64)
  t.match(message, { name: 'hello', version: protocolVersionMax })
  const refused = { code: 'ERR_LINK_REFUSED', message: /speaks protocol version .*, this program/ }
  t.throws(() => read(ofVersions(newer, newer + 1), 64), refused)
  t.throws(() => read(ofVersions(0, 0), 64), refused)
  t.throws(() => read(ofVersions(2, 1), 64), refused)
  t.throws(() => chooseVersion({ versionMin: 7, versionMax: 9 }), { message: /version 7 to 9/ })

  // Only the first two fields of an unknown version's HELLO have to be where we look for them.
  const strange = Buffer.concat([ofVersions(newer, newer).subarray(0, 20), Buffer.alloc(9, 0xff)])
  strange.writeUInt32LE(13, 8)
  t.throws(() => read(repaired(strange), 64), refused)
  // What a newer program appends is not looked at.
  const longer = Buffer.concat([encodeMessage(hello), Buffer.from('more')])
  longer.writeUInt32LE(longer.length - frameHeaderBytes, 8)
  t.strictSame(read(repaired(longer), 64), [hello])
})

t.test('a refusal is cut at a character, cleaned, and never without a code', async t => {
  const error = (text: string) => new HotBackupError('ERR_LINK_SEED', text)
  const back = (text: string) => {
    const [message] = read(encodeMessage(refusalOf(error(text), { txn: 1, chain: 2 }, null)), 99)
    return message?.name === 'refuse' ? message : null
  }
  t.equal(back('x' + 'é'.repeat(600))?.text, 'x' + 'é'.repeat(511))
  t.equal(back('\u001b[31mred\r\n\u009b')?.text, '?[31mred???', 'no orders for a terminal')
  t.match(back('a'), { code: 'ERR_LINK_SEED', peer: { txn: 0, chain: 0 } })
  const other = encodeMessage(
    refusalOf(new HotBackupError('ERR_NAME', 'a'), progress.durable, null),
  )
  t.match(read(other, 99), [{ code: 'ERR_LINK_REFUSED' }], 'a code that is not for the wire')
  other.writeUInt16LE(999, frameHeaderBytes)
  t.match(read(repaired(other), 99), [{ code: 'ERR_LINK_REFUSED' }], 'a code from the future')
})

t.test('arbitrary bytes end in an error of ours, or in nothing', async t => {
  const anyFrame = fc
    .tuple(fc.integer({ min: 0, max: 12 }), fc.uint8Array({ maxLength: 600 }))
    .map(([type, payload]) => {
      const frame = Buffer.concat([
        encodeMessage({ name: 'ping', token: 0, durableTxn: 0 }).subarray(0, 16),
        payload,
      ])
      frame.writeUInt8(type, 4)
      frame.writeUInt32LE(payload.length, 8)
      return repaired(frame)
    })
  const anything = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.from(bytes)),
    anyFrame,
    fc.constantFrom(...samples).map(encodeMessage),
  )
  fc.assert(
    fc.property(
      fc.array(anything, { maxLength: 5 }),
      fc.integer({ min: 1, max: 700 }),
      (parts, size) => {
        try {
          read(Buffer.concat(parts), size)
        } catch (error) {
          return isHotBackupError(error, 'ERR_WIRE', 'ERR_LINK_REFUSED')
        }
        return true
      },
    ),
    { numRuns: 2000 },
  )
  fc.assert(
    fc.property(
      fc.record({
        receivedTxn: fc.maxSafeNat(),
        durableTxn: fc.maxSafeNat(),
        appliedTxn: fc.maxSafeNat(),
        appliedTime: fc.maxSafeNat(),
        applying: fc.constantFrom(...applyingWords),
        chain: fc.integer({ min: 0, max: 0xffffffff }),
      }),
      fc.integer({ min: 1, max: 60 }),
      ({ chain, durableTxn, ...rest }, size) => {
        fc.pre(durableTxn <= rest.receivedTxn)
        const ack = {
          name: 'ack' as const,
          progress: { ...rest, durable: { txn: durableTxn, chain } },
        }
        t.strictSame(read(encodeMessage(ack), size), [ack])
      },
    ),
    { numRuns: 200 },
  )
})

t.test('a reader that is stopped delivers nothing more, even of the same chunk', async t => {
  const seen: string[] = []
  const reader = new MessageReader(message => {
    seen.push(message.name)
    reader.stop()
  })
  reader.allow(...everyName)
  const ping = encodeMessage({ name: 'ping', token: 1, durableTxn: 1 })
  reader.push(Buffer.concat([ping, ping]))
  reader.push(ping)
  t.strictSame(seen, ['ping'])
})

t.test('a begun message is known by its length', async t => {
  const reader = new MessageReader(() => {})
  reader.allow(...everyName)
  t.equal(reader.begunBytes, 0)
  const bytes = run({ segmentFirstTxn: 1, offset: 96, durableTxn: 1 }, Buffer.alloc(4000))
  reader.push(bytes.subarray(0, 3))
  t.equal(reader.begunBytes, frameHeaderBytes)
  reader.push(bytes.subarray(3, 20))
  t.equal(reader.begunBytes, 40)
  reader.push(bytes.subarray(20, 1000))
  t.equal(reader.begunBytes, 4000)
  reader.push(bytes.subarray(1000))
  t.equal(reader.begunBytes, 0)
})

t.test('who is taken for dead', async t => {
  const options = { heartbeatMs: 5_000, timeoutMs: 30_000, messageBytesPerSecondMin: 1000 }
  const quiet: LivenessView = {
    established: true,
    paused: false,
    bytesHeard: 0,
    messagesHeard: 0,
    begunBytes: 0,
    bytesQueued: 0,
    bytesPending: 0,
  }
  /** Ticks until a verdict other than `ping` and `well`, or for ten minutes; how long it took, too. */
  const until = (view: (ms: number) => Partial<LivenessView>) => {
    const liveness = new Liveness(options, 0)
    const pings: number[] = []
    for (let ms = 1250; ms <= 600_000; ms += 1250) {
      const verdict = liveness.tick(ms, { ...quiet, ...view(ms) })
      if (verdict === 'ping') pings.push(ms)
      else if (verdict !== 'well') return { verdict, ms, pings: pings.length }
    }
    return { verdict: 'well', ms: 600_000, pings: pings.length }
  }
  const heard = (ms: number) => ({ bytesHeard: ms, messagesHeard: ms })
  t.strictSame(
    until(() => ({})),
    { verdict: 'silent', ms: 30_000, pings: 5 },
  )
  t.match(until(heard), { verdict: 'well', pings: 120 }, 'a ping every five seconds')
  t.match(
    until(ms => ({ ...heard(ms), established: false })),
    { verdict: 'handshake', ms: 30_000, pings: 0 },
  )
  t.match(
    until(() => ({ paused: true })),
    { verdict: 'well' },
    'not read, not judged',
  )
  t.match(
    until(ms => ({ bytesHeard: ms, messagesHeard: 1, begunBytes: 40 })),
    { verdict: 'half', ms: 32_500 },
    'a byte now and then',
  )
  t.match(
    until(ms => ({ bytesHeard: ms, messagesHeard: 1, begunBytes: 100_000 })),
    { verdict: 'half', ms: 131_250 },
    'a long message may take its time',
  )
  t.match(
    until(ms => ({ ...heard(ms), begunBytes: 40 })),
    { verdict: 'well' },
    'each is completed',
  )
  t.match(
    until(ms => ({ ...heard(ms), bytesQueued: 1000, bytesPending: 900 })),
    { verdict: 'stuck' },
    'it does not read',
  )
  t.match(
    until(ms => ({ ...heard(ms), bytesQueued: 1000 + ms, bytesPending: 900 })),
    { verdict: 'well' },
    'it reads slowly',
  )
  const stopped = new Liveness(options, 0)
  t.equal(stopped.tick(600_000, quiet), 'well', 'this process itself stood still')
  t.equal(stopped.tick(601_250, { ...quiet, bytesHeard: 1 }), 'well')
  t.equal(
    stopped.tick(500_000, { ...quiet, bytesHeard: 1 }),
    'well',
    'even of a clock that goes back',
  )
})
