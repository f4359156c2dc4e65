// The library: accounts, files, items, transactions, iteration, errors, and what a crash leaves.
import { cp, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import { Master } from '../../src/index.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { ok, temporaryDirectory } from '../helpers/servers.ts'

async function makeMaster(t: Test, ...options: string[]): Promise<string> {
  const directory = path.join(temporaryDirectory(t), 'alpha')
  await ok('setup', '-d', directory, '--type', 'master', '--name', 'alpha', ...options)
  return directory
}

interface Seen {
  readonly queue: { readonly bytes: number }
  readonly slaves: readonly object[]
}

t.test('accounts, files and items', async t => {
  const directory = await makeMaster(t)
  const master = await Master.open(directory)
  t.teardown(() => master.close())
  t.same(master.accounts(), [])
  const sales = await master.createAccount('SALES')
  const file = await sales.createFile('CUSTOMERS', { modulo: 3 })
  t.equal(file.modulo, 3)
  await file.write('ada', 'Ada')
  await file.write(Buffer.from([0, 255]), Buffer.from([1, 2, 3]))
  t.equal(String(await file.read('ada')), 'Ada')
  t.same(await file.read(Buffer.from([0, 255])), Buffer.from([1, 2, 3]))
  t.equal(await file.read('nobody'), null)
  t.equal(await file.has('ada'), true)
  t.equal(await file.delete('ada'), true)
  t.equal(await file.delete('ada'), false)
  t.equal(file.itemCount, 1)
  await file.write('empty', '')
  t.same(await file.read('empty'), Buffer.alloc(0), 'an empty item is an item')
  const long = 'é'.repeat(512)
  await file.write(long, 'an id of 1,024 bytes')
  t.equal(String(await file.read(long)), 'an id of 1,024 bytes')
  await file.clear()
  t.equal(file.itemCount, 0)
  await sales.deleteFile('CUSTOMERS')
  await t.rejects(file.read('ada'), { code: 'ERR_NO_FILE' }, 'a handle outlives its file')
  await sales.createFile('CUSTOMERS')
  t.equal(await file.read('ada'), null, 'and serves a new one of that name')
  await master.deleteAccount('SALES')
  t.throws(() => sales.files(), { code: 'ERR_NO_ACCOUNT' })
})

t.test('accounts and files are opened, and created if they are not there', async t => {
  const directory = await makeMaster(t)
  const master = await Master.open(directory)
  t.teardown(() => master.close())
  const opened = await Promise.all([master.openAccount('A'), master.openAccount('A')])
  const [account] = opened
  const files = await Promise.all([account.openFile('F', { modulo: 7 }), account.openFile('F')])
  t.equal(master.lastTxn, 2, 'each is created once')
  t.equal(master.durableTxn, 2)
  await files[0].write('id', 'value')
  const again = await account.openFile('F', { modulo: 11, local: true })
  t.equal(String(await again.read('id')), 'value')
  t.equal(again.modulo, 7, 'the options are for a new file')
  t.equal(master.lastTxn, 3)
  await master.deleteAccount('A')
  await t.rejects(account.openFile('F'), { code: 'ERR_NO_ACCOUNT' })
  await t.rejects(master.openAccount('.'), { code: 'ERR_NAME' })
  await (await master.openAccount('A')).openFile('F')
  await t.rejects(account.openFile('G', { modulo: 0 }), { code: 'ERR_MODULO' })
})

t.test('the queue of an open master with default settings', async t => {
  const directory = await makeMaster(t, '--slave', 'beta=127.0.0.1:2001')
  const master = await Master.open(directory)
  t.teardown(() => master.close())
  const file = await (await master.createAccount('A')).createFile('F')
  await file.write('id', Buffer.alloc(100_000))
  const { bytes } = master.status().queue
  t.ok(bytes > 100_000, `${bytes} bytes that no slave has`)
  const status = JSON.parse(await ok('status', '-d', directory, '--json')) as Seen
  t.equal(status.queue.bytes, bytes)
  t.match(status.slaves[0], { receivedTxn: null, durableTxn: null, appliedTxn: null, lagTxns: 3 })
})

t.test('what is refused changes nothing', async t => {
  const master = await Master.open(await makeMaster(t))
  t.teardown(() => master.close())
  const account = await master.createAccount('A')
  const file = await account.createFile('F')
  const before = master.lastTxn
  for (const name of [
    '',
    '../x',
    '.',
    '..',
    'a/b',
    'a\\b',
    'a\0b',
    'a\nb',
    '-x',
    'x'.repeat(65),
    'é'.repeat(33),
  ]) {
    await t.rejects(master.createAccount(name), { code: 'ERR_NAME' }, JSON.stringify(name))
    await t.rejects(account.createFile(name), { code: 'ERR_NAME' })
  }
  await t.rejects(master.createAccount('A'), { code: 'ERR_EXISTS' })
  await t.rejects(account.createFile('F'), { code: 'ERR_EXISTS' })
  for (const modulo of [0, -1, 1.5, Number.NaN, 2 ** 27]) {
    await t.rejects(account.createFile('G', { modulo }), { code: 'ERR_MODULO' })
    await t.rejects(file.resize(modulo), { code: 'ERR_MODULO' })
  }
  await t.rejects(file.write('', 'x'), { code: 'ERR_ITEM_ID' })
  await t.rejects(file.write('x'.repeat(1025), 'x'), { code: 'ERR_ITEM_ID' })
  await t.rejects(file.write('é'.repeat(513), 'x'), { code: 'ERR_ITEM_ID' })
  await t.rejects(file.write('\ud800', 'x'), { code: 'ERR_ITEM_TEXT' })
  await t.rejects(file.write('x', 'a\udc00'), { code: 'ERR_ITEM_TEXT' })
  await t.rejects(
    master.transaction(tx => tx.write(file, '\ud800', 'x')),
    { code: 'ERR_ITEM_TEXT' },
  )
  await t.rejects(file.write('x', Buffer.alloc(64 * 2 ** 20 + 1)), { code: 'ERR_ITEM_SIZE' })
  t.throws(() => master.account('B'), { code: 'ERR_NO_ACCOUNT' })
  t.throws(() => account.file('G'), { code: 'ERR_NO_FILE' })
  t.equal(master.lastTxn, before)
  await file.write('\ufffd', 'x')
  t.equal(await file.read('\ud800'), null)
  await file.write('x', Buffer.alloc(64 * 2 ** 20, 7))
  t.equal((await file.read('x'))?.length, 64 * 2 ** 20, 'the largest item')
})

t.test('a wrong type is a TypeError, whatever the method, and changes nothing', async t => {
  const master = await Master.open(await makeMaster(t))
  const other = await Master.open(await makeMaster(t))
  t.teardown(() => Promise.all([master.close(), other.close()]))
  const account = await master.createAccount('A')
  const file = await account.createFile('F')
  const stranger = await (await other.createAccount('A')).createFile('F')
  const before = master.lastTxn
  // As JavaScript calls it.
  const call = (target: object, method: string, ...args: unknown[]): unknown =>
    (Reflect.get(target, method) as (...args: unknown[]) => unknown).apply(target, args)
  const notBytes = [5, 0, -1, NaN, 5n, null, undefined, true, Symbol('s'), {}, [], ['a'], () => {}]
  const buffers = [new ArrayBuffer(4), new Uint16Array(4), new DataView(new ArrayBuffer(4))]
  const notText = [5, null, undefined, true, {}, ['F'], Buffer.from('F')]
  const notOptions = [null, 5, 'durable', true]
  const rows: [object, string, unknown[][]][] = []
  const add = (target: object, method: string, ...args: unknown[][]) => {
    rows.push([target, method, args])
  }
  const ids = [...notBytes, ...buffers]
  add(file, 'read', ...ids.map(id => [id]))
  add(file, 'has', ...ids.map(id => [id]))
  add(file, 'delete', ...ids.map(id => [id]), ...notOptions.map(options => ['a', options]))
  add(file, 'write', ...ids.map(id => [id, 'x']), ...ids.map(value => ['a', value]))
  add(file, 'write', ...notOptions.map(options => ['a', 'x', options]))
  add(file, 'write', ['a', 'x', { level: 'nonsense' }], ['a', 'x', { level: 5 }])
  add(file, 'resize', ['7'], [null], [undefined], [7n])
  add(file, 'setLocal', ['on'], [1], [undefined])
  for (const method of ['file', 'createFile', 'openFile', 'deleteFile']) {
    add(account, method, ...notText.map(name => [name]))
  }
  for (const method of ['createFile', 'openFile']) {
    add(account, method, ...notOptions.map(options => ['G', options]))
    add(account, method, ['G', { modulo: '7' }], ['G', { modulo: null }], ['G', { local: 'yes' }])
  }
  for (const method of ['account', 'createAccount', 'openAccount', 'deleteAccount']) {
    add(master, method, ...notText.map(name => [name]))
  }
  add(master, 'transaction', [undefined], [5], [{}], ...notOptions.map(each => [() => {}, each]))
  add(master, 'wait', ['1', 'durable'], [-1, 'durable'], [1.5, 'durable'], [1, 'local'], [1])
  add(master, 'wait', [1, 'durable', { timeoutMs: 'soon' }], [1, 'durable', null])
  add(Master, 'open', [5], [undefined], [null], ['x', null], ['x', { onEvent: 5 }])
  const inside = (method: string, ...args: unknown[]) => [
    (transaction: object) => call(transaction, method, ...args),
  ]
  for (const method of ['read', 'delete', 'write']) {
    const files = [stranger, null, undefined, {}, 'F', account]
    add(master, 'transaction', ...files.map(each => inside(method, each, 'a', 'x')))
    add(master, 'transaction', ...ids.map(id => inside(method, file, id, 'x')))
  }
  add(master, 'transaction', ...ids.map(value => inside('write', file, 'a', value)))
  for (const [target, method, lists] of rows) {
    for (const args of lists) {
      let error: unknown = null
      try {
        await call(target, method, ...args)
      } catch (thrown) {
        error = thrown
      }
      const type = error instanceof Error ? error.constructor.name : typeof error
      if (type !== 'TypeError')
        t.equal(type, 'TypeError', `${method}(${args.map(arg => inspect(arg))})`)
    }
  }
  t.equal(master.lastTxn, before)
  t.equal(file.itemCount, 0)
})

t.test('a transaction is whole or not at all', async t => {
  const master = await Master.open(await makeMaster(t))
  t.teardown(() => master.close())
  const account = await master.createAccount('A')
  const file = await account.createFile('F')
  const other = await account.createFile('G')
  await file.write('sum', '1')
  const before = master.lastTxn
  const result = await master.transaction(transaction => {
    transaction.write(file, 'sum', '2')
    transaction.write(other, 'entry', 'new')
    t.equal(String(transaction.read(file, 'sum')), '2', 'it sees its own updates')
    t.equal(transaction.delete(other, 'none'), false)
    return 'done'
  })
  t.equal(result, 'done')
  t.equal(master.lastTxn, before + 1)
  await t.rejects(
    master.transaction(transaction => {
      transaction.write(file, 'sum', '3')
      throw new Error('changed my mind')
    }),
    { message: 'changed my mind' },
  )
  t.equal(String(await file.read('sum')), '2')
  t.equal(master.lastTxn, before + 1)
  await t.rejects(
    // @ts-expect-error The compiler refuses it already.
    master.transaction(async () => {}),
    TypeError,
  )
  let escaped: Parameters<Parameters<typeof master.transaction>[0]>[0] | undefined
  await master.transaction(transaction => (escaped = transaction))
  t.throws(
    () => escaped?.write(file, 'a', 'b'),
    TypeError,
    'it is over when the function has returned',
  )
  const counters = await Promise.all(
    Array.from({ length: 100 }, () =>
      master.transaction(transaction => {
        const next = Number(transaction.read(file, 'sum')) + 1
        transaction.write(file, 'sum', String(next))
        return next
      }),
    ),
  )
  t.equal(new Set(counters).size, 100, 'no lost update')
  t.equal(String(await file.read('sum')), '102')
})

t.test('iteration while updates go on', async t => {
  const master = await Master.open(await makeMaster(t))
  t.teardown(() => master.close())
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 11 })
  for (let i = 0; i < 5000; i++) void file.write(`stays ${i}`, 'x')
  await file.write('stays 5000', 'x')
  const seen = new Map<string, number>()
  let count = 0
  for await (const { id } of file.items()) {
    seen.set(String(id), (seen.get(String(id)) ?? 0) + 1)
    if (++count % 500 === 0) {
      await file.write(`new ${count}`, 'y'.repeat(count))
      await file.write(`stays ${count}`, 'changed '.repeat(count))
    }
    if (count === 2000) await file.resize(307)
  }
  for (let i = 0; i <= 5000; i++) {
    if (seen.get(`stays ${i}`) !== 1) t.fail(`stays ${i} came ${seen.get(`stays ${i}`)} times`)
  }
  t.equal(file.modulo, 307)
})

