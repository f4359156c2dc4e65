// The slave's side of a seed's connection: takes the pieces of the copy one after the other, lets the master wait while
// the disk is behind, and tells how far the copy is durable. What is done with the pieces is the taker's business.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { Channel } from '../wire/channel.ts'
import type { Message } from '../wire/messages.ts'
import type { Seed, SeedImage } from '../wire/messages/seed.ts'

/** How far a copy has come. */
export interface SeedPlace {
  readonly imageId: Uint8Array
  /** Bytes of it that are durable. */
  readonly offset: number
}

/** Keeps the copy. Its calls come one after the other. */
export interface SeedTaker {
  /** Why the slave takes no copy from there; null when it does. */
  admit(seed: Seed): HotBackupError | null
  /** What is there from an earlier connection. */
  place(): Promise<SeedPlace>
  /** The copy that comes from now on, at `image.offset`. */
  begin(image: SeedImage): Promise<void>
  /** The next piece. True when what has come is durable now. */
  take(offset: number, data: Uint8Array): Promise<boolean>
  /** All of it has come. Resolves when it has been checked. */
  complete(): Promise<void>
  /** The connection is over: the master has heard what it was to hear, and the slave begins anew with a whole copy. */
  end(): Promise<void>
}

/** Pieces that wait for the disk, above which the master must wait, too. */
const waitingBytesMax = 4 * 1024 * 1024

export class SeedSession {
  readonly #channel: Channel
  readonly #taker: SeedTaker
  readonly #refuse: (error: HotBackupError) => void
  #work: Promise<void> = Promise.resolve()
  #waitingBytes = 0
  #totalBytes = -1
  #ended = false

  constructor(channel: Channel, taker: SeedTaker, refuse: (error: HotBackupError) => void) {
    this.#channel = channel
    this.#taker = taker
    this.#refuse = refuse
    this.#then(() => this.#tell())
  }

  message(message: Exclude<Message, { name: 'ping' | 'pong' }>): void {
    if (message.name === 'seed-image') {
      this.#totalBytes = message.totalBytes
      this.#channel.established('seed-data', 'refuse')
      this.#then(async () => {
        await this.#taker.begin(message)
        if (message.offset === message.totalBytes) await this.#complete()
      })
    } else if (message.name === 'seed-data') {
      this.#waitingBytes += message.data.length
      if (this.#waitingBytes > waitingBytesMax) this.#channel.pause()
      this.#then(() => this.#take(message.offset, message.data))
    } else {
      throw new HotBackupError('ERR_WIRE', `a seed has no ${message.name.toUpperCase()}`)
    }
  }

  /** The connection is over. Resolves when the taker has heard of it. */
  end(): Promise<void> {
    this.#ended = true
    this.#work = this.#work.then(async () => {
      try {
        await this.#taker.end()
      } catch (error) {
        // Nobody is left to be told, and the copy goes on from where it was durable.
        if (!isHotBackupError(error)) throw error
      }
    })
    return this.#work
  }

  async #take(offset: number, data: Uint8Array): Promise<void> {
    const durable = await this.#taker.take(offset, data)
    this.#waitingBytes -= data.length
    if (this.#waitingBytes <= waitingBytesMax / 2) this.#channel.resume()
    if (offset + data.length >= this.#totalBytes) await this.#complete()
    else if (durable) await this.#tell()
  }

  async #complete(): Promise<void> {
    await this.#taker.complete()
    await this.#tell()
  }

  async #tell(): Promise<void> {
    const { imageId, offset } = await this.#taker.place()
    this.#channel.send({ name: 'seed-state', imageId, offset })
  }

  #then(work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.#ended) return
      try {
        await work()
      } catch (error) {
        if (!isHotBackupError(error)) throw error
        this.#ended = true
        this.#refuse(error)
      }
    })
  }
}
