// The network on the loopback, plain and encrypted: everything arrives, in order, with back-pressure; strangers
// and wrong keys stay outside, and are told so clearly.
import { once } from 'node:events'
import * as net from 'node:net'
import { networkInterfaces } from 'node:os'
import t, { type Test } from 'tap'
import {
  type Address,
  type Connection,
  type Listener,
  type SharedKey,
} from '../../src/platform/network.ts'
import { nodeNetwork } from '../../src/platform/node-network.ts'
import { nodeRandom } from '../../src/platform/node-random.ts'

const key: SharedKey = { bytes: nodeRandom.bytes(32) }
const otherKey: SharedKey = { bytes: nodeRandom.bytes(32) }
const loopback = { host: '127.0.0.1', port: 0 }
/** Long enough never to matter where no time-out is expected. */
const longMs = 60_000

t.test(
  'all addresses are those of IPv4 and IPv6; an IPv6 address is shown in brackets',
  async t => {
    const hosts = ['127.0.0.1', ...(hasIPv6() ? ['::1'] : [])]
    for (const shared of [key, null]) {
      const heard: string[] = []
      let all = () => {}
      const done = new Promise<void>(resolve => (all = resolve))
      const accept = (connection: Connection) => {
        heard.push(connection.remoteAddress.replace(/:\d+$/, ''))
        connection.destroy()
        if (heard.length === hosts.length) all()
      }
      const options = { connectionsMax: 9, timeoutMs: longMs }
      const listener = await nodeNetwork.listen({ host: '*', port: 0 }, shared, accept, options)
      const { port } = listener.address
      for (const host of hosts) {
        // Without a key, a peer is nobody before it has sent something.
        const connection = await nodeNetwork.connect({ host, port }, shared, longMs)
        connection.write(Buffer.from('x'))
      }
      await done
      await listener.close()
      t.strictSame(heard.sort(), hosts.map(host => (host === '::1' ? '[::1]' : host)).sort())
      for (const host of hosts) {
        const text = `cannot connect to ${host === '::1' ? '[::1]' : host}:${port}: `
        await t.rejects(nodeNetwork.connect({ host, port }, shared, longMs), {
          message: new RegExp(`^${text.replaceAll(/[[\]]/g, '\\$&')}`),
        })
      }
    }
  },
)

function hasIPv6(): boolean {
  const addresses = Object.values(networkInterfaces()).flatMap(each => each ?? [])
  return addresses.some(({ address }) => address === '::1')
}

/** Listens to a connection: gathers what comes, and offers promises for the rest. */
class Ear {
  readonly closed: Promise<Error | null>
  received = 0
  sum = 0
  drains = 0
  #closedYet = false
  #wake: () => void = () => {}
  onDrained: () => void = () => {}

