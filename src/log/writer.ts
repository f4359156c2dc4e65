// The writer of a log: gathers transactions into blocks, one fsync for all that came while the last was under way
// (group commit). On a slave it takes the master's blocks as they are. One process, one writer.
//
// What becomes of a block:
//   gathering   transactions are added; nothing of it is on the disk
//   sealed      header and CRC are made, with the promise of what is durable now; it waits to be written
//   written     the system has it; readers do not see it
//   durable     synced, and log/durable says so; whoever waits in synced() goes on
// The first step is made here, the others in flusher.ts.
import { HotBackupError } from '../errors.ts'
import { blockBytesTarget, KiB, transactionBytesMax } from '../limits.ts'
import type { Clock } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import { Appender } from './appender.ts'
import { Block, BlockPool, LogTip, NewSegment } from './blocks-under-way.ts'
import { BlockChain, type LogPosition } from './chain.ts'
import { Flusher } from './flusher.ts'
import type { DurableMark } from './durable.ts'
import { FileMaps } from './file-maps.ts'
import { blockAlignment } from './block.ts'
import type { LogIdentity, LogOptions } from './options.ts'
import type { FileAttributes } from './file-attributes.ts'
import type { RecordEncoder } from './record.ts'
import { markAtEnd, recoverLog, type RecoveredLog, type RecoveryReport } from './recovery.ts'
import type { DiskRoom, Spare } from './disk-room.ts'
import { encodeSegmentHeader, segmentHeaderBytes, type SegmentHeader } from './segment.ts'
import type { SegmentInfo } from './segments.ts'
import { SegmentList } from './segment-list.ts'

const segmentBytesMin = 1 * KiB

export class LogWriter {
  /** What recovery found when the log was opened. */
  readonly recovery: RecoveryReport
  readonly #disk: Disk
  readonly #clock: Clock
  readonly #options: LogOptions
  readonly #flusher: Flusher
  readonly #segments: SegmentList
  readonly #pool = new BlockPool()

  #tip: LogTip | null
  #position: LogPosition
  #lastTxn: number

  #gathering: Block | null = null
  #begun = false
  #transactionStart = 0
  #transactionEnd = 0
  readonly #maps = new FileMaps()

  #lastBlock: Block | null = null
  #bytesTotal = 0
  #closing: Promise<void> | null = null

