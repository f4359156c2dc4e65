// What an import makes of text: line ends, byte order marks, encodings, forms, and records that are no items. Every
// input comes in pieces of several sizes, since each piece may end anywhere.
import * as fc from 'fast-check'
import t from 'tap'
import { isHotBackupError } from '../../src/errors.ts'
import { Load } from '../../src/data/fitting-modulo.ts'
import { importRecords, type ImportOptions } from '../../src/data/import-items.ts'
import { isBad, type ImportRecord } from '../../src/data/import-record.ts'
import { jsonFields } from '../../src/data/json-fields.ts'
import { encodingNamed } from '../../src/data/text-input.ts'

const plain: ImportOptions = {
  format: 'csv',
  idField: 'id',
  valueField: null,
  form: null,
  delimiter: ',',
  encoding: null,
}
const jsonl: ImportOptions = { ...plain, format: 'jsonl' }

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Uint8Array, void> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function records(
  bytes: Buffer,
  options: ImportOptions,
  size: number,
): Promise<ImportRecord[]> {
  const found: ImportRecord[] = []
  for await (const some of importRecords(inPieces(bytes, size), options)) found.push(...some)
  return found
}

function shown(record: ImportRecord): string {
  return isBad(record)
    ? `${record.line}: ${record.reason}: ${record.text.toString('latin1')}`
    : `${record.id.toString('latin1')} = ${record.value.toString('latin1')}`
}

/** The records as text, the same in pieces of all sizes; or the message of the error. */
async function read(input: string | Buffer, options: ImportOptions): Promise<string[] | string> {
  const bytes = Buffer.from(input)
  const outcomes = await Promise.all(
    [1, 3, Math.max(1, bytes.length)].map(async size => {
      try {
        return (await records(bytes, options, size)).map(shown)
      } catch (error) {
        if (isHotBackupError(error, 'ERR_IMPORT')) return error.message
        throw error
      }
    }),
  )
  for (const outcome of outcomes) t.strictSame(outcome, outcomes[0], 'whatever the pieces')
  return outcomes[0] ?? []
}

t.test('lines end with LF, CR or CRLF, in any mixture', async t => {
  const csv = ['id,value', '1,a', '2,"b\nB"', '3,"c\rC"', '4,"d\r\nD"', '5,', '6,f']
  const json = ['{"id":1,"value":"a"}', '{"id":"2"}', '', '{"id":3,"value":""}']
  for (const ends of [['\n'], ['\r'], ['\r\n'], ['\n', '\r', '\r\n', '\n\r', '\r\r\n', '\n\n']]) {
    const text = (lines: string[], last: string) =>
      lines.map((line, at) => (at === 0 ? line : `${ends[at % ends.length]}${line}`)).join('') +
      last
    for (const last of ['', ...ends]) {
      const name = JSON.stringify([ends, last])
      t.strictSame(
        await read(text(csv, last), plain),
        ['1 = a', '2 = b\nB', '3 = c\rC', '4 = d\r\nD', '5 = ', '6 = f'],
        name,
      )
      t.strictSame(await read(text(json, last), jsonl), ['1 = a', '2 = {"id":"2"}', '3 = '], name)
    }
  }
})

t.test('each line has its number, whatever ends it', async t => {
  for (const end of ['\n', '\r', '\r\n']) {
    const csv = [
      'id,value',
      '1,a',
      '',
      '2,"two',
      'lines"',
      '3',
      '4,"',
      '",x',
      '5,e',
      '6,"x"y',
      'z',
    ].join(end)
    t.strictSame(await read(csv, plain), [
      '1 = a',
      `2 = two${end}lines`,
      '6: 1 field where the first line has 2: 3',
      `7: 3 fields where the first line has 2: 4,"${end}",x`,
      '5 = e',
      '10: more of a field behind its closing quote: 6,"x"y',
      '11: 1 field where the first line has 2: z',
    ])
    const json = ['{"id":1}', '', '{', '{"id":2}', '[]'].join(end)
    t.strictSame(await read(json, jsonl), [
      '1 = {"id":1}',
      '3: not JSON: {',
      '2 = {"id":2}',
      '5: not a JSON object: []',
    ])
  }
})

