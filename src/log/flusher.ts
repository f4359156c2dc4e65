// Brings sealed blocks to the disk: one fsync for all that came while the last was under way (group commit).
//
// A flush is scheduled by process.nextTick, so that everyone who was resumed by the last one adds to the next. A small
// one runs in that very turn of the event loop (writeSync, syncSync: no detour by the thread pool), while syncs take
// less than a millisecond. A few such flushes may follow each other in one turn, for a millisecond together: timers
// and sockets are never held up for long.
//
// At a change of segments everything before is synced first, with the file cut to its length; then the next one gets
// its header, synced, and its name, synced. So a later segment proves that all before it is durable.
//
// A failed write or sync is final. Nothing is tried again: the system may have dropped the bytes while saying that the
// next sync succeeded. The next start recovers.
//
// But for a full disk: what was not written is written again, at the same place, when there is room. Until then what is
// committed waits, and whoever would commit more is refused, best before there is anything that cannot be written: when
// there was no room for the next segment ahead of need, and the rest of this one is used up.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { KiB, unsyncedBytesMax } from '../limits.ts'
import type { Clock, Timer } from '../platform/clock.ts'
import type { Appender } from './appender.ts'
import { NewSegment, type Block } from './blocks-under-way.ts'
import { DiskRoom, type Spare } from './disk-room.ts'
import type { DurableMark } from './durable.ts'
import type { FsyncPolicy } from './options.ts'
import type { SegmentHeader } from './segment.ts'
import { Settling } from './settling.ts'

/** Slaves are sent only what is durable, so the log is synced now and then under every policy. */
const osSyncMs = 1000
/** A flush up to this size, while syncs are fast, is not worth the thread pool's detour. */
const syncFlushBytesMax = 16 * KiB
const syncFlushMsMax = 1
/** Such flushes in one turn of the event loop: at most this many, or until they have taken this long. */
const flushesPerTurnMax = 8
const turnMsMax = 1
const roomRetryMs = 500

/** The other side: where blocks gather. */
export interface Gathering {
  /** Seals the gathering block: it goes with this flush. */
  seal(): void
  /** Bytes that are committed and not sealed. */
  bytes(): number
  /** The segment's file has its name. */
  entered(header: SegmentHeader): void
  /** The block's buffer is free again. */
  written(block: Block): void
  failed(error: HotBackupError): void
}

interface DurableWaiter {
  readonly txn: number
  readonly settling: Settling
}

export class Flusher {
  readonly #clock: Clock
  readonly #appender: Appender
  readonly #policy: FsyncPolicy
  readonly #gathering: Gathering
  #mark: DurableMark | null
  /** The end of what is written: the mark after the next sync. */
  #written: DurableMark | null = null
  #queue: (Block | NewSegment)[] = []
  #queuedBytes = 0
  /** What a flush has taken from the queue. */
  #inFlight: readonly (Block | NewSegment)[] = []
  /** Written blocks whose waiters wait for the sync. */
  #unsettled: Block[] = []
  /** Sealed and not durable; written and not durable. */
  #pendingBytes = 0
  #writtenBytes = 0
  #scheduled = false
  #flushing = false
  /** In this turn of the event loop: small flushes so far, and since when. */
  #turnFlushes = 0
  #turnStarted = 0
  #nextTurn = false
  #syncWanted = false
  #timer: Timer | null = null
  #durableWaiters: DurableWaiter[] = []
  #drained: Settling | null = null
  #flushed: Settling | null = null
  #published = false
  readonly #listeners: ((mark: DurableMark) => void)[] = []
  #failed: HotBackupError | null = null
  readonly #failureListeners: ((error: HotBackupError) => void)[] = []
  readonly diskRoom: DiskRoom

