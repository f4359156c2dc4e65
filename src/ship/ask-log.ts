// A master whose own log is damaged asks a slave for the bytes, over a connection of its own to the slave's port.
import type { PieceSource } from '../log/repair.ts'
import { HotBackupError } from '../errors.ts'
import { heartbeatMsDefault } from '../limits.ts'
import type { Platform } from '../platform/platform.ts'
import { Channel } from '../wire/channel.ts'
import { LogQuestions } from '../wire/log-questions.ts'
import type { Peer } from './ask.ts'

/**
 * Resolves with what `work` makes of the slave's log. Throws what `work` throws, ERR_CONNECT, ERR_KEY, ERR_WIRE,
 * ERR_WIRE_TIMEOUT, and whatever the slave refuses with.
 */
export async function withSlavesLog<T>(
  { network, clock }: Pick<Platform, 'network' | 'clock'>,
  { address, key, timeoutMs }: Peer,
  databaseId: Uint8Array,
  work: (source: PieceSource) => Promise<T>,
): Promise<T> {
  const connection = await network.connect(address, key, timeoutMs)
  const heartbeatMs = Math.min(heartbeatMsDefault, timeoutMs / 2)
  const options = { heartbeatMs, timeoutMs, durableTxn: () => 0 }
  const channel = new Channel(connection, clock, options, ['log-piece', 'refuse'], {
    message: message => {
      if (message.name === 'refuse') {
        questions.end(new HotBackupError(message.code, `the slave refuses: ${message.text}`))
      } else if (message.name === 'log-piece') {
        channel.established('log-piece', 'refuse')
        questions.answered(message)
      }
    },
    writable: () => {},
    closed: error => questions.end(error),
  })
  const questions = new LogQuestions(channel, databaseId)
  try {
    return await work(questions)
  } finally {
    channel.destroy(null)
  }
}
