// A master, one of whose groups is damaged, asks a slave for its items, over a connection of its own to the slave's
// port.
import { HotBackupError } from '../errors.ts'
import { heartbeatMsDefault, transactionBytesMax } from '../limits.ts'
import type { Platform } from '../platform/platform.ts'
import { Channel } from '../wire/channel.ts'
import { groupDigest, unpackGroup, type GroupItem } from '../wire/group-items.ts'
import type { GroupPiece, GroupQuestion } from '../wire/messages/group.ts'
import type { Peer } from './ask.ts'

/** Throws ERR_CONNECT, ERR_KEY, ERR_WIRE, ERR_WIRE_TIMEOUT, and whatever the slave refuses with. */
export async function askGroup(
  { network, clock }: Pick<Platform, 'network' | 'clock'>,
  { address, key, timeoutMs }: Peer,
  question: GroupQuestion,
): Promise<GroupItem[]> {
  const connection = await network.connect(address, key, timeoutMs)
  return new Promise((resolve, reject) => {
    const heartbeatMs = Math.min(heartbeatMsDefault, timeoutMs / 2)
    const options = { heartbeatMs, timeoutMs, durableTxn: () => 0 }
    const pieces = new Pieces()
    const ask = () => {
      channel.established('group-piece', 'refuse')
      channel.send({ name: 'ask-group', token: pieces.bytes, offset: pieces.bytes, ...question })
    }
    const channel = new Channel(connection, clock, options, ['group-piece', 'refuse'], {
      message: message => {
        if (message.name === 'refuse') {
          channel.destroy(new HotBackupError(message.code, `the slave refuses: ${message.text}`))
        } else if (message.name === 'group-piece' && !pieces.add(message)) {
          ask()
        } else {
          resolve(pieces.items())
          channel.destroy(null)
        }
      },
      writable: () => {},
      closed: error => {
        reject(error ?? new HotBackupError('ERR_WIRE', 'the slave closed the connection'))
      },
    })
    channel.send({ name: 'ask-group', token: 0, offset: 0, ...question })
  })
}

/** What has come; all of it is checked before anything is believed. */
class Pieces {
  readonly #data: Uint8Array[] = []
  #first: GroupPiece | null = null
  bytes = 0

  /** True when it was the last. Throws ERR_WIRE. */
  add(piece: GroupPiece): boolean {
    const { token, total, digest, data } = piece
    const first = (this.#first ??= piece)
    const fits = token === this.bytes && total <= transactionBytesMax && total === first.total
    const same = Buffer.from(digest).equals(first.digest)
    this.bytes += data.length
    if (!fits || !same || this.bytes > total || (data.length === 0 && this.bytes < total)) {
      throw new HotBackupError('ERR_WIRE', 'a GROUP-PIECE that does not fit the others')
    }
    this.#data.push(data)
    return this.bytes === total
  }

  items(): GroupItem[] {
    const packed = Buffer.concat(this.#data)
    if (groupDigest(packed).equals(this.#first!.digest)) return unpackGroup(packed)
    throw new HotBackupError('ERR_WIRE', 'a group that does not have the digest that came with it')
  }
}
