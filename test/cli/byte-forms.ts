// Bytes as marks, hexadecimal and base64: reversible for all bytes, and understood by the commands.
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { Writable } from 'node:stream'
import * as fc from 'fast-check'
import t from 'tap'
import { jsonId, shownId } from '../../src/cli/byte-arguments.ts'
import { Output } from '../../src/cli/output.ts'
import { bytesOfRawText, incompleteEnd, rawTextOf } from '../../src/platform/raw-text.ts'
import { decodeForm, encodeForm, type ByteForm } from '../../src/text/byte-forms.ts'
import { escapedBytes, harmlessLine } from '../../src/text/harmless-text.ts'
import { hb, hbReading, ok, temporaryDirectory } from '../helpers/servers.ts'

const forms = ['marks', 'hex', 'base64'] as const
/** With many of the bytes that the forms treat specially. */
const byte = fc.oneof(
  fc.integer({ min: 0, max: 255 }),
  fc.constantFrom(0xff, 0xfe, 0xfd, 0xfc, 0x5f, 0x5e, 0x5d, 0x5c, 0x10, 0x0a, 0xc3, 0xed),
)
const bytes = fc.array(byte, { maxLength: 40 }).map(units => Buffer.from(units))

t.test('every form gives all bytes back, and different bytes are different texts', async t => {
  fc.assert(
    fc.property(bytes, bytes, fc.constantFrom(...forms), (one, other, form) => {
      const text = encodeForm(one, form)
      const same = encodeForm(other, form).equals(text)
      return decodeForm(text, form)?.equals(one) === true && same === one.equals(other)
    }),
    { numRuns: 2000 },
  )
  const every = Buffer.from(Array.from({ length: 256 }, (_, unit) => unit))
  for (const form of forms) t.ok(decodeForm(encodeForm(every, form), form)?.equals(every), form)
  t.strictSame(
    encodeForm(Buffer.from('a\xfeb\xfdc\xfcd\xffe', 'latin1'), 'marks').toString(),
    'a^b]c\\d_e',
  )
  t.strictSame(
    encodeForm(Buffer.from('^_\\]\x10'), 'marks').toString(),
    '\x10^\x10_\x10\\\x10]\x10\x10',
  )
  t.equal(decodeForm(Buffer.from('6B fe\n'), 'hex')?.toString('latin1'), 'k\xfe')
  const wrong: [ByteForm, string][] = [
    ['hex', '6'],
    ['hex', '6g'],
    ['hex', '0x6b'],
    ['base64', 'a'],
    ['base64', 'aa='],
    ['base64', 'YW-_'],
    ['base64', 'YWJj!'],
    ['base64', 'YR=='],
    ['marks', 'a\x10'],
    ['marks', '\x10a'],
  ]
  for (const [form, text] of wrong)
    t.equal(decodeForm(Buffer.from(text), form), null, `${form} ${text}`)
})

t.test('raw text stands for all bytes, also in pieces', async t => {
  fc.assert(
    fc.property(bytes, bytes, (one, other) => {
      const same = rawTextOf(one) === rawTextOf(other)
      return bytesOfRawText(rawTextOf(one)).equals(one) && same === one.equals(other)
    }),
    { numRuns: 2000 },
  )
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.nat(), (text, at) => {
      const whole = Buffer.from(text.toWellFormed())
      const first = whole.subarray(0, at % (whole.length + 1))
      const end = first.length - incompleteEnd(first)
      const pieces = rawTextOf(whole.subarray(0, end)) + rawTextOf(whole.subarray(end))
      return pieces === whole.toString()
    }),
    { numRuns: 2000 },
  )
  t.throws(() => bytesOfRawText('\ud800'), RangeError)
})

t.test(
  'a terminal is shown bytes that are not UTF-8 as such, and is sent nothing to obey',
  async t => {
    const whole = Buffer.concat([Buffer.from('ä€😀\u001b'), Buffer.from([0xfe, 0xe2, 0x82])])
    for (const size of [1, 2, 3, whole.length]) {
      let shown = ''
      const stream = new Writable({
        write: (piece: Buffer, _, done) => {
          shown += piece.toString()
          done()
        },
      })
      const out = new Output(Object.assign(stream, { isTTY: true }))
      for (let at = 0; at < whole.length; at += size) await out.write(whole.subarray(at, at + size))
      await out.flush()
      t.equal(shown, 'ä€😀\\u001b\\xfe\\xe2\\x82')
    }
  },
)

