// Answers a slave that asks for a group to be mended.
import { isHotBackupError } from '../errors.ts'
import type { Channel } from '../wire/channel.ts'
import type { AskMend, GroupRange } from '../wire/messages/mend.ts'

/** Whoever asks again before he has read what there is gets no pile of answers. */
export async function answerMend(
  mend: (range: GroupRange) => Promise<number>,
  channel: Pick<Channel, 'writable' | 'send'>,
  { token, fileNumber, from, to }: AskMend,
): Promise<void> {
  if (!channel.writable) return
  try {
    const txn = await mend({ fileNumber, from, to })
    channel.send({ name: 'mended', token, txn, text: '' })
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    channel.send({ name: 'mended', token, txn: 0, text: error.message })
  }
}
