// What hb.toml decides about commit levels, the transaction log queue and alarms.
import type { AckLevel } from '../ship/ack-file.ts'

/** "local": durable in the log of this master. The others: on slaves, too. */
export type CommitLevel = 'local' | AckLevel
export const commitLevels: readonly CommitLevel[] = ['local', 'received', 'durable', 'applied']

export interface CommitPolicy {
  /** For updates that ask for none of their own. */
  readonly level: CommitLevel
  /** So many slaves must have got there. */
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