/** What "hb list" shows, read back as printf '%b' does. */
function unescaped(line: string): Buffer {
  const bytes = line.replaceAll(
    /\\\\|\\x([0-9a-f]{2})|[^\\]+/g,
    (found, digits: string | undefined) =>
      digits !== undefined ? digits : found === '\\\\' ? '5c' : Buffer.from(found).toString('hex'),
  )
  return Buffer.from(bytes, 'hex')
}

t.test('an item-id is one line, and no two are the same line', async t => {
  const special = [
    '\\',
    'n',
    '\0',
    '\u001b',
    '\u007f',
    '\u0085',
    '\u009b',
    '\u2028',
    '\u202e',
    '\\x41',
    'ä',
    '€',
    '😀',
  ].map(text => Buffer.from(text))
  const units = fc.oneof(
    fc.constantFrom(...special),
    byte.map(unit => Buffer.of(unit)),
  )
  const ids = fc.array(units, { maxLength: 12 }).map(parts => Buffer.concat(parts))
  fc.assert(
    fc.property(ids, id => {
      const line = escapedBytes(id)
      return unescaped(line).equals(id) && harmlessLine(line) === line
    }),
    { numRuns: 3000 },
  )
  t.equal(
    escapedBytes(Buffer.from('a\\b\n\u001b[1mä\xfe', 'latin1')),
    'a\\\\b\\x0a\\x1b[1m\\xe4\\xfe',
  )
  t.equal(escapedBytes(Buffer.from('ä\u009b\u202e')), 'ä\\xc2\\x9b\\xe2\\x80\\xae')
})

t.test('reports show item-ids in the form that is asked for', async t => {
  const id = Buffer.from('k\xfe^', 'latin1')
  t.equal(shownId(id, null), String.raw`"k\xfe^"`)
  t.equal(shownId(id, 'marks'), String.raw`"k^\u0010^"`)
  t.equal(shownId(id, 'hex'), '"6bfe5e"')
  t.strictSame(jsonId(id, null), { text: 'a/5e', base64: true })
  t.strictSame(jsonId(id, 'base64'), { text: 'a/5e', base64: true })
  t.strictSame(jsonId(id, 'marks'), { text: 'k^\u0010^', base64: false })
  t.strictSame(jsonId(id, 'hex'), { text: '6bfe5e', base64: false })
})

t.test('an hb.toml that is not UTF-8 is refused', async t => {
  const dir = path.join(temporaryDirectory(t), 'north')
  await ok('setup', '-d', dir, '--type', 'master', '--name', 'north')
  const toml = path.join(dir, 'hb.toml')
  writeFileSync(toml, Buffer.concat([readFileSync(toml), Buffer.from('# \xfe\n', 'latin1')]))
  t.match(await hb('list', '-d', dir), {
    code: 2,
    stderr: /^hb: ERR_CONFIG: .*hb\.toml is not UTF-8/,
  })
})

