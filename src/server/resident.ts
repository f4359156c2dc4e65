// The process that owns the log and the database of a server, whatever the server is at the time.
import type { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import { readRole } from '../config/role.ts'
import { layoutOf } from '../config/layout.ts'
import { MasterServer } from './master-server.ts'
import type { Log } from '../config/messages-log.ts'
import { SlaveServer } from './slave-server.ts'

/** Throws as SlaveServer.start and MasterServer.start. */
export async function startResident(
  platform: Platform,
  directory: string,
  say: Log,
  lost: (error: HotBackupError) => void,
): Promise<MasterServer | SlaveServer> {
  const { type } = await readRole(platform.disk, layoutOf(directory))
  const server = type === 'master' ? MasterServer : SlaveServer
  return server.start(platform, directory, say, lost)
}
