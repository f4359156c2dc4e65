// What one server asks another besides the stream: an old master wants to become a slave, a master wants to hand over.
// One question and one answer, over a connection of its own.
import { HotBackupError } from '../errors.ts'
import { heartbeatMsDefault } from '../limits.ts'
import type { Address, SharedKey } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import { Channel } from '../wire/channel.ts'
import type { SmallMessage } from '../wire/messages.ts'
import type { HistoryMessage } from '../wire/messages/history.ts'
import type { Join } from '../wire/messages/join.ts'
import type { Promote } from '../wire/messages/promote.ts'
import type { Welcome } from '../wire/messages/welcome.ts'

type Asker = Pick<Platform, 'network' | 'clock'>

/** Where to ask, and how. */
export interface Peer {
  readonly address: Address
  readonly key: SharedKey | null
  readonly timeoutMs: number
}

/** Throws ERR_CONNECT, ERR_KEY, ERR_WIRE, ERR_WIRE_TIMEOUT, and whatever the other side refuses with. */
export function askHistory(platform: Asker, peer: Peer, question: Join): Promise<HistoryMessage> {
  return ask(platform, peer, question, 'history')
}

/**
 * Hands over to a slave, which is about to become a master when this resolves. Throws as above; after a refusal, or
 * when there was no connection, it is still the slave that it was.
 */
export function askToPromote(platform: Asker, peer: Peer, question: Promote): Promise<Welcome> {
  return ask(platform, peer, question, 'welcome')
}

/** The peer has said no: nothing has come of the question. */
export class Refused extends HotBackupError {}

async function ask<N extends 'history' | 'welcome'>(
  { network, clock }: Asker,
  { address, key, timeoutMs }: Peer,
  question: SmallMessage,
  answer: N,
): Promise<Extract<SmallMessage, { name: N }>> {
  const connection = await network.connect(address, key, timeoutMs)
  return new Promise((resolve, reject) => {
    const heartbeatMs = Math.min(heartbeatMsDefault, timeoutMs / 2)
    const options = { heartbeatMs, timeoutMs, durableTxn: () => 0 }
    let answered = false
    const channel = new Channel(connection, clock, options, [answer, 'refuse'], {
      message: message => {
        answered = true
        if (message.name === 'refuse') reject(new Refused(message.code, message.text))
        else resolve(message as Extract<SmallMessage, { name: N }>)
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
