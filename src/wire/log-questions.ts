// The questions for bytes of the peer's log that have gone out over one connection, and are not answered yet.
import { HotBackupError } from '../errors.ts'
import type { PieceSource } from '../log/repair.ts'
import type { Channel } from './channel.ts'
import type { LogPiece } from './messages/log-piece.ts'

interface Question {
  readonly length: number
  readonly resolve: (data: Uint8Array | null) => void
  readonly reject: (error: HotBackupError) => void
}

export class LogQuestions implements PieceSource {
  readonly #channel: Pick<Channel, 'send'>
  readonly #databaseId: Uint8Array
  readonly #open = new Map<number, Question>()
  #token = 0
  #ended: HotBackupError | null = null

  constructor(channel: Pick<Channel, 'send'>, databaseId: Uint8Array) {
    this.#channel = channel
    this.#databaseId = databaseId
  }

  /** Rejects with what the connection ended with. */
  read(segmentFirstTxn: number, offset: number, length: number): Promise<Uint8Array | null> {
    if (this.#ended !== null) return Promise.reject(this.#ended)
    const token = ++this.#token
    const databaseId = this.#databaseId
    return new Promise((resolve, reject) => {
      this.#open.set(token, { length, resolve, reject })
      this.#channel.send({ name: 'ask-log', token, databaseId, segmentFirstTxn, offset, length })
    })
  }

  /** Throws ERR_WIRE when that was not asked. */
  answered({ token, data }: LogPiece): void {
    const question = this.#open.get(token)
    if (question === undefined || (data?.length ?? 0) > question.length) {
      throw new HotBackupError('ERR_WIRE', 'a LOG-PIECE that was not asked for')
    }
    this.#open.delete(token)
    question.resolve(data)
  }

  /** The connection has ended. */
  end(error: HotBackupError | null): void {
    this.#ended ??= error ?? new HotBackupError('ERR_WIRE', 'the peer closed the connection')
    for (const { reject } of this.#open.values()) reject(this.#ended)
    this.#open.clear()
  }
}
