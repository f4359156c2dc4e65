// The format: every codec there and back, bounds before belief, and golden bytes that must never change.
import { createHash } from 'node:crypto'
import * as zlib from 'node:zlib'
import * as fc from 'fast-check'
import t from 'tap'
import { isHotBackupError } from '../../src/errors.ts'
import { itemBytesMax } from '../../src/limits.ts'
import { BlockSeed, BlockView, sealBlock } from '../../src/log/block.ts'
import { BlockChain, historyStart } from '../../src/log/chain.ts'
import { crc32 } from '../../src/log/crc.ts'
import { RecordCursor, RecordEncoder, RecordType } from '../../src/log/record.ts'
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  parseSegmentName,
  segmentName,
  type SegmentHeader,
} from '../../src/log/segment.ts'
import { attributes, commit, identity, logDirectory, openHistory } from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const id16 = fc.uint8Array({ minLength: 16, maxLength: 16 })
const uint32 = fc.nat(0xffffffff)
const txn = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER - 10 })

const headers: fc.Arbitrary<SegmentHeader> = fc.record(
  {
    databaseId: id16,
    lineageId: id16,
    timeline: uint32,
    firstTxn: txn,
    chain: uint32,
    created: fc.maxSafeNat(),
  },
  { noNullPrototype: true },
)

t.test('the CRC is zlib’s at every length, whichever code computes it', async t => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 700 }),
      fc.nat(20),
      uint32,
      (bytes, start, seed) => {
        // Of nothing, Node's answer is 0 whatever the seed (zlib takes its null pointer for a question).
        const from = Math.min(start, bytes.length - 1)
        return crc32(bytes, from, bytes.length, seed) === zlib.crc32(bytes.subarray(from), seed)
      },
    ),
  )
  t.equal(crc32(Buffer.from('123456789'), 0, 9), 0xcbf43926, 'the check value of CRC-32')
})

