// Addresses as people write them: HOST:PORT, [2001:db8::1]:PORT, or HOST alone; to listen, also *:PORT.
import { addressText, type Address } from '../platform/network.ts'

export { addressText } from '../platform/network.ts'

/** D3's port for hot backup. */
export const portDefault = 2000
/** Below are the ports that only the system's administrator may use. */
const portMin = 1024
const portMax = 65535

/** Where a server can be called. Null when the text is no such address, or its port is not from 1024 to 65535. */
export function parseAddress(text: string): Address | null {
  const address = parseListenAddress(text)
  return address === null || isEverywhere(address) ? null : address
}

/** Where a server can listen: also at all addresses of the machine, "*:PORT", or all of one kind. */
export function parseListenAddress(text: string): Address | null {
  const match = /^(?:\[([^\]]+)\]|(\*|[A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  if (match === null || host === undefined) return null
  if (match[1] !== undefined && !isIPv6(host)) return null
  const port = match[3] === undefined ? portDefault : Number(match[3])
  return port >= portMin && port <= portMax ? { host, port } : null
}

function isIPv6(host: string): boolean {
  const bare = host.replace(/%[\w.-]+$/, '')
  return bare.includes(':') && URL.canParse(`http://[${bare}]/`)
}

/** It stands for all addresses of the machine: one can listen there, and not connect to it. */
export function isEverywhere({ host }: Address): boolean {
  return host === '*' || host === '0.0.0.0' || (isIPv6(host) && /^[0:]+$/.test(host))
}

/** True when the host is a name, which may come to mean another machine. */
export function isNamed({ host }: Address): boolean {
  return !host.includes(':') && !/^\d+\.\d+\.\d+\.\d+$/.test(host)
}

/** True when nothing that goes there leaves the machine. */
export function isLoopback({ host }: Address): boolean {
  if (isIPv6(host)) return /^[0:]*:0*1$/.test(host)
  return host.toLowerCase() === 'localhost' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/** Equal for addresses that are known to be the same without asking anybody. */
export function samePlace({ host, port }: Address): string {
  const name = host.toLowerCase()
  const same = name === 'localhost' || (isIPv6(name) && isLoopback({ host: name, port }))
  return addressText({ host: same ? '127.0.0.1' : name, port })
}

/** True when a call to `target` is known to come to who listens at `listen`. */
export function reaches(target: Address, listen: Address): boolean {
  if (target.port !== listen.port) return false
  return isEverywhere(listen) ? isLoopback(target) : samePlace(target) === samePlace(listen)
}
