// Answers a slave that asks for a group to be repaired.
import { isHotBackupError } from '../errors.ts'
import type { Channel } from '../wire/channel.ts'
import type { AskRepair, GroupRange } from '../wire/messages/repair.ts'

/** Whoever asks again before he has read what there is gets no pile of answers. */
export async function answerRepair(
  repair: (range: GroupRange) => Promise<number>,
  channel: Pick<Channel, 'writable' | 'send'>,
  { token, fileNumber, from, to }: AskRepair,
): Promise<void> {
  if (!channel.writable) return
  try {
    const txn = await repair({ fileNumber, from, to })
    channel.send({ name: 'repaired', token, txn, text: '' })
  } catch (error) {
    if (!isHotBackupError(error)) throw error
    channel.send({ name: 'repaired', token, txn: 0, text: error.message })
  }
}
