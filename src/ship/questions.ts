// What a slave has been asked over one connection, and not answered yet.
import { HotBackupError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Channel } from '../wire/channel.ts'
import type { DifferencesMessage, DifferencesPage } from '../wire/messages/differences.ts'
import type { SlaveStatistics, Statistics } from '../wire/messages/statistics.ts'
import { differencesVersion, statisticsVersion, type MessageName } from '../wire/protocol.ts'

/** What a slave has told, and how long that took: the way there, the slave, and the way back. */
export interface StatisticsAnswer {
  readonly statistics: SlaveStatistics
  readonly roundTripMs: number
}

interface Question<T> {
  readonly askedAt: number
  readonly timer: Timer
  readonly resolve: (answer: { readonly answer: T; readonly roundTripMs: number }) => void
  readonly reject: (error: HotBackupError) => void
}

/** Nothing streams to the slave: nobody can be asked. */
export function notConnected(slave: string, why: HotBackupError | null): HotBackupError {
  const reason = why === null ? '' : `: ${why.message}`
  const text = `"${slave}" is not connected${reason}`
  return new HotBackupError('ERR_NO_STATISTICS', text, { slave })
}

export class SlaveQuestions {
  readonly #slave: string
  readonly #channel: Pick<Channel, 'send'>
  readonly #statistics: Questions<SlaveStatistics>
  readonly #differences: Questions<DifferencesPage>
  /** The protocol version of the connection. */
  version = 0

  constructor(slave: string, clock: Clock, timeoutMs: number, channel: Pick<Channel, 'send'>) {
    this.#slave = slave
    this.#channel = channel
    this.#statistics = new Questions(slave, clock, timeoutMs)
    this.#differences = new Questions(slave, clock, timeoutMs)
  }

  /** The messages that may come as answers. */
  get answers(): MessageName[] {
    const answers: MessageName[] = []
    if (this.version >= statisticsVersion) answers.push('statistics')
    if (this.version >= differencesVersion) answers.push('differences')
    return answers
  }

  /**
   * What the slave has done since its start. Rejects with ERR_TIMEOUT when no answer comes in time, with
   * ERR_NO_STATISTICS when the connection ends before, or the slave's program is too old.
   */
  async statistics(): Promise<StatisticsAnswer> {
    this.#demand(statisticsVersion, 'keeps no statistics')
    const { answer: statistics, roundTripMs } = await this.#statistics.ask(token => {
      this.#channel.send({ name: 'ask-statistics', token })
    })
    return { statistics, roundTripMs }
  }

  /** Where it knows itself to be different, some of the lines. Rejects likewise. */
  async differences(start: number): Promise<DifferencesPage> {
    this.#demand(differencesVersion, 'does not compare itself with its master')
    const { answer } = await this.#differences.ask(token => {
      this.#channel.send({ name: 'ask-differences', token, start })
    })
    return answer
  }

  #demand(version: number, what: string): void {
    const slave = this.#slave
    if (this.version >= version) return
    const text = `"${slave}" runs an older hotbackup, which ${what}`
    throw new HotBackupError('ERR_NO_STATISTICS', text, { slave })
  }

  answered(message: Statistics | DifferencesMessage): void {
    const { token } = message
    if (message.name === 'statistics') this.#statistics.answered(token, message.statistics)
    else this.#differences.answered(token, message.page)
  }

  /** The connection has ended. */
  end(): void {
    this.#statistics.end()
    this.#differences.end()
  }
}

/** Of one kind. */
class Questions<T> {
  readonly #slave: string
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #open = new Map<number, Question<T>>()
  #token = 0

  constructor(slave: string, clock: Clock, timeoutMs: number) {
    this.#slave = slave
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /**
   * `send` puts the question with its token into the connection. Rejects with ERR_TIMEOUT when no answer comes in time,
   * with ERR_NO_STATISTICS when the connection ends before.
   */
  ask(
    send: (token: number) => void,
  ): Promise<{ readonly answer: T; readonly roundTripMs: number }> {
    const slave = this.#slave
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
      send(token)
    })
  }

  /** An answer that nobody waits for any more is passed over. */
  answered(token: number, answer: T): void {
    const question = this.#open.get(token)
    if (question === undefined) return
    this.#open.delete(token)
    question.timer.cancel()
    question.resolve({ answer, roundTripMs: this.#clock.monotonic() - question.askedAt })
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
