// Addresses as people write them: HOST:PORT, [2001:db8::1]:PORT, or HOST alone.
import type { Address } from '../../platform/network.ts'

/** D3's port for hot backup. */
export const portDefault = 2000
/** Below are the ports that only the system's administrator may use. */
const portMin = 1024
const portMax = 65535

/** Null when the text is no address, or its port is not from 1024 to 65535. */
export function parseAddress(text: string): Address | null {
  const match = /^(?:\[([0-9A-Fa-f:.%\w]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  if (match === null || host === undefined) return null
  const port = match[3] === undefined ? portDefault : Number(match[3])
  return port >= portMin && port <= portMax ? { host, port } : null
}

export function addressText({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** True when the host is a name, which may come to mean another machine. */
export function isNamed({ host }: Address): boolean {
  return !host.includes(':') && !/^\d+\.\d+\.\d+\.\d+$/.test(host)
}

/** True when nothing that goes there leaves the machine. */
export function isLoopback({ host }: Address): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/** Equal for addresses that are known to be the same without asking anybody. */
export function samePlace({ host, port }: Address): string {
  const name = host.toLowerCase()
  return addressText({ host: ['localhost', '::1'].includes(name) ? '127.0.0.1' : name, port })
}

/** True when a call to `target` is known to come to who listens at `listen`. */
export function reaches(target: Address, listen: Address): boolean {
  if (target.port !== listen.port) return false
  const everywhere = ['0.0.0.0', '::'].includes(listen.host)
  return everywhere ? isLoopback(target) : samePlace(target) === samePlace(listen)
}
