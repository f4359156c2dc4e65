// What a slave has asked its master to repair over one connection, and has had no answer to yet.
import { HotBackupError } from '../errors.ts'
import type { Channel } from './channel.ts'
import type { GroupRange, Repaired } from './messages/repair.ts'

interface Question {
  readonly resolve: (txn: number) => void
  readonly reject: (error: HotBackupError) => void
}

export class RepairQuestions {
  readonly #channel: Pick<Channel, 'send'>
  readonly #open = new Map<number, Question>()
  #token = 0
  #ended: HotBackupError | null = null

  constructor(channel: Pick<Channel, 'send'>) {
    this.#channel = channel
  }

  /**
   * Resolves with the transaction with which the items are in the log. Rejects with ERR_GROUP_DAMAGED when the master
   * cannot do it, and with what the connection ended with.
   */
  ask(range: GroupRange): Promise<number> {
    if (this.#ended !== null) return Promise.reject(this.#ended)
    const token = ++this.#token
    return new Promise((resolve, reject) => {
      this.#open.set(token, { resolve, reject })
      this.#channel.send({ name: 'ask-repair', token, ...range })
    })
  }

  /** Throws ERR_WIRE when that was not asked. */
  answered({ token, txn, text }: Repaired): void {
    const question = this.#open.get(token)
    if (question === undefined) {
      throw new HotBackupError('ERR_WIRE', 'a REPAIRED that was not asked for')
    }
    this.#open.delete(token)
    if (txn > 0) question.resolve(txn)
    else question.reject(new HotBackupError('ERR_GROUP_DAMAGED', text))
  }

  /** The connection has ended. */
  end(error: HotBackupError | null): void {
    this.#ended ??= error ?? new HotBackupError('ERR_WIRE', 'the peer closed the connection')
    for (const { reject } of this.#open.values()) reject(this.#ended)
    this.#open.clear()
  }
}
