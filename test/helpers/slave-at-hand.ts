// A slave's log, database and replayer on a disk in memory, without a link: the test writes the log itself, and
// may crash the machine at any operation of the disk.
import { Database } from '../../src/database/database.ts'
import { HotBackupError } from '../../src/errors.ts'
import type { LogWriter } from '../../src/log/writer.ts'
import { ApplyFailures } from '../../src/slave/apply-failures.ts'
import { LostAndFound } from '../../src/slave/lost-found.ts'
import { Replayer } from '../../src/slave/replayer.ts'
import { hastyClock } from './database-history.ts'
import { HandClock, logDirectory, openHistory } from './log-samples.ts'
import { MemoryDisk } from './memory-disk.ts'

export const lostDirectory = '/server/lost-found'

export interface SlaveSettings {
  readonly autoCreate?: boolean
  readonly tries?: number
  readonly delayMs?: number
  /** Files of so many bytes are work for helpers. */
  readonly longWorkBytes?: number
}

export class SlaveAtHand {
  readonly disk = new MemoryDisk()
  readonly clock = new HandClock()
  /** Failures for which nobody can do anything. */
  readonly said: string[] = []
  /** What the operator hears of lost transactions. */
  readonly alarms: string[] = []
  log!: LogWriter
  database!: Database
  replayer!: Replayer
  lost!: LostAndFound
  #settings: SlaveSettings = {}
  #reopen: () => void = () => {}
  /** Resolves when the replayer asks to be opened again. */
  asksToReopen = new Promise<void>(() => {})

  static async open(on: boolean, settings: SlaveSettings = {}): Promise<SlaveAtHand> {
    const slave = new SlaveAtHand()
    await slave.open(on, settings)
    return slave
  }

  async open(on: boolean, settings: SlaveSettings = this.#settings): Promise<void> {
    this.#settings = settings
    const { autoCreate = false, tries = 3, delayMs = 0 } = settings
    const { disk, clock } = this
    this.asksToReopen = new Promise(resolve => {
      this.#reopen = resolve
    })
    const longWork = settings.longWorkBytes === undefined ? null : { bytes: settings.longWorkBytes }
    const options = { cacheBytes: 1, autoCreate, replica: true, longWork }
    this.database = await Database.open({ disk, clock: hastyClock }, '/server', options)
    this.log = await openHistory({ disk, clock, knownDurableTxn: this.database.stamp.txn })
    this.lost = await LostAndFound.open(disk, lostDirectory)
    const failures = new ApplyFailures({ disk, clock }, this.lost, {
      server: 'south',
      logDirectory,
      tries,
      autoCreate,
      acknowledged: () => this.log.durableTxn,
      lost: (count, txn, reason) => this.alarms.push(`${count} ${txn} ${reason}`),
    })
    const { log, database } = this
    const mode = { on, delayMs }
    this.replayer = new Replayer({ disk, clock }, log, logDirectory, database, mode, failures, {
      applied: () => {},
      checkpointed: () => {},
      failed: (error, reopen) => {
        if (reopen) this.#reopen()
        else this.said.push(error.message)
      },
    })
  }

  /** What of the machine survives a power failure, opened again. */
  async crash(on: boolean): Promise<void> {
    this.disk.before = null
    this.disk.crash()
    await this.open(on)
  }

  /** After so many operations of the disk the machine is dead until `crash`. */
  powerFailsAfter(operations: number): void {
    let left = operations
    this.disk.before = () => {
      if (left-- <= 0) throw new HotBackupError('ERR_DISK', 'the machine is dead')
    }
  }

  async close(): Promise<void> {
    await this.replayer.stop()
    await this.log.close()
    await this.database.close()
  }
}
