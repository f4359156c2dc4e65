// Measures the transaction log queue, and keeps it within its limit if it has one: alarms on the way there, then what
// the operator has chosen. It looks now and then, so the queue may pass the limit by what is written in a quarter of a
// second.
import type { QueuePolicy } from '../config/policies.ts'
import type { QueueStatus } from '../control/server-status.ts'
import { HotBackupError } from '../errors.ts'
import type { SegmentInfo } from '../log/segments.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import { writeDropped } from '../ship/dropped.ts'
import { queueFor, readStored, type Queue, type Stored } from '../ship/queue.ts'
import { Growth, passedAlarm, queueText } from './queue-alarms.ts'

export interface QueueEvent {
  readonly type: 'queue-alarm' | 'queue-full' | 'queue-open' | 'slave-dropped'
  /** The slave that holds up the queue. */
  readonly slave: string | null
  readonly message: string
}

interface QueueLog {
  readonly lastTxn: number
  segments(): readonly SegmentInfo[]
}

interface QueueConfig {
  readonly slaves: readonly { readonly name: string }[]
  readonly queue: QueuePolicy
}

export interface QueueLimitOptions {
  readonly platform: { readonly disk: Disk; readonly clock: Clock }
  readonly acksDirectory: string
  /** As it is at any time. */
  readonly config: QueueConfig
  readonly log: QueueLog
  /** Hears of each event, also while `start` looks for the first time. */
  readonly happened: (event: QueueEvent) => void
}

const lookMs = 250
/** Without a limit nothing but the status depends on it. */
const lookUnlimitedMs = 1000

export class QueueLimit {
  readonly #platform: { readonly disk: Disk; readonly clock: Clock }
  readonly #acksDirectory: string
  readonly #config: QueueConfig
  readonly #log: QueueLog
  readonly #happened: (event: QueueEvent) => void
  readonly #growth = new Growth()
  /** At the last look. */
  #stored: readonly Stored[] = []
  #alarm = 0
  #full = false
  #open: { readonly promise: Promise<void>; readonly resolve: () => void } | null = null
  #timer: Timer | null = null
  #looking: Promise<void> = Promise.resolve()
  #closed = false

  private constructor(options: QueueLimitOptions) {
    this.#platform = options.platform
    this.#acksDirectory = options.acksDirectory
    this.#config = options.config
    this.#log = options.log
    this.#happened = options.happened
  }

  /** Has looked once when it resolves. Throws ERR_DISK. */
  static async start(options: QueueLimitOptions): Promise<QueueLimit> {
    const limit = new QueueLimit(options)
    await limit.configured()
    return limit
  }

  /** The limit, or the slaves, are other ones. Has looked once when it resolves. Throws ERR_DISK. */
  async configured(): Promise<void> {
    this.#timer?.cancel()
    await this.#looking
    // That look has set it again.
    this.#timer?.cancel()
    if (this.#closed) return
    await this.#look()
    if (this.#config.slaves.length > 0) this.#arm()
    // Those who wait for room look again whether they must.
    this.wake()
  }

  /** Of this moment: what was written since the last look counts. */
  get status(): QueueStatus {
    const { limitBytes, onLimit } = this.#config.queue
    const { bytes } = this.#queue
    const state = !this.#full ? 'open' : onLimit === 'refuse' ? 'refusing' : 'pacing'
    const secondsToLimit = this.#growth.secondsTo(bytes, limitBytes)
    return { bytes, limitBytes, state, secondsToLimit }
  }

  get #queue(): Queue {
    return queueFor(this.#stored, this.#log.segments(), this.#log.lastTxn)
  }

  /** Updates must wait for `room`. */
  get paced(): boolean {
    return this.#full && this.#config.queue.onLimit !== 'refuse'
  }

  /** Throws ERR_QUEUE_FULL when updates are refused. */
  check(): void {
    const { limitBytes, onLimit } = this.#config.queue
    if (!this.#full || onLimit !== 'refuse') return
    const text = queueText(this.#queue.bytes, limitBytes)
    throw new HotBackupError('ERR_QUEUE_FULL', `${text}: no updates`)
  }

  /** Resolves when updates need not wait. */
  room(): Promise<void> {
    if (!this.paced || this.#closed) return Promise.resolve()
    if (this.#open === null) {
      let resolve = () => {}
      const promise = new Promise<void>(done => {
        resolve = done
      })
      this.#open = { promise, resolve }
    }
    return this.#open.promise
  }

  /** Those who wait for room look again whether they must. */
  wake(): void {
    this.#open?.resolve()
    this.#open = null
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    this.wake()
    await this.#looking
  }

  #arm(): void {
    if (this.#closed) return
    // Nobody but this wakes those who wait for room.
    const background = this.#open === null
    this.#timer = this.#platform.clock.after(
      this.#config.queue.limitBytes > 0 ? lookMs : lookUnlimitedMs,
      () => {
        this.#looking = this.#look()
          // A disk that cannot be read is told by whoever must read it. Until then nothing is decided anew.
          .catch(() => {})
          .finally(() => this.#arm())
      },
      background,
    )
  }

  async #look(): Promise<void> {
    const { limitBytes, onLimit } = this.#config.queue
    let queue = await this.#measure()
    if (limitBytes === 0) return this.#unlimited(queue)
    if (onLimit === 'drop') {
      const dropped = new Set<string>()
      while (queue.bytes >= limitBytes && queue.slave !== null && !dropped.has(queue.slave)) {
        dropped.add(queue.slave)
        await this.#drop(queue)
        queue = await this.#measure()
      }
    }
    const { bytes, slave } = queue
    this.#growth.note(bytes, this.#platform.clock.monotonic())
    const alarm = passedAlarm(bytes / limitBytes, this.#alarm)
    const text = queueText(bytes, limitBytes)
    if (alarm > this.#alarm) {
      const message = `${text}, waiting for ${slave}`
      this.#happened({ type: 'queue-alarm', slave, message })
    }
    this.#alarm = alarm
    const full = bytes >= limitBytes
    if (full === this.#full) return
    this.#full = full
    if (full) {
      const what = onLimit === 'refuse' ? 'updates are refused' : 'updates wait'
      this.#happened({ type: 'queue-full', slave, message: `${text}: ${what} for ${slave}` })
      return
    }
    this.wake()
    this.#happened({ type: 'queue-open', slave, message: `${text}: updates go on` })
  }

  #unlimited({ slave }: Queue): void {
    this.#alarm = 0
    if (!this.#full) return
    this.#full = false
    this.wake()
    const message = 'the transaction log queue has no limit now: updates go on'
    this.#happened({ type: 'queue-open', slave, message })
  }

  async #measure(): Promise<Queue> {
    const names = this.#config.slaves.map(({ name }) => name)
    this.#stored = await readStored(this.#platform.disk, this.#acksDirectory, names)
    return this.#queue
  }

  async #drop({ slave, bytes, durableTxn }: Queue): Promise<void> {
    if (slave === null) return
    const { disk, clock } = this.#platform
    await writeDropped(disk, this.#acksDirectory, slave, { durableTxn, time: clock.now() })
    const text = queueText(bytes, this.#config.queue.limitBytes)
    const message = `${text}: ${slave} is dropped at transaction ${durableTxn} and needs a new copy`
    this.#happened({ type: 'slave-dropped', slave, message })
  }
}
