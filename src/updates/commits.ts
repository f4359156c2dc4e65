// When an update counts as done: durable here, or also received, stored or applied by some slaves; and what happens
// when those do not answer. Updates of one block share one promise, so waiting costs nothing per update.
//
// "Alone" is the state after a time-out under the policy "continue": updates are done when they are durable here,
// as without slaves. It is never silent: an event, the status, and a mark in the log say so, and when it ends. It ends
// when enough slaves are less than a moment behind again.
import { commitLevels, type CommitLevel, type CommitPolicy } from '../config/policies.ts'
import type { CommitStatus } from '../control/server-status.ts'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { sleep, type Timer } from '../platform/clock.ts'
import type { Platform } from '../platform/platform.ts'
import { ackLevels, ackReach, type AckLevel } from '../ship/ack-file.ts'
import { AckWatch } from '../ship/ack-watch.ts'
import type { AckSource } from '../ship/confirmed.ts'

/** What happened to the agreement with the slaves. */
export interface CommitEvent {
  readonly type: 'alone' | 'in-step' | 'waiting'
  /** The last transaction that enough slaves had at that moment. */
  readonly reachedTxn: number
  readonly message: string
}

/** As it is at any time. */
interface CommitConfig {
  readonly slaves: readonly { readonly name: string }[]
  readonly commit: CommitPolicy
}

interface CommitLog {
  readonly lastTxn: number
  readonly durableTxn: number
  synced(): Promise<void>
}

interface Waiter {
  readonly txn: number
  readonly level: AckLevel
  /** So many slaves must have got there; null: as many as hb.toml says. */
  readonly slaves: number | null
  /** By the monotonic clock. */
  readonly since: number
  /** When to give up, by the monotonic clock; null: the policy says what happens when it takes too long. */
  readonly deadline: number | null
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/** How far behind a slave in step may be, and how often time-outs are looked at. */
const momentMs = 100

type CommitPlatform = Pick<Platform, 'disk' | 'watcher' | 'clock' | 'locks'>

export class Commits {
  readonly #platform: CommitPlatform
  readonly #source: AckSource
  readonly #config: CommitConfig
  readonly #log: CommitLog
  readonly #happened: (event: CommitEvent) => void
  /** Made at the first wait for a slave. */
  #acks: AckWatch | null = null
  #waiters: Waiter[] = []
  /** The promises of the block that gathers, by level. */
  readonly #shared = new Map<
    AckLevel,
    { readonly durable: Promise<void>; readonly done: Promise<void> }
  >()
  #state: CommitStatus['state'] = 'in step'
  #since: number | null = null
  /** While alone: the slaves are in step when they reach this by the next look. */
  #goal = 0
  /** With a lease: why nothing may be acknowledged any more. The process may have stood still since it was taken. */
  lapsed: (() => HotBackupError | null) | null = null
  /** The level whose waiter was late. */
  #watched: AckLevel = 'durable'
  #timer: Timer | null = null
  #closing: Promise<void> | null = null
  /** Why waits are over; null while they may begin. */
  #ended: string | null = null

  constructor(
    platform: CommitPlatform,
    source: AckSource,
    config: CommitConfig,
    log: CommitLog,
    happened: (event: CommitEvent) => void,
  ) {
    this.#platform = platform
    this.#source = source
    this.#config = config
    this.#log = log
    this.#happened = happened
  }

