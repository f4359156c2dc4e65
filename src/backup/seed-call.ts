// One connection on which a master gives a copy: sends, waits for the slave's answers, and tells why it broke.
import { HotBackupError } from '../errors.ts'
import type { Clock } from '../platform/clock.ts'
import type { Connection } from '../platform/network.ts'
import { Channel } from '../wire/channel.ts'
import type { SmallMessage } from '../wire/messages.ts'
import type { SeedImage, SeedState } from '../wire/messages/seed.ts'

export class SeedCall {
  readonly #channel: Channel
  readonly #signal: AbortSignal
  readonly #abort = () => this.#end(new HotBackupError('ERR_CLOSED', 'the server stops'))
  #state: SeedState | null = null
  #begun = false
  #failure: HotBackupError | null = null
  #wake: () => void = () => {}

  constructor(
    connection: Connection,
    clock: Clock,
    limits: { readonly heartbeatMs: number; readonly timeoutMs: number },
    signal: AbortSignal,
  ) {
    const { heartbeatMs, timeoutMs } = limits
    const options = { heartbeatMs, timeoutMs, durableTxn: () => 0 }
    this.#signal = signal
    this.#channel = new Channel(connection, clock, options, ['seed-state', 'refuse'], {
      message: message => {
        if (message.name === 'seed-state') {
          this.#state = message
          this.#channel.established('seed-state', 'refuse')
          this.#wake()
        } else if (message.name === 'refuse') {
          this.#end(new HotBackupError(message.code, `the slave refuses: ${message.text}`))
        } else {
          throw new HotBackupError('ERR_WIRE', `no place for ${message.name.toUpperCase()}`)
        }
      },
      writable: () => this.#wake(),
      closed: error =>
        this.#end(error ?? new HotBackupError('ERR_WIRE', 'the slave closed the connection')),
    })
    signal.addEventListener('abort', this.#abort, { once: true })
  }

  send(message: SmallMessage): void {
    this.#channel.send(message)
  }

  /** The slave's first answer. Throws its refusal. */
  async state(): Promise<SeedState> {
    await this.#until(() => this.#state !== null)
    if (this.#state === null) throw new TypeError('there is an answer')
    return this.#state
  }

  begin(image: SeedImage): void {
    this.#begun = true
    // What it said before was of an earlier copy, perhaps.
    this.#state = null
    this.#channel.send(image)
  }

  /** Bytes that are durable on the slave, as far as it has said; all of them: it has checked them, too. */
  get durable(): number {
    return this.#begun ? (this.#state?.offset ?? 0) : 0
  }

  /** Resolves when `reached`, and the connection takes more. */
  room(reached: () => boolean): Promise<void> {
    return this.#until(() => reached() && this.#channel.writable)
  }

  close(): void {
    this.#signal.removeEventListener('abort', this.#abort)
    this.#channel.destroy(null)
  }

  #end(error: HotBackupError): void {
    this.#failure ??= error
    this.#wake()
  }

  async #until(reached: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== null) throw this.#failure
      if (reached()) return
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }
}
