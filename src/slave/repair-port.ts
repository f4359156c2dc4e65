// The port of a slave whose log is damaged, so that nothing can be let in. When its master calls, HELLO is answered
// with questions for the bytes that are missing (ASK-LOG), before there could be a WELCOME. Then the connection ends,
// and the master finds an ordinary slave the next time.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { connectionsMax } from '../limits.ts'
import { sameIdentity } from '../log/chain.ts'
import type { PieceSource } from '../log/repair.ts'
import type { Address, Connection, Listener, SharedKey } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import { Channel } from '../wire/channel.ts'
import type { LinkLog } from '../wire/link-log.ts'
import { LogQuestions } from '../wire/log-questions.ts'
import type { Hello } from '../wire/messages/hello.ts'
import { askLogVersion } from '../wire/protocol.ts'
import { hexId } from './receiver-handshake.ts'

type RepairPlatform = Pick<Platform, 'network' | 'clock'>

export interface RepairPortOptions {
  readonly serverId: Uint8Array
  readonly databaseId: Uint8Array
  readonly key: SharedKey | null
  readonly listen: Address
  readonly heartbeatMs: number
  readonly timeoutMs: number
  /** So long a master that can help is waited for. */
  readonly waitMs: number
  readonly logger: LinkLog
}

/**
 * Waits for a master, and resolves with what `work` makes of its log. A connection that breaks is waited for again.
 * Throws ERR_TIMEOUT when none has come, ERR_LISTEN, and what `work` throws.
 */
export async function withMastersLog<T>(
  platform: RepairPlatform,
  options: RepairPortOptions,
  work: (source: PieceSource) => Promise<T>,
): Promise<T> {
  const port = new RepairPort(platform, options, work)
  return port.done()
}

class RepairPort<T> {
  readonly #platform: RepairPlatform
  readonly #options: RepairPortOptions
  readonly #work: (source: PieceSource) => Promise<T>
  readonly #open = new Set<Channel>()
  #busy = false
  #lastRefusal = ''
  #resolve: (result: T) => void = () => {}
  #reject: (error: unknown) => void = () => {}

  constructor(
    platform: RepairPlatform,
    options: RepairPortOptions,
    work: (source: PieceSource) => Promise<T>,
  ) {
    this.#platform = platform
    this.#options = options
    this.#work = work
  }

  async done(): Promise<T> {
    const { listen, key, timeoutMs, waitMs } = this.#options
    const { network, clock } = this.#platform
    const done = new Promise<T>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    const accept = (connection: Connection) => this.#accept(connection)
    const limits = { timeoutMs, connectionsMax }
    const listener: Listener = await network.listen(listen, key, accept, limits)
    const look = () => {
      if (this.#busy) timer = clock.after(waitMs, look, true)
      else this.#reject(this.#noCall())
    }
    let timer = clock.after(waitMs, look, true)
    try {
      return await done
    } finally {
      timer.cancel()
      const closed = listener.close()
      for (const channel of this.#open) channel.destroy(null)
      await closed
    }
  }

  #noCall(): HotBackupError {
    const { waitMs } = this.#options
    const refused = this.#lastRefusal === '' ? '' : `; ${this.#lastRefusal}`
    const text = `no master that holds the same log has called for ${waitMs / 1000} s${refused}`
    return new HotBackupError('ERR_TIMEOUT', text)
  }

  #accept(connection: Connection): void {
    const { heartbeatMs, timeoutMs } = this.#options
    const limits = { heartbeatMs, timeoutMs, durableTxn: () => 0 }
    let questions: LogQuestions | null = null
    const channel = new Channel(connection, this.#platform.clock, limits, ['hello'], {
      message: message => {
        if (message.name === 'hello') {
          questions = this.#ask(channel, message)
        } else if (message.name === 'log-piece') {
          questions?.answered(message)
        } else if (message.name === 'refuse') {
          channel.destroy(new HotBackupError(message.code, message.text))
        }
      },
      writable: () => {},
      closed: error => {
        this.#open.delete(channel)
        questions?.end(error)
      },
    })
    this.#open.add(channel)
  }

  #ask(channel: Channel, hello: Hello): LogQuestions | null {
    const refusal = this.#refusal(hello)
    if (refusal !== null) {
      this.#lastRefusal = refusal.message
      const nowhere = { txn: 0, chain: 0 }
      const { code, message: text } = refusal
      channel.refuse({ name: 'refuse', code, text, sender: nowhere, peer: hello.durable }, refusal)
      return null
    }
    const { logger, databaseId } = this.#options
    logger('info', `"${hello.serverName}" is asked for what is damaged in the log`, {})
    channel.established('log-piece', 'refuse')
    const questions = new LogQuestions(channel, databaseId)
    this.#busy = true
    this.#work(questions).then(this.#resolve, (error: unknown) => {
      this.#busy = false
      if (!isHotBackupError(error, 'ERR_WIRE', 'ERR_WIRE_TIMEOUT')) this.#reject(error)
      else logger('warn', `link from "${hello.serverName}": ${error.message}`, {})
    })
    return questions
  }

  #refusal(hello: Hello): HotBackupError | null {
    const { databaseId, serverId } = this.#options
    const name = `"${hello.serverName}"`
    if (!sameIdentity(hello.databaseId, databaseId)) {
      const text = `${name} holds database ${hexId(hello.databaseId)}, this slave database ${hexId(databaseId)}`
      return new HotBackupError('ERR_LINK_FOREIGN', text)
    }
    if ([hello.serverId, ...hello.path].some(id => sameIdentity(id, serverId))) {
      return new HotBackupError('ERR_LINK_LOOP', `${name} is fed by this very server`)
    }
    if ((hello.version ?? askLogVersion) < askLogVersion) {
      const text = `the log of this slave is damaged, and ${name} runs an older hotbackup, which cannot be asked for it`
      return new HotBackupError('ERR_LOG_CORRUPT', text)
    }
    if (!this.#busy) return null
    return new HotBackupError('ERR_LINK_REFUSED', 'this slave is just being repaired')
  }
}