t.test('a byte order mark is no part of the text, and says what the encoding is', async t => {
  const swapped = (text: string) => Buffer.from(text, 'utf16le').swap16()
  for (const [input, options, expected] of [
    ['id,value\n1,ä😀\n', plain, ['1 = ä😀']],
    ['"id","value"\n1,"ä\n"\n', plain, ['1 = ä\n']],
    ['{"id":"1","value":"ä😀"}\n', jsonl, ['1 = ä😀']],
  ] as const) {
    const marked = `\ufeff${input}`
    const want = expected.map(text => Buffer.from(text).toString('latin1'))
    t.strictSame(await read(marked, options), want)
    t.strictSame(await read(Buffer.from(marked, 'utf16le'), options), want)
    t.strictSame(await read(swapped(marked), options), want)
    for (const [bytes, encoding, other] of [
      [Buffer.from(input), 'utf-8', 'utf-16le'],
      [Buffer.from(input, 'utf16le'), 'utf-16le', 'utf-8'],
      [swapped(input), 'utf-16be', 'windows-1252'],
    ] as const) {
      t.strictSame(await read(bytes, { ...options, encoding }), want, encoding)
      const mark = encoding === 'utf-8' ? Buffer.from('\ufeff') : bytesOf('\ufeff', encoding)
      const both = Buffer.concat([mark, bytes])
      t.strictSame(await read(both, { ...options, encoding }), want, `${encoding} with a mark`)
      t.match(
        await read(both, { ...options, encoding: other }),
        /begins with the byte order mark of UTF/,
      )
      if (encoding === 'utf-8') continue
      const message = `the input looks like ${encoding.toUpperCase()} without a byte order mark`
      t.equal(await read(bytes, options), message)
    }
  }
  t.equal(await read(Buffer.from('fffe00006900000064000000', 'hex'), plain), 'the input is UTF-32')
  t.strictSame(await read('\ufeff', jsonl), [], 'nothing but a mark')
  t.strictSame(await read('', jsonl), [])
  for (const empty of ['', '\ufeff', '\n\r\n']) {
    t.match(await read(empty, plain), /no names of columns: the input is empty/)
  }
})

function bytesOf(text: string, encoding: string): Buffer {
  const bytes = Buffer.from(text, 'utf16le')
  return encoding === 'utf-16be' ? bytes.swap16() : bytes
}

t.test('what is not of the encoding is refused, not replaced', async t => {
  const utf16 = { ...jsonl, encoding: 'utf-16le' }
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: 'binary' }),
      fc.integer({ min: 1, max: 7 }),
      async (text, size) => {
        const line = JSON.stringify({ id: 'i', value: text.toWellFormed() })
        const [record] = await records(Buffer.from(line, 'utf16le'), utf16, size)
        return (
          record !== undefined &&
          !isBad(record) &&
          record.value.equals(Buffer.from(text.toWellFormed()))
        )
      },
    ),
  )
  for (const [hex, encoding] of [
    ['7b0000d87d00', 'utf-16le'],
    ['7b007d', 'utf-16le'],
    ['007bdc00', 'utf-16be'],
    ['7bff', 'shift_jis'],
  ] as const) {
    const message = await read(Buffer.from(hex, 'hex'), { ...jsonl, encoding })
    t.match(message, new RegExp(`^the input is not ${encoding.toUpperCase()}: `), hex)
  }
  const every = Buffer.from(Array.from({ length: 256 }, (_, unit) => unit)).subarray(0x80)
  const line = Buffer.concat([Buffer.from('{"id":"i","value":"'), every, Buffer.from('"}')])
  const [item] = await records(line, { ...jsonl, encoding: encodingNamed('latin1') }, 10)
  const text = item !== undefined && !isBad(item) ? item.value.toString() : ''
  t.equal(text.slice(0, 3), '€\u0081‚')
  t.equal(text.slice(-3), 'ýþÿ')
  t.equal(new Set(text).size, 128, 'each byte is a character of its own')
  t.equal(encodingNamed('UTF8'), 'utf-8')
  t.throws(() => encodingNamed('klingon'), { code: 'ERR_USAGE' })
})

t.test(
  'columns are known by one name each, and named in the error when one is missing',
  async t => {
    const message = (input: string, options: Partial<ImportOptions> = {}) =>
      read(input, { ...plain, ...options })
    t.match(await message('id,a,a\n1,2,3\n'), /^line 1: two columns are called "a"$/)
    t.match(await message('id,,\n1,2,3\n'), /^line 1: two columns have no name$/)
    t.match(await message('"id","a\n","a\n"\n1,2,3\n'), /^line 1: two columns are called "a\\n"$/)
    t.match(await message('a,b\n'), /^line 1: no column "id" among "a", "b"$/)
    t.match(await message('id,b\n', { valueField: 'c' }), /^line 1: no column "c" among "id", "b"$/)
    t.match(await message('"id,b\n1,2\n'), /^line 1: a quote that is never closed$/)
    t.match(
      await read(Buffer.from('id,\xfe\n', 'latin1'), plain),
      /names of the columns are not UTF-8/,
    )
    const reason = async (line: string) => {
      const [record] = await records(Buffer.from(line), jsonl, 100)
      return record !== undefined && isBad(record) ? record.reason : ''
    }
    const long = 'x'.repeat(100)
    const wide = Array.from({ length: 50 }, (_, at) => `${long}${at}`).join(',')
    for (const text of [
      String(await message(wide)),
      String(await message('a', { idField: `\u001b${long}` })),
      String(await message(`${'\u0007'.repeat(900)},b\n`)),
      await reason(`{"${long}":1}`),
      await reason(`{${Array.from({ length: 50 }, (_, at) => `"f${at}":1`).join(',')}}`),
      await reason(`{"id":[${'1,'.repeat(400)}1]}`),
    ]) {
      t.ok(text.length < 600, `${text.length} characters`)
      t.notMatch(text, /\p{Cc}/u)
    }
  },
)

