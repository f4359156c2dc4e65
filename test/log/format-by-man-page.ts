// Decodes segments by man/hb-segment.5 alone: every offset, length and number is read out of the page, and nothing of
// src/log decodes here. So the page is right, and enough for whoever must read a log without this program.
import * as fs from 'node:fs'
import * as zlib from 'node:zlib'
import t from 'tap'
import { encodeVerify } from '../../src/log/verify-record.ts'
import { commit, identity, logDirectory, openHistory } from '../helpers/log-samples.ts'
import { MemoryDisk } from '../helpers/memory-disk.ts'

const page = fs.readFileSync('man/hb-segment.5', 'utf8').split('\n')

interface Field {
  readonly offset: number
  readonly bytes: number | null
  readonly meaning: string
}
type Layout = ReadonlyMap<string, Field>

/** The rows of the first table under the heading. */
function rows(heading: string): string[][] {
  const start = page.indexOf(`.Ss ${heading}`)
  if (start < 0) throw new Error(`the page has no ${heading}`)
  const end = page.findIndex((line, index) => index > start && line === '.El')
  return page
    .slice(start, end)
    .filter(line => /^\.It \d/.test(line))
    .map(line => line.slice('.It '.length).split(' Ta '))
}

function layout(heading: string, start = 0): Layout {
  const fields = new Map<string, Field>()
  let expected = start
  for (const [offset = '', type = '', name = '', meaning = ''] of rows(heading)) {
    const bits = /^u(8|16|32|64)$/.exec(type)?.[1]
    const count = /^(\d+) bytes$/.exec(type)?.[1]
    const bytes = bits !== undefined ? Number(bits) / 8 : count !== undefined ? Number(count) : null
    if (Number(offset) !== expected) throw new Error(`${heading}: ${name} does not follow`)
    expected += bytes ?? 0
    if (name !== 'reserved') fields.set(name, { offset: Number(offset), bytes, meaning })
  }
  return fields
}

const header = layout('Segment header')
const block = layout('Block header')
const seed = layout('Block seed')
const record = layout('Record')
const attributes = layout('File attributes')
const promotion = layout('Promotion')
const group = layout('Group')
const verification = layout('Verification')
const forms = {
  range: layout('Form range', 4),
  items: layout('Form items', 4),
  files: layout('Form files', 4),
  end: layout('Form end', 4),
}
const durable = layout('Durable mark')
const recordTypes = new Map(
  page
    .filter(
      line =>
        /^\.It \d+ Ta [a-z]+-?[a-z]+ Ta /.test(line) && !/ Ta (u\d|\d+ bytes|bytes) Ta /.test(line),
    )
    .map(line => line.slice('.It '.length).split(' Ta '))
    .map(([type, name = '']) => [Number(type), name]),
)

function field(from: Layout, name: string): Field {
  const found = from.get(name)
  if (found === undefined) throw new Error(`the page has no field ${name}`)
  return found
}

function number(bytes: Buffer, from: Layout, name: string, start: number): number {
  const { offset, bytes: length } = field(from, name)
  let value = 0
  for (let i = (length ?? 0) - 1; i >= 0; i--) value = value * 256 + bytes[start + offset + i]!
  return value
}

function slice(bytes: Buffer, from: Layout, name: string, start: number): Buffer {
  const { offset, bytes: length } = field(from, name)
  return bytes.subarray(start + offset, start + offset + (length ?? 0))
}

/** A constant that the page gives, such as "0x…, the text …" or "format version: 1". */
function constant(from: Layout, name: string): number {
  return Number(/0x[0-9a-f]+|\d+$/.exec(field(from, name).meaning)?.[0])
}

function must(condition: boolean, what: string): void {
  if (!condition) throw new Error(what)
}