t.test('segment header', async t => {
  fc.assert(
    fc.property(headers, fc.nat(95), fc.integer({ min: 1, max: 255 }), (header, at, change) => {
      const bytes = encodeSegmentHeader(header)
      t.strictSame(decodeSegmentHeader(bytes, 'x'), header)
      bytes[at]! ^= change
      try {
        decodeSegmentHeader(bytes, 'x')
        return false
      } catch (error) {
        return isHotBackupError(error, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION')
      }
    }),
  )
  t.throws(() => decodeSegmentHeader(Buffer.alloc(95), 'x'), { code: 'ERR_LOG_CORRUPT' })
  const newer = encodeSegmentHeader(fc.sample(headers, 1)[0]!)
  newer.writeUInt16LE(2, 8)
  t.throws(() => decodeSegmentHeader(newer, '/x'), {
    code: 'ERR_LOG_VERSION',
    message: /version 2; this program reads 1/,
  })
  fc.assert(fc.property(txn, number => parseSegmentName(segmentName(number)) === number))
  for (const name of [
    '1.log',
    '0000000000000000.log',
    '0000000000000001.log.torn',
    'durable',
    '9'.repeat(16) + '.log',
  ]) {
    t.equal(parseSegmentName(name), null, name)
  }
})

const fileNumber = fc.nat(0xffffffff)
const name = fc.string({ minLength: 1, maxLength: 16, unit: 'grapheme-ascii' })
const bytesOrText = (maxLength: number) =>
  fc.oneof(fc.string({ maxLength: maxLength >> 2, unit: 'grapheme' }), fc.uint8Array({ maxLength }))
const files = fc.record(
  {
    account: name,
    file: name,
    modulo: fc.integer({ min: 1, max: 2 ** 26 }),
    flags: fc.integer({ min: 0, max: 7 }),
  },
  { noNullPrototype: true },
)
const records = fc.oneof(
  fc.tuple(fc.constant('writeItem' as const), fileNumber, bytesOrText(200), bytesOrText(2000)),
  fc.tuple(fc.constant('deleteItem' as const), fileNumber, bytesOrText(200)),
  fc.tuple(fc.constant('createFile' as const), fileNumber, files),
  fc.tuple(fc.constant('mapFile' as const), fileNumber, files),
  fc.tuple(fc.constant('setFile' as const), fileNumber, files),
  fc.tuple(fc.constant('clearFile' as const), fileNumber),
  fc.tuple(fc.constant('resizeFile' as const), fileNumber, fc.integer({ min: 1, max: 2 ** 26 })),
  fc.tuple(fc.constant('deleteFile' as const), fileNumber),
  fc.tuple(fc.constant('createAccount' as const), name),
  fc.tuple(fc.constant('deleteAccount' as const), name),
  fc.tuple(fc.constant('promote' as const), name, id16, uint32),
  fc.tuple(fc.constant('mark' as const), name, name),
)
type RecordSample = typeof records extends fc.Arbitrary<infer T> ? T : never

function encode(encoder: RecordEncoder, record: RecordSample): void {
  switch (record[0]) {
    case 'writeItem':
      return encoder.writeItem(record[1], record[2], record[3])
    case 'deleteItem':
      return encoder.deleteItem(record[1], record[2])
    case 'createFile':
    case 'mapFile':
    case 'setFile':
      return encoder[record[0]](record[1], record[2])
    case 'resizeFile':
      return encoder.resizeFile(record[1], record[2])
    case 'clearFile':
    case 'deleteFile':
      return encoder[record[0]](record[1])
    case 'createAccount':
    case 'deleteAccount':
      return encoder[record[0]](record[1])
    case 'promote':
      return encoder.promote(record[1], record[2], record[3])
    case 'mark':
      return encoder.mark(record[1], record[2])
  }
}

/** What the cursor stands on, in the form that was encoded. */
function decode(cursor: RecordCursor): unknown[] {
  const type = Object.entries(RecordType).find(([, value]) => value === cursor.type)?.[0]
  const value = Buffer.from(cursor.bytes).subarray(cursor.valueStart, cursor.valueEnd)
  const id = Buffer.from(cursor.bytes).subarray(cursor.idStart, cursor.idEnd)
  switch (type) {
    case 'writeItem':
      return [type, cursor.fileNumber, id.toString('hex'), value.toString('hex')]
    case 'deleteItem':
      return [type, cursor.fileNumber, id.toString('hex')]
    case 'createFile':
    case 'mapFile':
    case 'setFile':
      return [type, cursor.fileNumber, cursor.attributes()]
    case 'resizeFile':
      return [type, cursor.fileNumber, cursor.modulo()]
    case 'promote': {
      const { lineageId, timeline } = cursor.promotion()
      return [type, cursor.idText(), lineageId, timeline]
    }
    case 'mark':
      return [type, cursor.idText(), value.toString()]
    case 'createAccount':
    case 'deleteAccount':
      return [type, cursor.idText()]
    default:
      return [type, cursor.fileNumber]
  }
}

const asHex = (record: RecordSample): unknown[] =>
  record[0] === 'writeItem' || record[0] === 'deleteItem'
    ? record.map(part =>
        (typeof part === 'string' && part !== record[0]) || part instanceof Uint8Array
          ? Buffer.from(part as string).toString('hex')
          : part,
      )
    : [...record]

t.test('records in a block, there and back', async t => {
  fc.assert(
    fc.property(
      fc.array(records, { minLength: 1, maxLength: 12 }),
      headers,
      txn,
      uint32,
      (list, header, offset8, promise) => {
        const offset = Math.floor(offset8 / 2 ** 20) * 8
        const encoder = new RecordEncoder(80, 72)
        for (const record of list) encode(encoder, record)
        encoder.endTransaction()
        encoder.reserve(8)
        const seed = new BlockSeed(header.lineageId, header.firstTxn)
        const fields = {
          ...header,
          count: 1,
          firstTxn: header.firstTxn,
          time: header.created,
          promise,
        }
        const length = sealBlock(encoder.bytes, encoder.end, fields, seed.at(offset))
        const chain = new BlockChain(historyStart)
        chain.resumeSegment(header, { txn: header.firstTxn - 1, chain: header.chain }, offset)
        t.equal(chain.accept(encoder.bytes, 0, length), null)
        t.strictSame(chain.position, { txn: header.firstTxn, chain: encoder.bytes.readUInt32LE(4) })
        t.equal(chain.offset, offset + length)
        const { block } = chain
        t.strictSame(
          [block.time, block.promise, block.timeline, block.lastTxn],
          [header.created, promise, header.timeline, header.firstTxn],
        )
        const cursor = new RecordCursor()
        cursor.reset(encoder.bytes, block.bodyStart, block.bodyEnd)
        const found: unknown[] = []
        while (cursor.next()) found.push(decode(cursor))
        t.ok(cursor.last)
        t.strictSame(found, list.map(asHex))
      },
    ),
    { numRuns: 60 },
  )
})

t.test('a block counts only in its place and its history', async t => {
  const header = { ...fc.sample(headers, 1)[0]!, firstTxn: 5, chain: 77, timeline: 3 }
  const encoder = new RecordEncoder(200, 72)
  encoder.writeItem(1, 'id', 'value')
  encoder.endTransaction()
  const seal = (changes: object, at = 96, seedHeader = header) => {
    const fields = { ...header, count: 1, time: 1, promise: 0, ...changes }
    sealBlock(
      encoder.bytes,
      encoder.end,
      fields,
      new BlockSeed(seedHeader.lineageId, seedHeader.firstTxn).at(at),
    )
  }
  const length = Math.ceil(encoder.end / 8) * 8
  const accept = (end = length) => {
    const chain = new BlockChain(historyStart)
    chain.resumeSegment(header, { txn: 4, chain: 77 }, 96)
    return chain.accept(encoder.bytes, 0, end)
  }
  seal({})
  t.equal(accept(), null)
  t.equal(accept(length - 1), 'short')
  t.equal(accept(71), 'short')
  const cases = [
    ['crc', () => seal({}, 104)],
    ['crc', () => seal({}, 96, { ...header, lineageId: new Uint8Array(16) })],
    ['crc', () => seal({}, 96, { ...header, firstTxn: 4 })],
    ['chain', () => seal({ chain: 78 })],
    ['number', () => seal({ firstTxn: 6 })],
    ['number', () => seal({ count: 0 })],
    ['database', () => seal({ databaseId: new Uint8Array(16).fill(9) })],
    ['timeline', () => seal({ timeline: 4 })],
    ['magic', () => encoder.bytes.writeUInt32LE(1, 0)],
    ['end', () => encoder.bytes.fill(0, 0, 72)],
  ] as const
  for (const [fault, change] of cases) {
    change()
    t.equal(accept(), fault)
  }
  seal({})
  for (const field of [12, 14]) {
    const was = encoder.bytes.readUInt16LE(field)
    encoder.bytes.writeUInt16LE(2, field)
    const seed = new BlockSeed(header.lineageId, 5).at(96)
    encoder.bytes.writeUInt32LE(crc32(encoder.bytes, 8, length, seed), 4)
    t.equal(accept(), 'version')
    encoder.bytes.writeUInt16LE(was, field)
  }
  t.throws(() => new BlockChain(historyStart).accept(encoder.bytes, 0, length), TypeError)

  const chain = new BlockChain({ txn: 4, chain: 77 })
  chain.enterSegment(header, 'a')
  const next = { ...header }
  for (const [code, change] of [
    ['ERR_LOG_FOREIGN', { databaseId: new Uint8Array(16) }],
    ['ERR_LOG_GAP', { firstTxn: 6 }],
    ['ERR_LOG_FOREIGN', { chain: 78 }],
    ['ERR_LOG_FOREIGN', { timeline: 2 }],
    ['ERR_LOG_FOREIGN', { lineageId: new Uint8Array(16).fill(1) }],
  ] as const) {
    t.throws(() => chain.enterSegment({ ...next, ...change }, 'b'), { code })
  }
  chain.enterSegment({ ...next, timeline: 4, lineageId: new Uint8Array(16).fill(1) }, 'b')
  t.equal(new BlockView().reset(encoder.bytes, 0).impossibleLength, false)
})

t.test('sizes are bounded, and text is measured in bytes', async t => {
  const encoder = new RecordEncoder(16, 0)
  encoder.writeItem(1, 'é'.repeat(512), '')
  t.throws(() => encoder.writeItem(1, 'é'.repeat(513), ''), { code: 'ERR_ITEM_ID' })
  t.throws(() => encoder.writeItem(1, 'x', new Uint8Array(itemBytesMax + 1)), {
    code: 'ERR_ITEM_SIZE',
  })
  encoder.endTransaction()
  const cursor = new RecordCursor()
  cursor.reset(encoder.bytes, 0, encoder.end)
  t.ok(cursor.next())
  t.equal(cursor.idText(), 'é'.repeat(512))
  t.notOk(cursor.next(), 'what was refused left nothing')

  encoder.reset()
  encoder.resizeFile(1, 5)
  encoder.createFile(1, attributes)
  encoder.promote('a', new Uint8Array(16), 2)
  const resize = encoder.bytes
  cursor.reset(resize, 0, encoder.end)
  cursor.next()
  for (const value of [0, 2 ** 26 + 1]) {
    resize.writeUInt32LE(value, 12)
    t.throws(() => cursor.modulo(), { code: 'ERR_LOG_CORRUPT' })
  }
  t.throws(() => cursor.attributes(), { code: 'ERR_LOG_CORRUPT' })
  t.throws(() => cursor.promotion(), { code: 'ERR_LOG_CORRUPT' })
  cursor.next()
  t.throws(() => cursor.modulo(), { code: 'ERR_LOG_CORRUPT' })
  resize.writeUInt8(63, cursor.valueStart + 8)
  t.throws(() => cursor.attributes(), { code: 'ERR_LOG_CORRUPT' })
  cursor.reset(resize, 0, encoder.end - 1)
  t.throws(
    () => {
      while (cursor.next());
    },
    { code: 'ERR_LOG_CORRUPT' },
  )
})

t.test('golden: the bytes of version 1', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, segmentBytes: 1024 * 1024 })
  log.begin().createAccount('SALES')
  log.encoder.createFile(1, attributes)
  log.markMapped(1)
  log.commit()
  commit(log, ['10001', 'Ünïcode'], ['10002', ''])
  await log.synced()
  log.begin().deleteItem(1, '10001')
  log.encoder.clearFile(1)
  log.encoder.resizeFile(1, 101)
  log.encoder.deleteFile(1)
  log.encoder.deleteAccount('SALES')
  log.commit()
  await log.close()
  t.equal(identity.timeline, 1)
  const bytes = disk
    .contents(`${logDirectory}/${segmentName(1)}`)
    .subarray(0, log.durableMark!.offset)
  const durable = disk.contents(`${logDirectory}/durable`)
  t.equal(
    createHash('sha256').update(bytes).digest('hex'),
    '4fc31d96acdb33614e9a9efa61ac210afe07071f1b431e4e76b9de2393808fe1',
    'changing this is a new format version: see man/hb-segment.5',
  )
  t.equal(
    durable.toString('hex'),
    '4842444d6571fd5a01000000d1028e2503000000000000000100000000000000a0010000000000000068e5cf8b01000000000000000000000000000000000000',
  )
})
