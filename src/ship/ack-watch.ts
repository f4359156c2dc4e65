// Follows the confirmed positions of some slaves, from the process that writes the log while the shipper writes the
// acks: woken by change notices, and by looking now and then. What cannot be read now is read at the next look.
import { HotBackupError } from '../errors.ts'
import { sameIdentity } from '../log/chain.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Disk, DiskFile } from '../platform/disk.ts'
import type { Locks } from '../platform/locks.ts'
import type { Watch, Watcher } from '../platform/watch.ts'
import { ackBytes, ackPath, decodeAck, type SlaveAck } from './ack-file.ts'
import { isConfirmed, liveShipper, type AckSource } from './confirmed.ts'

interface WatchPlatform {
  readonly disk: Disk
  readonly locks: Locks
  readonly watcher: Watcher
  readonly clock: Clock
}

/** Notices of changes may come late or never. */
const pollMs = 100

export class AckWatch {
  readonly #platform: WatchPlatform
  readonly #source: AckSource
  readonly #slaves: readonly FollowedAck[]
  readonly #watches: readonly Watch[]
  readonly #changed: () => void
  #timer: Timer | null = null
  /** The process that had the links open at the last look. */
  #shipper: Uint8Array | null = null
  #looking: Promise<void> | null = null
  #closed = false

  /** `changed` is called after a position has gone on, or back, or is confirmed no more. */
  constructor(
    platform: WatchPlatform,
    source: AckSource,
    slaves: readonly string[],
    changed: () => void,
  ) {
    this.#platform = platform
    this.#source = source
    this.#changed = changed
    const { disk, watcher } = platform
    this.#slaves = slaves.map(name => new FollowedAck(disk, name, ackPath(source.directory, name)))
    this.#watches = this.#slaves.map(slave =>
      watcher.watch(slave.path, () => {
        if (this.#closed || !slave.look()) return
        // Written by a process that was not known at the last look.
        if (slave.last?.confirmed === true && !this.#counts(slave.last)) this.#lookForShipper()
        else changed()
      }),
    )
    this.#poll()
  }

  /** The newest ack of each slave that has confirmed one. */
  acks(): SlaveAck[] {
    return this.#slaves.flatMap(({ last }) => (last !== null && this.#counts(last) ? [last] : []))
  }

  /** Of one slave; null when it has not confirmed any. */
  ackOf(name: string): SlaveAck | null {
    const last = this.#slaves.find(slave => slave.name === name)?.last ?? null
    return last !== null && this.#counts(last) ? last : null
  }

  #counts(ack: SlaveAck): boolean {
    return isConfirmed(ack, this.#shipper)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await Promise.all(this.#watches.map(watch => watch.close()))
    await this.#looking
    await Promise.all(this.#slaves.map(slave => slave.close()))
  }

  #poll(): void {
    let changed = false
    for (const slave of this.#slaves) changed = slave.look() || changed
    this.#timer = this.#platform.clock.after(pollMs, () => this.#poll(), true)
    this.#lookForShipper()
    if (changed) this.#changed()
  }

  #lookForShipper(): void {
    this.#looking ??= this.#findShipper().finally(() => {
      this.#looking = null
    })
  }

  async #findShipper(): Promise<void> {
    let shipper: Uint8Array | null
    try {
      shipper = await liveShipper(this.#platform.locks, this.#source)
    } catch (error) {
      if (error instanceof HotBackupError) return
      throw error
    }
    const before = this.#shipper
    this.#shipper = shipper
    const same =
      before === null || shipper === null ? before === shipper : sameIdentity(before, shipper)
    if (!same && !this.#closed) this.#changed()
  }
}

class FollowedAck {
  readonly name: string
  readonly path: string
  readonly #disk: Disk
  /** One more than an ack has: a file that is too long holds none. */
  readonly #bytes = Buffer.alloc(ackBytes + 1)
  #file: DiskFile | null = null
  last: SlaveAck | null = null

  constructor(disk: Disk, name: string, path: string) {
    this.#disk = disk
    this.name = name
    this.path = path
  }

  /** True when the ack is another one than at the last look. */
  look(): boolean {
    const ack = this.#read()
    const { last } = this
    if (ack === null || (last !== null && sameWord(ack, last))) return false
    this.last = ack
    return true
  }

  /** Null also when the shipper was writing at that moment. */
  #read(): SlaveAck | null {
    try {
      this.#file ??= this.#disk.openSync(this.path, 'read')
      const count = this.#file.readSync(this.#bytes, 0, this.#bytes.length, 0)
      return decodeAck(this.#bytes.subarray(0, count))
    } catch (error) {
      // A directory, say, that the shipper replaces: what has its name then is another file.
      this.#file?.closeSync()
      this.#file = null
      if (error instanceof HotBackupError) return null
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }
}

function sameWord(a: SlaveAck, b: SlaveAck): boolean {
  return (
    a.confirmed === b.confirmed &&
    a.receivedTxn === b.receivedTxn &&
    a.durableTxn === b.durableTxn &&
    a.appliedTxn === b.appliedTxn &&
    sameIdentity(a.serverId, b.serverId) &&
    sameIdentity(a.shipperId, b.shipperId)
  )
}