/** The segment as text, one line a record. */
function decode(bytes: Buffer): string[] {
  const headerEnd = constant(header, 'length')
  must(number(bytes, header, 'magic', 0) === constant(header, 'magic'), 'segment magic')
  must(number(bytes, header, 'version', 0) === constant(header, 'version'), 'segment version')
  must(number(bytes, header, 'length', 0) === headerEnd, 'header length')
  must(zlib.crc32(bytes.subarray(8, headerEnd)) === number(bytes, header, 'crc', 0), 'header crc')
  const shown: string[] = []
  let chain = number(bytes, header, 'chain', 0)
  let txn = number(bytes, header, 'first', 0)
  for (let at = headerEnd; at < bytes.length && number(bytes, block, 'magic', at) !== 0;) {
    const length = number(bytes, block, 'length', at)
    must(number(bytes, block, 'magic', at) === constant(block, 'magic'), 'block magic')
    must(length % 8 === 0 && at + length <= bytes.length, 'block length')
    must(blockCrc(bytes, at, length) === number(bytes, block, 'crc', at), 'block crc')
    must(number(bytes, block, 'version', at) === constant(block, 'version'), 'block version')
    must(number(bytes, block, 'flags', at) === 0, 'block flags')
    must(number(bytes, block, 'chain', at) === chain, 'chain')
    must(number(bytes, block, 'first', at) === txn, 'first transaction')
    must(number(bytes, block, 'promise', at) < txn, 'promise')
    const timeline = number(bytes, block, 'timeline', at)
    must(timeline === number(bytes, header, 'timeline', 0), 'timeline')
    must(
      slice(bytes, block, 'database', at).equals(slice(bytes, header, 'database', 0)),
      'database',
    )
    const start = at + field(block, 'records').offset
    const end = start + number(bytes, block, 'body', at)
    must(at + length - end >= 0 && at + length - end < 8, 'padding')
    const records = decodeRecords(bytes, start, end, txn)
    txn += number(bytes, block, 'count', at)
    must(records.txn === txn, 'count')
    shown.push(...records.shown)
    chain = number(bytes, block, 'crc', at)
    at += length
  }
  return shown
}

function blockCrc(bytes: Buffer, at: number, length: number): number {
  const seedBytes = Buffer.alloc(field(seed, 'offset').offset + 8)
  slice(bytes, header, 'lineage', 0).copy(seedBytes, field(seed, 'lineage').offset)
  slice(bytes, header, 'first', 0).copy(seedBytes, field(seed, 'first').offset)
  seedBytes.writeUInt32LE(at, field(seed, 'offset').offset)
  return zlib.crc32(bytes.subarray(at + 8, at + length), zlib.crc32(seedBytes))
}

function decodeRecords(bytes: Buffer, start: number, end: number, firstTxn: number) {
  const shown: string[] = []
  let txn = firstTxn
  for (let at = start; at < end;) {
    const idStart = at + field(record, 'id').offset
    const idEnd = idStart + number(bytes, record, 'idlength', at)
    const valueEnd = idEnd + number(bytes, record, 'valuelength', at)
    must(valueEnd <= end, 'record length')
    const name = recordTypes.get(number(bytes, record, 'type', at)) ?? 'unknown'
    const file = number(bytes, record, 'file', at)
    const id = bytes.toString('utf8', idStart, idEnd)
    const value = decodeValue(name, bytes.subarray(idEnd, valueEnd))
    shown.push(`${txn} ${name} ${file} ${id} ${value}`.trimEnd())
    const last = Number(/^\d/.exec(field(record, 'flags').meaning)?.[0])
    if (number(bytes, record, 'flags', at) === last) txn++
    at = valueEnd
  }
  return { shown, txn }
}

/** The file flags by their bits, as the page lists them. */
const flagNames = field(attributes, 'flags')
  .meaning.split(/, /)
  .map(part => /^bit \d+ (\w+)/.exec(part)?.[1])
  .filter(word => word !== undefined)

