// man/hb-link.5 is the protocol for everybody else: messages and ack files are taken apart here by the offsets, types
// and numbers on that page alone.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { HotBackupError, type ErrorCode } from '../../src/errors.ts'
import { crc32 } from '../../src/log/crc.ts'
import { encodeAck } from '../../src/ship/ack-file.ts'
import {
  codecOfType,
  encodeBlocksHead,
  encodeMessage,
  type SmallMessage,
} from '../../src/wire/messages.ts'
import { blocksBytesMax, blocksBytesMin } from '../../src/wire/messages/blocks.ts'
import type { Difference } from '../../src/wire/messages/differences.ts'
import { refusalOf } from '../../src/wire/messages/refuse.ts'
import { MessageType, frameHeaderBytes } from '../../src/wire/protocol.ts'

interface Field {
  readonly offset: number
  readonly type: string
  readonly name: string
  readonly meaning: string
}

const page = readFileSync('man/hb-link.5', 'utf8')

/** The text of a subsection, up to the next heading. */
function section(title: string): string {
  const start = page.indexOf(`\n.Ss ${title}\n`)
  if (start < 0) throw new Error(`the page has no section ${title}`)
  const end = page.slice(start + 1).search(/\n\.S[hs] /)
  return page.slice(start, end < 0 ? page.length : start + 1 + end)
}

function cells(title: string): string[][] {
  return [...section(title).matchAll(/^\.It (\d.*)$/gm)].map(row => (row[1] ?? '').split(' Ta '))
}

function fields(title: string): Field[] {
  return cells(title).map(([offset = '', type = '', name = '', meaning = '']) => ({
    offset: Number(offset),
    type,
    name,
    meaning,
  }))
}

/** What the fields of a section hold in these bytes; `bytes` means all that is left. */
function decode(title: string, bytes: Buffer): Record<string, number | string> {
  const found: Record<string, number | string> = {}
  for (const { offset, type, name } of fields(title)) {
    if (name === 'reserved') continue
    const length = /^(\d+) bytes$/.exec(type)?.[1]
    if (type === 'u8') found[name] = bytes.readUInt8(offset)
    else if (type === 'u16') found[name] = bytes.readUInt16LE(offset)
    else if (type === 'u32') found[name] = bytes.readUInt32LE(offset)
    else if (type === 'u64') found[name] = Number(bytes.readBigUInt64LE(offset))
    else if (type === 'bytes') found[name] = bytes.toString('hex', offset)
    else if (length !== undefined) {
      found[name] = bytes.toString('hex', offset, offset + Number(length))
    } else throw new Error(`${title}: ${type} is no type`)
  }
  return found
}

/** Every byte belongs to one field. */
function gapless(title: string, bytesMin: number): boolean {
  let end = 0
  for (const { offset, type } of fields(title)) {
    if (offset !== end) return false
    const bits = /^u(\d+)$/.exec(type)?.[1]
    const bytes = /^(\d+) bytes$/.exec(type)?.[1]
    end += bits === undefined ? Number(bytes ?? 0) : Number(bits) / 8
  }
  return end <= bytesMin
}

const identity = (fill: number) => new Uint8Array(16).fill(fill)
const hexOf = (text: string) => Buffer.from(text).toString('hex')
const far = 2 ** 52 + 12345
const progress = {
  receivedTxn: far,
  durable: { txn: 100, chain: 0xfedcba98 },
  appliedTxn: 99,
  appliedTime: 1_700_000_000_123,
  applying: 'failed',
} as const
const acknowledged = {
  'received txn': far,
  'durable txn': 100,
  'applied txn': 99,
  'applied time': 1_700_000_000_123,
  'durable chain': 0xfedcba98,
}

const difference: Difference = {
  kind: 'missing',
  account: 'SALES',
  file: 'F',
  modulo: 7,
  from: 8,
  to: 2 ** 32,
  txn: far,
  id: Buffer.from('id'),
  text: 'txt',
}
/** As it goes over the network. */
const differenceBytes = encodeMessage({
  name: 'differences',
  token: 1,
  page: {
    status: { comparedTxn: 0, pass: null, known: 1, more: 0 },
    start: 0,
    rows: [difference],
  },
}).subarray(frameHeaderBytes + 56)

