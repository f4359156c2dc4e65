// The new master's side of "hb rejoin": tells an old master the history of this log, and takes it as a slave. It is
// entered in DIR/role, so that it stays one, and called at once. "hb forget" ends that.
import { readPromotion, writePromotion } from '../config/promotion-file.ts'
import { HotBackupError } from '../errors.ts'
import { hex, sameIdentity } from '../log/chain.ts'
import { readDurableMark, type DurableMark } from '../log/durable.ts'
import type { Platform } from '../platform/platform.ts'
import type { OwnLog } from '../ship/own-log.ts'
import type { Shipper } from '../ship/shipper.ts'
import type { HistoryMessage } from '../wire/messages/history.ts'
import type { Join } from '../wire/messages/join.ts'
import { addressText, isNamed, parseAddress } from '../config/address.ts'
import { readServerId } from '../config/identity.ts'
import type { Config } from '../config/config.ts'
import { changeRole } from '../config/role-change.ts'
import { isServerName } from '../wire/server-name.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'

type JoiningPlatform = Pick<Platform, 'disk'>

/** What the log of this server ends with. Throws ERR_LOG_CORRUPT when nothing is durable. */
export async function ownMark({ disk }: JoiningPlatform, layout: Layout): Promise<DurableMark> {
  const mark = await readDurableMark(disk, layout.log)
  if (mark !== null) return mark
  throw new HotBackupError('ERR_LOG_CORRUPT', `${layout.log} has no durable transaction`)
}

export async function answerJoin(
  platform: JoiningPlatform,
  layout: Layout,
  name: string,
  log: OwnLog,
  shipper: Shipper,
  say: Log,
  join: Join,
  host: string,
): Promise<HistoryMessage> {
  const mark = await ownMark(platform, layout)
  const { databaseId } = await log.describe(mark)
  const serverId = await readServerId(platform.disk, layout)
  if (!sameIdentity(databaseId, join.databaseId)) {
    const message = `"${name}" holds database ${idText(databaseId)}, "${join.serverName}" database ${idText(join.databaseId)}`
    throw new HotBackupError('ERR_LINK_FOREIGN', message)
  }
  if (sameIdentity(serverId, join.serverId)) {
    const message = `"${name}" has the same server id: it is that server, or its directory was copied`
    throw new HotBackupError('ERR_LINK_LOOP', message)
  }
  if (join.register) await register(platform, layout, shipper, say, join, host)
  const history = await log.history(mark)
  say('info', `"${join.serverName}" asks for the history of this log`, {
    txn: mark.txn,
    chain: hex(mark.chain),
    register: join.register,
  })
  return { name: 'history', serverName: name, serverId, databaseId, ...history }
}

async function register(
  platform: JoiningPlatform,
  layout: Layout,
  shipper: Shipper,
  say: Log,
  join: Join,
  host: string,
): Promise<void> {
  const text = addressText({ host: join.host === '' ? host : join.host, port: join.port })
  const address = parseAddress(text)
  if (address === null || !isServerName(join.serverName)) {
    const message = `"${join.serverName}" at ${text} cannot be a slave: a wrong name or address`
    throw new HotBackupError('ERR_LINK_REFUSED', message)
  }
  const { slaves } = await enterSlave(platform, layout, join.serverName, text, join.host !== '')
  const slave = slaves.find(known => known.name === join.serverName)
  if (slave === undefined) throw new TypeError('a slave that was entered a moment ago')
  const promotion = await readPromotion(platform.disk, layout)
  if (promotion?.awaited === true) {
    await writePromotion(platform.disk, layout, { ...promotion, awaited: false })
  }
  await shipper.add(slave)
  const at = addressText(slave.address)
  say('info', `"${slave.name}" at ${at} is a slave now`, { slave: slave.name, address: at })
}

/**
 * `given`: the slave has said so itself; otherwise the host is where its call came from, and a host name in hb.toml
 * counts for more. Throws ERR_CONFIG when the name or address is one that hb.toml could not have.
 */
export async function enterSlave(
  { disk }: JoiningPlatform,
  layout: Layout,
  name: string,
  address: string,
  given = true,
): Promise<Config> {
  return changeRole(disk, layout, (role, written) => {
    const slaves = role.slaves.filter(slave => slave.name !== name)
    const instead = written.slaves.get(name) ?? null
    const stays = instead === address || (!given && isSameName(instead, address))
    return stays
      ? { ...role, slaves }
      : { ...role, slaves: [...slaves, { name, address, instead }] }
  })
}

/** hb.toml has the same port of a host that goes by a name. */
function isSameName(written: string | null, address: string): boolean {
  const [known, called] = [parseAddress(written ?? ''), parseAddress(address)]
  return known !== null && isNamed(known) && known.port === called?.port
}

function idText(id: Uint8Array): string {
  return Buffer.from(id).toString('hex')
}
