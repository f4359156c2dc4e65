// A slave's database, as a server that answers readers in turns of the event loop sees it. Only what is durable is
// applied, so a reader never waits.
import type { Database } from '../database/database.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Disk } from '../platform/disk.ts'
import type { LogView } from '../resp/feed.ts'
import type { SlaveData } from '../replay/slave-parts.ts'
import type { Store, StoreFacts } from '../resp/store.ts'
import type { SlaveStatus } from '../control/server-status.ts'

const settledAlready = Promise.resolve()

export class SlaveStore implements Store {
  readonly database: Database
  readonly log: LogView
  readonly writes = null
  readonly followers = null
  readonly names = null
  readonly #log: LogWriter
  readonly #status: () => Pick<SlaveStatus, 'receiver' | 'failure'>

  constructor(
    { database, log }: Pick<SlaveData, 'database' | 'log'>,
    disk: Disk,
    logDirectory: string,
    status: () => Pick<SlaveStatus, 'receiver' | 'failure'>,
  ) {
    this.database = database
    this.#log = log
    this.#status = status
    this.log = {
      disk,
      directory: logDirectory,
      get durableMark() {
        return log.durableMark
      },
      onDurable: callback => log.onDurable(callback),
    }
  }

  get durableTxn(): number {
    return this.#log.durableTxn
  }

  settled(): Promise<void> {
    return settledAlready
  }

  facts(): StoreFacts {
    const { receiver, failure } = this.#status()
    const { master } = receiver
    const log = this.#log
    const { identity } = log
    return {
      lastTxn: log.lastTxn,
      firstTxn: log.firstTxn,
      appliedTxn: this.database.appliedTxn,
      checkpointTxn: this.database.stamp.txn,
      timeline: identity?.timeline ?? 0,
      databaseId: Buffer.from(identity?.databaseId ?? []).toString('hex'),
      failure,
      master: master === null ? null : { name: master.name, connected: true },
      slaves: [],
    }
  }
}
