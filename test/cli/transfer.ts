// hb import and hb export: every byte comes back, bad records are skipped or stop it, and a file that it creates has a
// modulo that fits.
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import * as fc from 'fast-check'
import t from 'tap'
import { Progress } from '../../src/cli/progress.ts'
import { hb, hbReading, ok, temporaryDirectory, type Outcome } from '../helpers/servers.ts'
import { TestClock } from '../helpers/test-clock.ts'

async function master(test: Parameters<typeof temporaryDirectory>[0]): Promise<string> {
  const directory = path.join(temporaryDirectory(test), 'north')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'north')
  await ok('create-account', '-d', directory, 'a')
  return directory
}

function run(input: string | Buffer, ...args: string[]): Promise<Outcome> {
  return hbReading([Buffer.from(input)], 'import', ...args)
}

/** With many of the bytes that some format or form treats specially. */
const byte = fc.oneof(
  fc.integer({ min: 0, max: 255 }),
  fc.constantFrom(0, 9, 10, 13, 16, 32, 34, 39, 44, 59, 92, 0xc3, 0xef, 0xbb, 0xbf, 0xed, 0xa0),
  fc.constantFrom(0xff, 0xfe, 0xfd, 0xfc, 0x5f, 0x5e, 0x5d, 0x5c),
)
const bytes = (minLength: number) =>
  fc.array(byte, { minLength, maxLength: 12 }).map(units => Buffer.from(units))

t.test('what is exported and imported again is the same, byte for byte', async t => {
  const [from, to] = [await master(t), await master(t)]
  for (const dir of [from, to]) await ok('create-file', '-d', dir, 'a', 'f', '--modulo', '3')
  const digest = (dir: string) => ok('digest', '-d', dir, 'a', 'f')
  const empty = await digest(to)
  const ways = ['jsonl', 'csv'].flatMap(format =>
    [[], ['--marks'], ['--hex'], ['--base64']].map(form => ['--format', format, ...form]),
  )
  ways.push(['--format', 'csv', '--delimiter', ';'], ['--format', 'csv', '--delimiter', '\\t'])
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(bytes(1), bytes(0)), { minLength: 50, maxLength: 200 }),
      async items => {
        await ok('clear-file', '-d', from, 'a', 'f')
        const lines = items.map(([id, value]) =>
          JSON.stringify({ id: id.toString('hex'), value: value.toString('hex') }),
        )
        const hex = ['--format', 'jsonl', '--id', 'id', '--hex']
        t.match(await run(lines.join('\n'), '-d', from, 'a', 'f', ...hex), { code: 0 })
        for (const way of ways) {
          const exported = await hbReading([], 'export', '-d', from, 'a', 'f', ...way)
          const at = Math.floor(exported.bytes.length / 2)
          const pieces = [exported.bytes.subarray(0, at), exported.bytes.subarray(at)]
          const args = ['import', '-d', to, 'a', 'f', '--id', 'id', ...way]
          t.match(await hbReading(pieces, ...args), { code: 0, stderr: '' }, way.join(' '))
          t.equal(await digest(to), await digest(from), way.join(' '))
          await ok('clear-file', '-d', to, 'a', 'f')
        }
      },
    ),
    { numRuns: process.env['HB_LONG'] === '1' ? 50 : 2, endOnFailure: true },
  )
  t.equal(await digest(to), empty)
})

t.test('CSV has the columns id and value, with quotes where they are needed', async t => {
  const dir = await master(t)
  await ok('create-file', '-d', dir, 'a', 'f', '--modulo', '1')
  t.equal(await ok('export', '-d', dir, 'a', 'f', '--format', 'csv'), 'id,value\n')
  for (const [id, value] of [
    ['1', 'plain'],
    ['2', 'a "b", c'],
    ['3', ''],
    ['4', 'two\nlines'],
    ['5', ' blank'],
  ] as const) {
    await ok('write', '-d', dir, 'a', 'f', id, value)
  }
  await ok('write', '-d', dir, 'a', 'f', '6', 'pears^3]4', '--marks')
  const lines = (await ok('export', '-d', dir, 'a', 'f', '--format', 'csv', '--marks')).split('\n')
  t.strictSame(
    lines.sort(),
    [
      '',
      '1,plain',
      '2,"a ""b"", c"',
      '3,',
      '4,"two',
      'lines"',
      '5," blank"',
      '6,pears^3]4',
      'id,value',
    ].sort(),
  )
  const semicolons = await ok('export', '-d', dir, 'a', 'f', '--format', 'csv', '--delimiter', ';')
  t.match(semicolons, '2;"a ""b"", c"\n')
  const json = await ok('export', '-d', dir, 'a', 'f', '--marks')
  t.match(json, '{"id":"6","value":"pears^3]4"}\n')
  for (const wrong of [
    ['--delimiter', ';'],
    ['--format', 'csv', '--delimiter', ';;'],
    ['--format', 'xml'],
  ]) {
    t.match(await hb('export', '-d', dir, 'a', 'f', ...wrong), { code: 2, stdout: '' })
  }
})