t.test('every command gives any item-id and value back', async t => {
  const dir = path.join(temporaryDirectory(t), 'north')
  await ok('setup', '-d', dir, '--type', 'master', '--name', 'north')
  await ok('create-account', '-d', dir, 'a')
  await ok('create-file', '-d', dir, 'a', 'f')
  const at = ['-d', dir, 'a', 'f']
  const id = bytes.filter(units => units.length > 0)
  const pairs = fc.uniqueArray(fc.tuple(id, bytes), {
    minLength: 12,
    maxLength: 12,
    selector: ([key]) => key.toString('hex'),
  })
  const items = fc.sample(pairs, 1)[0] ?? []
  const context = JSON.stringify(items.map(item => item.map(of => of.toString('hex'))))
  for (const [index, [key, value]] of items.entries()) {
    const form = [null, ...forms][index % 4] ?? null
    // An argument cannot hold a zero byte; in the form of marks one is as it is.
    const zero = Buffer.concat([key, value]).includes(0) && (form === null || form === 'marks')
    const used = zero ? 'hex' : form
    const text = (of: Buffer) => rawTextOf(used === null ? of : encodeForm(of, used))
    const options = used === null ? [] : [`--${used}`]
    await ok('write', '-d', dir, ...options, '--', 'a', 'f', text(key), text(value))
    for (const how of [null, ...forms]) {
      if (how === null && key.includes(0)) continue
      const shown = how === null ? value : encodeForm(value, how)
      const asked = rawTextOf(how === null ? key : encodeForm(key, how))
      const way = how === null ? [] : [`--${how}`]
      const { bytes: read } = await hbReading([], 'read', '-d', dir, ...way, '--', 'a', 'f', asked)
      t.ok(read.equals(shown), `read ${key.toString('hex')} ${how}`)
    }
  }
  const sorted = (hex: Iterable<string>) => [...hex].sort()
  const keys = sorted(items.map(([key]) => key.toString('hex')))
  const lines = (await ok('list', ...at)).split('\n').slice(0, -1)
  t.strictSame(sorted(lines.map(line => unescaped(line).toString('hex'))), keys, context)
  for (const how of ['hex', 'base64'] as const) {
    const listed = (await ok('list', ...at, `--${how}`)).split('\n').slice(0, -1)
    t.strictSame(sorted(listed.map(line => Buffer.from(line, how).toString('hex'))), keys, context)
  }
  const { bytes: marked } = await hbReading([], 'list', ...at, '--marks')
  t.equal(
    marked.length,
    items.reduce((sum, [key]) => sum + encodeForm(key, 'marks').length + 1, 0),
  )
  interface Row {
    readonly id: string
    readonly idBase64?: boolean
    readonly value?: string
    readonly base64?: boolean
  }
  const exact = (text: string | undefined, base64: boolean | undefined) =>
    Buffer.from(text ?? '', base64 === true ? 'base64' : 'utf8').toString('hex')
  const rows = JSON.parse(await ok('list', ...at, '--json')) as Row[]
  t.strictSame(sorted(rows.map(row => exact(row.id, row.idBase64))), keys, context)
  const dump = await ok('log', 'dump', '-d', dir, '--account', 'a', '--file', 'f', '--json')
  const written = dump
    .split('\n')
    .filter(line => line.includes('"write-item"'))
    .map(line => JSON.parse(line) as Row)
    .map(row => [exact(row.id, row.idBase64), exact(row.value, row.base64)])
  t.strictSame(
    written,
    items.map(item => item.map(of => of.toString('hex'))),
    context,
  )
})

t.test('commands read and write item-ids and values in the forms', async t => {
  const dir = path.join(temporaryDirectory(t), 'north')
  await ok('setup', '-d', dir, '--type', 'master', '--name', 'north')
  await ok('create-account', '-d', dir, 'a')
  await ok('create-file', '-d', dir, 'a', 'f')
  const item = ['-d', dir, 'a', 'f']
  await ok('write', ...item, 'k^', 'v]w', '--marks')
  for (const [form, id, value] of [
    ['--marks', 'k^', 'v]w'],
    ['--hex', '6bfe', '76fd77'],
    ['--base64', 'a/4=', 'dv13'],
  ] as const) {
    t.equal(await ok('read', ...item, id, form), value)
    t.equal(await ok('list', ...item, form), `${id}\n`)
    const [row] = JSON.parse(await ok('list', ...item, form, '--json')) as { id: string }[]
    t.equal(row?.id, id)
    t.ok((await ok('log', 'dump', '-d', dir, form)).includes(`  "${id}"  3 B  "${value}"\n`), form)
    const lines = await ok('log', 'dump', '-d', dir, form, '--json', '--from', '3')
    t.match(JSON.parse(lines.split('\n')[1] ?? ''), { id, value })
    await ok('write', ...item, id, value, form)
    await ok('delete', ...item, id, form)
    t.match(await hb('read', ...item, id, form), { code: 3, stderr: /no item "k\\xfe" in a f/ })
    await ok('write', ...item, id, value, form)
  }
  for (const [text, form] of [
    ['6', '--hex'],
    ['=', '--base64'],
    ['\x10', '--marks'],
  ] as const) {
    for (const args of [
      ['read', ...item, text],
      ['delete', ...item, text],
      ['write', ...item, text, text],
    ]) {
      t.match(await hb(...args, form), {
        code: 2,
        stdout: '',
        stderr: /^hb: ERR_USAGE: the item-id is not /,
      })
    }
  }
  t.match(await hb('read', ...item, '', '--hex'), { code: 2, stderr: /^hb: ERR_ITEM_ID/ })
  t.match(await hb('read', ...item, '6bfe', '--hex', '--marks'), { code: 2 })
})