const rows: readonly (readonly [SmallMessage, Readonly<Record<string, number | string>>])[] = [
  [
    {
      name: 'hello',
      serverName: 'älpha',
      slaveName: 'betä',
      serverId: identity(1),
      databaseId: identity(2),
      lineageId: identity(3),
      timeline: 7,
      firstTxn: 55,
      durable: { txn: far, chain: 0x89abcdef },
      path: [identity(4), identity(5)],
    },
    {
      'version min': 1,
      'version max': 5,
      timeline: 7,
      'server id': '01'.repeat(16),
      'database id': '02'.repeat(16),
      'lineage id': '03'.repeat(16),
      'first txn': 55,
      'durable txn': far,
      'durable chain': 0x89abcdef,
      'path count': 2,
      'name length': 6,
      'slave name length': 5,
      path: '04'.repeat(16) + '05'.repeat(16) + hexOf('älphabetä'),
    },
  ],
  [
    {
      name: 'welcome',
      version: 1,
      serverName: 'beta',
      serverId: identity(6),
      databaseId: identity(2),
      lineageId: identity(3),
      timeline: 7,
      position: { txn: far, chain: 77 },
      progress,
    },
    {
      version: 1,
      'name length': 4,
      timeline: 7,
      'server id': '06'.repeat(16),
      'database id': '02'.repeat(16),
      'lineage id': '03'.repeat(16),
      'received txn': far,
      'received chain': 77,
      progress: encodeMessage({ name: 'ack', progress }).toString('hex', frameHeaderBytes),
      name: hexOf('beta'),
    },
  ],
  [
    { name: 'start', position: { txn: far, chain: 8 } },
    { txn: far, chain: 8 },
  ],
  [
    { name: 'rewind', position: { txn: far, chain: 9 } },
    { txn: far, chain: 9 },
  ],
  [
    {
      name: 'refuse',
      code: 'ERR_LINK_SEED',
      text: 'too late',
      sender: { txn: far, chain: 10 },
      peer: { txn: 11, chain: 12 },
    },
    {
      code: 5,
      'text length': 8,
      'sender txn': far,
      'sender chain': 10,
      'peer chain': 12,
      'peer txn': 11,
      text: hexOf('too late'),
    },
  ],
  [{ name: 'segment', headerBytes: new Uint8Array(96).fill(3) }, { header: '03'.repeat(96) }],
  [
    { name: 'ack', progress },
    { ...acknowledged, applying: 3 },
  ],
  [
    { name: 'ping', token: far, durableTxn: 4 },
    { token: far, 'durable txn': 4 },
  ],
  [
    { name: 'pong', token: far, durableTxn: 4 },
    { token: far, 'durable txn': 4 },
  ],
  [
    {
      name: 'fence',
      timeline: 8,
      serverName: 'süd',
      databaseId: identity(2),
      lineageId: identity(4),
    },
    {
      timeline: 8,
      'name length': 4,
      'database id': '02'.repeat(16),
      'lineage id': '04'.repeat(16),
      name: hexOf('süd'),
    },
  ],
  [
    {
      name: 'join',
      register: true,
      serverName: 'nord',
      serverId: identity(1),
      databaseId: identity(2),
      host: 'h',
      port: 2001,
    },
    {
      flags: 1,
      port: 2001,
      'name length': 4,
      'host length': 1,
      version: 1,
      'server id': '01'.repeat(16),
      'database id': '02'.repeat(16),
      name: hexOf('nordh'),
    },
  ],
  [
    {
      name: 'history',
      serverName: 'süd',
      serverId: identity(5),
      databaseId: identity(2),
      timelines: [{ lineageId: identity(6), firstTxn: 9, chain: 0x01020304, timeline: 3 }],
      end: { txn: far, chain: 77 },
    },
    {
      count: 1,
      'name length': 4,
      'server id': '05'.repeat(16),
      'database id': '02'.repeat(16),
      'durable txn': far,
      'durable chain': 77,
      timelines: `${'06'.repeat(16)}0900000000000000${'04030201'}03000000${hexOf('süd')}`,
    },
  ],
  [
    {
      name: 'promote',
      serverName: 'nord',
      serverId: identity(1),
      databaseId: identity(2),
      end: { txn: far, chain: 77 },
    },
    {
      version: 1,
      'name length': 4,
      chain: 77,
      'server id': '01'.repeat(16),
      'database id': '02'.repeat(16),
      txn: far,
      name: hexOf('nord'),
    },
  ],
  [
    {
      name: 'seed',
      ordered: true,
      serverName: 'nord',
      slaveName: 'süd',
      serverId: identity(1),
      databaseId: identity(2),
      lineageId: identity(3),
      timeline: 4,
      firstTxn: 77,
      durableTxn: far,
    },
    {
      version: 1,
      flags: 1,
      'name length': 4,
      timeline: 4,
      'server id': '01'.repeat(16),
      'database id': '02'.repeat(16),
      'lineage id': '03'.repeat(16),
      'first txn': 77,
      'durable txn': far,
      'slave name length': 4,
      name: hexOf('nordsüd'),
    },
  ],
  [
    { name: 'seed-state', imageId: identity(9), offset: far },
    { 'image id': '09'.repeat(16), offset: far },
  ],
  [
    { name: 'seed-image', imageId: identity(9), totalBytes: far, offset: 5, manifestBytes: 70 },
    { 'image id': '09'.repeat(16), 'total bytes': far, offset: 5, manifest: 70 },
  ],
  [
    { name: 'seed-data', offset: far, data: Buffer.from('piece') },
    { offset: far, length: 5, data: hexOf('piece') },
  ],
  [
    { name: 'ask-differences', token: far, start: 17 },
    { token: far, start: 17 },
  ],
  [
    {
      name: 'differences',
      token: far,
      page: {
        status: {
          comparedTxn: 12,
          pass: { firstTxn: 10, lastTxn: 11, time: 1_700_000_000_123 },
          known: 3,
          more: 4,
        },
        start: 2,
        rows: [difference],
      },
    },
    {
      token: far,
      compared: 12,
      'pass first': 10,
      'pass last': 11,
      'pass time': 1_700_000_000_123,
      known: 3,
      more: 4,
      start: 2,
      count: 1,
      rows: differenceBytes.toString('hex'),
    },
  ],
  [{ name: 'ask-statistics', token: far }, { token: far }],
  [
    {
      name: 'statistics',
      token: far,
      statistics: {
        since: 1_700_000_000_123,
        bytesReceived: 11,
        transactions: 12,
        lost: 13,
        leftOut: 14,
        itemBytes: far,
        records: [1, 0, 2],
      },
    },
    {
      token: far,
      since: 1_700_000_000_123,
      'bytes received': 11,
      transactions: 12,
      lost: 13,
      'left out': 14,
      'item bytes': far,
      count: 3,
      records: '01' + '00'.repeat(7) + '00'.repeat(8) + '02' + '00'.repeat(7),
    },
  ],
  [
    {
      name: 'ask-log',
      token: far,
      databaseId: identity(2),
      segmentFirstTxn: 55,
      offset: far,
      length: 4096,
    },
    {
      token: far,
      'database id': '02'.repeat(16),
      'segment first txn': 55,
      offset: far,
      length: 4096,
    },
  ],
  [
    { name: 'log-piece', token: far, data: Uint8Array.of(1, 2, 3) },
    { token: far, held: 1, length: 3, data: '010203' },
  ],
  [
    { name: 'ask-repair', token: far, fileNumber: 7, from: 8, to: 2 ** 32 },
    { token: far, file: 7, from: 8, to: 0 },
  ],
  [
    { name: 'repaired', token: far, txn: 9, text: 'süd' },
    { token: far, txn: 9, 'text length': 4, text: hexOf('süd') },
  ],
  [
    {
      name: 'ask-group',
      token: far,
      databaseId: identity(2),
      lineageId: identity(3),
      txn: far,
      fileNumber: 7,
      from: 8,
      to: 2 ** 32,
      offset: 11,
    },
    {
      token: far,
      'database id': '02'.repeat(16),
      'lineage id': '03'.repeat(16),
      txn: far,
      file: 7,
      from: 8,
      to: 0,
      offset: 11,
    },
  ],
  [
    {
      name: 'group-piece',
      token: far,
      total: 12,
      digest: new Uint8Array(32).fill(9),
      data: Uint8Array.of(1, 2, 3),
    },
    { token: far, total: 12, digest: '09'.repeat(32), length: 3, data: '010203' },
  ],
]