t.test('bad records go to a file, and the rest is imported', async t => {
  const dir = await master(t)
  const bad = path.join(path.dirname(dir), 'bad.jsonl')
  const csv = ['-d', dir, 'a', 'f', '--format', 'csv', '--id', 'id', '--create']
  const skip = ['--skip-bad', bad]
  const rows = Buffer.from('id,value\n1,one\n2\n3,three\n,empty\n4,"four"x\n5,f\xfcnf\n', 'latin1')
  t.match(await run(rows, ...csv, ...skip), {
    code: 0,
    stdout: `3 items imported, 3 bad records skipped: see ${bad}\n`,
    stderr: '',
  })
  t.equal(statSync(bad).mode & 0o777, 0o600)
  t.strictSame(
    readFileSync(bad, 'utf8')
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as unknown),
    [
      { line: 3, reason: '1 field where the first line has 2', text: '2' },
      { line: 5, reason: 'an empty item-id', text: ',empty' },
      { line: 6, reason: 'more of a field behind its closing quote', text: '4,"four"x' },
    ],
  )
  t.equal((await ok('list', '-d', dir, 'a', 'f')).split('\n').sort().join(' '), ' 1 3 5')

  // A file with something in it is somebody's: it may be the input.
  const before = readFileSync(bad)
  t.match(await run(rows, ...csv, ...skip), {
    code: 1,
    stderr: /^hb: ERR_EXISTS: .*bad\.jsonl is there/,
  })
  t.strictSame(readFileSync(bad), before)
  writeFileSync(bad, '')
  const lines = Buffer.from('{"id":1}\n\xff\n{"id":2}\n{"id":\n', 'latin1')
  const json = ['-d', dir, 'a', 'j', '--format', 'jsonl', '--id', 'id', '--create']
  t.match(await run(lines, ...json, ...skip), { code: 0, stdout: /^2 items imported, 2 bad / })
  t.match(
    readFileSync(bad, 'utf8'),
    '{"line":2,"reason":"not UTF-8","text":"/w==","base64":true}\n',
  )

  const none = path.join(path.dirname(dir), 'none.jsonl')
  t.match(await run('id,value\n1,a\n', ...csv, '--skip-bad', none), { stdout: '1 item imported\n' })
  t.notOk(existsSync(none), 'nothing was bad')
  t.match(await run('{"n":1}\n[]', ...json.with(3, 'k'), '--skip-bad', none), {
    code: 0,
    stdout: `0 items imported, 2 bad records skipped: see ${none}\n`,
  })
  t.notMatch(await ok('list', '-d', dir, 'a'), 'k', 'no file for no item')
  for (const [place, code] of [
    [path.join(dir, 'nowhere', 'bad'), 'ERR_DISK'],
    [dir, 'ERR_DISK'],
  ] as const) {
    t.match(await run(rows, ...csv, '--skip-bad', place), {
      code: 1,
      stderr: new RegExp(`^hb: ${code}: `),
    })
  }
  t.match(await run(rows, ...csv, '--skip-bad', '/dev/null'), { code: 0 })
  t.match(
    await run('id,value\n1,a\n2,"b\n3,c\n', ...csv, '--skip-bad', none.replace('none', 'open')),
    {
      code: 0,
      stdout: /^1 item imported, 1 bad record skipped/,
    },
  )
})

