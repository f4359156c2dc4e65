// How often a master gets in at its slave's port, over a line that is 40 ms long each way, while strangers flood the
// port from another process; and what the flood costs the slave.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { readKey } from '../src/config/key.ts'
import { layoutOf } from '../src/config/layout.ts'
import type { StrangerKind } from '../test/helpers/flood.ts'
import { Proxy } from '../test/helpers/proxy.ts'
import { cpuSeconds, type Pair } from './servers.ts'
import { lasting } from './workload.ts'

export interface FloodOptions {
  readonly kind: StrangerKind
  readonly addresses: number
  readonly perSecond: number
  readonly attempts: number
  /** The slave knows the master's address: it has been there before. */
  readonly known: boolean
}

export const floods: readonly Omit<FloodOptions, 'attempts'>[] = [
  { kind: 'silent', addresses: 1, perSecond: 387, known: true },
  { kind: 'silent', addresses: 1, perSecond: 5000, known: true },
  { kind: 'silent', addresses: 20_000, perSecond: 5000, known: false },
  { kind: 'silent', addresses: 20_000, perSecond: 5000, known: true },
  { kind: 'half a hello', addresses: 1, perSecond: 5000, known: true },
  { kind: 'garbage', addresses: 1, perSecond: 5000, known: true },
  { kind: 'no key', addresses: 1, perSecond: 1000, known: true },
  { kind: 'wrong key', addresses: 1, perSecond: 1000, known: true },
]

export interface FloodResult {
  readonly connected: number
  readonly strangersPerSecond: number
  /** Of the connections that were made, milliseconds. */
  readonly medianMs: number
  readonly descriptorsMax: number
  readonly residentMiB: number
  /** Share of one processor that the slave takes. */
  readonly cpu: number
}

const latencyMs = 40
const fillingMs = lasting(3000)

export async function measureFlood(
  pair: Pair,
  port: number,
  pid: number,
  { kind, addresses, perSecond, attempts, known }: FloodOptions,
): Promise<FloodResult> {
  const ends: (() => unknown)[] = []
  const proxy = await Proxy.start({ teardown: end => void ends.push(end) }, port)
  proxy.late(latencyMs)
  const [host = '', proxyPort] = proxy.address.split(':')
  const key = await readKey(nodePlatform, layoutOf(pair.slave).key)
  const call = async () => {
    const address = { host, port: Number(proxyPort) }
    const connection = await nodePlatform.network.connect(address, key, 5000)
    // The slave has taken it in, too, when the last bytes of the handshake have arrived.
    await new Promise(resolve => setTimeout(resolve, 2 * latencyMs))
    connection.destroy()
  }
  if (known) await call()
  const script = new URL('flood-process.js', import.meta.url).pathname
  const args = [port, kind, addresses, perSecond].map(String)
  const flooding = spawn(process.execPath, [script, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const made = text(flooding.stdout)
  // Until the places are taken.
  await new Promise(resolve => setTimeout(resolve, fillingMs))
  const begun = performance.now()
  const cpuBefore = cpuSeconds(pid)
  const times: number[] = []
  let descriptorsMax = 0
  for (let attempt = 0; attempt < attempts; attempt++) {
    const start = performance.now()
    try {
      await call()
      times.push(performance.now() - start - 2 * latencyMs)
    } catch {
      // It is counted by what is missing.
    }
    descriptorsMax = Math.max(descriptorsMax, readdirSync(`/proc/${pid}/fd`).length)
  }
  const seconds = (performance.now() - begun) / 1000
  const cpu = (cpuSeconds(pid) - cpuBefore) / seconds
  const resident = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
  flooding.stdin.end()
  await once(flooding, 'exit')
  for (const end of ends) end()
  return {
    connected: times.length,
    strangersPerSecond: Number(await made) / (seconds + fillingMs / 1000),
    medianMs: times.toSorted((a, b) => a - b)[times.length >> 1] ?? NaN,
    descriptorsMax,
    residentMiB: Number(resident) / 1024,
    cpu,
  }
}