function decodeValue(name: string, value: Buffer): string {
  if (name === 'create-file' || name === 'map-file' || name === 'set-file') {
    const start = field(attributes, 'account').offset
    const accountEnd = start + number(value, attributes, 'accountlength', 0)
    const fileEnd = accountEnd + number(value, attributes, 'namelength', 0)
    must(fileEnd === value.length, 'file attributes')
    const names = `${value.toString('utf8', start, accountEnd)}/${value.toString('utf8', accountEnd, fileEnd)}`
    const bits = number(value, attributes, 'flags', 0)
    const words = flagNames.filter((_, bit) => (bits & (1 << bit)) !== 0)
    return [names, number(value, attributes, 'modulo', 0), ...words].join(' ')
  }
  if (name === 'resize-file') return String(value.readUInt32LE(0))
  if (name === 'promote') {
    const lineage = slice(value, promotion, 'lineage', 0).toString('hex')
    return `${lineage} ${number(value, promotion, 'timeline', 0)}`
  }
  if (name === 'verify') return decodeVerification(value)
  if (name === 'clear-group') {
    return `from ${number(value, group, 'from', 0)} to ${number(value, group, 'to', 0)}`
  }
  return value.toString()
}

function decodeVerification(value: Buffer): string {
  const names = [...field(verification, 'form').meaning.matchAll(/(\d) (\w+)/g)]
  const form = number(value, verification, 'form', 0)
  const name = names.find(([, digit]) => Number(digit) === form)?.[2] as keyof typeof forms
  const from = forms[name]
  const shown = [...from]
    .filter(([, { bytes }]) => bytes !== null)
    .map(([what, { bytes }]) => {
      if (bytes! > 8) return `${what} ${slice(value, from, what, 0).toString('hex')}`
      return `${what} ${number(value, from, what, 0)}`
    })
  let at = [...from.values()].at(-1)!.offset
  if (name === 'range')
    for (; at < value.length; at += 4) shown.push(`tag ${value.readUInt32LE(at)}`)
  if (name === 'items') {
    for (let item = 0; item < number(value, from, 'items', 0); item++) {
      const end = at + 18 + value.readUInt16LE(at)
      shown.push(
        `${value.toString('hex', at + 2, at + 18)} ${value.toString('utf8', at + 18, end)}`,
      )
      at = end
    }
  }
  if (name === 'files') {
    shown.push(`whole ${number(value, verification, 'whole', 0)}`)
    for (let account = 0; account < number(value, from, 'accounts', 0); account++) {
      const end = at + 1 + value.readUInt8(at)
      shown.push(value.toString('utf8', at + 1, end))
      at = end
    }
    for (let file = 0; file < number(value, from, 'files', 0); file++) {
      const end = at + 6 + value.readUInt16LE(at + 4)
      const about = decodeValue('map-file', value.subarray(at + 6, end))
      shown.push(`${value.readUInt32LE(at)} ${about}`)
      at = end
    }
  }
  if (name !== 'end') must(at === value.length, 'verification')
  return [name, ...shown].join(', ')
}

/** The hexadecimal dumps of EXAMPLES. */
function examples(): Buffer[] {
  const found: Buffer[] = []
  for (const [index, line] of page.entries()) {
    if (line !== '.Bd -literal') continue
    const end = page.indexOf('.Ed', index)
    const hex = page.slice(index + 1, end).map(dumped => dumped.slice(6, 56))
    found.push(Buffer.from(hex.join('').replaceAll(/[ |]/g, ''), 'hex'))
  }
  return found
}

t.test('the page has what it must', async t => {
  t.equal(header.size, 10)
  t.equal(block.size, 14)
  t.equal(recordTypes.size, 14)
  t.strictSame(flagNames, ['local', 'excluded', 'filling'])
})

