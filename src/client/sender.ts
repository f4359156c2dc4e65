// Sends a program's transactions in the order in which they were made. Those that come while others are under way share
// one message, and so blocks of the log.
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { frameBodyBytesMax } from '../control/frames.ts'
import type { Answer } from '../control/operation.ts'
import { updateOperations } from '../data/data-operations.ts'
import { packCommits, packedSize, type Change } from '../data/packed-commits.ts'
import type { CommitLevel } from '../config/policies.ts'
import { isRefusal, type Line } from './line.ts'

const { commit } = updateOperations

/** Of one message, but for a single transaction. */
const messageBytesMax = MiB
const messageCommitsMax = 2000

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
    const level = batch[0]?.level
    const request = { files: names, ...(level === undefined ? {} : { level }) }
    try {
      const body = packCommits(commits)
      const { answer } = await this.#line.answer(false, commit, { ...request, body })
      const refused = this.#take(batch, answer)
      if (refused.length === 0) return
      this.#waiting.unshift(...refused)
      await this.#line.pause()
    } catch (error) {
      for (const { reject } of batch) reject(error as Error)
    }
  }

  /** Those that the server has not taken, since it closes. */
  #take(batch: readonly Pending[], { outcomes, txn }: Answer<typeof commit>): Pending[] {
    this.#lastTxn = Math.max(this.#lastTxn, txn)
    return batch.filter(({ resolve, reject }, index) => {
      const outcome = outcomes[index]
      if (typeof outcome === 'number' || outcome === 'conflict') resolve(outcome)
      else if (outcome === undefined) {
        reject(new HotBackupError('ERR_WIRE', 'a transaction was not answered'))
      } else if (isRefusal(outcome)) return true
      else reject(outcome)
      return false
    })
  }
}