t.test('nothing is created for what cannot be imported', async t => {
  const dir = await master(t)
  for (const [format, input, said] of [
    [
      'csv',
      'a,b\n1,2\n',
      /no column "id" among "a", "b" \(nothing imported\)\. Give --id one of them\.$/,
    ],
    ['csv', 'a;id\n1;2\n', /no column "id" among "a;id" .* --delimiter /],
    ['csv', 'id,b,b\n1,2,3\n', /two columns are called "b"/],
    ['csv', '', /no names of columns/],
    ['csv', 'id,b\n1\n', /line 2: 1 field where the first line has 2/],
    ['csv', 'i\0d\0', /looks like UTF-16LE .* Give --encoding utf-16le\.$/],
    ['jsonl', '{"a":1}\n', /line 1: no field "id" among "a"/],
    ['jsonl', '{"id":1,"id":2}\n', /line 1: two fields are called "id"/],
  ] as const) {
    const args = ['-d', dir, 'new', 'f', '--create', '--format', format, '--id', 'id']
    const { code, stdout, stderr } = await run(input, ...args)
    t.strictSame({ code, stdout }, { code: 1, stdout: '' }, input)
    t.match(stderr.trimEnd(), said)
    t.match(stderr, /^hb: ERR_IMPORT: [^\n]+\n$/)
  }
  for (const wrong of [
    ['--encoding', 'klingon'],
    ['--delimiter', ''],
    ['--delimiter', '"'],
    ['--delimiter', 'ab'],
  ]) {
    const args = ['-d', dir, 'new', 'f', '--create', '--format', 'csv', '--id', 'id', ...wrong]
    t.match(
      await run('id,value\n', ...args),
      { code: 2, stderr: /^hb: ERR_USAGE: / },
      wrong.join(' '),
    )
  }
  t.equal(await ok('list', '-d', dir), 'a  0  files\n')
})

t.test('a new file gets a modulo that fits, also from a pipe', async t => {
  const dir = await master(t)
  const args = (file: string, ...more: string[]) =>
    ['-d', dir, 'a', file, ...more, '--format', 'csv', '--id', 'id', '--create'] as const
  const csv = (items: number, ids = items) =>
    `id,value\n${Array.from({ length: items }, (_, at) => `${at % ids},value ${at}\n`).join('')}`
  const rows = async () =>
    new Map(
      (
        JSON.parse(await ok('list', '-d', dir, 'a', '--json')) as { file: string; modulo: number }[]
      ).map(row => [row.file, row.modulo]),
    )
  const file = path.join(path.dirname(dir), 'items.csv')
  const many = csv(25_000)
  writeFileSync(file, many)
  await ok('import', ...args('path', file))
  t.match(await run(many, ...args('pipe')), { code: 0 })
  t.match(await run(csv(25_000, 10), ...args('repeated')), { code: 0 })
  t.match(await run(csv(3), ...args('few')), { code: 0 })
  t.match(await run(csv(0), ...args('none')), { code: 0, stdout: '0 items imported\n' })
  await ok('create-file', '-d', dir, 'a', 'there', '--modulo', '7')
  t.match(await run(csv(1000), ...args('there')), { code: 0 })
  const modulos = await rows()
  for (const name of ['path', 'pipe']) {
    const modulo = modulos.get(name) ?? 0
    t.ok(modulo >= 625 && modulo <= 2500, `${name}: ${modulo} for 25,000 items, 20 in a group`)
  }
  t.equal(modulos.get('repeated'), 101, 'items that come again are none')
  t.equal(modulos.get('few'), 101)
  t.equal(modulos.get('none'), 101)
  t.equal(modulos.get('there'), 7, 'what is there is left as it is')
})

t.test('progress is shown while nothing comes', async t => {
  const clock = new TestClock()
  let shown = ''
  const progress = new Progress(clock, { isTTY: true, write: (text: string) => (shown += text) })
  progress.watch(seconds => `waited ${seconds}`)
  await clock.advance(1500)
  t.equal(shown, '')
  await clock.advance(1000)
  t.match(shown, /\rwaited 2\b.*\rwaited 2\.25\b/)
  progress.end()
  const before = shown
  await clock.advance(5000)
  t.equal(shown, before, 'and no longer')
  const silent = new Progress(clock, { isTTY: false, write: (text: string) => (shown += text) })
  silent.watch(() => 'not for a terminal')
  await clock.advance(5000)
  t.equal(shown, before)
})
