// Whether a first message was made with the key is seen before TLS: right ones pass, whatever their size, and of the
// others not one bit may differ.
import { once } from 'node:events'
import * as net from 'node:net'
import * as tls from 'node:tls'
import fc from 'fast-check'
import t from 'tap'
import { HelloCheck, helloBytesMax } from '../../src/platform/client-hello.ts'
import { nodeRandom } from '../../src/platform/node-random.ts'

const key = Buffer.from(nodeRandom.bytes(32))
const check = new HelloCheck(key, 'hotbackup')

/** The first bytes of a client of Node's. */
async function helloOf(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const client = tls.connect({ port, host: '127.0.0.1', minVersion: 'TLSv1.3', ...options })
  client.on('error', () => {})
  const [socket] = (await once(server, 'connection')) as [net.Socket]
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  client.destroy()
  socket.destroy()
  server.close()
  return bytes
}

const cipher = 'TLS_AES_128_GCM_SHA256'
const withKey = (psk: Buffer, identity = 'hotbackup') => ({
  ciphers: cipher,
  pskCallback: () => ({ psk, identity }),
  checkServerIdentity: () => undefined,
})

t.test('with the key', async t => {
  for (const groups of [undefined, 'P-256', 'P-521:P-384:P-256:X25519']) {
    const hello = await helloOf({ ...withKey(key), ...(groups && { ecdhCurve: groups }) })
    t.equal(check.verdict(hello), 'proven', `${groups}: ${hello.length} bytes`)
    for (let length = 0; length < hello.length; length++) {
      if (check.verdict(hello.subarray(0, length)) !== 'incomplete') t.fail(`at ${length}`)
    }
    t.equal(check.verdict(Buffer.concat([hello, Buffer.from('more')])), 'proven')
  }
})

t.test('without it', async t => {
  const other = Buffer.from(nodeRandom.bytes(32))
  t.equal(check.verdict(await helloOf(withKey(other))), 'unproven', 'another key')
  t.equal(check.verdict(await helloOf(withKey(key, 'other'))), 'unproven', 'another name')
  t.equal(check.verdict(await helloOf({})), 'unproven', 'no key')
  t.equal(check.verdict(await helloOf({ servername: 'x.example' })), 'unproven', 'a browser')
})

t.test('not one bit may differ', async () => {
  const hello = await helloOf(withKey(key))
  fc.assert(
    fc.property(fc.integer({ min: 0, max: hello.length * 8 - 1 }), bit => {
      const changed = Buffer.from(hello)
      changed.writeUInt8(changed.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      const verdict = check.verdict(changed)
      // The minor version of the record is nobody's business; a longer length waits for more.
      if (verdict === 'unproven' || verdict === 'stranger') return true
      return bit >> 3 === 2 || (verdict === 'incomplete' && bit < 40)
    }),
    { numRuns: 2000 },
  )
})

t.test('nothing that comes is believed', t => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), bytes => {
      const verdict = check.verdict(Buffer.from(bytes))
      return verdict !== 'proven'
    }),
  )
  // As a record of the right kind, so that the parser sees it.
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 600 }), bytes => {
      const head = Buffer.from([22, 3, 1, bytes.length >> 8, bytes.length & 255])
      bytes[0] = 1
      return check.verdict(Buffer.concat([head, bytes])) === 'unproven'
    }),
  )
  const endless = Buffer.from([22, 3, 1, helloBytesMax >> 8, helloBytesMax & 255])
  t.equal(check.verdict(endless), 'stranger', 'a hello that is too long is not waited for')
  t.equal(check.verdict(Buffer.from('GET / HTTP/1.1')), 'stranger')
  t.equal(check.verdict(Buffer.from('S')), 'stranger', 'at its first byte')
  t.end()
})