t.test('a row of DIFFERENCES is as the page says', async t => {
  t.strictSame(decode('Row of DIFFERENCES', differenceBytes), {
    kind: 3,
    'account length': 5,
    'file length': 1,
    'id length': 2,
    'text length': 3,
    modulo: 7,
    from: 8,
    to: 0,
    txn: far,
    texts: hexOf('SALESFidtxt'),
  })
  t.ok(gapless('Row of DIFFERENCES', 28))
})

t.test('every message is as the page says', async t => {
  t.equal(rows.length, codecOfType.size)
  for (const [message, expected] of rows) {
    const title = message.name.toUpperCase()
    const bytes = encodeMessage(message)
    t.strictSame(decode(title, bytes.subarray(frameHeaderBytes)), expected, title)
    const type = MessageType[message.name]
    const codec = codecOfType.get(type)
    const [, low = '', high = low] =
      new RegExp(`^Type ${type}, .*; (\\d+)(?: to (\\d+))? bytes\\.$`, 'm').exec(section(title)) ??
      []
    // Of HELLO less is read than it has: enough to refuse a version.
    const shortest = message.name === 'hello' ? 81 : codec?.bytesMin
    t.strictSame([Number(low), Number(high)], [shortest, codec?.bytesMax], `${title}, lengths`)
    t.ok(gapless(title, Number(low)), `${title}, no byte left out`)
    t.strictSame(decode('Frame header', bytes), {
      magic: 0x534d4248,
      type,
      version: 1,
      length: bytes.length - frameHeaderBytes,
      crc: crc32(bytes, frameHeaderBytes, bytes.length, crc32(bytes, 0, 12)),
    })
    t.equal(bytes.toString('latin1', 0, 4), 'HBMS')
  }
})

