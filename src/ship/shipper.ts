// The master's side of all links: follows the durable mark of the log, and wakes one link per slave. It only reads
// the log, owns the ack files in slaves/, and may live in a process of its own.
import { join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { heartbeatMsDefault, linkTimeoutMsDefault, windowBytesDefault } from '../limits.ts'
import { DurableWatch, type DurableMark } from '../log/durable.ts'
import type { Timer } from '../platform/clock.ts'
import type { Address, SharedKey } from '../platform/network.ts'
import type { Platform } from '../platform/platform.ts'
import type { LinkLog } from '../wire/link-log.ts'
import type { DifferencesPage } from '../wire/messages/differences.ts'
import type { LinkOptions, LinkPlatform, LinkSource } from './link-options.ts'
import { Link } from './link.ts'
import { OwnLog } from './own-log.ts'
import type { StatisticsAnswer } from './questions.ts'
import type { ShipStatus } from './status.ts'

export type { ShipStatus } from './status.ts'

export type ShipperPlatform = LinkPlatform & Pick<Platform, 'watcher'>

export interface ShipperOptions {
  /** The server's directory: the log lies in log/, the acks in slaves/. */
  readonly directory: string
  readonly name: string
  readonly serverId: Uint8Array
  readonly slaves: readonly { readonly name: string; readonly address: Address }[]
  readonly key: SharedKey | null
  /**
   * Ids of the servers above this one, nearest last; empty on a master. A function (of the same array as long as
   * nothing has changed) where the receiver of a cascading slave learns them later.
   */
  readonly upstream: readonly Uint8Array[] | (() => readonly Uint8Array[])
  readonly windowBytes?: number
  readonly heartbeatMs?: number
  readonly timeoutMs?: number
  readonly log: LinkLog
  /** A slave follows a later timeline than this log's: see LinkOptions. */
  readonly fenced?: LinkOptions['fenced']
  /** See LinkOptions. */
  readonly needsSeed?: LinkOptions['needsSeed']
  /** See LinkOptions. */
  readonly damaged?: LinkOptions['damaged']
  /** See LinkOptions; by default nothing is repaired. */
  readonly repair?: LinkOptions['repair']
}

/** A log that has not begun is looked at this often. */
const beginPollMs = 500

export class Shipper {
  readonly #watch: DurableWatch
  readonly #source: ShippedLog
  readonly #links: Link[]
  readonly #open: (slave: LinkOptions['slave']) => Promise<Link>
  #stopped = false

  private constructor(
    watch: DurableWatch,
    source: ShippedLog,
    links: Link[],
    open: (slave: LinkOptions['slave']) => Promise<Link>,
  ) {
    this.#watch = watch
    this.#source = source
    this.#links = links
    this.#open = open
  }

  /** Throws ERR_DISK or ERR_DISK_FULL. A log that holds nothing yet is waited for. */
  static async start(platform: ShipperPlatform, options: ShipperOptions): Promise<Shipper> {
    const logDirectory = join(options.directory, 'log')
    const acksDirectory = join(options.directory, 'slaves')
    await platform.disk.makeDirectory(acksDirectory)
    const watch = await DurableWatch.open(platform, logDirectory)
    const source = new ShippedLog(platform, watch, new OwnLog(platform.disk, logDirectory))
    const { upstream } = options
    const linkOptions = {
      name: options.name,
      serverId: options.serverId,
      key: options.key,
      upstream: typeof upstream === 'function' ? upstream : () => upstream,
      windowBytes: options.windowBytes ?? windowBytesDefault,
      heartbeatMs: options.heartbeatMs ?? heartbeatMsDefault,
      timeoutMs: options.timeoutMs ?? linkTimeoutMsDefault,
      log: options.log,
      fenced: options.fenced ?? (() => {}),
      needsSeed: options.needsSeed ?? (() => {}),
      damaged: options.damaged ?? (() => {}),
      repair: options.repair ?? noRepair,
    }
    const open = (slave: LinkOptions['slave']) =>
      Link.open(platform, { ...linkOptions, slave }, source, acksDirectory)
    const links = []
    for (const slave of options.slaves) links.push(await open(slave))
    const shipper = new Shipper(watch, source, links, open)
    void shipper.#follow()
    return shipper
  }

  /** One entry per slave, in the order of the options. */
  status(): ShipStatus[] {
    return this.#links.map(link => link.status())
  }

  /** What that slave has done since its start: see SlaveQuestions. Throws ERR_NO_SLAVE. */
  async statistics(slave: string): Promise<StatisticsAnswer> {
    return this.#linkTo(slave).questions.statistics()
  }

  /** Where that slave differs: see SlaveQuestions. Throws ERR_NO_SLAVE. */
  async differences(slave: string, start: number): Promise<DifferencesPage> {
    return this.#linkTo(slave).questions.differences(start)
  }

  #linkTo(slave: string): Link {
    const link = this.#links.find(link => link.slave.name === slave)
    if (link !== undefined) return link
    throw new HotBackupError('ERR_NO_SLAVE', `nothing is sent to "${slave}"`, { slave })
  }

  /** One slave more, or one that listens elsewhere now. Nothing happens once the shipper is stopped: it may be over. */
  async add(slave: LinkOptions['slave']): Promise<void> {
    await this.remove(slave.name)
    if (this.#stopped) return
    const link = await this.#open(slave)
    if (this.#stopped) {
      await link.stop()
      return
    }
    this.#links.push(link)
    if (this.#source.mark !== null) link.wake()
  }

  /** Nothing more is sent to that slave, if anything was. */
  async remove(slave: string): Promise<void> {
    if (this.#stopped) return
    const known = this.#links.findIndex(link => link.slave.name === slave)
    if (known >= 0) await this.#links.splice(known, 1)[0]?.stop()
  }

  /** These slaves and no others; the links to those that are known at their address stay as they are. */
  async setSlaves(slaves: readonly LinkOptions['slave'][]): Promise<void> {
    const gone = this.#links.filter(link => slaves.every(({ name }) => name !== link.slave.name))
    for (const link of gone) await this.remove(link.slave.name)
    for (const slave of slaves) {
      const known = this.#links.find(link => link.slave.name === slave.name)?.slave
      if (known === undefined || !sameAddress(known.address, slave.address)) await this.add(slave)
    }
  }

  /** Hangs up all links. What was sent and not acknowledged is sent again by the next shipper. */
  async stop(): Promise<void> {
    if (this.#stopped) return
    this.#stopped = true
    await Promise.all([this.#watch.close(), ...this.#links.map(link => link.stop())])
  }

  async #follow(): Promise<void> {
    for (;;) {
      const { mark } = this.#source
      if (mark !== null) for (const link of this.#links) link.wake()
      try {
        if (mark === null) await this.#source.begins()
        else await this.#watch.changed(mark.txn)
      } catch (error) {
        if (isHotBackupError(error, 'ERR_CLOSED')) return
        throw error
      }
    }
  }
}

/** The log as the links see it: also when it has begun, and holds nothing that could be sent. */
class ShippedLog implements LinkSource {
  readonly log: OwnLog
  readonly #clock: ShipperPlatform['clock']
  readonly #watch: DurableWatch
  #begun: DurableMark | null = null

  constructor({ clock }: ShipperPlatform, watch: DurableWatch, log: OwnLog) {
    this.#clock = clock
    this.#watch = watch
    this.log = log
  }

  get mark(): DurableMark | null {
    return this.#watch.mark ?? this.#begun
  }

  /** Resolves when there is a mark. Throws ERR_CLOSED when the watch is closed. */
  async begins(): Promise<void> {
    const changed = this.#watch.changed(0)
    changed.catch(() => {})
    let timer: Timer | null = null
    while (this.mark === null) {
      // An application may be making the log at this moment.
      this.#begun = await this.log.begun().catch(ignoreDisk)
      if (this.#begun !== null) break
      const pause = new Promise<void>(resolve => {
        timer = this.#clock.after(beginPollMs, resolve, true)
      })
      await Promise.race([changed, pause]).finally(() => timer?.cancel())
    }
  }
}

/** It is looked at again. */
function ignoreDisk(error: unknown): null {
  if (isHotBackupError(error)) return null
  throw error
}

function sameAddress(a: Address, b: Address): boolean {
  return a.host === b.host && a.port === b.port
}

function noRepair(): Promise<number> {
  const text = 'this server cannot write into the log'
  return Promise.reject(new HotBackupError('ERR_GROUP_DAMAGED', text))
}