  get status(): CommitStatus {
    return { level: this.#config.commit.level, state: this.#state, since: this.#since }
  }

  /** Throws ERR_NO_SLAVE when there are too few slaves for the level. */
  check(level: CommitLevel | undefined): void {
    if (level === undefined || level === 'local') return
    if (!commitLevels.includes(level)) throw new TypeError(`there is no level ${String(level)}`)
    const needed = this.#config.commit.slaves
    if (this.#config.slaves.length >= needed) return
    const message = `the level ${level} needs ${needed} slaves, and this master has ${this.#config.slaves.length}`
    const hint = 'Add slaves to hb.toml, or lower "slaves" of its table [commit].'
    throw new HotBackupError('ERR_NO_SLAVE', message, {}, undefined, hint)
  }

  /** Resolves when all updates so far are done at the level; by default that of the policy. */
  done(level: CommitLevel = this.#config.commit.level): Promise<void> {
    const done = this.#done(level)
    return this.lapsed === null ? done : this.#unlessLapsed(done)
  }

  async #unlessLapsed(done: Promise<void>): Promise<void> {
    const { lastTxn: txn } = this.#log
    await done
    const fault = this.lapsed?.() ?? null
    if (fault === null) return
    const message = `transaction ${txn} is durable here, but ${fault.message}`
    throw new HotBackupError('ERR_UNCONFIRMED', message, { txn }, fault)
  }

  #done(level: CommitLevel): Promise<void> {
    const log = this.#log
    if (level === 'local') return log.synced()
    if (log.durableTxn >= log.lastTxn) return this.#answered(log.lastTxn, level, null)
    const durable = log.synced()
    const shared = this.#shared.get(level)
    if (shared?.durable === durable) return shared.done
    // Slaves answer for whole blocks: the block's last transaction stands for all of it.
    const done = durable.then(() => this.#answered(log.durableTxn, level, null))
    done.catch(() => {}) // A caller may or may not wait for it.
    this.#shared.set(level, { durable, done })
    return done
  }

  /**
   * Resolves when enough slaves have got as far as `txn`, whatever the policy says about time-outs. Rejects with
   * ERR_TIMEOUT, which says how far they are; ERR_NO_SLAVE; ERR_UNCONFIRMED when the master is closed meanwhile.
   */
  async reached(txn: number, level: AckLevel, timeoutMs: number | null): Promise<void> {
    if (!Number.isSafeInteger(txn) || txn < 0) throw new TypeError(`${txn} is no transaction`)
    if (!ackLevels.includes(level)) throw new TypeError(`there is no level ${String(level)}`)
    if (timeoutMs !== null && !(timeoutMs >= 0)) throw new TypeError(`${timeoutMs} is no time-out`)
    this.check(level)
    await this.#answered(txn, level, this.#deadline(timeoutMs))
  }

  /** By the monotonic clock. */
  #deadline(timeoutMs: number | null): number {
    return timeoutMs === null ? Infinity : this.#platform.clock.monotonic() + timeoutMs
  }

  /** How far the slave has confirmed that it is; null when it has not. */
  slaveAt(name: string, level: AckLevel): number | null {
    this.#acks ??= this.#watchAcks()
    const ack = this.#acks.ackOf(name)
    return ack === null ? null : ackReach(ack, level)
  }

  /** Slaves that have got as far as `txn`. */
  slavesAt(txn: number, level: AckLevel): number {
    this.#acks ??= this.#watchAcks()
    return this.#acks.acks().filter(ack => ackReach(ack, level) >= txn).length
  }

  /** Resolves with their number when it is `slaves` or more, after the time-out, and when the master is closed. */
  async slavesReaching(
    txn: number,
    level: AckLevel,
    slaves: number,
    timeoutMs: number | null,
  ): Promise<number> {
    try {
      await this.#answered(txn, level, this.#deadline(timeoutMs), slaves)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_TIMEOUT', 'ERR_UNCONFIRMED')) throw error
    }
    return this.slavesAt(txn, level)
  }

  /** Gives those who wait as long as the time-out, then rejects them with ERR_UNCONFIRMED, which tells them why. */
  close(reason = 'the master was closed'): Promise<void> {
    this.#closing ??= this.#close(reason)
    return this.#closing
  }

  async #close(reason: string): Promise<void> {
    const { clock } = this.#platform
    const end = clock.monotonic() + this.#config.commit.timeoutMs
    while (this.#waiters.length > 0 && clock.monotonic() < end) await sleep(clock, momentMs)
    this.#end(reason)
    await this.#acks?.close()
  }

  /** Another server is the master now, and no slave will answer: those who wait are rejected with ERR_UNCONFIRMED. */
  giveUp(): void {
    this.#end('another server became the master')
  }

  #end(reason: string): void {
    this.#ended ??= reason
    this.#timer?.cancel()
    for (const { txn, reject } of this.#waiters.splice(0)) reject(unconfirmed(txn, this.#ended))
  }

