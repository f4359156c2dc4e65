// Follows slaves/NAME.ack of some slaves, from the process that writes the log while the shipper writes the acks:
// woken by change notices, and by looking now and then. What cannot be read now is read at the next look.
import { HotBackupError } from '../errors.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Disk, DiskFile } from '../platform/disk.ts'
import type { Watch, Watcher } from '../platform/watch.ts'
import { ackBytes, ackPath, decodeAck, type SlaveAck } from './ack-file.ts'

interface WatchPlatform {
  readonly disk: Disk
  readonly watcher: Watcher
  readonly clock: Clock
}

/** Notices of changes may come late or never. */
const pollMs = 100

export class AckWatch {
  readonly #clock: Clock
  readonly #slaves: readonly FollowedAck[]
  readonly #watches: readonly Watch[]
  readonly #changed: () => void
  #timer: Timer | null = null
  #closed = false

  /** `changed` is called after an ack has gone on, or back. */
  constructor(
    platform: WatchPlatform,
    directory: string,
    slaves: readonly string[],
    changed: () => void,
  ) {
    this.#clock = platform.clock
    this.#changed = changed
    this.#slaves = slaves.map(name => new FollowedAck(platform.disk, ackPath(directory, name)))
    this.#watches = this.#slaves.map(slave =>
      platform.watcher.watch(slave.path, () => {
        if (!this.#closed && slave.look()) changed()
      }),
    )
    this.#poll()
  }

  /** The newest ack of each slave that has one. */
  acks(): SlaveAck[] {
    return this.#slaves.flatMap(({ last }) => (last === null ? [] : [last]))
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await Promise.all(this.#watches.map(watch => watch.close()))
    await Promise.all(this.#slaves.map(slave => slave.close()))
  }

  #poll(): void {
    let changed = false
    for (const slave of this.#slaves) changed = slave.look() || changed
    this.#timer = this.#clock.after(pollMs, () => this.#poll(), true)
    if (changed) this.#changed()
  }
}

class FollowedAck {
  readonly path: string
  readonly #disk: Disk
  readonly #bytes = Buffer.alloc(ackBytes)
  #file: DiskFile | null = null
  last: SlaveAck | null = null

  constructor(disk: Disk, path: string) {
    this.#disk = disk
    this.path = path
  }

  /** True when the ack is another one than at the last look. */
  look(): boolean {
    const ack = this.#read()
    const { last } = this
    if (ack === null || (last !== null && sameReach(ack, last))) return false
    this.last = ack
    return true
  }

  /** Null also when the shipper was writing at that moment. */
  #read(): SlaveAck | null {
    try {
      this.#file ??= this.#disk.openSync(this.path, 'read')
      const count = this.#file.readSync(this.#bytes, 0, ackBytes, 0)
      return decodeAck(this.#bytes.subarray(0, count))
    } catch (error) {
      if (error instanceof HotBackupError) return null
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }
}

function sameReach(a: SlaveAck, b: SlaveAck): boolean {
  return (
    a.receivedTxn === b.receivedTxn &&
    a.durableTxn === b.durableTxn &&
    a.appliedTxn === b.appliedTxn &&
    Buffer.compare(a.serverId, b.serverId) === 0
  )
}
