// Repairs damage that a running slave meets in its log: asks its master for the bytes over the link as soon as that
// streams. Damage in the segment that is being written is repaired when the slave reopens (log-from-peers.ts).
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { RepairedSegment, PieceSource } from '../log/repair.ts'
import { verifyLog } from '../log/verify.ts'
import type { Timer } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import type { Layout } from '../config/layout.ts'
import type { Log } from '../config/messages-log.ts'
import type { Retention } from '../updates/retention.ts'
import { repairRunning, type Peers } from './log-from-peers.ts'

export interface SlaveRepairParts {
  readonly platform: Platform
  readonly layout: Layout
  readonly retention: Retention
  /** The log of the master that streams. */
  readonly mastersLog: () => PieceSource | null
  /** Other servers that may be asked. */
  readonly peers: () => Promise<readonly Peers[]>
  /** The slave must open itself again: its replayer stands still. */
  readonly standsStill: () => boolean
  readonly reopen: () => void
  readonly say: Log
}

/** The master streams again soon, or it does not. */
const retryMs = 1000

export class SlaveRepair {
  readonly #parts: SlaveRepairParts
  #running: Promise<readonly RepairedSegment[]> | null = null
  /** What `damaged` has begun, with what comes of it. */
  #trying: Promise<void> | null = null
  #timer: Timer | null = null
  #stopped = false

  constructor(parts: SlaveRepairParts) {
    this.#parts = parts
  }

  /** Somebody has met damage: it is repaired as soon as there is a peer that can be asked. */
  damaged(error: HotBackupError): void {
    if (this.#stopped || this.#timer !== null || this.#trying !== null) return
    const { say } = this.#parts
    say('error', `the log is damaged: ${error.message}`, { code: error.code, ...error.place })
    this.#try()
  }

  #try(): void {
    this.#timer = null
    this.#trying = this.#repairAndContinue().finally(() => {
      this.#trying = null
    })
  }

  async #repairAndContinue(): Promise<void> {
    const { standsStill, reopen, say, platform } = this.#parts
    try {
      const repaired = await this.repair()
      if (!standsStill() || !(repaired.length > 0 || (await this.#stillDamaged()))) return
      if (!this.#stopped) reopen()
    } catch (error) {
      if (!isHotBackupError(error)) throw error
      if (this.#stopped) return
      if (error.code === 'ERR_NO_SLAVE' || error.code === 'ERR_WIRE') {
        this.#timer = platform.clock.after(retryMs, () => this.#try())
      } else say('error', `the log could not be repaired: ${error.message}`)
    }
  }

  /** In what the slave writes itself. */
  async #stillDamaged(): Promise<boolean> {
    const { platform, layout } = this.#parts
    const { fault } = await verifyLog(platform.disk, layout.log, { ownPromises: false })
    return fault !== null && !fault.torn
  }

  /** Repairs the sealed segments now. Throws ERR_NO_SLAVE without a peer to ask, or why it cannot be repaired. */
  repair(): Promise<readonly RepairedSegment[]> {
    this.#running ??= this.#repair().finally(() => {
      this.#running = null
    })
    return this.#running
  }

  async #repair(): Promise<readonly RepairedSegment[]> {
    const { platform, layout, retention, mastersLog, peers, say } = this.#parts
    const source = mastersLog()
    const master: Peers[] = source === null ? [] : [work => work(source)]
    return repairRunning(platform, layout, retention, [...master, ...(await peers())], say)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#timer?.cancel()
    await this.#trying
    await this.#running?.catch(() => {})
  }
}
