// Which segments may go: only what every registered slave has stored, and what the checkpoint is past. What may go is
// kept as history all the same (hb history, restored saves), as long and as much as hb.toml says; when the disk is
// full, the oldest of it goes before any update is refused.
import type { Spare } from '../log/disk-room.ts'
import type { SegmentInfo } from '../log/segments.ts'
import type { LogWriter } from '../log/writer.ts'
import { MiB } from '../limits.ts'
import type { Clock } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import { neededAfter } from '../ship/needed.ts'

export interface RetentionPolicy {
  /** Milliseconds after which a transaction may go; 0 to keep nothing. */
  readonly keepMs: number
  /** Bytes of segments, the last one included, up to which they stay. */
  readonly keepBytes: number
}

/** As it is at any time. */
interface RetentionConfig {
  readonly log: RetentionPolicy
  readonly slaves: readonly { readonly name: string }[]
  /** Whether the log is sent to them. */
  readonly ships: boolean
}

export interface RetentionParts {
  readonly platform: { readonly disk: Disk; readonly clock: Clock }
  readonly log: LogWriter
  readonly logDirectory: string
  readonly acksDirectory: string
  readonly config: RetentionConfig
  /** The database needs the transactions behind it for its own recovery. */
  readonly stampTxn: () => number
  /** What else must stay: everything behind the transaction that it answers. */
  readonly needed: (logBytes: number) => Promise<number>
  /** History was given up for room on the disk. */
  readonly gaveUp: (message: string) => void
}

/** Of two disks that are full, each has its own room: they differ by more than this, or are full alike. */
const sameRoomBytes = 64 * MiB

export class Retention {
  readonly #parts: RetentionParts
  readonly #log: LogWriter
  readonly #acksDirectory: string
  /** One removal after the other. */
  #removals: Promise<unknown> = Promise.resolve()
  /** Nothing behind this transaction may go, as it was when it was looked at last. */
  #neededTxn = Infinity
  #holds = 0

  constructor(parts: RetentionParts) {
    this.#parts = parts
    this.#log = parts.log
    this.#acksDirectory = parts.acksDirectory
  }

  /** Removes what may go, and is not kept. */
  apply(): Promise<void> {
    return this.#inTurn(async () => {
      const needed = await this.#needed()
      if (this.#holds > 0) return
      await this.#log.removeBefore(Math.min(needed + 1, this.#keptFrom()))
    })
  }

  /** Resolves when nothing is being removed. */
  settled(): Promise<unknown> {
    return this.#removals
  }

  /** Nothing is removed until the answer is called: the log is being copied. */
  hold(): () => void {
    this.#holds++
    let held = true
    return () => {
      if (held) this.#holds--
      held = false
    }
  }

  /** What is kept as history, for the sake of `directory`, which may lie on another disk. */
  spareFor(directory: string): Spare {
    const any = () => this.#spare(this.#neededTxn).length > 0
    return {
      get any() {
        return any()
      },
      giveUp: () => this.#inTurn(() => this.#giveUp(directory)),
    }
  }

  async #giveUp(directory: string): Promise<boolean> {
    const { platform, logDirectory, gaveUp } = this.#parts
    if (directory !== logDirectory) {
      const [free, logFree] = [
        await platform.disk.freeBytes(directory),
        await platform.disk.freeBytes(logDirectory),
      ]
      if (logFree > free + sameRoomBytes) return false
    }
    const spare = this.#spare(await this.#needed())
    if (this.#holds > 0) return false
    // A part at a time: it may be that little is lacking, and once the rest is gone it is gone.
    const last = spare[Math.ceil(spare.length / 4) - 1]
    if (last === undefined || last.lastTxn === null) return false
    const removed = await this.#log.removeBefore(last.lastTxn + 1)
    if (removed === 0) return false
    gaveUp(
      `the disk is full: the history up to transaction ${last.lastTxn} has been removed from the log, which nothing else needed`,
    )
    return true
  }

  /** Sealed segments that nothing needs. */
  #spare(neededTxn: number): readonly SegmentInfo[] {
    const spare = this.#log.segments().filter(({ sealed }) => sealed)
    return spare.filter(({ lastTxn }) => lastTxn !== null && lastTxn <= neededTxn)
  }

  async #needed(): Promise<number> {
    const { platform, config, stampTxn } = this.#parts
    const { disk } = platform
    const { slaves, ships } = config
    let needed = stampTxn()
    for (const { name } of ships ? slaves : []) {
      needed = Math.min(needed, await neededAfter(disk, this.#acksDirectory, name))
    }
    const bytes = this.#log.segments().reduce((sum, segment) => sum + segment.bytes, 0)
    this.#neededTxn = Math.min(needed, await this.#parts.needed(bytes))
    return this.#neededTxn
  }

  /** The first transaction that is kept as history. */
  #keptFrom(): number {
    const { keepMs, keepBytes } = this.#parts.config.log
    if (keepMs === 0) return Infinity
    const oldest = this.#parts.platform.clock.now() - keepMs
    let bytes = 0
    let kept = Infinity
    /** When the segment that comes next was begun: this one has nothing that is younger. */
    let until = Infinity
    for (const { bytes: more, created, firstTxn } of [...this.#log.segments()].reverse()) {
      bytes += more
      if (bytes > keepBytes || until < oldest) break
      kept = firstTxn
      // Nothing is known of one whose header is damaged.
      if (created > 0) until = Math.min(until, created)
    }
    return kept
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#removals.then(work)
    this.#removals = done.catch(() => {})
    return done
  }
}
