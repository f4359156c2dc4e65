// Answers a peer that asks for bytes of this server's log.
import { isHotBackupError } from '../errors.ts'
import type { PieceQuestion } from '../log/pieces.ts'
import type { Channel } from './channel.ts'
import type { AskLog } from './messages/log-piece.ts'

/** Whoever asks again before he has read what there is gets no pile of answers. */
export async function answerLog(
  read: (question: PieceQuestion) => Promise<Uint8Array | null>,
  channel: Pick<Channel, 'writable' | 'send' | 'destroy'>,
  question: AskLog,
): Promise<void> {
  if (!channel.writable) return
  try {
    const data = await read(question)
    channel.send({ name: 'log-piece', token: question.token, data })
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    channel.destroy(error)
  }
}