  constructor(
    clock: Clock,
    appender: Appender,
    policy: FsyncPolicy,
    mark: DurableMark | null,
    gathering: Gathering,
  ) {
    this.#clock = clock
    this.#appender = appender
    this.#policy = policy
    this.#mark = mark
    this.#gathering = gathering
    this.diskRoom = new DiskRoom(clock, roomRetryMs, () => this.#tryAgain())
  }

  /** What is given up for room before anybody waits. */
  set spare(spare: Spare) {
    this.diskRoom.spare = spare
    this.#appender.spare = spare
  }

  get mark(): DurableMark | null {
    return this.#mark
  }
  get durableTxn(): number {
    return this.#mark === null ? 0 : this.#mark.txn
  }
  get failed(): HotBackupError | null {
    return this.#failed
  }
  get unsyncedBytes(): number {
    return this.#pendingBytes + this.#gathering.bytes()
  }

  /** ERR_DISK_FULL when there may be no room up to `end` of the last segment, or for the next one (null). */
  roomFault(end: number | null): HotBackupError | null {
    if (this.diskRoom.lack !== null) return this.diskRoom.lack
    const next = end === null || this.#queue.some(entry => entry instanceof NewSegment)
    if (!this.#appender.mayLackRoom(next ? null : end)) return null
    const text = 'there is no room for the next segment of the log'
    this.#lacksRoom(new HotBackupError('ERR_DISK_FULL', text))
    return this.diskRoom.lack
  }

  onDurable(callback: (mark: DurableMark) => void): void {
    this.#listeners.push(callback)
  }

  onFailure(callback: (error: HotBackupError) => void): void {
    this.#failureListeners.push(callback)
  }

  addBlock(block: Block): void {
    this.#queue.push(block)
    this.#queuedBytes += block.length
    this.#pendingBytes += block.length
    this.schedule()
  }

  addSegment(segment: NewSegment): void {
    this.#queue.push(segment)
    this.schedule()
  }

  /** There is something to flush, at the end of this turn. Cheap when that is known. */
  schedule(): void {
    if (this.#scheduled || this.#flushing) return
    this.#scheduled = true
    process.nextTick(this.#tick)
  }

  /** Resolves when `txn`, which is committed, is durable. */
  durable(txn: number): Promise<void> {
    const settling = new Settling()
    if (this.#failed !== null) settling.reject(this.#failed)
    else if (this.durableTxn >= txn) settling.resolve()
    else {
      this.#durableWaiters.push({ txn, settling })
      this.#syncWanted = true
      this.schedule()
    }
    return settling.promise
  }

  drained(): Promise<void> {
    const settling = this.#drained ?? new Settling()
    const wrong = this.#failed ?? this.diskRoom.lack
    if (wrong !== null) settling.reject(wrong)
    else if (this.unsyncedBytes <= unsyncedBytesMax) settling.resolve()
    else this.#drained = settling
    return settling.promise
  }

  /** Makes everything up to `txn` durable and closes the files. Throws when that fails now; see LogWriter.close. */
  async close(txn: number): Promise<void> {
    const failedBefore = this.#failed !== null
    this.diskRoom.endPatience()
    try {
      if (!failedBefore) await this.durable(txn)
      // A segment may be under way without blocks, and no file may be closed under a write.
      while (this.#flushing || (this.#queue.length > 0 && this.#failed === null)) {
        this.#flushed ??= new Settling()
        await this.#flushed.promise
      }
      if (this.#failed === null && this.#published) await this.#appender.syncPublished()
    } catch (error) {
      this.fail(error)
    }
    this.#timer?.cancel()
    this.diskRoom.stop()
    await this.#appender.close()
    if (!failedBefore && this.#failed !== null) throw this.#failed
  }

  readonly #tick = (): void => {
    this.#scheduled = false
    if (this.#flushing || this.#failed !== null || this.diskRoom.waiting) return
    if (!this.#small()) {
      this.#flushing = true
      void this.#flush()
    } else if (this.#turnIsOver()) {
      this.#nextTurn = true
    } else {
      this.#flushSync()
    }
  }

  #turnIsOver(): boolean {
    if (this.#turnFlushes++ === 0) {
      this.#turnStarted = this.#clock.monotonic()
      this.#clock.nextTurn(this.#turn)
      return false
    }
    if (this.#turnFlushes > flushesPerTurnMax) return true
    return this.#clock.monotonic() - this.#turnStarted > turnMsMax
  }

  /** The event loop has been round: timers and sockets have had their turn. */
  readonly #turn = (): void => {
    this.#turnFlushes = 0
    if (!this.#nextTurn) return
    this.#nextTurn = false
    this.#tick()
  }

  /** So little that it is written, and synced if it must be, in this turn of the event loop. */
  #small(): boolean {
    if (this.#queuedBytes + this.#gathering.bytes() > syncFlushBytesMax) return false
    if (this.#queue.some(entry => entry instanceof NewSegment)) return false
    if (this.#policy.kind !== 'commit') return !this.#syncDue()
    return this.#appender.syncMs < syncFlushMsMax
  }

  #take(): readonly (Block | NewSegment)[] {
    this.#gathering.seal()
    const batch = this.#queue
    this.#queue = []
    this.#queuedBytes = 0
    this.#inFlight = batch
    return batch
  }

  #flushSync(): void {
    const batch = this.#take()
    let written = 0
    try {
      for (const entry of batch) {
        if (entry instanceof NewSegment) throw new TypeError('a segment is never small')
        this.#appender.writeSync(entry.bytes, 0, entry.length, entry.offset)
        this.#wrote(entry)
        written++
      }
    } catch (error) {
      this.#trouble(error, batch.slice(written))
    }
    try {
      if (this.#failed === null && this.#syncDue()) {
        this.#appender.syncSync()
        this.#synced()
      }
    } catch (error) {
      this.#trouble(error, [])
    }
    this.#mayHaveRoom()
  }

  async #flush(): Promise<void> {
    const batch = this.#take()
    let written = 0
    try {
      for (const entry of batch) {
        if (this.#failed !== null) break
        if (entry instanceof NewSegment) await this.#changeSegment(entry)
        else {
          // A few pages go to the system's cache in less time than a thread takes to wake up.
          if (entry.length > syncFlushBytesMax) {
            await this.#appender.write(entry.bytes, 0, entry.length, entry.offset)
          } else this.#appender.writeSync(entry.bytes, 0, entry.length, entry.offset)
          this.#wrote(entry)
        }
        written++
      }
    } catch (error) {
      this.#trouble(error, batch.slice(written))
    }
    try {
      if (this.#failed === null && this.#syncDue()) {
        await this.#appender.sync()
        this.#synced()
      }
    } catch (error) {
      this.#trouble(error, [])
    }
    this.#flushing = false
    this.#flushed?.resolve()
    this.#flushed = null
    this.#mayHaveRoom()
    // By way of nextTick: those whom this flush has resumed come first, and share the next one.
    if (this.#queue.length > 0 || this.#gathering.bytes() > 0 || this.#syncWanted) this.schedule()
  }

  /** What is `left` could not be written. */
  #trouble(error: unknown, left: readonly (Block | NewSegment)[]): void {
    if (!isHotBackupError(error, 'ERR_DISK_FULL') || !this.diskRoom.patient) {
      this.fail(error)
      return
    }
    this.#inFlight = []
    this.#queue = [...left, ...this.#queue]
    for (const entry of left) if (!(entry instanceof NewSegment)) this.#queuedBytes += entry.length
    this.#lacksRoom(error)
  }

  #lacksRoom(error: HotBackupError): void {
    if (!this.diskRoom.lacks(error)) return
    this.#drained?.reject(error)
    this.#drained = null
  }

  #tryAgain(): void {
    if (this.#failed !== null) return
    // What was committed meanwhile still gathers: its flush found that it was no time for it.
    if (this.#pending || this.#gathering.bytes() > 0) this.schedule()
    else if (this.diskRoom.patient) void this.#lookForRoom()
  }

  async #lookForRoom(): Promise<void> {
    await this.#appender.lookForRoom()
    const { lack } = this.diskRoom
    if (lack !== null && this.#appender.mayLackRoom(null)) this.diskRoom.lacks(lack)
    else this.#mayHaveRoom()
  }

  /** There is room again when all could be written. */
  #mayHaveRoom(): void {
    if (this.#failed === null && !this.diskRoom.waiting && !this.#pending) this.diskRoom.found()
  }

  get #pending(): boolean {
    return this.#queue.length > 0 || this.#written !== null
  }

  async #changeSegment(segment: NewSegment): Promise<void> {
    if (this.#appender.hasSegment) {
      await this.#appender.seal()
      this.#synced()
    }
    if (this.#failed !== null) return
    await this.#appender.enter(segment.header.firstTxn, segment.bytes)
    this.#gathering.entered(segment.header)
    segment.settling.resolve()
  }

  #syncDue(): boolean {
    if (this.#written === null) return false
    return (
      this.#policy.kind === 'commit' ||
      this.#syncWanted ||
      this.#writtenBytes > unsyncedBytesMax / 2
    )
  }

  #wrote(block: Block): void {
    this.#written = block.mark
    this.#writtenBytes += block.length
    if (this.#policy.kind === 'commit') this.#unsettled.push(block)
    else {
      block.settling.resolve()
      this.#armTimer(this.#policy.kind === 'interval' ? this.#policy.intervalMs : osSyncMs)
    }
    this.#gathering.written(block)
  }

  /** What was written is durable: say so to the other processes, then to those who wait here. */
  #synced(): void {
    const mark = this.#written
    if (mark === null || this.#failed !== null) return
    this.#appender.publish(mark)
    this.#published = true
    this.#written = null
    this.#mark = mark
    this.#pendingBytes -= this.#writtenBytes
    this.#writtenBytes = 0
    for (const block of this.#unsettled) block.settling.resolve()
    this.#unsettled.length = 0
    this.#resolveDurable(mark.txn)
    if (this.#drained !== null && this.unsyncedBytes <= unsyncedBytesMax) {
      this.#drained.resolve()
      this.#drained = null
    }
    for (const listener of this.#listeners) listener(mark)
  }

  #resolveDurable(txn: number): void {
    if (this.#durableWaiters.length > 0) {
      for (const waiter of this.#durableWaiters) if (waiter.txn <= txn) waiter.settling.resolve()
      this.#durableWaiters = this.#durableWaiters.filter(waiter => waiter.txn > txn)
    }
    this.#syncWanted = this.#durableWaiters.length > 0
  }

  /** Under the policies that do not sync each commit. It keeps the process alive: it is never armed for nothing. */
  #armTimer(delayMs: number): void {
    this.#timer ??= this.#clock.after(delayMs, () => {
      this.#timer = null
      if (this.#written === null) return
      this.#syncWanted = true
      this.schedule()
    })
  }

  /** Stops everything, for good: all who wait are told, and the files are left as they are. */
  fail(cause: unknown): void {
    if (this.#failed !== null) return
    const reason = cause instanceof Error ? cause.message : String(cause)
    const place = cause instanceof HotBackupError ? cause.place : {}
    const error = new HotBackupError('ERR_STOPPED', `the log has stopped: ${reason}`, place, cause)
    this.#failed = error
    for (const block of this.#unsettled) block.settling.reject(error)
    for (const entry of [...this.#inFlight, ...this.#queue]) entry.settling.reject(error)
    this.#gathering.failed(error)
    for (const waiter of this.#durableWaiters) waiter.settling.reject(error)
    this.#drained?.reject(error)
    this.#timer?.cancel()
    this.diskRoom.stop()
    for (const listener of this.#failureListeners) listener(error)
  }
}