t.test('a copy of the directory, taken at any moment, recovers what was acknowledged', async t => {
  const directory = await makeMaster(t)
  const master = await Master.open(directory)
  const file = await (await master.createAccount('A')).createFile('F', { modulo: 5 })
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 200; i++) void file.write(`${round}*${i}`, 'v'.repeat(i))
    await file.write(`${round}*last`, 'v')
    if (round === 2) await master.checkpoint()
    const copy = `${directory} copy ${round}`
    await cp(directory, copy, { recursive: true, filter: source => !source.includes('/run') })
    const again = await Master.open(copy)
    const copied = again.account('A').file('F')
    t.equal(copied.itemCount, (round + 1) * 201)
    t.equal(String(await copied.read(`${round}*7`)), 'vvvvvvv')
    await copied.write('more', 'after recovery')
    await again.close()
  }
  await master.close()
})

t.test('an update that waits for a slave hears that the disk has failed', async t => {
  const directory = await makeMaster(t, '--slave', 'south=127.0.0.1:2001')
  const file = path.join(directory, 'hb.toml')
  const text = await readFile(file, 'utf8')
  const limited = text.replace(/^# limit = "0"$/m, 'limit = "100KiB"')
  await writeFile(file, limited.replace(/^(\[commit\][^[]*)# timeout = .*$/m, '$1timeout = "1s"'))
  const { disk } = nodePlatform
  let fails = false
  const failing: typeof disk = {
    ...disk,
    rename: (from, to) => {
      if (!fails || !to.endsWith('catalog')) return disk.rename(from, to)
      return Promise.reject(new HotBackupError('ERR_DISK', 'cannot rename: EIO'))
    },
  }
  const master = await Master.open(directory, { platform: { ...nodePlatform, disk: failing } })
  const items = await (await master.createAccount('A')).createFile('F')
  const unconfirmed = items.write('first', 'value', { level: 'durable' })
  unconfirmed.catch(() => {})
  await items.write('id', Buffer.alloc(200 * 1024))
  while (master.status().queue.state === 'open') await new Promise(setImmediate)
  const waiting = items.write('other', 'value')
  waiting.catch(() => {})
  await new Promise(setImmediate)
  fails = true
  await t.rejects(master.checkpoint(), { code: 'ERR_DISK' })
  await t.rejects(waiting, { code: 'ERR_STOPPED' })
  await t.rejects(items.write('later', 'value'), { code: 'ERR_STOPPED' })
  await t.rejects(unconfirmed, { code: 'ERR_UNCONFIRMED', message: /cannot rename: EIO/ })
  await master.close().catch(() => {})
})

t.test('segments go when checkpoint and slaves are past them, and never before', async t => {
  for (const slaves of [[], ['--slave', 'beta=127.0.0.1:23999']]) {
    const directory = await makeMaster(t, ...slaves)
    const toml = path.join(directory, 'hb.toml')
    const text = await readFile(toml, 'utf8')
    const small = text.replace(/^#?\s*segment_size.*$/m, 'segment_size = "1MiB"')
    await writeFile(toml, small.replace(/^# keep_time.*$/m, 'keep_time = "0"'))
    const master = await Master.open(directory)
    const file = await (await master.createAccount('A')).createFile('F', { modulo: 97 })
    for (let i = 0; i < 50; i++) await file.write(String(i), Buffer.alloc(100_000, i))
    const before = await segmentNames(directory)
    t.ok(before.length >= 4, `${before.length} segments`)
    await master.checkpoint()
    await master.close()
    const after = await segmentNames(directory)
    if (slaves.length === 0) t.same(after, before.slice(-1), 'nobody needs them any more')
    else t.same(after, before, 'the slave has not stored them')
  }
})

t.test(
  'updates take effect in the order of the calls, also when they have to wait for room',
  async t => {
    const directory = await makeMaster(t)
    const toml = path.join(directory, 'hb.toml')
    const text = await readFile(toml, 'utf8')
    await writeFile(toml, text.replace(/^#?\s*cache_size.*$/m, 'cache_size = "4MiB"'))
    const master = await Master.open(directory)
    t.teardown(() => master.close())
    const account = await master.createAccount('A')
    const file = await account.createFile('F', { modulo: 2003 })
    const old = await account.createFile('OLD', { modulo: 503 })
    // More frames than the cache may hold changed, so most of these wait for checkpoints, and others come meanwhile.
    const writes: Promise<unknown>[] = []
    const seen: number[] = []
    for (let i = 0; i < 30_000; i++) {
      writes.push(file.write(`item ${i}`, 'x'.repeat(100)))
      if (i % 100 !== 0) continue
      writes.push(file.write('sequence', String(i)))
      writes.push(master.transaction(each => seen.push(Number(each.read(file, 'sequence')))))
      await new Promise(resolve => setImmediate(resolve))
    }
    const cleared = file.clear()
    const after = file.write('after', 'the clear')
    const deleted = account.deleteFile('OLD')
    const late = t.rejects(old.write('too', 'late'), { code: 'ERR_NO_FILE' })
    const counted = master.transaction(transaction => {
      transaction.write(file, 'count', String(file.itemCount))
    })
    await Promise.all([...writes, cleared, after, deleted, late, counted])
    t.equal(file.itemCount, 2)
    t.equal(String(await file.read('after')), 'the clear')
    t.equal(String(await file.read('count')), '1')
  },
)

async function segmentNames(directory: string): Promise<string[]> {
  const names = await readdir(path.join(directory, 'log'))
  return names.filter(name => /^\d+\.log$/.test(name)).sort()
}
