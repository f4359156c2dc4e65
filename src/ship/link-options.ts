// What a link to one slave is given by whoever opens it.
import type { HotBackupError } from '../errors.ts'
import type { DurableMark } from '../log/durable.ts'
import type { Address, SharedKey } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import type { LinkLog } from '../wire/link-log.ts'
import type { Fence } from '../wire/messages/fence.ts'
import type { GroupRange } from '../wire/messages/repair.ts'
import type { OwnLog } from './own-log.ts'

export type LinkPlatform = Pick<Platform, 'disk' | 'network' | 'clock' | 'random' | 'processes'>

export interface LinkOptions {
  readonly slave: { readonly name: string; readonly address: Address }
  /** This server. */
  readonly name: string
  readonly serverId: Uint8Array
  readonly key: SharedKey | null
  /** Ids of the servers above this one, nearest last; the same array as long as nothing changed. */
  readonly upstream: () => readonly Uint8Array[]
  readonly windowBytes: number
  readonly heartbeatMs: number
  readonly timeoutMs: number
  readonly log: LinkLog
  /** The slave follows a later timeline of this database, or has begun it: this master is over. */
  readonly fenced: (fence: Fence, slave: LinkOptions['slave']) => void
  /** The slave needs a copy of the database: the log does not reach back to where it stands. */
  readonly needsSeed: (slave: LinkOptions['slave']) => void
  /** What is to be sent cannot be read: it is damaged (ERR_LOG_CORRUPT). */
  readonly damaged: (error: HotBackupError) => void
  /** Has a group, which is damaged on the slave, written into the log again; resolves with the transaction. */
  readonly repair: (range: GroupRange) => Promise<number>
}

/** The log that is shipped, as far as it is durable. */
export interface LinkSource {
  readonly log: OwnLog
  readonly mark: DurableMark | null
}