  constructor(connection: Connection) {
    this.closed = new Promise(resolve => {
      connection.listen({
        data: bytes => {
          this.received += bytes.length
          for (const byte of bytes) this.sum = (this.sum * 31 + byte) | 0
          this.#wake()
        },
        drained: () => {
          this.drains++
          this.onDrained()
          this.#wake()
        },
        closed: error => {
          if (this.#closedYet) throw new Error('closed twice')
          this.#closedYet = true
          resolve(error)
        },
      })
    })
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }
}

/** Without a key, a connection is handed over when its first byte has come. */
const greeting = Buffer.from('hello')

async function greeted(address: Address, sharedKey: SharedKey | null): Promise<Connection> {
  const connection = await nodeNetwork.connect(address, sharedKey, longMs)
  connection.write(greeting)
  return connection
}

/** A listener whose accepted connections can be awaited. */
async function server(
  t: Test,
  withKey: SharedKey | null,
  options = { timeoutMs: longMs, connectionsMax: 10 },
) {
  const waiting: ((connection: Connection) => void)[] = []
  const accepted: Connection[] = []
  const accept = (connection: Connection) => {
    const next = waiting.shift()
    if (next === undefined) accepted.push(connection)
    else next(connection)
  }
  const listener: Listener = await nodeNetwork.listen(loopback, withKey, accept, options)
  t.teardown(() => listener.close())
  const next = () =>
    new Promise<Connection>(resolve => {
      const connection = accepted.shift()
      if (connection === undefined) waiting.push(resolve)
      else resolve(connection)
    })
  return { address: listener.address, listener, next, accepted }
}

for (const [name, sharedKey] of [
  ['plain', null],
  ['encrypted', key],
] as const) {
  t.test(`${name}: bytes both ways, with back-pressure`, async t => {
    const { address, next } = await server(t, sharedKey)
    const near = await greeted(address, sharedKey)
    const far = await next()
    t.match(near.remoteAddress, `127.0.0.1:${address.port}`)
    t.match(far.remoteAddress, /^127\.0\.0\.1:\d+$/)

    const nearEar = new Ear(near)
    t.throws(() => near.listen({ data() {}, drained() {}, closed() {} }), TypeError)
    // Nobody listens at the far end yet: the near one must find its buffer full in the end.
    const piece = Buffer.from(nodeRandom.bytes(1024 * 1024))
    let sent = 0
    let sum = 0
    for (const byte of greeting) sum = (sum * 31 + byte) | 0
    while (near.write(piece)) sent++
    sent++
    t.ok(near.pendingBytes > 0)
    t.equal(nearEar.drains, 0)
    const farEar = new Ear(far)
    await nearEar.until(() => nearEar.drains > 0)
    t.equal(near.pendingBytes, 0)
    for (let i = 0; i < sent; i++) for (const byte of piece) sum = (sum * 31 + byte) | 0
    await farEar.until(() => farEar.received === sent * piece.length + greeting.length)
    t.equal(farEar.sum, sum, 'the same bytes in the same order')

    far.write(Buffer.from('answer'))
    await nearEar.until(() => nearEar.received === 6)
    near.pause()
    far.write(Buffer.from('more'))
    near.resume()
    await nearEar.until(() => nearEar.received === 10)

    near.write(Buffer.from('last words'))
    near.end()
    t.equal(await nearEar.closed, null)
    t.equal(await farEar.closed, null)
    t.equal(
      farEar.received,
      sent * piece.length + greeting.length + 10,
      'what was queued is sent before the end',
    )
    t.equal(near.write(piece), true, 'a write after the end is dropped')
    t.equal(near.pendingBytes, 0)
  })

  t.test(`${name}: destroyed, refused, too many`, async t => {
    const { address, listener, next } = await server(t, sharedKey, {
      timeoutMs: longMs,
      connectionsMax: 2,
    })
    const first = await greeted(address, sharedKey)
    const firstFar = await next()
    const second = await greeted(address, sharedKey)
    await next()
    // A third one is dropped, whether it notices while it connects or later.
    await greeted(address, sharedKey).then(
      third => new Ear(third).closed,
      () => {},
    )
    const reason = new Error('enough')
    const ear = new Ear(first)
    first.destroy(reason)
    t.equal(await ear.closed, reason)
    await new Ear(firstFar).closed
    const fourth = await greeted(address, sharedKey)
    const fourthFar = await next()
    t.ok(fourthFar, 'its place is free again')

    await listener.close()
    await t.rejects(nodeNetwork.connect(address, sharedKey, longMs), {
      code: 'ERR_CONNECT',
      message: `cannot connect to 127.0.0.1:${address.port}`,
    })
    const fourthEar = new Ear(fourthFar)
    fourth.write(Buffer.from('still here'))
    await fourthEar.until(() => fourthEar.received === greeting.length + 10)
    for (const connection of [second, fourth]) connection.destroy()
    await fourthEar.closed
    t.equal(await new Ear(second).closed, null, 'who listens late hears of the end all the same')
  })
}

t.test('addresses', async t => {
  const { address } = await server(t, null)
  await t.rejects(
    nodeNetwork.listen(address, null, () => {}, { timeoutMs: longMs, connectionsMax: 1 }),
    { code: 'ERR_LISTEN', message: /EADDRINUSE/ },
  )
  await t.rejects(nodeNetwork.connect({ host: 'no.such.host.invalid', port: 1 }, null, longMs), {
    code: 'ERR_CONNECT',
  })
})

t.test('wrong keys', async t => {
  const { address, accepted, next } = await server(t, key)
  await t.rejects(nodeNetwork.connect(address, otherKey, longMs), {
    code: 'ERR_KEY',
    message: /does not accept our key/,
  })
  t.equal(accepted.length, 0)

  const plain = new Ear(await nodeNetwork.connect(address, null, longMs))
  t.equal(plain.received, 0)
  const http = net.connect(address.port, '127.0.0.1')
  http.on('error', () => {})
  http.write('GET / HTTP/1.1\r\n\r\n')
  http.resume()
  await once(http, 'close')
  t.equal(accepted.length, 0, 'garbage never gets in')

  const right = await nodeNetwork.connect(address, key, longMs)
  t.ok(await next(), 'and harms nobody else')
  right.destroy()

  // The other way round: a server that has no key, and one that says nothing at all.
  const talker = net.createServer(socket =>
    socket.on('error', () => {}).end('hello, who is there?'),
  )
  const silent = net.createServer(socket => socket.on('error', () => {}))
  for (const [stranger, code] of [
    [talker, 'ERR_WIRE'],
    [silent, 'ERR_WIRE_TIMEOUT'],
  ] as const) {
    stranger.listen(0, '127.0.0.1')
    await once(stranger, 'listening')
    const { port } = stranger.address() as net.AddressInfo
    const waitMs = code === 'ERR_WIRE' ? longMs : 50
    await t.rejects(nodeNetwork.connect({ host: '127.0.0.1', port }, key, waitMs), { code })
    stranger.close()
  }
})

t.test('strangers that say nothing are dropped after the time-out', async t => {
  for (const sharedKey of [null, key]) {
    const { address, accepted } = await server(t, sharedKey, { timeoutMs: 50, connectionsMax: 10 })
    const socket = net.connect(address.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'close')
    t.equal(accepted.length, 0)
  }
})

t.test('what waits is dropped when the port is closed', async t => {
  for (const sharedKey of [null, key]) {
    const { address, listener, accepted } = await server(t, sharedKey)
    const socket = net.connect(address.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'connect')
    const friend = await greeted(address, sharedKey)
    await new Promise<void>(resolve => {
      const look = () => (accepted.length > 0 ? resolve() : setImmediate(look))
      look()
    })
    await listener.close()
    await once(socket, 'close')
    friend.destroy()
  }
})
