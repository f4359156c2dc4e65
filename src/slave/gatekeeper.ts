// The port of a master that was a slave. Its old master, and whoever else takes it for a slave, calls there: it is
// told that this server is a master now, and when its own timeline is an earlier one, that it is over (FENCE). There it
// may also ask to become a slave (JOIN).
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { connectionsMax } from '../limits.ts'
import { historyStart, sameIdentity, type LogPosition } from '../log/chain.ts'
import type { LogIdentity } from '../log/options.ts'
import type { Address, Connection, Listener, SharedKey } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import { Channel } from '../wire/channel.ts'
import type { LinkLog } from '../wire/link-log.ts'
import type { Hello } from '../wire/messages/hello.ts'
import type { HistoryMessage } from '../wire/messages/history.ts'
import type { Join } from '../wire/messages/join.ts'
import { refusalOf } from '../wire/messages/refuse.ts'
import { positionText } from '../wire/position-text.ts'
import { hexId } from './receiver-handshake.ts'

/** What the master's log holds. */
export interface MasterSide extends LogIdentity {
  readonly durable: LogPosition
}

export interface GatekeeperOptions {
  readonly name: string
  readonly serverId: Uint8Array
  readonly key: SharedKey | null
  readonly listen: Address
  readonly heartbeatMs: number
  readonly timeoutMs: number
  readonly describe: () => Promise<MasterSide>
  /** Answers a JOIN, and takes the sender as a slave if it wants that. Throws why not. `host`: where it calls from. */
  readonly join: (join: Join, host: string) => Promise<HistoryMessage>
  readonly logger: LinkLog
}

type GatekeeperPlatform = Pick<Platform, 'network' | 'clock'>

export class Gatekeeper {
  readonly #clock: GatekeeperPlatform['clock']
  readonly #options: GatekeeperOptions
  readonly #open = new Set<Channel>()
  #listener: Listener | null = null

  private constructor({ clock }: GatekeeperPlatform, options: GatekeeperOptions) {
    this.#clock = clock
    this.#options = options
  }

  /** Throws ERR_LISTEN. */
  static async start(
    platform: GatekeeperPlatform,
    options: GatekeeperOptions,
  ): Promise<Gatekeeper> {
    const keeper = new Gatekeeper(platform, options)
    const { listen, key, timeoutMs } = options
    const accept = (connection: Connection) => keeper.#accept(connection)
    keeper.#listener = await platform.network.listen(listen, key, accept, {
      timeoutMs,
      connectionsMax,
    })
    return keeper
  }

  get address(): Address {
    return this.#listener?.address ?? this.#options.listen
  }

  async stop(): Promise<void> {
    await this.#listener?.close()
    for (const channel of this.#open) channel.destroy(null)
  }

  #accept(connection: Connection): void {
    const { heartbeatMs, timeoutMs } = this.#options
    const limits = { heartbeatMs, timeoutMs, durableTxn: () => 0 }
    const channel = new Channel(connection, this.#clock, limits, ['hello', 'join'], {
      message: message => {
        if (message.name === 'hello') void this.#answer(channel, message)
        else if (message.name === 'join') void this.#join(channel, message)
      },
      writable: () => {},
      closed: () => this.#open.delete(channel),
    })
    this.#open.add(channel)
  }

  async #answer(channel: Channel, hello: Hello): Promise<void> {
    const { name, serverId, describe, logger } = this.#options
    try {
      const own = await describe()
      const error = refusalText(name, serverId, own, hello)
      logger('warn', `link from "${hello.serverName}": ${error.message}`, { code: error.code })
      if (error.code === 'ERR_FENCED') {
        const { timeline, databaseId, lineageId } = own
        channel.send({ name: 'fence', timeline, serverName: name, databaseId, lineageId })
      }
      channel.refuse(refusalOf(error, own.durable, hello.durable), error)
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      channel.destroy(error)
    }
  }

  async #join(channel: Channel, join: Join): Promise<void> {
    const { logger } = this.#options
    try {
      channel.established('refuse')
      channel.send(await this.#options.join(join, hostOf(channel.remoteAddress)))
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      logger('warn', `"${join.serverName}" wants to become a slave: ${error.message}`, {
        code: error.code,
      })
      channel.refuse(refusalOf(error, historyStart, null), error)
    }
  }
}

function hostOf(remoteAddress: string): string {
  return remoteAddress.replace(/:\d+$/, '').replaceAll(/^\[|\]$/g, '')
}

function refusalText(
  name: string,
  serverId: Uint8Array,
  own: MasterSide,
  hello: Hello,
): HotBackupError {
  const ours = `"${name}" is a master, on timeline ${own.timeline}, and holds ${positionText(own.durable)}`
  const theirs = `"${hello.serverName}" holds ${positionText(hello.durable)} on timeline ${hello.timeline}`
  if (!sameIdentity(own.databaseId, hello.databaseId)) {
    const text = `${ours} of database ${hexId(own.databaseId)}; ${theirs} of database ${hexId(hello.databaseId)}`
    return new HotBackupError('ERR_LINK_FOREIGN', text)
  }
  if (hello.timeline < own.timeline) {
    return new HotBackupError('ERR_FENCED', `${ours}; ${theirs}, and is no longer the master`)
  }
  if (sameIdentity(hello.serverId, serverId)) {
    const text = `"${name}" calls itself: the address of its slave "${hello.slaveName}" is its own`
    return new HotBackupError('ERR_LINK_LOOP', text)
  }
  return new HotBackupError('ERR_WRONG_TYPE', `${ours}; ${theirs}`)
}
