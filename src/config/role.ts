// DIR/role: whether a server is the master or a slave, and what it has learned in failovers. hb.toml belongs to a
// person: it may be read-only, mounted into a container or written by other tools, so no failover edits it.
//
//   line 1  JSON: the type; on a slave that has rejoined, its master's name; the address that "hb rejoin --listen"
//           has given; the slaves that have joined this server
//   line 2  the CRC-32 of line 1, hexadecimal
//
// The file is replaced as a whole, durably. Without a valid one the server's type is unknown (ERR_ROLE): nothing starts
// and nothing is written until "hb promote" or "hb rejoin" has said what it is. A learned address holds only as long
// as hb.toml says what it said then ("instead"): what was said last counts.
import * as v from 'valibot'
import { HotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'
import { crc32 } from '../log/crc.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import type { Address } from '../platform/network.ts'
import { isServerName } from '../wire/server-name.ts'
import type { Layout } from './layout.ts'
import { addressText, parseAddress, parseListenAddress } from './address.ts'

export type ServerType = 'master' | 'slave'

/** An address, and what hb.toml said at that moment: null for nothing. */
interface Learned {
  address: string
  instead: string | null
}

export interface Role {
  type: ServerType
  master: string | null
  listen: Learned | null
  slaves: (Learned & { name: string })[]
}

const learned = { address: v.string(), instead: v.nullable(v.string()) }
const serverName = v.pipe(v.string(), v.check(isServerName))
const schema: v.GenericSchema<unknown, Role> = v.strictObject({
  type: v.picklist(['master', 'slave']),
  master: v.nullable(serverName),
  listen: v.nullable(v.strictObject(learned)),
  slaves: v.array(v.strictObject({ name: serverName, ...learned })),
})

/** Thousands of slaves would fit. */
const fileBytesMax = 256 * KiB

/** Of a server that has learned nothing yet. */
export function newRole(type: ServerType): Role {
  return { type, master: null, listen: null, slaves: [] }
}

/** Stands in for a role that is unknown: such a server may be stopped, promoted or rejoined, which says what it is. */
export const unknownRole: Role = newRole('slave')

/** Throws ERR_ROLE when there is no valid file, ERR_DISK. */
export async function readRole(disk: Disk, layout: Layout): Promise<Role> {
  const unknown = (why: string, cause?: unknown) => {
    const message = `${layout.role} ${why}: it is unknown whether this server is the master or a slave`
    return new HotBackupError('ERR_ROLE', message, { path: layout.role }, cause)
  }
  const bytes = await readState(disk, layout.role, fileBytesMax)
  if (bytes === null) throw unknown('is missing')
  const role = decodeRole(bytes.toString())
  if (role === null) throw unknown('is damaged')
  return role
}

/** The caller owns the server, or its shipper's lock on a master. */
export async function writeRole(disk: Disk, layout: Layout, role: Role): Promise<void> {
  await writeFileAtomic(disk, layout.role, Buffer.from(encodeRole(role)))
}

export function encodeRole(role: Role): string {
  const line = JSON.stringify(role)
  return `${line}\n${checksum(line)}\n`
}

/** Null when the text is not a valid role. */
export function decodeRole(text: string): Role | null {
  const [line = '', sum, end, ...more] = text.split('\n')
  if (sum !== checksum(line) || end !== '' || more.length > 0) return null
  try {
    return v.parse(schema, JSON.parse(line))
  } catch {
    return null
  }
}

function checksum(line: string): string {
  const bytes = Buffer.from(line)
  return crc32(bytes, 0, bytes.length).toString(16).padStart(8, '0')
}

interface Addresses {
  /** Undefined: hb.toml says nothing. */
  readonly listen: Address | undefined
  readonly slaves: readonly { readonly name: string; readonly address: Address }[]
}

/** What hb.toml says, with what the server has learned since. */
export function withLearned({ listen, slaves }: Addresses, role: Role): Addresses {
  const joined = new Map(role.slaves.map(slave => [slave.name, slave]))
  const known = new Set(slaves.map(({ name }) => name))
  const added = role.slaves.filter(({ name, instead }) => instead === null && !known.has(name))
  return {
    listen: latest(role.listen, listen),
    slaves: [
      ...slaves.map(slave => {
        return { ...slave, address: latest(joined.get(slave.name), slave.address) }
      }),
      ...added.flatMap(({ name, address }) => {
        const parsed = parseAddress(address)
        return parsed === null ? [] : [{ name, address: parsed }]
      }),
    ],
  }
}

function latest<T extends Address | undefined>(
  known: { readonly address: string; readonly instead: string | null } | null | undefined,
  written: T,
): T | Address {
  const text = written === undefined ? null : addressText(written)
  if (known === null || known === undefined || known.instead !== text) return written
  return parseListenAddress(known.address) ?? written
}
