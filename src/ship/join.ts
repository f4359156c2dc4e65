// An old master asks the new one to take it as a slave: one question and one answer over a connection of its own.
import { HotBackupError } from '../errors.ts'
import { heartbeatMsDefault } from '../limits.ts'
import type { Address, SharedKey } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import { Channel } from '../wire/channel.ts'
import type { HistoryMessage } from '../wire/messages/history.ts'
import type { Join } from '../wire/messages/join.ts'

/** Throws ERR_CONNECT, ERR_KEY, ERR_WIRE, ERR_WIRE_TIMEOUT, and whatever the other side refuses with. */
export async function askHistory(
  { network, clock }: Pick<Platform, 'network' | 'clock'>,
  address: Address,
  key: SharedKey | null,
  timeoutMs: number,
  question: Join,
): Promise<HistoryMessage> {
  const connection = await network.connect(address, key, timeoutMs)
  return new Promise((resolve, reject) => {
    const heartbeatMs = Math.min(heartbeatMsDefault, timeoutMs / 2)
    const options = { heartbeatMs, timeoutMs, durableTxn: () => 0 }
    let answered = false
    const channel = new Channel(connection, clock, options, ['history', 'refuse'], {
      message: message => {
        answered = true
        if (message.name === 'history') resolve(message)
        else if (message.name === 'refuse') reject(new HotBackupError(message.code, message.text))
        channel.destroy(null)
      },
      writable: () => {},
      closed: error => {
        const text = `${channel.remoteAddress} closed the connection without an answer`
        if (!answered) reject(error ?? new HotBackupError('ERR_WIRE', text))
      },
    })
    channel.send(question)
  })
}
