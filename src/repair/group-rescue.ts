// A master, groups of whose database are damaged, fetches their items from a slave that has applied what the master
// had: nothing changes a damaged group until it is repaired. One slave after the other is asked, again and again.
// Everything else goes on; so does the master when there is no slave, and refuses these groups alone. A file that is
// not replicated is on no slave, and one that is being filled not as a whole.
import type { Database } from '../database/database.ts'
import { groupsText, type DamagedRange } from '../database/quarantine.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { isOnSlaves } from '../log/file-flags.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Timer } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { askGroup } from '../ship/ask-group.ts'
import type { Config } from '../config/config.ts'
import { readKey } from '../config/key.ts'
import type { GroupRepairs } from './group-repairs.ts'

const retryFirstMs = 100
const retryLastMs = 2000

/** A group cannot be read, or can be read again: it was fetched from a slave. */
export interface GroupEvent {
  readonly type: 'group-damaged' | 'group-repaired'
  readonly message: string
}

export interface GroupRescueParts {
  readonly platform: Platform
  readonly config: Config
  readonly database: Database
  readonly log: Pick<LogWriter, 'identity' | 'lastTxn' | 'synced'>
  readonly repairs: GroupRepairs
  readonly happened: (event: GroupEvent) => void
}

export class GroupRescue {
  readonly #parts: GroupRescueParts
  readonly #told = new Set<DamagedRange>()
  #running: Promise<void> | null = null
  #retryMs = retryFirstMs
  #timer: Timer | null = null
  #wake: () => void = () => {}
  #stopped = false

  constructor(parts: GroupRescueParts) {
    this.#parts = parts
    const { quarantine } = parts.database
    quarantine.next = this.#nextText(null)
    quarantine.onChange(() => parts.platform.clock.nextTurn(() => this.begin()))
  }

  /** In the background, when there is something to do. */
  begin(): void {
    if (this.#stopped || this.#running !== null) return
    if (this.#parts.database.quarantine.size === 0) return
    this.#running = this.#run().finally(() => {
      this.#running = null
      if (this.#wanted().length > 0) this.begin()
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    this.#wake()
    await this.#running
  }

  #nextText(failure: string | null): string {
    const { slaves } = this.#parts.config
    if (slaves.length === 0) {
      return 'there is no slave that holds it: restore a save ("hb restore")'
    }
    const names = slaves.map(({ name }) => name).join(' or ')
    if (failure === null) return `it is fetched from ${names}`
    return `it is fetched from ${names} as soon as that can be: ${failure}; or "hb promote" makes a slave the master`
  }

  async #run(): Promise<void> {
    const { database, happened } = this.#parts
    const { quarantine } = database
    this.#tell()
    for (;;) {
      const before = this.#wanted()
      if (this.#stopped || before.length === 0) break
      let failure: string | null = null
      for (const range of before) {
        if (this.#stopped) return
        const name = this.#nameOf(range)
        failure = (await this.#fetch(range)) ?? failure
        if (quarantine.ranges.includes(range)) {
          // It was written, and is damaged still or again: asked for at once, that could go on for ever.
          failure ??= `${name} cannot be read after it was written`
          continue
        }
        happened({ type: 'group-repaired', message: `${name} can be read again` })
      }
      quarantine.next = this.#nextText(failure)
      this.#tell()
      if (failure === null) this.#retryMs = retryFirstMs
      else await this.#rest()
    }
    quarantine.next = this.#nextText(null)
  }

  /** What slaves may hold. */
  #wanted(): readonly DamagedRange[] {
    const { database } = this.#parts
    return database.quarantine.ranges.filter(({ fileNumber }) => {
      const file = database.fileByNumber(fileNumber)
      return file === undefined || isOnSlaves(file.flags)
    })
  }

  /** Each once. */
  #tell(): void {
    const { database, happened } = this.#parts
    const { quarantine } = database
    for (const range of quarantine.ranges) {
      if (this.#told.has(range)) continue
      this.#told.add(range)
      const file = database.fileByNumber(range.fileNumber)
      if (file === undefined) continue
      happened({ type: 'group-damaged', message: quarantine.refusal(file, range).message })
    }
    for (const range of this.#told) if (!quarantine.ranges.includes(range)) this.#told.delete(range)
  }

  #nameOf(range: DamagedRange): string {
    const file = this.#parts.database.fileByNumber(range.fileNumber)
    return file === undefined ? `file number ${range.fileNumber}` : groupsText(file, range)
  }

  /** Null when it is repaired, or why not. */
  async #fetch(range: DamagedRange): Promise<string | null> {
    const { platform, config, log, repairs } = this.#parts
    const { link, slaves } = config
    let failure = 'there is no slave'
    for (const { name, address } of slaves) {
      try {
        const key = link.keyPath === null ? null : await readKey(platform, link.keyPath)
        const { identity } = log
        if (identity === null) throw new HotBackupError('ERR_CLOSED', 'the log has no history')
        const { databaseId, lineageId } = identity
        // No transaction behind this one is about the group.
        const txn = log.lastTxn
        await log.synced()
        const { fileNumber, from, to } = range
        const peer = { address, key, timeoutMs: link.timeoutMs }
        const question = { databaseId, lineageId, txn, fileNumber, from, to }
        await repairs.restore(range, await askGroup(platform, peer, question))
        return null
      } catch (error) {
        if (!isHotBackupError(error)) throw error
        failure = `${name}: ${error.message}`
      }
    }
    return failure
  }

  #rest(): Promise<void> {
    const ms = this.#retryMs
    this.#retryMs = Math.min(2 * ms, retryLastMs)
    return new Promise(resolve => {
      const done = () => {
        this.#timer = null
        resolve()
      }
      this.#wake = done
      if (this.#stopped) done()
      else this.#timer = this.#parts.platform.clock.after(ms, done, true)
    })
  }
}
