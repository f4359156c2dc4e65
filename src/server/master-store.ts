// An open master, as those see it who serve its data in turns of the event loop.
import type { Database } from '../database/database.ts'
import type { Disk } from '../platform/disk.ts'
import type { LogView } from '../resp/feed.ts'
import type { Followers, Names, Store, StoreFacts, Writes } from '../resp/store.ts'
import type { Config } from '../config/config.ts'
import { NamedUpdates } from '../data/named-updates.ts'
import { TurnWrites } from '../resp/turn-writes.ts'
import type { Parts } from './master-parts.ts'

type StoreParts = Pick<Parts, 'database' | 'log' | 'updates' | 'commits' | 'replication'>

export class MasterStore implements Store {
  readonly database: Database
  readonly writes: Writes
  readonly followers: Followers
  readonly names: Names
  readonly log: LogView
  readonly #parts: StoreParts
  readonly #config: Pick<Config, 'slaves'>
  readonly #failure: () => Error | null

  /** `failure`: why the master takes no updates. */
  constructor(
    parts: StoreParts,
    disk: Disk,
    logDirectory: string,
    config: Pick<Config, 'slaves'>,
    failure: () => Error | null,
  ) {
    this.#config = config
    this.#failure = failure
    const { database, log, updates, commits } = parts
    this.database = database
    this.#parts = parts
    this.writes = new TurnWrites(updates, log, database, commits)
    this.names = new NamedUpdates(parts)
    this.log = {
      disk,
      directory: logDirectory,
      get durableMark() {
        return log.durableMark
      },
      onDurable: callback => log.onDurable(callback),
    }
    this.followers = {
      count: (txn, level) => commits.slavesAt(txn, level),
      reaching: (txn, level, wanted, timeoutMs) =>
        commits.slavesReaching(txn, level, wanted, timeoutMs),
    }
  }

  get durableTxn(): number {
    return this.#parts.log.durableTxn
  }

  settled(): Promise<void> {
    return this.#parts.updates.settled()
  }

  facts(): StoreFacts {
    const { database, log, commits } = this.#parts
    const { identity } = log
    return {
      lastTxn: log.lastTxn,
      firstTxn: log.firstTxn,
      appliedTxn: database.appliedTxn,
      checkpointTxn: database.stamp.txn,
      timeline: identity?.timeline ?? 0,
      databaseId: Buffer.from(identity?.databaseId ?? []).toString('hex'),
      failure: this.#failure()?.message ?? null,
      master: null,
      slaves: this.#config.slaves.map(({ name, address }) => ({
        name,
        host: address.host,
        port: address.port,
        appliedTxn: commits.slaveAt(name, 'applied'),
      })),
    }
  }
}
