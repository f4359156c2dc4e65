// What hb setup says about the server that it has made, and about what comes next.
import { addressText, isLoopback } from '../config/address.ts'
import type { Config, SlaveAddress } from '../config/config.ts'
import { layoutOf } from '../config/layout.ts'

export function setupLines({ name, type, link, slaves }: Config, dir: string): string[] {
  const layout = layoutOf(dir)
  const lines = [`${name} is a ${type} now: ${layout.config}`]
  if (type === 'slave') lines.push(`It listens at ${addressText(link.listen)}.`)
  for (const slave of slaves)
    lines.push(`It sends to ${slave.name} at ${addressText(slave.address)}.`)
  if (link.keyPath === null)
    lines.push('It has no key: nothing is encrypted, within this machine only.')
  else if (type === 'master') lines.push(`Give the key to each slave: ${link.keyPath}`)
  return lines
}

/** Commands to be typed next, on this machine and the others. */
export function nextSteps(config: Config, dir: string, exists: boolean): string[] {
  const { directory } = layoutOf(dir)
  if (exists) return [`hb stop -d ${directory}`, `hb start -d ${directory}`]
  const { name, type, link, slaves } = config
  const steps = slaves.flatMap(slave => slaveSteps(slave, link.keyPath))
  if (type === 'slave') {
    steps.push(`hb setup -d DIR    (on the master: enter ${name} among its slaves)`)
  }
  steps.push(`hb start -d ${directory}`, `hb status -d ${directory}`)
  return steps
}

function slaveSteps({ name, address }: SlaveAddress, keyPath: string | null): string[] {
  const here = isLoopback(address)
  const listen = addressText(here ? address : { ...address, host: '*' })
  const key = keyPath === null ? '--no-key' : `--key ${here ? keyPath : 'hb.key'}`
  const where = here ? '' : `    (on ${address.host})`
  // The shell would take brackets and stars for a pattern.
  const scpHost = address.host.includes(':') ? `'[${address.host}]'` : address.host
  return [
    ...(here || keyPath === null ? [] : [`scp ${keyPath} ${scpHost}:hb.key`]),
    `hb setup -d DIR --type slave --name ${name} --listen ${here ? listen : `'${listen}'`} ${key}${where}`,
    `hb start -d DIR${where}`,
  ]
}