t.test('a run is as the page says', async t => {
  const head = { segmentFirstTxn: 21, offset: far, durableTxn: 23 }
  const run = Buffer.alloc(72, 0xab)
  const bytes = Buffer.concat([encodeBlocksHead(head, run.length), run])
  t.strictSame(decode('BLOCKS', bytes.subarray(frameHeaderBytes)), {
    'segment first txn': 21,
    offset: far,
    'master durable txn': 23,
    run: 'ab'.repeat(72),
  })
  t.match(decode('Frame header', bytes), {
    type: MessageType.blocks,
    length: 24 + 72,
    crc: crc32(bytes, frameHeaderBytes, frameHeaderBytes + 24, crc32(bytes, 0, 12)),
  })
  const text = `Type 6, master to slave; ${blocksBytesMin} to ${blocksBytesMax} bytes.`
  t.ok(section('BLOCKS').includes(text))
})

t.test('the numbers of the refusals', async t => {
  const listed = cells('Refusals').map(([number, code]) => [Number(number), code])
  t.equal(listed.length, 13)
  for (const [number, code] of listed) {
    const error = new HotBackupError(code as ErrorCode, 'x')
    const bytes = encodeMessage(refusalOf(error, { txn: 0, chain: 0 }, null))
    t.match(decode('REFUSE', bytes.subarray(frameHeaderBytes)), { code: number })
  }
})

t.test('the ack file is as the page says', async t => {
  const bytes = encodeAck({
    receivedTxn: far,
    durableTxn: 100,
    durableChain: 0xfedcba98,
    appliedTxn: 99,
    appliedTime: 1_700_000_000_123,
    time: 1_700_000_000_456,
    serverId: identity(6),
    databaseId: identity(7),
    shipperId: identity(8),
    confirmed: true,
  })
  t.strictSame(decode('Ack file', bytes), {
    magic: 0x4b414248,
    crc: crc32(bytes, 8, 112),
    version: 1,
    length: 112,
    ...acknowledged,
    time: 1_700_000_000_456,
    'server id': '06'.repeat(16),
    'database id': '07'.repeat(16),
    'shipper id': '08'.repeat(16),
    flags: 1,
  })
  t.equal(bytes.toString('latin1', 0, 4), 'HBAK')
  t.equal(bytes.length, 112)
  t.ok(gapless('Ack file', 112))
})
