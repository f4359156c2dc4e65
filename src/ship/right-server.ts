// Whether the server at a slave's address is that slave: not this server itself, by a wrong address or a copied
// directory, which would feed itself; and not another slave, by a wrong address or name, which would be taken for it.
import { HotBackupError } from '../errors.ts'
import { sameIdentity } from '../log/chain.ts'
import { addressText } from '../platform/network.ts'
import type { Welcome } from '../wire/messages/welcome.ts'
import type { LinkOptions } from './link-options.ts'

/** Throws ERR_LINK_LOOP, ERR_LINK_NAME. */
export function checkRightServer(
  { serverId, slave }: Pick<LinkOptions, 'serverId' | 'slave'>,
  welcome: Welcome,
): void {
  const where = addressText(slave.address)
  if (sameIdentity(welcome.serverId, serverId)) {
    const text = `the server at ${where} has the id of this one: it is this server, or its directory was copied`
    throw new HotBackupError('ERR_LINK_LOOP', text)
  }
  if (welcome.serverName === slave.name) return
  const text = `the server at ${where} is called "${welcome.serverName}", and hb.toml calls it "${slave.name}"`
  throw new HotBackupError('ERR_LINK_NAME', text)
}
