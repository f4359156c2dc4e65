// The questions for its statistics that a slave has been asked over one connection, and not answered yet.
import { HotBackupError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Channel } from '../wire/channel.ts'
import type { SlaveStatistics, Statistics } from '../wire/messages/statistics.ts'
import { statisticsVersion } from '../wire/protocol.ts'

/** What a slave has told, and how long that took: the way there, the slave, and the way back. */
export interface StatisticsAnswer {
  readonly statistics: SlaveStatistics
  readonly roundTripMs: number
}

interface Question {
  readonly askedAt: number
  readonly timer: Timer
  readonly resolve: (answer: StatisticsAnswer) => void
  readonly reject: (error: HotBackupError) => void
}

/** Nothing streams to the slave: nobody can be asked. */
export function notConnected(slave: string, why: HotBackupError | null): HotBackupError {
  const reason = why === null ? '' : `: ${why.message}`
  const text = `"${slave}" is not connected${reason}`
  return new HotBackupError('ERR_NO_STATISTICS', text, { slave })
}

export class StatisticsQuestions {
  readonly #slave: string
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #channel: Pick<Channel, 'send'>
  readonly #open = new Map<number, Question>()
  #token = 0

  constructor(slave: string, clock: Clock, timeoutMs: number, channel: Pick<Channel, 'send'>) {
    this.#slave = slave
    this.#clock = clock
    this.#timeoutMs = timeoutMs
    this.#channel = channel
  }

  /**
   * `version`: the protocol version of the connection. Rejects with ERR_TIMEOUT when no answer comes in time, with
   * ERR_NO_STATISTICS when the connection ends before, or the slave's program is too old.
   */
  ask(version: number): Promise<StatisticsAnswer> {
    const slave = this.#slave
    if (version < statisticsVersion) {
      const text = `"${slave}" runs an older hotbackup, which keeps no statistics`
      return Promise.reject(new HotBackupError('ERR_NO_STATISTICS', text, { slave }))
    }
    const token = ++this.#token
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(
        this.#timeoutMs,
        () => {
          this.#open.delete(token)
          const text = `"${slave}" has not answered for ${this.#timeoutMs / 1000} s`
          reject(new HotBackupError('ERR_TIMEOUT', text, { slave }))
        },
        true,
      )
      const askedAt = this.#clock.monotonic()
      this.#open.set(token, { askedAt, timer, resolve, reject })
      this.#channel.send({ name: 'ask-statistics', token })
    })
  }

  /** An answer that nobody waits for any more is passed over. */
  answered({ token, statistics }: Statistics): void {
    const question = this.#open.get(token)
    if (question === undefined) return
    this.#open.delete(token)
    question.timer.cancel()
    question.resolve({ statistics, roundTripMs: this.#clock.monotonic() - question.askedAt })
  }

  /** The connection has ended. */
  end(): void {
    const slave = this.#slave
    for (const { timer, reject } of this.#open.values()) {
      timer.cancel()
      const text = `the link to "${slave}" ended before the answer came`
      reject(new HotBackupError('ERR_NO_STATISTICS', text, { slave }))
    }
    this.#open.clear()
  }
}
