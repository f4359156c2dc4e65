// A slave, groups of whose database are damaged, asks its master to write them into the log again, as soon as that
// streams; the repair comes with the log, in its turn. Everything else is applied meanwhile.
import type { Database } from '../database/database.ts'
import { groupsText, type DamagedRange } from '../database/quarantine.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { RepairQuestions } from '../wire/repair-questions.ts'
import type { GroupRange } from '../wire/messages/repair.ts'
import type { Log } from '../config/messages-log.ts'

export interface SlaveGroupsParts {
  readonly clock: Clock
  readonly database: Database
  /** The master that streams, if it can be asked. */
  readonly master: () => Pick<RepairQuestions, 'ask'> | null
  readonly say: Log
}

/** What could not be had is asked for again; and nothing is lost by looking. */
const retryMs = 5000

export class SlaveGroups {
  readonly #parts: SlaveGroupsParts
  /** With which transaction the repair comes, as the master says. */
  readonly #coming = new Map<DamagedRange, number>()
  readonly #told = new Map<DamagedRange, string>()
  #asking = false
  #timer: Timer | null = null
  #stopped = false

  constructor(parts: SlaveGroupsParts) {
    this.#parts = parts
    const { quarantine } = parts.database
    quarantine.next = 'it comes from the master, when that is connected'
    // In the middle of a transaction, perhaps.
    quarantine.onChange(() => parts.clock.nextTurn(() => this.look()))
    this.look()
  }

  /** There may be something to ask, or a peer that can be asked. */
  look(): void {
    if (this.#stopped) return
    this.#tell()
    const { size } = this.#parts.database.quarantine
    this.#timer?.cancel()
    this.#timer = size === 0 ? null : this.#parts.clock.after(retryMs, () => this.look(), true)
    if (size > 0 && !this.#asking) void this.#ask()
  }

  /** For a slave of this one: its group comes with the log of the master. Throws ERR_GROUP_DAMAGED. */
  passOn(range: GroupRange): Promise<number> {
    const questions = this.#parts.master()
    if (questions !== null) return questions.ask(range)
    const text = 'its own master, who alone can write into the log, is not connected'
    return Promise.reject(new HotBackupError('ERR_GROUP_DAMAGED', text))
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  async #ask(): Promise<void> {
    const { database, master } = this.#parts
    const { quarantine } = database
    this.#asking = true
    try {
      for (;;) {
        const questions = master()
        // Others are on their way.
        const range = quarantine.ranges.find(
          known => (this.#coming.get(known) ?? 0) <= database.appliedTxn,
        )
        if (questions === null || range === undefined || this.#stopped) break
        const { fileNumber, from, to } = range
        const txn = await questions.ask({ fileNumber, from, to })
        this.#coming.set(range, txn)
        quarantine.next = `it comes with transaction ${txn} of the log`
      }
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      quarantine.next = `the master has not given it: ${error.message}`
      this.#parts.say('warn', `a damaged group was not repaired: ${error.message}`)
    } finally {
      this.#asking = false
    }
  }

  /** What is new, once. */
  #tell(): void {
    const { database, say } = this.#parts
    const { quarantine } = database
    for (const range of quarantine.ranges) {
      const file = database.fileByNumber(range.fileNumber)
      if (file === undefined || this.#told.has(range)) continue
      const name = groupsText(file, range)
      this.#told.set(range, name)
      const { code, message, place } = quarantine.refusal(file, range)
      if (range.generation !== 0) say('error', message, { code, ...place })
    }
    for (const [range, name] of this.#told) {
      if (quarantine.ranges.includes(range)) continue
      this.#told.delete(range)
      this.#coming.delete(range)
      if (quarantine.within(range.fileNumber, range.from, range.to) !== undefined) continue
      say('warn', `${name} can be read again: the log has brought its items`)
    }
  }
}
