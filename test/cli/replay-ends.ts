// The end of a replay as it is typed: times as "hb log dump" shows them, one end only, given once; and what a dry run
// says to a person.
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { parseMoment } from '../../src/cli/time-argument.ts'
import { Master } from '../../src/index.ts'
import { killServer, ok, Pair, replay, statusOf } from '../helpers/servers.ts'

t.test('times are what they say, or refused', async t => {
  const noon = Date.UTC(2026, 10, 24, 13, 59, 0)
  for (const [text, ms, between = false] of [
    [new Date(noon + 123).toISOString(), noon + 123],
    ['2026-11-24T13:59:00Z', noon],
    ['2026-11-24 13:59Z', noon],
    ['2026-11-24 13:59:00.5 Z', noon + 500],
    ['2026-11-24t13:59:00.123000z', noon + 123],
    ['2026-11-24T13:59:00,12Z', noon + 120],
    ['2026-11-24T13:59:00.1230001Z', noon + 123, true],
    ['2026-11-24T14:59:00.001+01:00', noon + 1],
    ['2026-11-24T08:29:00-0530', noon],
    ['2026-11-24T11:59:00-02', noon],
    ['2024-02-29T00:00:00Z', Date.UTC(2024, 1, 29)],
  ] as const) {
    t.strictSame(parseMoment(text), { ms, between }, text)
  }
  for (const text of [
    '2026-02-29T00:00:00Z',
    '2026-11-31T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-11-24T24:00:00Z',
    '2026-11-24T13:60:00Z',
    '2026-11-24T13:59:60Z',
    '2026-11-24T13:59:00+24:00',
    '2026-11-24T13:59:00+01:60',
    '2026-11-24T13:59:00.Z',
    '2026-11-24',
    '13:59',
    '24.11.2026 13:59',
    '1763992740123',
    '1970-01-01T00:00:00Z',
    '2026-11-24T13:59:00Z 4711',
    ' 2026-11-24T13:59:00Z',
    '',
  ]) {
    t.throws(() => parseMoment(text), { code: 'commander.invalidArgument' }, text)
  }
})

t.test('a time without a zone is that of this machine', async t => {
  const module = new URL('../../src/cli/time-argument.js', import.meta.url).pathname
  const script = `const { parseMoment } = await import(${JSON.stringify(module)})
    for (const text of process.argv.slice(1)) {
      try { console.log(parseMoment(text).ms) } catch (error) { console.log(error.code) }
    }`
  const texts = [
    '2026-11-24T13:59:00.123',
    '2026-03-29 02:30',
    '2026-10-25 02:30',
    '2026-02-30 12:00',
  ]
  const args = ['--input-type=module', '-e', script, ...texts]
  const { stdout } = spawnSync(process.execPath, args, {
    env: { ...process.env, TZ: 'Europe/Berlin' },
    encoding: 'utf8',
  })
  t.strictSame(stdout.trim().split('\n'), [
    String(Date.UTC(2026, 10, 24, 12, 59, 0, 123)),
    'commander.invalidArgument', // The clock is put forward just then.
    String(Date.UTC(2026, 9, 25, 0, 30)), // It shows this twice.
    'commander.invalidArgument',
  ])
})

t.test('there is one end', async t => {
  const time = '2026-11-24T13:59:00Z'
  const ends = [
    ['--until-txn', '5'],
    ['--before-txn', '5'],
    ['--until-time', time],
    ['--before-time', time],
  ] as const
  const wrong = [
    ...ends.flatMap(end => ends.map(other => [...end, ...other])),
    ...ends.map(end => [...end, '--missing', 'x']),
    ['--before-txn', '0'],
    ['--before-txn', '-1'],
    ['--before-time', 'yesterday'],
  ]
  for (const args of wrong) {
    const { code, stderr } = await replay('-d', '/nowhere', ...args)
    t.match(
      { code, stderr },
      { code: 2, stderr: /^hb-replay: ERR_USAGE: [^\n]*\n$/ },
      args.join(' '),
    )
  }
})

