// What hb.toml decides about commit levels, the transaction log queue, alarms and clients.
import type { Address } from '../platform/network.ts'
import type { AckLevel } from '../ship/ack-file.ts'

/** "local": durable in the log of this master. The others: on slaves, too. */
export type CommitLevel = 'local' | AckLevel
export const commitLevels: readonly CommitLevel[] = ['local', 'received', 'durable', 'applied']

export interface CommitPolicy {
  /** For updates that ask for none of their own. */
  readonly level: CommitLevel
  /** The number of slaves that must have got there. */
  readonly slaves: number
  /** After so long without enough of them … */
  readonly timeoutMs: number
  /** … updates go on waiting, or are done without the slaves. */
  readonly onTimeout: 'wait' | 'continue'
}

export interface QueuePolicy {
  /** Bytes; 0 for none. */
  readonly limitBytes: number
  /** At the limit: updates wait, updates are refused, or the slave that is furthest behind is dropped. */
  readonly onLimit: 'pace' | 'refuse' | 'drop'
}

export interface AlarmPolicy {
  /** For the system's shell; null for none. */
  readonly command: string | null
  /** Messages of this level and graver ones. */
  readonly level: 'error' | 'warn'
  /** Who has not followed for so long raises an alarm (follow-watch.ts). */
  readonly afterMs: number
  /** The command is killed after this time. */
  readonly timeoutMs: number
}

/** [serve]: how clients of the Redis protocol are served. */
export interface ServePolicy {
  /** A TCP port of this machine beside the socket; null: none. */
  readonly listen: Address | null
  readonly clientsMax: number
  /** A client that sends nothing for this long is disconnected; 0: never. */
  readonly idleMs: number
  /** A client whose replies take more than this is disconnected. */
  readonly outputBytesMax: number
  readonly flushAll: boolean
  /** The files of databases that are not in the account REDIS, by their numbers. */
  readonly databases: Readonly<Record<string, { readonly account: string; readonly file: string }>>
}

/** The number of databases of the Redis protocol, for SELECT. */
export const databasesMax = 16

/** The file that holds the strings of database `index`. */
export function fileOfDatabase(
  databases: ServePolicy['databases'],
  index: number,
): { readonly account: string; readonly file: string } {
  return databases[index] ?? { account: 'REDIS', file: String(index) }
}