  private constructor(
    platform: { readonly disk: Disk; readonly clock: Clock },
    directory: string,
    options: LogOptions,
    appender: Appender,
    recovered: RecoveredLog,
  ) {
    this.#disk = platform.disk
    this.#clock = platform.clock
    this.#options = options
    this.#segments = new SegmentList(directory, recovered.segments)
    this.recovery = recovered.report
    this.#position = recovered.position
    this.#lastTxn = recovered.position.txn
    const last = recovered.segments.at(-1)
    this.#tip = last?.header ? new LogTip(last.header, last.bytes) : null
    this.#flusher = new Flusher(platform.clock, appender, options.fsync, markAtEnd(recovered), {
      seal: () => {
        if (!this.#begun) this.#seal()
      },
      bytes: () => this.#gatheredBytes,
      entered: header => this.#segments.entered(header.firstTxn),
      written: block => this.#pool.release(block),
      failed: error => this.#gathering?.settling.reject(error),
    })
  }

  /**
   * Opens the log in `directory`, which is made when it is not there, and recovers it. Errors: ERR_LOG_CORRUPT,
   * ERR_LOG_VERSION, ERR_DISK, ERR_DISK_FULL. The caller ensures that no other process has it open.
   */
  static async open(
    platform: { readonly disk: Disk; readonly clock: Clock },
    directory: string,
    options: LogOptions,
  ): Promise<LogWriter> {
    if (!Number.isSafeInteger(options.segmentBytes) || options.segmentBytes < segmentBytesMin) {
      throw new TypeError(`segmentBytes is ${options.segmentBytes}; at least ${segmentBytesMin}`)
    }
    const { disk } = platform
    await disk.makeDirectory(directory)
    const recovered = await recoverLog(disk, directory, options)
    const appender = await Appender.resume(platform, directory, options.segmentBytes, recovered)
    return new LogWriter(platform, directory, options, appender, recovered)
  }

  // ---- Master ----

  /** The first segment of a new database: the log must be empty. Resolves when it is durable. */
  beginHistory(identity: LogIdentity): Promise<void> {
    if (this.#tip !== null) throw new TypeError('the log has a history')
    return this.#startSegment(identity)
  }

  /**
   * A new timeline, in a segment of its own: the server is promoted. Its first transaction should be a promote
   * record. Resolves when the segment is durable; interrupted before, nothing has happened.
   */
  beginTimeline(identity: LogIdentity): Promise<void> {
    const timeline = this.#tip?.header.timeline
    if (timeline === undefined || identity.timeline <= timeline) {
      throw new TypeError(`timeline ${identity.timeline} cannot follow ${timeline}`)
    }
    return this.#startSegment(identity)
  }

  #startSegment(identity: LogIdentity): Promise<void> {
    this.#refuseIfUnusable()
    this.cut()
    const segment = this.#enqueueSegment({
      databaseId: identity.databaseId,
      lineageId: identity.lineageId,
      timeline: identity.timeline,
      firstTxn: this.#lastTxn + 1,
      chain: this.#position.chain,
      created: this.#clock.now(),
    })
    return segment.settling.promise
  }

  /**
   * Starts a transaction: its records go into the encoder, in the same turn of the event loop. End it with `commit`
   * or `abandon`. Throws ERR_STOPPED after a failure (its cause is in `cause`), ERR_DISK_FULL, and ERR_CLOSED after
   * `close`.
   */
  begin(): RecordEncoder {
    if (this.#flusher.failed !== null || this.#closing !== null) this.#refuseIfUnusable()
    this.#refuseFor(this.#flusher.diskRoom.lack)
    if (this.#begun) throw new TypeError('the transaction before has not ended')
    let block = this.#gathering
    if (block === null || block.encoder.end >= blockBytesTarget) block = this.#gather()
    this.#begun = true
    this.#maps.begin()
    this.#transactionStart = block.encoder.end
    return block.encoder
  }

  /** Writes a map-file record unless the segment has one for the file. Call it before the file's first record. */
  ensureMapped(fileNumber: number, attributes: FileAttributes): void {
    this.#maps.ensure(fileNumber, attributes, this.encoder)
  }

  /** The transaction itself says what the file is: it creates it. */
  markMapped(fileNumber: number): void {
    this.#maps.mark(fileNumber)
  }

  /** Call it when the records are complete. Throws ERR_DISK_FULL when they may find no room. */
  checkRoom(): void {
    const end = (this.#tip?.offset ?? 0) + this.encoder.end + blockAlignment
    this.#refuseFor(this.#flusher.roomFault(end))
  }

  /** Ends the transaction and returns its number. The flush comes by itself, at the end of this turn. */
  commit(): number {
    const block = this.#gathering
    if (block === null || !this.#begun) throw new TypeError('no transaction has begun')
    const { encoder } = block
    const bytes = encoder.end - this.#transactionStart
    if (bytes === 0) throw new TypeError('the transaction has no records')
    if (bytes > transactionBytesMax) {
      this.abandon()
      throw new HotBackupError('ERR_TRANSACTION_SIZE', `the transaction has ${bytes} bytes`)
    }
    encoder.endTransaction()
    this.#transactionEnd = encoder.end
    this.#begun = false
    block.count++
    this.#lastBlock = block
    this.#flusher.schedule()
    return ++this.#lastTxn
  }

  /** Takes the begun transaction back. */
  abandon(): void {
    const block = this.#gathering
    if (block === null || !this.#begun) return
    block.encoder.cutBack(this.#transactionStart)
    this.#maps.abandon()
    this.#begun = false
  }

  /** Holds the records of the transaction that was begun last, from `transactionStart` to `transactionEnd`. */
  get encoder(): RecordEncoder {
    const block = this.#gathering ?? this.#lastBlock
    if (block === null) throw new TypeError('no transaction has begun')
    return block.encoder
  }
  get transactionStart(): number {
    return this.#transactionStart
  }
  get transactionEnd(): number {
    return this.#transactionEnd
  }

  /** Seals the gathering block. Returns the position of the last committed transaction, now the end of a block. */
  cut(): LogPosition {
    if (this.#begun) throw new TypeError('a transaction has begun')
    this.#seal()
    return this.#position
  }

  // ---- Slave ----

  /** The master starts a segment; the header is checked (BlockChain). A segment without blocks is replaced. */
  appendSegment(header: SegmentHeader, headerBytes: Uint8Array): void {
    this.#refuseIfUnusable()
    if (this.#tip === null) {
      this.#position = { txn: header.firstTxn - 1, chain: header.chain }
      this.#lastTxn = this.#position.txn
    }
    if (header.firstTxn !== this.#lastTxn + 1 || header.chain !== this.#position.chain) {
      throw new TypeError('the segment does not continue the log')
    }
    this.#enqueueSegment(header, Buffer.from(headerBytes))
  }

  /**
   * Whole blocks of the master, checked (BlockChain). The bytes are the writer's own until they are written: the
   * caller must not change them any more. `position` lies behind them, `time` is that of the last block.
   */
  appendBlocks(bytes: Uint8Array, position: LogPosition, time: number): void {
    this.#refuseIfUnusable()
    const tip = this.#tip
    if (tip === null || position.txn <= this.#lastTxn) {
      throw new TypeError('the blocks do not continue the log')
    }
    const block = this.#pool.foreign(bytes)
    this.#enqueueBlock(block, tip, position, time)
    this.#lastTxn = position.txn
    this.#lastBlock = block
    this.#flusher.schedule()
  }

  /** A chain that stands at the end of the log, to check what comes next. */
  chainAtEnd(): BlockChain {
    const tip = this.#tip
    const chain = new BlockChain(this.#position, tip?.header.databaseId ?? null)
    if (tip !== null) chain.resumeSegment(tip.header, this.#position, tip.offset)
    return chain
  }

  // ---- Both ----

  /** Of the last segment; null for a log without any. */
  get identity(): LogIdentity | null {
    return this.#tip?.header ?? null
  }
  /** The last transaction that was committed or appended. */
  get lastTxn(): number {
    return this.#lastTxn
  }
  get durableTxn(): number {
    return this.#flusher.durableTxn
  }
  /** Behind the last block that is sealed. */
  get position(): LogPosition {
    return this.#position
  }
  get durablePosition(): LogPosition {
    return { txn: this.durableTxn, chain: this.#flusher.mark?.chain ?? 0 }
  }
  /** What log/durable says; null while it says nothing. */
  get durableMark(): DurableMark | null {
    return this.#flusher.mark
  }
  /** The first transaction that the log still holds, or will hold. */
  get firstTxn(): number {
    return this.#segments.firstTxn ?? this.#lastTxn + 1
  }
  /** Bytes that are committed and not durable. */
  get unsyncedBytes(): number {
    return this.#flusher.unsyncedBytes
  }
  /** Bytes of all blocks since the log was opened, for the checkpoint's policy. */
  get bytesWritten(): number {
    return this.#bytesTotal
  }
  /** Why the log has stopped: ERR_STOPPED, with the reason as `cause`. Final. */
  get failed(): HotBackupError | null {
    return this.#flusher.failed
  }

  /**
   * The disk is full: nothing new is committed, and what is waits until there is room. A log that is being closed does
   * not wait.
   */
  get diskRoom(): DiskRoom {
    return this.#flusher.diskRoom
  }
  /** What is given up for room, before anything is refused or waits. */
  set spare(spare: Spare) {
    this.#flusher.spare = spare
  }
  /** Calls back once when the log stops for good, with ERR_STOPPED. */
  onFailure(callback: (error: HotBackupError) => void): void {
    this.#flusher.onFailure(callback)
  }

  /** Resolves when everything committed so far is durable, or as the policy says. Rejects with ERR_STOPPED. */
  synced(): Promise<void> {
    return this.#lastBlock?.settling.promise ?? alreadySettled
  }

  /** Resolves when everything committed so far is durable, whatever the policy says: a checkpoint needs that. */
  durable(): Promise<void> {
    return this.#flusher.durable(this.#lastTxn)
  }

  /** Resolves when `unsyncedBytes` is at most `unsyncedBytesMax`. */
  drained(): Promise<void> {
    return this.#flusher.drained()
  }

  /** Calls back after each advance of log/durable. The callback must not throw. */
  onDurable(callback: (mark: DurableMark) => void): void {
    this.#flusher.onDurable(callback)
  }

  /** Oldest first. */
  segments(): readonly SegmentInfo[] {
    return this.#segments.infos(this.#lastTxn, this.#tip?.offset ?? 0)
  }

  /**
   * Deletes the sealed segments whose transactions are all before `txn`, with copies of what was cut off them.
   * Oldest first, each durably, so that a power failure never leaves a hole. That of log/durable stays, also before a
   * new one without blocks. Returns how many.
   */
  removeBefore(txn: number): Promise<number> {
    return this.#segments.removeBefore(this.#disk, Math.min(txn, this.durableTxn))
  }

  /**
   * Makes durable what is committed and closes the files. Throws ERR_STOPPED when that fails; a log that had failed
   * before is just closed.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Stops the log for a reason outside: the lock is lost, a checkpoint has failed. Final. */
  fail(cause: HotBackupError): void {
    this.#flusher.fail(cause)
  }

  async #close(): Promise<void> {
    this.abandon()
    await this.#flusher.close(this.#lastTxn)
  }

  // ---- From gathering to sealed ----

  /** The block for the next transaction, in a new segment when the last one is full. */
  #gather(): Block {
    this.#seal()
    const tip = this.#tip
    if (tip === null) throw new TypeError('the log has no history: begin one')
    if (tip.offset >= this.#options.segmentBytes) {
      this.#refuseFor(this.#flusher.roomFault(null))
      this.#enqueueSegment({
        ...tip.header,
        firstTxn: this.#lastTxn + 1,
        chain: this.#position.chain,
        created: this.#clock.now(),
      })
    }
    const block = this.#pool.take()
    this.#gathering = block
    return block
  }

  get #gatheredBytes(): number {
    const block = this.#gathering
    return block === null || block.count === 0 || this.#begun ? 0 : block.encoder.end
  }

  #seal(): void {
    const block = this.#gathering
    const tip = this.#tip
    if (block === null || tip === null || block.count === 0) return
    const time = this.#clock.now()
    const chain = block.seal(tip, {
      chain: this.#position.chain,
      count: block.count,
      firstTxn: this.#position.txn + 1,
      time,
      promise: this.durableTxn,
      databaseId: tip.header.databaseId,
      timeline: tip.header.timeline,
    })
    this.#gathering = null
    this.#enqueueBlock(block, tip, { txn: this.#lastTxn, chain }, time)
  }

  #refuseFor(fault: HotBackupError | null): void {
    if (fault === null) return
    // A new error each time: whoever logs it sees the call that was refused.
    throw new HotBackupError(fault.code, fault.message, fault.place, fault.cause)
  }

  #enqueueBlock(block: Block, tip: LogTip, position: LogPosition, time: number): void {
    const end = tip.offset + block.length
    block.offset = tip.offset
    block.mark = {
      txn: position.txn,
      chain: position.chain,
      segmentFirstTxn: tip.header.firstTxn,
      offset: end,
      time,
    }
    tip.offset = end
    this.#position = position
    this.#bytesTotal += block.length
    this.#flusher.addBlock(block)
  }

  #enqueueSegment(header: SegmentHeader, bytes = encodeSegmentHeader(header)): NewSegment {
    const segment = new NewSegment(header, bytes)
    this.#segments.add(header, this.#tip?.offset ?? 0)
    this.#tip = new LogTip(header, segmentHeaderBytes)
    this.#maps.clear()
    this.#flusher.addSegment(segment)
    return segment
  }

  #refuseIfUnusable(): void {
    this.#refuseFor(this.#flusher.failed)
    if (this.#closing !== null) throw new HotBackupError('ERR_CLOSED', 'the log is closed')
  }
}

const alreadySettled = Promise.resolve()