t.test('a real segment is read by the page', async t => {
  const disk = new MemoryDisk()
  const log = await openHistory({ disk, segmentBytes: 1024 * 1024 })
  const path = log.segments()[0]!.path
  log.begin().createAccount('SALES')
  log.encoder.createFile(2, { account: 'SALES', file: 'CUSTOMERS', modulo: 5 })
  log.markMapped(2)
  log.commit()
  commit(log, ['a', 'eins'], ['bé', ''])
  await log.synced()
  log.begin().deleteItem(1, 'a')
  log.encoder.clearFile(1)
  log.encoder.resizeFile(1, 101)
  log.encoder.deleteFile(1)
  log.encoder.deleteAccount('SALES')
  log.commit()
  log.begin().promote('east', new Uint8Array(16).fill(0xab), 9)
  log.encoder.mark('alone', '{}')
  log.encoder.setFile(2, { account: 'SALES', file: 'CUSTOMERS', modulo: 5, flags: 6 })
  const range = { modulo: 5, from: 7, to: 2 ** 32 }
  const words = Uint32Array.of(1, 2, 3, 0xffffffff)
  const sums = { items: 9, bytes: 2 ** 40, span: 4, digest: words, tags: words.subarray(2) }
  log.encoder.verify(2, encodeVerify({ form: 'range', ...range, ...sums }))
  const items = [{ id: Buffer.from('ada'), hash: Buffer.alloc(16, 0xcd) }]
  log.encoder.verify(2, encodeVerify({ form: 'items', ...range, to: 99, items }))
  const files = [{ number: 2, account: 'SALES', file: 'CUSTOMERS', modulo: 5, flags: 1 }]
  const accounts = ['SALES', 'OLD']
  log.encoder.verify(0, encodeVerify({ form: 'files', whole: true, accounts, files }))
  log.encoder.verify(0, encodeVerify({ form: 'end', txn: 3 }))
  log.encoder.clearGroup(2, 7, 2 ** 32)
  log.commit()
  await log.close()
  const lines = [
    '1 create-account 0 SALES',
    '1 create-file 2  SALES/CUSTOMERS 5',
    '2 map-file 1  SALES/ORDERS 7',
    '2 write-item 1 a eins',
    '2 write-item 1 bé',
    '3 delete-item 1 a',
    '3 clear-file 1',
    '3 resize-file 1  101',
    '3 delete-file 1',
    '3 delete-account 0 SALES',
    `4 promote 0 east ${'ab'.repeat(16)} 9`,
    '4 mark 0 alone {}',
    '4 set-file 2  SALES/CUSTOMERS 5 excluded filling',
    `4 verify 2  range, modulo 5, from 7, to 0, items 9, span 4, bytes ${2 ** 40}, digest 010000000200000003000000ffffffff, tag 3, tag 4294967295`,
    `4 verify 2  items, modulo 5, from 7, to 99, items 1, ${'cd'.repeat(16)} ada`,
    '4 verify 0  files, accounts 2, files 1, whole 1, SALES, OLD, 2 SALES/CUSTOMERS 5 local',
    '4 verify 0  end, txn 3',
    '4 clear-group 2  from 7 to 0',
  ]
  t.strictSame(decode(disk.contents(path)), lines)

  const mark = disk.contents(`${logDirectory}/durable`)
  t.equal(number(mark, durable, 'magic', 0), constant(durable, 'magic'))
  t.equal(number(mark, durable, 'version', 0), constant(durable, 'version'))
  t.equal(number(mark, durable, 'crc', 0), zlib.crc32(mark.subarray(8, 64)))
  t.equal(number(mark, durable, 'txn', 0), 4)
  t.equal(number(mark, durable, 'segment', 0), 1)
  const whole = disk.contents(path).subarray(0, number(mark, durable, 'offset', 0))
  t.strictSame(decode(whole), lines, 'it marks the end')

  // The second block of the next segment: other first transaction, other offset.
  const small = await openHistory({ disk, directory: '/server/small' })
  while (small.segments().length < 2) {
    commit(small, ['x', 'y'.repeat(300)])
    await small.synced()
  }
  const second = small.segments()[1]!
  await small.close()
  t.equal(decode(disk.contents(second.path)).length, 2)
  t.equal(identity.timeline, number(disk.contents(second.path), header, 'timeline', 0))
})

t.test('the examples of the page are what they say', async t => {
  const [segment, mark] = examples()
  t.strictSame(decode(segment!), [
    '1 create-account 0 SALES',
    '1 create-file 1  SALES/ORDERS 7',
    '2 write-item 1 10001 Hello.',
  ])
  t.equal(number(mark!, durable, 'offset', 0), segment!.length)
  t.equal(number(mark!, durable, 'txn', 0), 2)
  t.equal(number(mark!, durable, 'chain', 0), number(segment!, block, 'crc', 96))
  t.throws(() => decode(Buffer.concat([segment!.subarray(0, 200), Buffer.alloc(40)])))
})