  /** `deadline` by the monotonic clock; null: the policy says what happens when it takes too long. */
  #answered(
    txn: number,
    level: AckLevel,
    deadline: number | null,
    slaves: number | null = null,
  ): Promise<void> {
    if (deadline === null && this.#state === 'alone') return answeredAlready
    if (this.#ended !== null) return Promise.reject(unconfirmed(txn, this.#ended))
    this.#acks ??= this.#watchAcks()
    if (this.#reach(level, slaves) >= txn) return answeredAlready
    const promise = new Promise<void>((resolve, reject) => {
      const since = this.#platform.clock.monotonic()
      this.#waiters.push({ txn, level, slaves, since, deadline, resolve, reject })
    })
    this.#tick()
    return promise
  }

  #watchAcks(): AckWatch {
    const names = this.#config.slaves.map(({ name }) => name)
    return new AckWatch(this.#platform, this.#source, names, () => this.#settle())
  }

  /** The policy or the slaves have changed: those who wait go on, or wait on, by the new ones. */
  async configured(): Promise<void> {
    const before = this.#acks
    if (before === null || this.#ended !== null) return
    this.#acks = this.#watchAcks()
    this.#settle()
    await before.close()
  }

  /** The transaction that enough slaves have got to; -1 when there are not `slaves` of them that are known. */
  #reach(level: AckLevel, slaves: number | null = null): number {
    const reached = (this.#acks?.acks() ?? []).map(ack => ackReach(ack, level))
    const enough = reached.sort((a, b) => b - a)[(slaves ?? this.#config.commit.slaves) - 1]
    return enough ?? (slaves === null ? 0 : -1)
  }

  /** Lets those go on whose transaction has got far enough. */
  #settle(): void {
    if (this.#waiters.length === 0) return
    const reach = {
      received: this.#reach('received'),
      durable: this.#reach('durable'),
      applied: this.#reach('applied'),
    }
    this.#waiters = this.#waiters.filter(waiter => {
      const { level, slaves } = waiter
      const reached = slaves === null ? reach[level] : this.#reach(level, slaves)
      if (reached < waiter.txn) return true
      waiter.resolve()
      return false
    })
  }

  /** Looks at the time while a caller waits, or while the slaves are not in step. */
  #tick(): void {
    if (this.#timer !== null || this.#ended !== null) return
    if (this.#waiters.length === 0 && this.#state === 'in step') return
    this.#timer = this.#platform.clock.after(momentMs, () => {
      this.#timer = null
      this.#look()
      this.#tick()
    })
  }

  #look(): void {
    const now = this.#platform.clock.monotonic()
    this.#waiters = this.#waiters.filter(({ txn, level, deadline, reject }) => {
      if (deadline === null || now < deadline) return true
      const message = `the slaves have ${level} transaction ${this.#reach(level)}, not ${txn}`
      reject(new HotBackupError('ERR_TIMEOUT', message, { txn }))
      return false
    })
    const oldest = this.#waiters.find(({ deadline }) => deadline === null)
    const late = oldest !== undefined && now - oldest.since >= this.#config.commit.timeoutMs
    if (this.#state === 'in step') {
      if (late) this.#losesStep(oldest)
    } else if (this.#state === 'waiting') {
      if (!late) this.#inStep()
    } else {
      if (this.#reach(this.#watched) >= this.#goal) this.#inStep()
      this.#goal = this.#log.durableTxn
    }
  }

  #losesStep({ txn, level }: Waiter): void {
    const reachedTxn = this.#reach(level)
    const after = `after ${this.#config.commit.timeoutMs / 1000} s`
    const where = `the slaves have ${level} transaction ${reachedTxn}, not ${txn}, ${after}`
    this.#since = this.#platform.clock.now()
    if (this.#config.commit.onTimeout === 'wait') {
      this.#state = 'waiting'
      this.#happened({ type: 'waiting', reachedTxn, message: `updates wait: ${where}` })
      return
    }
    this.#state = 'alone'
    this.#watched = level
    this.#goal = this.#log.durableTxn
    const message = `updates go on without the slaves: ${where}`
    this.#happened({ type: 'alone', reachedTxn, message })
    this.#waiters = this.#waiters.filter(waiter => {
      if (waiter.deadline !== null) return true
      waiter.resolve()
      return false
    })
  }

  #inStep(): void {
    this.#state = 'in step'
    this.#since = null
    const reachedTxn = this.#reach(this.#watched)
    this.#happened({ type: 'in-step', reachedTxn, message: 'the slaves are in step again' })
  }
}

const answeredAlready = Promise.resolve()

function unconfirmed(txn: number, reason: string): HotBackupError {
  const message = `${reason} before enough slaves had transaction ${txn}, which is durable here`
  return new HotBackupError('ERR_UNCONFIRMED', message, { txn })
}
