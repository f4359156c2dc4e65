// Sends a program's transactions in the order in which they were made. Those that come while others are under way share
// one message, and so blocks of the log.
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { errorFromJson } from '../control/error-json.ts'
import { frameBodyBytesMax, type JsonObject, type JsonValue } from '../control/frames.ts'
import { packCommits, packedSize, type Step } from '../data/packed-commits.ts'
import type { CommitLevel } from '../config/policies.ts'
import { isRefusal, type Line } from './line.ts'

/** Of one message, but for a single transaction. */
const messageBytesMax = MiB
const messageCommitsMax = 2000

/** A step, with its file by name. */
export interface Change extends Omit<Step, 'file'> {
  readonly account: string
  readonly file: string
}

/** Another update, which has a message to itself. */
interface Single {
  readonly send: () => Promise<void>
}

interface Pending {
  readonly changes: readonly Change[]
  readonly bytes: number
  readonly level: CommitLevel | undefined
  readonly resolve: (outcome: number | 'conflict') => void
  readonly reject: (error: Error) => void
}

export class Sender {
  readonly #line: Line
  readonly #waiting: (Pending | Single)[] = []
  #sending = false
  /** Outcomes come in the order of the transactions. */
  #last: Promise<unknown> = Promise.resolve()
  #lastTxn = 0

  constructor(line: Line) {
    this.#line = line
  }

  /** A transaction of the log at which all that was sent so far is in it. */
  get lastTxn(): number {
    return this.#lastTxn
  }

  /** Resolves with the number of items that it has deleted, or with "conflict": nothing has happened. */
  commit(changes: readonly Change[], level: CommitLevel | undefined): Promise<number | 'conflict'> {
    const outcome = new Promise<number | 'conflict'>((resolve, reject) => {
      const bytes = packedSize(changes.map(change => ({ ...change, file: 0 })))
      if (bytes > frameBodyBytesMax) {
        const message = `the transaction has ${bytes} bytes`
        const hint = 'Split the transaction: over a connection it is at most 72 MiB.'
        reject(new HotBackupError('ERR_TRANSACTION_SIZE', message, {}, undefined, hint))
        return
      }
      this.#push({ changes, bytes, level, resolve, reject })
    })
    this.#last = outcome.catch(() => {})
    return outcome
  }

  /** Sends another update in its place among the transactions. */
  single<T>(send: () => Promise<T>): Promise<T> {
    const outcome = new Promise<T>((resolve, reject) => {
      this.#push({ send: () => send().then(resolve, reject) })
    })
    this.#last = outcome.catch(() => {})
    return outcome
  }

  #push(next: Pending | Single): void {
    this.#waiting.push(next)
    // At the end of the turn: what a program begins together is sent together.
    if (!this.#sending) void Promise.resolve().then(() => this.#send())
    this.#sending = true
  }

  /** Resolves when what was made so far has its outcome. */
  async settled(): Promise<void> {
    await this.#last
  }

  async #send(): Promise<void> {
    for (;;) {
      const [first] = this.#waiting
      if (first === undefined) break
      if ('send' in first) {
        this.#waiting.shift()
        await first.send()
      } else await this.#sendBatch(this.#nextBatch(first))
    }
    this.#sending = false
  }

  #nextBatch({ level }: Pending): Pending[] {
    const batch: Pending[] = []
    let bytes = 0
    for (const pending of this.#waiting) {
      if ('send' in pending || pending.level !== level) break
      bytes += pending.bytes
      const full = bytes > messageBytesMax || batch.length === messageCommitsMax
      if (full && batch.length > 0) break
      batch.push(pending)
    }
    this.#waiting.splice(0, batch.length)
    return batch
  }

  async #sendBatch(batch: readonly Pending[]): Promise<void> {
    const files = new Map<string, number>()
    const names: [string, string][] = []
    const indexOf = (account: string, file: string) => {
      const key = JSON.stringify([account, file])
      const known = files.get(key)
      if (known !== undefined) return known
      files.set(key, names.length)
      return names.push([account, file]) - 1
    }
    const commits = batch.map(({ changes }) =>
      changes.map(change => ({ ...change, file: indexOf(change.account, change.file) })),
    )
    const args: JsonObject = { files: names, level: batch[0]?.level }
    try {
      const bytes = packCommits(commits)
      const [answer] = await this.#line.answer(false, 'commit', args, bytes)
      const refused = this.#take(batch, answer?.header ?? {})
      if (refused.length === 0) return
      this.#waiting.unshift(...refused)
      await this.#line.pause()
    } catch (error) {
      for (const { reject } of batch) reject(error as Error)
    }
  }

  /** Those that the server has not taken, since it closes. */
  #take(batch: readonly Pending[], { outcomes, txn }: JsonObject): Pending[] {
    if (typeof txn === 'number') this.#lastTxn = Math.max(this.#lastTxn, txn)
    const list: readonly JsonValue[] = Array.isArray(outcomes) ? (outcomes as JsonValue[]) : []
    return batch.filter(({ resolve, reject }, index) => {
      const outcome = list[index]
      if (typeof outcome === 'number' || outcome === 'conflict') resolve(outcome)
      else if (typeof outcome === 'object' && outcome !== null) {
        const error = errorFromJson(outcome as JsonObject)
        if (isRefusal(error)) return true
        reject(error)
      } else reject(new HotBackupError('ERR_WIRE', 'a transaction was not answered'))
      return false
    })
  }
}
