// The shipper's look at the transaction log queue: it says when the queue has passed parts of its limit, and so
// tells the operators, whoever writes to the master and whatever that program does with its own alarms (queue-
// limit.ts).
import { readDurableMark } from '../log/durable.ts'
import { listSegments } from '../log/segments.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import { queueFor, readStored } from '../ship/queue.ts'
import type { Config } from '../config/config.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'
import { passedAlarm, queueText } from './queue-alarms.ts'

const lookMs = 1000
/** From this part of the limit on it is an error. */
const graveFrom = 0.9

export class QueueWatch {
  readonly #platform: { readonly disk: Disk; readonly clock: Clock }
  readonly #layout: Layout
  readonly #config: Pick<Config, 'queue' | 'slaves'>
  readonly #say: Log
  #alarm = 0
  #timer: Timer | null = null
  #looking: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(
    platform: { readonly disk: Disk; readonly clock: Clock },
    layout: Layout,
    config: Pick<Config, 'queue' | 'slaves'>,
    say: Log,
  ) {
    this.#platform = platform
    this.#layout = layout
    this.#config = config
    this.#say = say
    this.#arm()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#looking
  }

  #arm(): void {
    if (this.#stopped) return
    this.#timer = this.#platform.clock.after(lookMs, () => {
      this.#looking = this.#look()
        // A disk that cannot be read is told by whoever must read it.
        .catch(() => {})
        .finally(() => this.#arm())
    })
  }

  async #look(): Promise<void> {
    const { disk } = this.#platform
    const { queue, slaves } = this.#config
    if (queue.limitBytes === 0 || slaves.length === 0) {
      this.#alarm = 0
      return
    }
    const lastTxn = (await readDurableMark(disk, this.#layout.log))?.txn ?? 0
    // What is damaged in the log is reported by the readers of it.
    const segments = await listSegments(disk, this.#layout.log, () => {})
    const names = slaves.map(({ name }) => name)
    const stored = await readStored(disk, this.#layout.slaves, names)
    const found = queueFor(stored, segments, lastTxn)
    const alarm = passedAlarm(found.bytes / queue.limitBytes, this.#alarm)
    if (alarm > this.#alarm) {
      const text = `${queueText(found.bytes, queue.limitBytes)}, waiting for ${found.slave}`
      this.#say(alarm >= graveFrom ? 'error' : 'warn', text)
    }
    this.#alarm = alarm
  }
}
