// A slave that logs slave updates: hands its log on to the next slaves, those of hb.toml as it is now.
import { HotBackupError } from '../errors.ts'
import type { Platform } from '../platform/platform.ts'
import type { LinkOptions } from '../ship/link-options.ts'
import { Shipper } from '../ship/shipper.ts'
import type { ShipStatus, SeedStatus } from '../ship/status.ts'
import type { Receiver } from '../slave/receiver.ts'
import type { LiveConfig } from '../config/live-config.ts'
import { Seeder, withSeeds } from '../backup/seeder.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'
import { shipperOptions } from './shipper-server.ts'

interface Source {
  readonly receiver: Receiver
  readonly damaged: LinkOptions['damaged']
  readonly repair: LinkOptions['repair']
}

export class SlaveShipping {
  readonly #platform: Platform
  readonly #layout: Layout
  readonly #config: LiveConfig
  readonly #say: Log
  readonly #source: Source
  #links: { readonly shipper: Shipper; readonly seeder: Seeder } | null = null
  #stopped = false

  private constructor(
    platform: Platform,
    layout: Layout,
    config: LiveConfig,
    say: Log,
    source: Source,
  ) {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    this.#say = say
    this.#source = source
  }

  /** Throws ERR_KEY, ERR_DISK. */
  static async start(
    platform: Platform,
    layout: Layout,
    config: LiveConfig,
    say: Log,
    source: Source,
  ): Promise<SlaveShipping> {
    const shipping = new SlaveShipping(platform, layout, config, say, source)
    await shipping.#follow()
    config.onChange(() => shipping.#follow())
    return shipping
  }

  /** Null while there is no slave to send to. */
  get shipper(): Shipper | null {
    return this.#links?.shipper ?? null
  }

  status(): ShipStatus[] {
    return this.#links === null ? [] : withSeeds(this.#links.shipper.status(), this.#links.seeder)
  }

  /** Gives a slave a copy of the database: see Seeder. */
  seed(slave: string): AsyncGenerator<SeedStatus> {
    if (this.#links !== null) return this.#links.seeder.order(slave)
    throw new HotBackupError('ERR_WRONG_TYPE', 'this server sends nothing to slaves')
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#links?.seeder.stop()
    await this.#links?.shipper.stop()
  }

  async #follow(): Promise<void> {
    const { ships, slaves } = this.#config
    if (this.#stopped) return
    if (this.#links !== null) await this.#links.shipper.setSlaves(ships ? slaves : [])
    else if (ships) this.#links = await this.#open()
  }

  async #open(): Promise<{ readonly shipper: Shipper; readonly seeder: Seeder }> {
    const { receiver, damaged, repair } = this.#source
    const seeder: Seeder = new Seeder(
      this.#platform,
      this.#layout,
      this.#config,
      this.#say,
      slave => this.shipper?.add(slave),
    )
    await seeder.forget()
    const shipper = await Shipper.start(this.#platform, {
      ...(await shipperOptions(this.#platform, this.#layout, this.#config, this.#say)),
      upstream: () => receiver.upstream,
      needsSeed: slave => seeder.needed(slave),
      damaged,
      repair,
    })
    return { shipper, seeder }
  }
}
