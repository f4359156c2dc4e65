// The master's part in what is replicated: it keeps the flags of its files as hb.toml wants them, and fills a file that
// has become replicated. Its items are written into the log again, as ordinary writes, in slices: each item as it is
// in the turn of the event loop in which it is written, so that what others write meanwhile is never undone. A crash,
// or the end of the process, begins it anew: the flag "filling" stays until it is complete.
import { CountedScan } from '../database/counted-scan.ts'
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { fileFlags } from '../log/file-flags.ts'
import { sleep, type Clock } from '../platform/clock.ts'
import type { Updates } from './updates.ts'

/** Item-ids that are looked up in one go. */
const scanItems = 256
/** One transaction of the filling is about so large. */
const sliceBytes = 1 * MiB
/** While the queue is full, and updates are refused. */
const retryMs = 1000

export class Replication {
  readonly #database: Database
  readonly #updates: Updates
  readonly #clock: Clock
  #work: Promise<void> = Promise.resolve()
  readonly #blocked: (() => void)[] = []
  #stopped = false

  constructor(database: Database, updates: Updates, clock: Clock) {
    this.#database = database
    this.#updates = updates
    this.#clock = clock
    updates.onFilling(file => this.#fill(file))
  }

  /** In the background: brings all files in line with hb.toml, and goes on filling those that are not complete. */
  begin(): void {
    this.#then(async () => {
      for (const account of this.#database.accounts()) {
        for (const file of this.#database.files(account)) {
          if (this.#stopped) return
          const filling = isFilling(file)
          await this.#updates.setLocal(file, (file.flags & fileFlags.local) !== 0)
          if (filling && isFilling(file)) this.#fill(file)
        }
      }
    })
  }

  /** Ends what is under way; the next opening begins it anew. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#work
  }

  /** Resolves when no file is being filled any more, or when it cannot go on for now: the queue is full. */
  async filled(): Promise<void> {
    const blocked = new Promise<'blocked'>(resolve => {
      this.#blocked.push(() => resolve('blocked'))
    })
    for (let work = null; work !== this.#work;) {
      work = this.#work
      if ((await Promise.race([work, blocked])) === 'blocked') return
    }
  }

  /** One file after the other. */
  #fill(file: HashedFile): void {
    this.#then(() => this.#copyInto(file))
  }

  #then(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch((error: unknown) => {
      // A log that has failed is told to whoever writes; a file that has gone needs nothing.
      if (!isHotBackupError(error)) throw error
    })
  }

  async #copyInto(file: HashedFile): Promise<void> {
    const scan = new CountedScan(file, false)
    try {
      for (let more = true; more;) {
        if (this.#ended(file)) return
        const ids: Buffer[] = []
        const take = (bytes: Uint8Array, start: number, end: number) =>
          ids.push(Buffer.from(bytes.subarray(start, end)))
        more = scan.next(scanItems, take)
        for (let next = 0; next < ids.length && !this.#ended(file);) {
          const from = next
          next = await this.#patiently(() => this.#updates.writeAgain(file, ids, from, sliceBytes))
        }
      }
    } finally {
      scan.end()
    }
    if (!this.#ended(file)) await this.#patiently(() => this.#updates.endFilling(file))
  }

  async #patiently<T>(update: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await update()
      } catch (error) {
        if (!isHotBackupError(error, 'ERR_QUEUE_FULL') || this.#stopped) throw error
        for (const blocked of this.#blocked.splice(0)) blocked()
        await sleep(this.#clock, retryMs)
      }
    }
  }

  /** It is no longer to be filled. */
  #ended(file: HashedFile): boolean {
    return this.#stopped || file.deleted || !isFilling(file)
  }
}

function isFilling(file: HashedFile): boolean {
  return (file.flags & fileFlags.filling) !== 0
}
