// Changes a server's role. The change is checked first, with hb.toml as it is, so that no server ends up with a role
// that its hb.toml does not fit; and `tryRole` finds out beforehand, without a change, whether it will work.
import { isHotBackupError } from '../errors.ts'
import type { Disk } from '../platform/disk.ts'
import type { Layout } from './layout.ts'
import { addressesIn, parseConfig, readConfigText, type Config } from './config.ts'
import { readRole, writeRole, type Role } from './role.ts'

/** What hb.toml says by itself. */
export type Written = ReturnType<typeof addressesIn>
export type Change = (role: Role, written: Written) => Role

/**
 * Makes the change, durably, when it is one. `unknown` stands in for a role that is unknown. Throws ERR_CONFIG when
 * hb.toml does not fit it, ERR_ROLE, ERR_DISK, ERR_DISK_FULL.
 */
export async function changeRole(
  disk: Disk,
  layout: Layout,
  change: Change,
  unknown: Role | null = null,
): Promise<Config> {
  const { role, config, same } = await changed(disk, layout, change, unknown)
  if (!same) await writeRole(disk, layout, role)
  // The process that wrote it may have been killed before it was durable.
  else await disk.syncDirectory(layout.directory)
  return config
}

/** Throws what `changeRole` would throw: the file is replaced by one with the same content. */
export async function tryRole(
  disk: Disk,
  layout: Layout,
  change: Change,
  unknown: Role | null = null,
): Promise<Config> {
  const { before, config } = await changed(disk, layout, change, unknown)
  if (before !== null) await writeRole(disk, layout, before)
  return config
}

interface Changed {
  /** Null when it is unknown. */
  readonly before: Role | null
  readonly role: Role
  readonly config: Config
  readonly same: boolean
}

async function changed(
  disk: Disk,
  layout: Layout,
  change: Change,
  unknown: Role | null,
): Promise<Changed> {
  const text = await readConfigText(disk, layout)
  const before = await knownRole(disk, layout, unknown)
  const role = change(before ?? unknown!, addressesIn(text))
  const config = parseConfig(text, layout, role)
  return { before, role, config, same: JSON.stringify(before) === JSON.stringify(role) }
}

async function knownRole(disk: Disk, layout: Layout, unknown: Role | null): Promise<Role | null> {
  try {
    return await readRole(disk, layout)
  } catch (error) {
    if (unknown === null || !isHotBackupError(error, 'ERR_ROLE')) throw error
    return null
  }
}
