// A server that is its own slave, by a wrong address or a copied directory, would feed itself.
import { HotBackupError } from '../errors.ts'
import { sameIdentity } from '../log/chain.ts'
import type { Welcome } from '../wire/messages/welcome.ts'
import type { LinkOptions } from './link-options.ts'

/** Throws ERR_LINK_LOOP. */
export function checkNotSelf(
  { serverId, slave }: Pick<LinkOptions, 'serverId' | 'slave'>,
  welcome: Welcome,
): void {
  if (!sameIdentity(welcome.serverId, serverId)) return
  const { host, port } = slave.address
  const text = `the server at ${host}:${port} has the id of this one: it is this server, or its directory was copied`
  throw new HotBackupError('ERR_LINK_LOOP', text)
}
