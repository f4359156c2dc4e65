// The door as its clients see it: order, durability, transactions, limits, and a change of what is behind it.
import t, { type Test } from 'tap'
import { HotBackupError } from '../../src/errors.ts'
import type { Store, Writes } from '../../src/resp/store.ts'
import { request, type RespClient, type Value } from '../helpers/resp-client.ts'
import { respMaster, type RespMaster } from '../helpers/resp-servers.ts'

/** Something else than what `target` has, for some of its members. */
function instead<Target extends object>(target: Target, other: Partial<Target>): Target {
  return new Proxy(target, {
    get(_, name) {
      if (name in other) return Reflect.get(other, name) as unknown
      const value = Reflect.get(target, name) as unknown
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

/** Writes are done when the test says so. */
function slowly({ master, server }: RespMaster): (error?: HotBackupError) => void {
  let finish: (error?: HotBackupError) => void = () => {}
  const done = new Promise<void>((resolve, reject) => {
    finish = error => (error === undefined ? resolve() : reject(error))
  })
  const writes = instead<Writes>(master.store.writes!, { done: () => done })
  server.use(instead<Store>(master.store, { writes }))
  return error => finish(error)
}

/** Resolves when the server has executed everything that has come. */
async function executed(client: RespClient): Promise<void> {
  await client.call('PING')
}

const text = (error: Value) => (error instanceof Error ? error.message : error)

t.test('strings and hashes are items of files', async t => {
  const { master, client } = await respMaster(t)
  const own = await client()
  t.equal(await own.call('SET', 'ada', 'Ada'), 'OK')
  t.equal(String(await master.account('REDIS').file('0').read('ada')), 'Ada')
  t.equal(await own.call('HSET', 'SALES/CUSTOMERS', 'ada', 'Ada', 'bob', 'Bob'), 2)
  const customers = master.account('SALES').file('CUSTOMERS')
  t.equal(String(await customers.read('bob')), 'Bob')
  await customers.write('eve', 'Eve')
  t.equal(await own.call('HGET', 'SALES/CUSTOMERS', 'eve'), 'Eve')
  t.equal(await own.call('DEL', 'SALES/CUSTOMERS'), 1)
  t.equal(customers.itemCount, 0, 'the file is emptied, and stays')
  await own.call('SELECT', 3)
  await own.call('HSET', 'session', 'user', 'ada')
  t.same(master.account('REDIS').files(), ['0', '3:session'])
  await own.call('HDEL', 'session', 'user')
  t.same(master.account('REDIS').files(), ['0'], 'it goes with its last field')
  t.match(text(await own.call('SET', 'SALES/CUSTOMERS', 'x')), 'OK', 'an empty file is no key')
  await customers.write('eve', 'Eve')
  await own.call('DEL', 'SALES/CUSTOMERS')
  await customers.write('eve', 'Eve')
  t.match(
    text(await own.call('SET', 'SALES/CUSTOMERS', 'x')),
    /^WRONGTYPE/,
    'no file is lost by SET',
  )
  t.match(text(await own.call('HSET', 'a/b/c', 'f', 'v')), /^ERR a hash is a file/)
  t.match(text(await own.call('HSET', 'x'.repeat(100), 'f', 'v')), /^ERR a hash is a file/)
  t.equal(await own.call('HGET', 'x'.repeat(100), 'f'), null)
})

t.test('ten thousand commands in one go are answered in order', async t => {
  const { client } = await respMaster(t)
  const own = await client()
  const commands = Array.from({ length: 10_000 }, (_, index) =>
    index % 3 === 0
      ? ['SET', `k${index}`, index]
      : index % 3 === 1
        ? ['INCR', 'n']
        : ['PING', index],
  )
  const replies = await own.pipeline(commands)
  t.ok(
    replies.every((reply, index) =>
      index % 3 === 0
        ? reply === 'OK'
        : index % 3 === 1
          ? reply === (index - 1) / 3 + 1
          : reply === String(index),
    ),
  )
})

t.test('a reply leaves when its write is done, and what comes behind it later', async t => {
  const resp = await respMaster(t)
  const [own, other] = [await resp.client(), await resp.client()]
  await own.call('SET', 'k', 'v')
  const finish = slowly(resp)
  const set = own.call('SET', 'k', 'w')
  const get = own.call('GET', 'k')
  await executed(other)
  t.equal(own.rest.length, 0)
  t.equal(await other.call('PING'), 'PONG', 'others are served')
  finish()
  t.same(await Promise.all([set, get]), ['OK', 'w'])
})

t.test('a write that is not done is no success', async t => {
  const resp = await respMaster(t)
  const [own, other] = [await resp.client(), await resp.client()]
  const finish = slowly(resp)
  const replies = Promise.allSettled([own.call('SET', 'k', 'v'), own.call('GET', 'k')])
  await executed(other)
  finish(new HotBackupError('ERR_UNCONFIRMED', 'the master was closed'))
  const [set, get] = await replies
  t.match(set, { status: 'fulfilled', value: { message: /^UNCONFIRMED the master was closed/ } })
  t.match(get, { status: 'rejected' })
  await own.closed
})

t.test('a transaction is one of the log', async t => {
  const { master, client } = await respMaster(t)
  const own = await client()
  await own.call('SET', 'a', 1)
  const before = master.lastTxn
  const replies = await own.pipeline([
    ['MULTI'],
    ['SET', 'b', 2],
    ['HSET', 'A/F', 'f', 'v'],
    ['INCR', 'b'],
    ['LPUSH', 'x', 'y'],
    ['DISCARD'],
    ['MULTI'],
    ['SET', 'b', 2],
    ['HSET', 'A/F', 'f', 'v'],
    ['INCR', 'b'],
    ['HGET', 'a', 'f'],
    ['DEL', 'a'],
    ['EXEC'],
  ])
  const last = replies.at(-1) as Value[]
  t.same(last.map(text), [
    'OK',
    1,
    3,
    'WRONGTYPE Operation against a key holding the wrong kind of value',
    1,
  ])
  t.equal(master.lastTxn, before + 1)
  t.equal(await own.call('MSET', 'x', 1, 'y', 2, 'z', 3), 'OK')
  t.equal(master.lastTxn, before + 2)
})

t.test('a watch sees writes of the program that has the master open', async t => {
  const { master, client } = await respMaster(t)
  const own = await client()
  await own.call('SET', 'k', 'v')
  await own.call('HSET', 'A/F', 'f', 'v')
  const strings = master.account('REDIS').file('0')
  const cases: [string, () => Promise<unknown>, boolean][] = [
    ['k', () => strings.write('k', 'w'), true],
    ['k', () => strings.write('other', 'w'), false],
    ['k', () => master.transaction(tx => tx.write(strings, 'k', 'x')), true],
    ['k', () => strings.delete('k'), true],
    ['k', () => strings.clear(), true],
    ['A/F', () => master.account('A').file('F').write('g', 'v'), true],
    ['A/F', () => strings.write('g', 'v'), false],
    ['A/F', () => master.account('A').deleteFile('F'), true],
  ]
  for (const [key, change, seen] of cases) {
    await own.call('WATCH', key)
    await change()
    await own.call('MULTI')
    await own.call('PING')
    t.same(await own.call('EXEC'), seen ? null : ['PONG'], key)
  }
})

t.test('what cannot be understood ends the connection, after the replies before it', async t => {
  const { client } = await respMaster(t)
  const own = await client()
  own.socket.write(Buffer.concat([request('SET', 'k', 'v'), Buffer.from('*1\r\n+x\r\n')]))
  t.equal(String(await own.raw()), '+OK\r\n')
  t.equal(String(await own.raw()), "-ERR Protocol error: expected '$', got '+'\r\n")
  await own.closed
})

t.test('QUIT, inline commands, and replies that are left out', async t => {
  const { client } = await respMaster(t)
  const own = await client()
  own.socket.write('set k "a b"\r\nget k\n\r\n')
  t.same([String(await own.raw()), String(await own.raw())], ['+OK\r\n', '$3\r\na b\r\n'])
  own.socket.write(
    Buffer.concat([
      request('CLIENT', 'REPLY', 'SKIP'),
      request('SET', 'k', 1),
      request('INCR', 'k'),
      request('CLIENT', 'REPLY', 'OFF'),
      request('INCR', 'k'),
      request('FOO'),
      request('CLIENT', 'REPLY', 'ON'),
      request('GET', 'k'),
      request('QUIT'),
      request('PING'),
    ]),
  )
  const replies = [await own.raw(), await own.raw(), await own.raw(), await own.raw()]
  t.same(replies.map(String), [':2\r\n', '+OK\r\n', '$1\r\n3\r\n', '+OK\r\n'])
  await own.closed
  t.equal(own.rest.length, 0, 'nothing is executed behind QUIT')
})

t.test('there are only so many clients', async t => {
  const { client } = await respMaster(t, { maxClients: 2 })
  const [first] = [await client(), await client()]
  const third = await client()
  t.equal(String(await third.raw()), '-ERR max number of clients reached\r\n')
  await third.closed
  first.close()
  await first.closed
  let reply: Value = null
  for (let left = 100; left > 0 && reply !== 'PONG'; left--) {
    reply = await (await client()).call('PING').catch(() => null)
  }
  t.equal(reply, 'PONG', 'its place is free')
})

t.test('a client that reads nothing is not served on, and holds nobody up', async t => {
  const { server, client } = await respMaster(t)
  const [greedy, other] = [await client(), await client()]
  await other.call('SET', 'big', Buffer.alloc(1 << 20, 'v'))
  greedy.socket.pause()
  const gets = request('GET', 'big')
  for (let index = 0; index < 40; index++) greedy.socket.write(gets)
  await executed(other)
  let calls = server.context.stats.commands
  for (;;) {
    await executed(other)
    const now = server.context.stats.commands
    if (now === calls + 1) break
    calls = now
  }
  const [session] = [...server.context.sessions.values()].filter(
    ({ lastCommand }) => lastCommand === 'get',
  )
  t.ok(session!.link.outputBytes < 4 << 20, `${session!.link.outputBytes} bytes wait for it`)
  greedy.socket.resume()
  for (let index = 0; index < 40; index++) t.equal((await greedy.raw()).length, (1 << 20) + 12)
})

t.test('a large reply goes over several turns, and is whole', async t => {
  const { client } = await respMaster(t)
  const own = await client()
  for (let part = 0; part < 5; part++) {
    const words: (string | number)[] = ['HSET', 'A/F']
    for (let index = 0; index < 5000; index++) words.push(`field ${part} ${index}`, index)
    t.equal(await own.call(...words), 5000)
  }
  const [all, keys, ping] = await Promise.all([
    own.call('HGETALL', 'A/F'),
    own.call('HKEYS', 'A/F'),
    own.call('PING'),
  ])
  t.equal((all as Value[]).length, 50_000)
  t.equal(new Set(keys as Value[]).size, 25_000)
  t.equal(ping, 'PONG')
})

async function scanned(own: RespClient, ...words: readonly string[]): Promise<string[]> {
  const found: string[] = []
  let cursor = '0'
  do {
    const [next, keys] = (await own.call(
      ...words.slice(0, -1),
      cursor,
      ...words.slice(-1).filter(Boolean),
    )) as [string, string[]]
    found.push(...keys)
    cursor = next
  } while (cursor !== '0')
  return found
}

t.test('a scan survives a resize: what stays comes exactly once', async t => {
  const { client } = await respMaster(t)
  const own = await client()
  const keys = Array.from({ length: 2000 }, (_, index) => `k${index}`)
  await own.pipeline(keys.map(key => ['SET', key, 'v']))
  await own.call('HSET', 'hash', 'f', 'v')
  const found: string[] = []
  let cursor = '0'
  for (let modulo = 3; ; modulo += 7) {
    const [next, page] = (await own.call('SCAN', cursor)) as [string, string[]]
    found.push(...page)
    if (next === '0') break
    cursor = next
    if (found.length % 3 === 0) await own.call('HB.RESIZEFILE', 'REDIS', '0', modulo)
    await own.pipeline([
      ['SET', `new${modulo}`, 'v'],
      ['DEL', `new${modulo - 7}`],
    ])
  }
  t.same(found.filter(key => /^k\d/.test(key)).sort(), keys.sort())
  t.ok(found.includes('hash'))
  t.equal((await scanned(own, 'SCAN', '')).length, await own.call('DBSIZE'))
})

async function entries(
  own: RespClient,
  ...words: (string | number)[]
): Promise<[string, string[]][]> {
  const found = (await own.call(...words)) as [string, [string, string[]][]][] | null
  return found === null ? [] : found[0]![1]
}

t.test('the change feed', async t => {
  const { master, client } = await respMaster(t)
  const [own, other] = [await client(), await client()]
  await own.call('HSET', 'A/F', 'f', 'v')
  const feed = await entries(own, 'XREAD', 'STREAMS', 'hb:log', 0)
  t.same(feed, [
    ['1-0', ['op', 'create-account', 'account', 'A']],
    ['1-1', ['op', 'create-file', 'account', 'A', 'file', 'F', 'modulo', '101']],
    ['1-2', ['op', 'write-item', 'account', 'A', 'file', 'F', 'id', 'f', 'value', 'v']],
  ])
  t.same(await entries(own, 'XREAD', 'COUNT', 1, 'STREAMS', 'hb:log', '1-1'), feed.slice(2))
  t.same(await own.call('XRANGE', 'hb:log', '(1-0', '1-1'), feed.slice(1, 2))
  t.same(await own.call('XRANGE', 'hb:log', '-', '+', 'COUNT', 2), feed.slice(0, 2))
  t.equal(await own.call('XREAD', 'STREAMS', 'hb:log', '1-2'), null)
  t.equal(await own.call('XREAD', 'BLOCK', 10, 'STREAMS', 'hb:log', '$'), null)
  const waiting = entries(own, 'XREAD', 'BLOCK', 0, 'STREAMS', 'hb:log', '$')
  await executed(other)
  await master.account('A').file('F').delete('f')
  t.same(await waiting, [['2-0', ['op', 'delete-item', 'account', 'A', 'file', 'F', 'id', 'f']]])
  const unblocked = own.call('XREAD', 'BLOCK', 0, 'STREAMS', 'hb:log', '$')
  const id = ((await other.call('CLIENT', 'LIST')) as string).match(/id=(\d+) .*cmd=xread/)![1]!
  t.equal(await other.call('CLIENT', 'UNBLOCK', id, 'ERROR'), 1)
  t.match(text(await unblocked), /^UNBLOCKED/)
  t.equal(await own.call('XLEN', 'hb:log'), 2)
  t.equal(await own.call('TYPE', 'hb:log'), 'stream')
  for (const words of [
    ['SET', 'hb:log', 'x'],
    ['GET', 'hb:log'],
    ['HGET', 'hb:log', 'f'],
  ]) {
    t.match(text(await own.call(...words)), /^WRONGTYPE/)
  }
  t.match(text(await own.call('DEL', 'hb:log')), /^ERR hb:log is the log/)
  // A consumer that follows a busy log misses nothing, whatever it takes at once.
  const written = Array.from({ length: 3000 }, (_, index) => ['HSET', 'A/F', `f${index}`, index])
  const writing = other.pipeline(written)
  const seen: string[] = []
  for (let last = '2-0', count = 1; seen.length < written.length; count = (count % 700) + 50) {
    for (const [id, fields] of await entries(
      own,
      'XREAD',
      'COUNT',
      count,
      'BLOCK',
      0,
      'STREAMS',
      'hb:log',
      last,
    )) {
      seen.push(fields[7]!)
      last = id
    }
  }
  await writing
  t.same(
    seen,
    written.map(([, , field]) => field),
  )
})

t.test('a feed that starts too early names the first transaction', async t => {
  const keepNothing = (toml: string) => toml.replace('# keep_time = "24h"', 'keep_time = "0"')
  const keepLess = (toml: string) =>
    keepNothing(toml).replace('# keep_size = "4GiB"', 'keep_size = 0')
  const { master, client } = await respMaster(t, {}, keepLess)
  const own = await client()
  const value = Buffer.alloc(1 << 20)
  for (let index = 0; index < 36; index++) await own.call('SET', 'k', value)
  await master.checkpoint()
  // All but the last segment goes, one after the other.
  while (Number(await own.call('XLEN', 'hb:log')) > 17) await executed(own)
  const reply = (await own.call('XREAD', 'COUNT', 1, 'STREAMS', 'hb:log', 0)) as Error
  const [, first] =
    /^ERR the log starts with transaction (\d+), id \1-0: .*\(ERR_LOG_REMOVED\)$/.exec(
      reply.message,
    )!
  const [[id]] = (await own.call('XRANGE', 'hb:log', '-', '+', 'COUNT', 1)) as [[string]]
  t.equal(id, `${first}-0`)
  const [[again]] = (await own.call('XRANGE', 'hb:log', id, id)) as [[string]]
  t.equal(again, id)
  const before = `${Number(first) - 1}-0`
  t.match(text(await own.call('XREAD', 'STREAMS', 'hb:log', before)), /\(ERR_LOG_REMOVED\)$/)
})

t.test('what is behind the door changes, and connections stay', async t => {
  const { master, server, client } = await respMaster(t)
  const [own, other] = [await client(), await client()]
  await own.call('SET', 'k', 'v')
  await own.call('WATCH', 'k')
  const waiting = other.call('XREAD', 'BLOCK', 0, 'STREAMS', 'hb:log', '$')
  await executed(own)
  server.use(null)
  t.match(text(await waiting), /^UNBLOCKED/)
  t.match(text(await own.call('GET', 'k')), /^LOADING/)
  t.match(await own.call('INFO', 'persistence'), /loading:1/)
  server.use(instead<Store>(master.store, { writes: null, followers: null, names: null }))
  t.equal(await own.call('GET', 'k'), 'v')
  for (const words of [
    ['SET', 'k', 'w'],
    ['HB.CREATEACCOUNT', 'A'],
    ['FLUSHDB'],
    ['HSET', 'A/F', 'f', 'v'],
  ]) {
    t.match(text(await own.call(...words)), /^READONLY/, words.join(' '))
  }
  t.match(await own.call('INFO', 'replication'), /^# Replication\r\nrole:slave\r\n/)
  server.use(master.store)
  await own.call('MULTI')
  await own.call('PING')
  t.equal(await own.call('EXEC'), null, 'what was watched counts as changed')
  t.equal(await own.call('SET', 'k', 'w'), 'OK')
})

t.test("files that are nobody's to size grow with what they hold", async t => {
  const { master, client } = await respMaster(t)
  const own = await client()
  const fields = Array.from({ length: 20 }, (_, index) => `field ${index}`)
  await own.call('HSET', 'small', ...fields.flatMap(field => [field, 'v']))
  t.same(
    await own.call('HKEYS', 'small'),
    fields,
    'a small hash is one group, in the order of writing',
  )
  const value = 'v'.repeat(100)
  const keys = Array.from({ length: 20_000 }, (_, index) => `key ${index}`)
  await own.pipeline(keys.map(key => ['SET', key, value]))
  await own.pipeline(keys.map(key => ['HSET', 'large', key, value]))
  await own.call('MSET', ...keys.slice(0, 2000).flatMap(key => [`${key} again`, value]))
  const redis = master.account('REDIS')
  for (const name of ['0', '0:large']) {
    const { modulo, itemCount } = redis.file(name)
    t.ok(itemCount / modulo < 50, `${itemCount} items of ${name} in ${modulo} groups`)
    t.ok(itemCount / modulo > 5)
  }
  const values = await own.pipeline(keys.map(key => ['HGET', 'large', key]))
  t.ok(values.every(each => each === value))
  t.equal(await own.call('DBSIZE'), 22_002)
  await own.call('HB.CREATEACCOUNT', 'A')
  await own.call('HB.CREATEFILE', 'A', 'F', 'MODULO', 1)
  await own.pipeline(keys.slice(0, 500).map(key => ['HSET', 'A/F', key, value]))
  t.equal(master.account('A').file('F').modulo, 1, 'its owner has said so')
})

t.test('accounts and files by HB commands', async t => {
  const { master, client } = await respMaster(t)
  const own = await client()
  t.equal(await own.call('HB.CREATEACCOUNT', 'SALES'), 'OK')
  t.match(text(await own.call('HB.CREATEACCOUNT', 'SALES')), /^ERR .*\(ERR_EXISTS\)$/)
  t.equal(await own.call('HB.CREATEFILE', 'SALES', 'C', 'MODULO', 7, 'LOCAL'), 'OK')
  t.match(text(await own.call('HB.CREATEFILE', 'NONE', 'C')), /\(ERR_NO_ACCOUNT\)$/)
  t.match(text(await own.call('HB.CREATEFILE', 'SALES', 'D', 'MODULO', 0)), /^ERR a modulo/)
  await own.call('HSET', 'SALES/C', 'a', 'b', 'c', 'd')
  t.same(await own.call('HB.ACCOUNTS'), ['SALES'])
  const files = ['file', 'C', 'modulo', 7, 'items', 2, 'bytes', 4, 'local', 1]
  t.same(await own.call('HB.FILES', 'SALES'), [files])
  t.equal(await own.call('HB.RESIZEFILE', 'SALES', 'C', 11), 'OK')
  t.equal(master.account('SALES').file('C').modulo, 11)
  t.match(await own.call('HB.DIGEST'), /^[\da-f]{64}$/)
  t.match(await own.call('HB.DIGEST', 'SALES', 'C'), /^[\da-f]{64}$/)
  t.match(text(await own.call('HB.DIGEST', 'SALES', 'D')), /\(ERR_NO_FILE\)$/)
  t.equal(await own.call('HB.CLEARFILE', 'SALES', 'C'), 2)
  t.equal(await own.call('HB.DELETEFILE', 'SALES', 'C'), 0)
  t.equal(await own.call('HB.DELETEACCOUNT', 'SALES'), 0)
  t.match(await own.call('HB.STATUS'), ['name', 'alpha', 'type', 'master'])
  await own.call('MULTI')
  t.match(text(await own.call('HB.ACCOUNTS')), /^ERR Command not allowed inside a transaction/)
})

t.test('what there is not is refused by its name', async (t: Test) => {
  const { client } = await respMaster(t)
  const own = await client()
  for (const [words, what] of [
    [['LPUSH', 'k', 'v'], 'lists'],
    [['sadd', 'k', 'v'], 'sets'],
    [['ZADD', 'k', '1', 'v'], 'sorted sets'],
    [['EVAL', 'return 1', '0'], 'scripts'],
    [['SUBSCRIBE', 'c'], 'publish and subscribe'],
    [['XADD', 'k', '*', 'a', 'b'], 'streams other than hb:log'],
  ] as const) {
    t.equal(text(await own.call(...words)), `ERR this server does not have ${what}: see hb-resp(7)`)
  }
})