t.test('a dry run shows the mistake, and the real run leaves it out', async t => {
  const pair = await Pair.make(t)
  const master = await Master.open(pair.master)
  const account = await master.createAccount('A')
  const file = await account.createFile('F')
  const other = await account.createFile('G')
  await pair.start()
  await pair.digests()
  await ok('apply', '-d', pair.slave, 'off')
  for (let i = 0; i < 5; i++) await file.write(`item ${i}`, 'v'.repeat(i))
  await other.write('good', '1')
  const good = await ok('digest', '-d', pair.master)
  // Both are in one block, and so of one time.
  const mistakes = [file.clear(), file.write(Buffer.of(0xfe), 'x')]
  await Promise.all(mistakes)
  await master.transaction(transaction => {
    for (let i = 0; i < 13; i++) transaction.write(file, `${i} after`, 'the mistake')
  })
  await master.close()
  await ok('wait', '-d', pair.master, '--level', 'durable', '--timeout', '60')
  const lines = (await ok('log', 'dump', '-d', pair.master, '--json')).trim().split('\n')
  const dumped = lines.map(line => JSON.parse(line) as { txn: number; time: string; type: string })
  const mistake = dumped.find(({ type }) => type === 'clear-file')!
  const before = dumped.findLast(({ txn }) => txn < mistake.txn)!

  for (const running of [true, false]) {
    if (!running) await killServer(pair.slave)
    const late = await replay('-d', pair.slave, '--until-time', mistake.time, '--dry-run')
    t.match(late.stdout, / clear-file      A F\n|write-item .*"\\xfe"/, 'the mistake is shown')
    for (const end of [
      ['--before-txn', String(mistake.txn)],
      ['--until-txn', String(mistake.txn - 1)],
      ['--before-time', mistake.time],
      ['--until-time', before.time],
    ]) {
      const { code, stdout } = await replay('-d', pair.slave, ...end, '--dry-run')
      t.equal(code, 0)
      t.match(
        stdout,
        [
          'The last transaction that would be applied:',
          `${String(before.txn).padStart(10)}  ${before.time}  write-item      A G  "good"  1 B`,
          'The first transaction that would not be applied:',
          `${String(mistake.txn).padStart(10)}  ${mistake.time}  clear-file      A F`,
        ].join('\n'),
        end.join(' '),
      )
    }
    const about = ['--account', 'A', '--file', 'F', '--before-time', mistake.time]
    const one = await replay('-d', pair.slave, ...about, '--dry-run')
    t.match(one.stdout, /Would apply 5 .*\n1 .* others .*\nThe last .*\n.*"item 4"  4 B\nThe first/)
  }
  await ok('start', '-d', pair.slave)
  const real = await replay('-d', pair.slave, '--before-time', mistake.time)
  t.match(real.stdout, /^Applied 6 transactions/)
  t.equal(await ok('digest', '-d', pair.slave), good)
  t.equal((await statusOf(pair.slave)).apply.appliedTxn, before.txn)
  const again = await replay('-d', pair.slave, '--before-txn', String(mistake.txn), '--dry-run')
  t.match(
    again.stdout,
    /\nThe last transaction applied:\n.*\nThe first transaction that would not be/,
  )
  await ok('stop', '-d', pair.slave)
  t.match(await replay('-d', pair.slave), { code: 0 })
  const late = ['--before-txn', String(mistake.txn)]
  for (const dry of [[], ['--dry-run']]) {
    const { code, stdout } = await replay('-d', pair.slave, ...late, ...dry)
    t.match({ code, stdout }, { code: 0, stdout: /\nThe end comes too late: transaction/ })
  }
  const time = await replay('-d', pair.slave, '--before-time', mistake.time, '--dry-run')
  t.match(time.stdout, /\nThe end comes too late: transaction/)
  t.match(time.stdout, /"9 after"  11 B\n.*  and 3 more operations\n$/)
})
