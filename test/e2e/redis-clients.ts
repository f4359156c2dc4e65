// Clients of the Redis protocol and real servers: what they share while the server dies and is promoted.
import { rmSync } from 'node:fs'
import path from 'node:path'
import t, { type Test } from 'tap'
import { RespClient, valueOf, type Value } from '../helpers/resp-client.ts'
import { edit, freePort, hb, ok, Pair, statusOf, until } from '../helpers/servers.ts'

const socketOf = (directory: string) => path.join(directory, 'run', 'resp.sock')

async function clientOf(t: Test, directory: string): Promise<RespClient> {
  const client = await RespClient.open(socketOf(directory))
  t.teardown(() => client.close())
  return client
}

/** The id and the fields of each entry. */
function entriesOf(reply: Value): [string, Record<string, string>][] {
  if (!Array.isArray(reply)) return []
  const [[, entries]] = reply as [[string, [string, string[]][]]]
  return entries.map(([id, words]) => {
    const fields: Record<string, string> = {}
    for (let at = 0; at < words.length; at += 2) fields[words[at]!] = words[at + 1]!
    return [id, fields]
  })
}

/** Reads the change feed after `id` until item `last` has come; where it stopped, and the items in their order. */
async function follow(client: RespClient, id: string, last: string): Promise<[string, string[]]> {
  const items: string[] = []
  let at = id
  while (!items.includes(last)) {
    const reply = await client.call('XREAD', 'COUNT', 7, 'BLOCK', 60_000, 'STREAMS', 'hb:log', at)
    for (const [entry, fields] of entriesOf(reply)) {
      at = entry
      if (fields['id'] !== undefined) items.push(fields['id'])
    }
  }
  return [at, items]
}

t.test('clients stay connected to a slave that becomes the master', async t => {
  const pair = await Pair.make(t)
  const { master, slave } = pair
  await ok('start', '-d', master)
  const there = await clientOf(t, master)
  const waiting = there.call('WAIT', 1, 0)
  await ok('start', '-d', slave)
  t.equal(await waiting, 1, 'a slave that comes later counts')
  const here = await clientOf(t, slave)
  const keys = Array.from({ length: 40 }, (_, n) => `k${n}`)
  const set = keys.map(key => ['SET', key, `value of ${key}`])
  t.strictSame(new Set(await there.pipeline(set)), new Set(['OK']))
  t.equal(await there.call('WAIT', 1, 60_000), 1)
  t.equal(await here.call('GET', 'k39'), 'value of k39')
  t.match(await here.call('SET', 'k0', 'x'), /^Error: READONLY/)

  const [at, read] = await follow(await clientOf(t, master), '0', 'k19')
  t.strictSame(read, keys.slice(0, read.length))

  await ok('stop', '-d', master)
  await ok('promote', '-d', slave)
  await until('the server of the new master serves', async () => {
    const reply = await here.call('SET', 'k40', 'after')
    if (reply instanceof Error) t.match(reply, /READONLY|LOADING/)
    return reply === 'OK'
  })
  t.equal(await here.call('GET', 'k40'), 'after')
  const [, rest] = await follow(await clientOf(t, slave), at, 'k40')
  t.strictSame([...read, ...rest], [...keys, 'k40'], 'the feed goes on where it stopped')
})

t.test('a socket that was deleted is made again', async t => {
  const { master } = await Pair.make(t)
  await ok('start', '-d', master)
  const before = await clientOf(t, master)
  rmSync(socketOf(master))
  await until('the socket is back', () =>
    clientOf(t, master).then(
      async client => (await client.call('PING')) === 'PONG',
      () => false,
    ),
  )
  t.equal(await before.call('PING'), 'PONG', 'connections stay')
})

t.test('a TCP port and the files of databases by hb.toml', async t => {
  const { master } = await Pair.make(t)
  const port = await freePort()
  const serve = `listen = "127.0.0.1:${port}"\nmax_clients = 2\ndatabases = { 3 = "SALES/ORDERS" }`
  edit(master, /^\[serve\]$/m, `[serve]\n${serve}`)
  await ok('start', '-d', master)
  const client = await RespClient.open({ host: '127.0.0.1', port })
  t.teardown(() => client.close())
  t.equal(await client.call('SELECT', 3), 'OK')
  t.equal(await client.call('SET', '17', 'pears'), 'OK')
  t.equal(await ok('read', '-d', master, 'SALES', 'ORDERS', '17'), 'pears')
  t.match(await client.call('INFO', 'server'), new RegExp(`tcp_port:${port}\r\n`))

  const page = await RespClient.open({ host: '127.0.0.1', port })
  page.socket.write('POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET 17 plums\r\n')
  await page.closed
  t.equal(await client.call('GET', '17'), 'pears', 'a browser writes nothing')

  const other = await clientOf(t, master)
  t.equal(await other.call('PING'), 'PONG')
  const third = await clientOf(t, master)
  t.match(valueOf(await third.raw()), /^Error: ERR max number of clients reached/)
  edit(master, /^max_clients = 2$/m, 'max_clients = 3')
  await ok('reload', '-d', master)
  t.equal(await (await clientOf(t, master)).call('PING'), 'PONG', 'read again')

  const { master: second } = await Pair.make(t)
  edit(second, /^\[serve\]$/m, `[serve]\nlisten = "127.0.0.1:${port}"`)
  const failed = await hb('start', '-d', second)
  t.not(failed.code, 0)
  t.match(failed.stderr, /ERR_LISTEN/)
})

t.test('no acknowledged write is lost when the server is killed under load', async t => {
  const { master } = await Pair.make(t)
  await ok('start', '-d', master)
  const clients = await Promise.all([1, 2, 3].map(() => clientOf(t, master)))
  const acknowledged: string[] = []
  let enough = () => {}
  const underLoad = new Promise<void>(resolve => {
    enough = resolve
  })
  const writers = clients.map(async (client, n) => {
    for (let number = 0; ; number++) {
      const key = `${n}-${number}`
      const reply = await client.call('SET', key, key).catch(() => null)
      if (reply === null) return
      t.equal(reply, 'OK')
      if (acknowledged.push(key) === 300) enough()
    }
  })
  await underLoad
  const { pid } = await statusOf(master)
  t.ok(process.kill(pid!, 'SIGKILL'))
  await Promise.all(writers)
  let found: Value = null
  await until('the server answers again', async () => {
    // The socket may still lead to the server that was killed.
    const reader = await RespClient.open(socketOf(master)).catch(() => null)
    found = (await reader?.call('MGET', ...acknowledged).catch(() => null)) ?? null
    reader?.close()
    return Array.isArray(found)
  })
  t.strictSame(found, acknowledged)
})
