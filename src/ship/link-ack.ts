// What a link keeps of its slave's positions, in slaves/NAME.ack: confirmed while the connection is open, the last word
// when it is not, and less when the slave reports that it holds less.
import type { HotBackupError } from '../errors.ts'
import { sameIdentity, type LogPosition } from '../log/chain.ts'
import type { Hello } from '../wire/messages/hello.ts'
import type { Welcome } from '../wire/messages/welcome.ts'
import { AckFile, confirmedBy, type SlaveAck } from './ack-file.ts'
import { shipperIdOf } from './confirmed.ts'
import type { LinkOptions, LinkPlatform } from './link-options.ts'

export class LinkAck {
  readonly #platform: LinkPlatform
  readonly #options: Pick<LinkOptions, 'slave' | 'log'>
  readonly #file: AckFile

  private constructor(
    platform: LinkPlatform,
    options: Pick<LinkOptions, 'slave' | 'log'>,
    file: AckFile,
  ) {
    this.#platform = platform
    this.#options = options
    this.#file = file
  }

  /** Throws ERR_DISK or ERR_DISK_FULL when there can be no ack file in `directory`. */
  static async open(
    platform: LinkPlatform,
    options: Pick<LinkOptions, 'slave' | 'log'>,
    directory: string,
  ): Promise<LinkAck> {
    const { slave, log } = options
    const file = await AckFile.open(platform.disk, directory, slave.name, error => {
      const fields = { slave: slave.name, code: error.code }
      log('error', `the ack of "${slave.name}" cannot be kept: ${error.message}`, fields)
    })
    return new LinkAck(platform, options, file)
  }

  /** The slave's last word; null when it was never heard. */
  get last(): SlaveAck | null {
    return this.#file.last
  }

  /** The slave is called with this description of the log. */
  called({ databaseId }: Pick<Hello, 'databaseId'>): void {
    this.#file.forget(databaseId)
  }

  /** The slave's log was found to continue this one, and the stream begins. */
  found(hello: Hello, welcome: Welcome): void {
    const { last } = this.#file
    if (last !== null && !sameIdentity(last.serverId, welcome.serverId)) {
      const { name: slave } = this.#options.slave
      const text = `"${slave}" is another server than before, or was set up anew`
      this.#options.log('warn', text, { slave })
    }
    this.confirmed(hello, welcome)
  }

  /** The slave acknowledges the progress in `welcome`. */
  confirmed({ databaseId }: Hello, { serverId, progress }: Welcome): void {
    const { clock, processes } = this.#platform
    const ids = { serverId, databaseId, shipperId: shipperIdOf(processes.self()) }
    this.#file.write(confirmedBy(ids, progress, clock.now()))
  }

  /**
   * The link was refused, and the slave's log ends at `reported`: it was restored from an older save, or set up anew,
   * or follows another history.
   */
  refused({ code }: HotBackupError, reported: LogPosition): void {
    if (code === 'ERR_LINK_SEED' || code === 'ERR_LINK_DIVERGED') this.#file.lower(reported)
  }

  /** The connection has ended: from here on the slave may be anything. */
  hungUp(): void {
    this.#file.unconfirm()
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}