t.test('a delimiter other than the comma', async t => {
  for (const delimiter of [';', '\t', '|', ' ', 'x']) {
    const input = `id${delimiter}value\n1${delimiter}"a${delimiter}b"\n2${delimiter}c,d\n`
    t.strictSame(await read(input, { ...plain, delimiter }), [`1 = a${delimiter}b`, '2 = c,d'])
  }
})

t.test('a field is taken as it stands', async t => {
  const value = { ...jsonl, valueField: 'v' }
  for (const [line, expected] of [
    ['{"id":12345678901234567890123,"v":"x"}', '12345678901234567890123 = x'],
    ['{"id":"a","v":12345678901234567890}', 'a = 12345678901234567890'],
    ['{"id":"a","v": 1.10 }', 'a = 1.10'],
    [
      '{"v":{"n": 1e3, "s":"}]\\"\\\\", "o":[{}]},"id":"a"}',
      'a = {"n": 1e3, "s":"}]\\"\\\\", "o":[{}]}',
    ],
    ['{"\\u0069d":"a","v":null}', 'a = null'],
    ['{"__proto__":1,"id":"a","v":"x"}', 'a = x'],
    ['{"id":"YQ==","idBase64":true,"v":"/g==","base64":true}', 'a = \xfe'],
    ['{"id":"a","base64":false,"v":"/g=="}', 'a = /g=='],
  ] as const) {
    t.strictSame(await read(line, value), [expected])
  }
  for (const line of [
    '{"id":"a","v":"x","v":"y"}',
    '{"id":"a","id":"b","v":"y"}',
    '{"id":"a","v":"x","\\u0076":"y"}',
    '{"id":1.0,"v":"x"}',
    '{"id":1e3,"v":"x"}',
    '{"id":"a","v":"/g==","base64":"true"}',
    '{"id":"a","v":"/g=","base64":true}',
    '{"id":"a","v":"\\ud800"}',
    '{"id":"\\udfff","v":"x"}',
    `{"id":"${'ä'.repeat(513)}","v":"x"}`,
    '{"id":"a"}',
  ]) {
    const [bad] = await read(line, value)
    t.match(bad, /^1: /, line.slice(0, 60))
  }
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.nat(3), (object, indent) => {
      const text = JSON.stringify(object, null, indent)
      const fields = jsonFields(text).map(field => [field.name, JSON.parse(field.text) as unknown])
      return JSON.stringify(Object.fromEntries(fields)) === JSON.stringify(object)
    }),
  )
})

t.test('item-ids and items in forms', async t => {
  for (const [form, id, value] of [
    ['hex', '6bfe', '76fd77'],
    ['marks', 'k^', 'v]w'],
    ['base64', 'a/4=', 'dv13'],
  ] as const) {
    t.strictSame(await read(`id,value\n${id},${value}\n`, { ...plain, form }), ['k\xfe = v\xfdw'])
    const line = JSON.stringify({ id, value })
    t.strictSame(await read(line, { ...jsonl, form }), ['k\xfe = v\xfdw'])
    const [item] = await read(`id,a,b\n${id},1,2\n`, { ...plain, form })
    t.equal(
      item,
      `k\xfe = ${JSON.stringify({ id, a: '1', b: '2' })}`,
      'a whole record is as it stands',
    )
    const [bad] = await read(`id,value\nk,\u0010\n`, { ...plain, form })
    t.match(bad, /^2: an item(-id)? that is not /)
  }
})

t.test('a modulo is a prime with room for what there is', async t => {
  const modulo = (items: number, bytes: number): number => {
    const load = new Load()
    load.add(10, bytes)
    return load.modulo(items)
  }
  t.equal(modulo(0, 100), 101)
  t.equal(modulo(2000, 10), 101)
  t.equal(modulo(117_791, 100), 5897, 'twenty in a group')
  t.equal(modulo(100_000, 1000), 33_343, 'or three quarters of a frame')
  t.equal(modulo(100_000, 1_000_000), 5003, 'without what has frames of its own')
  t.equal(modulo(1e15, 100), 67_108_864)
})
