// A flood of strangers at a port keeps nobody out who has the key, even behind a slow line, wherever it comes from.
import t from 'tap'
import type { Connection } from '../../src/platform/network.ts'
import { nodeNetwork } from '../../src/platform/node-network.ts'
import { nodeRandom } from '../../src/platform/node-random.ts'
import { flood, type StrangerKind } from '../helpers/flood.ts'
import { Proxy } from '../helpers/proxy.ts'

const key = { bytes: nodeRandom.bytes(32) }
/** Far more than are needed; whoever is kept out for certain is out after all of them. */
const attemptsMax = 40

const floods: readonly { kind: StrangerKind; atOnce: number; addresses: number }[] = [
  { kind: 'silent', atOnce: 600, addresses: 1 },
  { kind: 'silent', atOnce: 600, addresses: process.platform === 'linux' ? 5000 : 1 },
  { kind: 'half a hello', atOnce: 600, addresses: 1 },
  { kind: 'garbage', atOnce: 100, addresses: 1 },
  { kind: 'no key', atOnce: 30, addresses: 1 },
  { kind: 'wrong key', atOnce: 30, addresses: 1 },
]

for (const { kind, atOnce, addresses } of floods) {
  t.test(`${kind}, from ${addresses === 1 ? 'its own address' : 'many'}`, async t => {
    const accepted: Connection[] = []
    const options = { timeoutMs: 60_000, connectionsMax: 32 }
    const accept = (connection: Connection) => void accepted.push(connection)
    const listen = { host: '127.0.0.1', port: 0 }
    const listener = await nodeNetwork.listen(listen, key, accept, options)
    t.teardown(() => listener.close())
    const proxy = await Proxy.start(t, listener.address.port)
    proxy.late(40)
    const strangers = flood(listener.address.port, kind, { atOnce, addresses })
    t.teardown(() => strangers.stop())

    // Not before the places are taken.
    while (strangers.made < 2 * atOnce) await new Promise(resolve => setImmediate(resolve))
    const [host = '', port] = proxy.address.split(':')
    let connection: Connection | null = null
    let attempts = 0
    while (connection === null && attempts++ < attemptsMax) {
      connection = await nodeNetwork
        .connect({ host, port: Number(port) }, key, 10_000)
        .catch(() => null)
    }
    t.not(connection, null, `${attempts} attempts, ${strangers.made} strangers`)
    // The last bytes of the handshake are still under way.
    while (connection !== null && accepted.length === 0)
      await new Promise(resolve => setImmediate(resolve))
    t.equal(accepted.length, 1, 'and nobody else is let in')
    strangers.stop()
    connection?.destroy()
  })
}
