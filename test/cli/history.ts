// hb history with real servers: on a master at work, on its slave, on both when they are stopped, and after a failover.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { Master } from '../../src/index.ts'
import { edit, hb, hbProcess, ok, Pair } from '../helpers/servers.ts'

interface Line {
  readonly txn: number
  readonly time: string
  readonly type: string
  readonly value?: string
}

async function linesOf(directory: string, ...args: readonly string[]): Promise<Line[]> {
  const text = await ok('history', '-d', directory, ...args, '--json')
  return text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Line)
}

t.test('who changed order 1001?', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  for (const directory of [master, slave]) {
    edit(directory, /^(# )?segment_size = .*$/m, 'segment_size = "64KiB"')
  }
  const library = await Master.open(master)
  const sales = await library.createAccount('sales')
  const orders = await sales.createFile('orders')
  const parts = await sales.createFile('parts')
  await orders.write('1001', '3 pears')
  await orders.write('1002', 'other')
  await pair.start()
  let done = false
  const streaming = (async () => {
    for (let i = 0; !done || i < 300; i++) await parts.write(`${i % 50}`, `part ${i} `.repeat(100))
  })()
  await orders.write('1001', Buffer.from('4 pears\xferipe', 'latin1'))
  await orders.delete('1001')
  await orders.write('1001', '5 apples')
  const shown = await linesOf(master, 'sales', 'orders', '1001')
  t.match(shown, [
    { txn: 1, type: 'log-start' },
    { type: 'write-item', value: '3 pears' },
    { type: 'write-item' },
    { type: 'delete-item' },
    { type: 'write-item', value: '5 apples' },
  ])
  t.ok(shown.slice(1).every(({ time }) => Math.abs(Date.now() - Date.parse(time)) < 600_000))
  const text = await ok('history', '-d', master, 'sales', 'orders', '1001', '--marks')
  t.match(text, /^ +\d+ {2}\d{4}-[^ ]+Z {2}write-item {6}7 B {2}"3 pears"\n/)
  t.match(text, '  12 B  "4 pears^ripe"\n')
  await ok('wait', '-d', master, '--timeout', '60')
  t.same(await linesOf(slave, 'sales', 'orders', '1001'), shown, 'on the slave')
  await orders.clear()
  done = true
  await streaming
  await orders.write('1001', 'again')
  await sales.deleteFile('orders')
  await library.deleteAccount('sales')
  await library.close()
  await ok('wait', '-d', master, '--timeout', '60')
  await ok('stop', '-d', master)
  await ok('stop', '-d', slave)
  const all = await linesOf(master, 'sales', 'orders', '1001')
  t.match(
    all.map(({ type }) => type),
    [...shown.map(({ type }) => type), 'clear-file', 'write-item', 'delete-file', 'delete-account'],
  )
  t.same(await linesOf(slave, 'sales', 'orders', '1001'), all, 'both are stopped')
  t.match(await linesOf(master, 'sales', 'orders', '31303031', '--hex'), [
    {},
    { value: '33207065617273' },
  ])

  // The new master goes on where the old one has ended.
  await ok('promote', '-d', slave)
  await ok('create-account', '-d', slave, 'sales')
  await ok('create-file', '-d', slave, 'sales', 'orders')
  await ok('write', '-d', slave, 'sales', 'orders', '1001', 'of the new master')
  const after = await linesOf(slave, 'sales', 'orders', '1001')
  t.same(after.slice(0, -1), all)
  t.match(after.at(-1), { type: 'write-item', value: 'of the new master' })

  // One block is damaged; the rest is shown.
  const log = path.join(master, 'log')
  const segments = readdirSync(log).filter(name => name.endsWith('.log'))
  t.ok(segments.length > 2, `${segments.length} segments`)
  const damaged = path.join(log, segments[1]!)
  const bytes = readFileSync(damaged)
  bytes.fill(0x55, 300, 310)
  writeFileSync(damaged, bytes)
  const { code, stdout, stderr } = await hbProcess(
    'history',
    '-d',
    master,
    'sales',
    'orders',
    '1001',
  )
  t.equal(code, 5)
  t.match(
    stderr,
    /^hb: ERR_LOG_CORRUPT: [^\n]*\.log, byte \d+: [^\n]*the history may lack [^\n]*\n$/,
  )
  t.match(stdout, /"3 pears"\n[^]*\nDamaged from transaction \d+ on, [^]*delete-account\n$/)
})

t.test('where the log begins, and what is not there', async t => {
  const pair = await Pair.make(t)
  const { master } = pair
  edit(master, /^\[\[slaves\]\][^]*$/m, '')
  edit(master, /^(# )?segment_size = .*$/m, 'segment_size = "64KiB"')
  edit(master, /^# keep_time = .*$/m, 'keep_time = "0"')
  t.match(await hb('history', '-d', master, 'A', 'F', 'x'), { code: 3, stderr: /ERR_NO_ACCOUNT/ })
  let library = await Master.open(master)
  const file = await (await library.createAccount('A')).createFile('F')
  await file.write('old', 'and untouched')
  for (let i = 0; i < 20; i++) await file.write('x', `${i} `.repeat(5000))
  await library.checkpoint()
  await library.close()
  const { stdout } = await hb('history', '-d', master, 'A', 'F', 'x')
  const first = Number(/^History before transaction (\d+) is not kept\.\n/.exec(stdout)?.[1])
  t.ok(first > 1, stdout.slice(0, 100))
  t.match((await linesOf(master, 'A', 'F', 'x'))[0], { txn: first, type: 'log-start' })
  t.match(await hb('history', '-d', master, 'A', 'F', 'old'), {
    code: 0,
    stdout: `History before transaction ${first} is not kept.\nThe log has nothing about the item.\n`,
  })
  for (const [args, code, error] of [
    [['A', 'F', 'none'], 3, 'ERR_NO_ITEM'],
    [['A', 'G', 'x'], 3, 'ERR_NO_FILE'],
    [['B', 'F', 'x'], 3, 'ERR_NO_ACCOUNT'],
    [['A', 'F', ''], 2, 'ERR_ITEM_ID'],
    [['A', 'F', 'x', '--hex'], 2, 'ERR_USAGE'],
    [['A', 'F'], 2, 'ERR_USAGE'],
  ] as const) {
    t.match(await hb('history', '-d', master, ...args), {
      code,
      stderr: new RegExp(`^hb: ${error}`),
    })
  }
  // By its default it is kept.
  edit(master, /^keep_time = .*$/m, '')
  library = await Master.open(master)
  await library.account('A').file('F').write('x', 'last')
  for (let i = 0; i < 20; i++) await library.account('A').file('F').write('y', `${i} `.repeat(5000))
  await library.checkpoint()
  await library.close()
  t.match((await linesOf(master, 'A', 'F', 'x')).at(-1), { type: 'write-item', value: 'last' })
})
