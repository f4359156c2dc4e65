// Bytes as marks, hexadecimal and base64: reversible for all bytes, and understood by the commands.
import path from 'node:path'
import { Writable } from 'node:stream'
import * as fc from 'fast-check'
import t from 'tap'
import { Output } from '../../src/cli/output.ts'
import { bytesOfRawText, incompleteEnd, rawTextOf } from '../../src/platform/raw-text.ts'
import { decodeForm, encodeForm, type ByteForm } from '../../src/text/byte-forms.ts'
import { hb, ok, temporaryDirectory } from '../helpers/servers.ts'

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
