// Decides what becomes of a transaction that cannot be applied: it is tried again, goes whole to lost-found, or the
// database must be opened again first. So one bad record never stops a slave, and never makes a loop of crashes.
//
//   the error is …                                     decision
//   of the disk or the database, not of the record     thrown on: the replayer stands still
//   a missing account or file, auto-create off         lost-found at once
//   a missing file, auto-create on                     created as the log's map says, then applied
//   any other, nothing of it is in the database        tried again; after `tries` attempts lost-found
//   any other, in the middle of the transaction        likewise, and the database is opened again for each attempt
//
// The attempts are counted on the disk, so that a restart does not begin anew.
import { join } from 'node:path'
import { Misfit } from '../database/check.ts'
import { isHotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'
import { RecordCursor, RecordEncoder, RecordType, recordTypeNames } from '../log/record.ts'
import { BlockChain, hex, type LogPosition } from '../log/chain.ts'
import { SegmentScan } from '../log/scan.ts'
import { segmentName } from '../log/segment.ts'
import { FileMaps, TransactionCursor } from '../log/transactions.ts'
import type { Clock } from '../platform/clock.ts'
import type { Disk } from '../platform/disk.ts'
import type { FailingSteps, FailedTransaction } from './run-steps.ts'
import type { LostAndFound } from './lost-found.ts'

export interface ApplyFailureOptions {
  /** Name of this server. */
  readonly server: string
  readonly logDirectory: string
  /** Attempts at a transaction before it goes to lost-found. */
  readonly tries: number
  readonly autoCreate: boolean
  /** The last transaction that has been acknowledged as durable. */
  readonly acknowledged: () => number
  /** Transactions went to lost-found: how many since it was told last, and the latest of them. */
  readonly lost: (count: number, txn: number, reason: string) => void
}

/**
 * `again`: try it as it is. `instead`: apply these records, which are the transaction's own behind what it needs.
 * `lost`: it lies in lost-found, go past it. `reopen`: the database holds half of it, and must be opened again.
 */
type Decision =
  | { readonly what: 'again' | 'lost' | 'reopen' }
  | { readonly what: 'instead'; readonly records: Buffer }

/** A flood of lost transactions is told of this often. */
const tellMs = 10_000

const notOfTheRecord = [
  'ERR_DISK',
  'ERR_DISK_FULL',
  'ERR_DATABASE_CORRUPT',
  'ERR_STOPPED',
  'ERR_CLOSED',
] as const

export class ApplyFailures {
  readonly lostAndFound: LostAndFound
  readonly #platform: { readonly disk: Disk; readonly clock: Clock }
  readonly #options: ApplyFailureOptions
  readonly #maps: SegmentMaps
  /** Of the transaction for which the records have been given out. */
  #instead = 0
  #mustReopen = false
  #untold = 0
  #toldAt = -Infinity

  constructor(
    platform: { readonly disk: Disk; readonly clock: Clock },
    lostAndFound: LostAndFound,
    options: ApplyFailureOptions,
  ) {
    this.#platform = platform
    this.lostAndFound = lostAndFound
    this.#options = options
    this.#maps = new SegmentMaps(platform.disk, options.logDirectory)
  }

  /** The database holds half of a transaction, and must be opened again. */
  get mustReopen(): boolean {
    return this.#mustReopen
  }

  /**
   * What `step` answers, when whatever it has thrown of transactions has been dealt with. Throws when that cannot be:
   * the replayer must stand still.
   */
  async settled<T>(
    steps: FailingSteps,
    database: { readonly broken: boolean },
    step: () => T,
  ): Promise<T> {
    for (;;) {
      try {
        return step()
      } catch (error) {
        await this.#settle(error, steps, database)
      }
    }
  }

  async #settle(
    error: unknown,
    steps: FailingSteps,
    database: { readonly broken: boolean },
  ): Promise<void> {
    const { failed } = steps
    if (failed === null) throw error
    const decision = await this.#decide(error, failed, database.broken)
    switch (decision.what) {
      case 'again':
        return
      case 'lost':
        steps.passOver()
        return
      case 'reopen':
        this.#mustReopen = true
        throw error
      case 'instead':
        try {
          steps.applyInstead(decision.records)
        } catch (second) {
          await this.#settle(second, steps, database)
        }
    }
  }

  /**
   * `halfDone`: the database has stopped in the middle of the transaction. Throws `error` when it is not about the
   * transaction, and ERR_DISK, ERR_DISK_FULL when lost-found cannot be written.
   */
  async #decide(error: unknown, failed: FailedTransaction, halfDone: boolean): Promise<Decision> {
    if (isHotBackupError(error, ...notOfTheRecord)) throw error
    const missing = !halfDone && error instanceof Misfit && error.missing
    if (missing && !this.#options.autoCreate) {
      await this.#lose(error, failed)
      return { what: 'lost' }
    }
    if (missing && this.#instead !== failed.txn) {
      const records = await this.#withMaps(failed)
      if (records.length > failed.end - failed.start) {
        this.#instead = failed.txn
        return { what: 'instead', records }
      }
    }
    const tries = (await this.lostAndFound.triesOf(failed)) + 1
    const { txn, chain } = failed
    await this.lostAndFound.noteTries({ txn, chain, tries })
    const over = tries >= this.#options.tries
    if (over) await this.#lose(error, failed)
    if (halfDone) return { what: 'reopen' }
    return { what: over ? 'lost' : 'again' }
  }

  async #lose(error: unknown, failed: FailedTransaction): Promise<void> {
    const { server, acknowledged } = this.#options
    const { txn, chain, time, segment } = failed
    const reason = error instanceof Error ? error.message : String(error)
    const records = await this.#withMaps(failed)
    const header = {
      reason,
      code: isHotBackupError(error) ? error.code : 'defect',
      kind: kindOf(failed),
      server,
      time: new Date(this.#platform.clock.now()).toISOString(),
      txn,
      chain: hex(chain),
      written: new Date(time).toISOString(),
      lastAcknowledged: acknowledged(),
      timeline: segment.timeline,
    }
    await this.lostAndFound.put({ txn, chain }, header, records)
    this.#tell(txn, reason)
  }

  #tell(txn: number, reason: string): void {
    this.#untold++
    const now = this.#platform.clock.monotonic()
    if (now - this.#toldAt < tellMs) return
    this.#toldAt = now
    this.#options.lost(this.#untold, txn, reason)
    this.#untold = 0
  }

  /** The transaction's records, behind map-file records of the files that it does not name itself. */
  async #withMaps(failed: FailedTransaction): Promise<Buffer> {
    const { bytes, start, end } = failed
    const named = new Set<number>()
    const unnamed = new Set<number>()
    const record = new RecordCursor()
    record.reset(bytes, start, end)
    while (record.next()) {
      const { fileNumber, type } = record
      if (type === RecordType.mapFile || type === RecordType.createFile) named.add(fileNumber)
      else if (fileNumber !== 0 && !named.has(fileNumber)) unnamed.add(fileNumber)
    }
    const encoder = new RecordEncoder(end - start + 4 * KiB, 0)
    if (unnamed.size > 0) {
      const maps = await this.#maps.before(failed)
      for (const fileNumber of unnamed) {
        const attributes = maps.get(fileNumber)
        if (attributes !== undefined) encoder.mapFile(fileNumber, attributes)
      }
    }
    encoder.copy(bytes, start, end)
    return Buffer.from(encoder.bytes.subarray(0, encoder.end))
  }
}

/** The types of the records, each once, in their order; map-file is no update. */
function kindOf({ bytes, start, end }: FailedTransaction): string {
  const names = new Set<string>()
  const record = new RecordCursor()
  record.reset(bytes, start, end)
  while (record.next()) {
    if (record.type !== RecordType.mapFile) names.add(recordTypeNames[record.type])
  }
  return [...names].join(', ')
}

const scanBytes = 64 * KiB

/** What the numbers stand for at a transaction, by the records before it in its segment. Quick when it goes forward. */
class SegmentMaps {
  readonly #disk: Disk
  readonly #directory: string
  #maps = new FileMaps()
  #segment = 0
  /** Up to here the records have been noted. */
  #txn = 0
  /** A block from where to read on, and its offset; all before it has been noted. */
  #from: { readonly position: LogPosition; readonly offset: number } | null = null

  constructor(disk: Disk, directory: string) {
    this.#disk = disk
    this.#directory = directory
  }

  async before({ txn, segment }: FailedTransaction): Promise<FileMaps> {
    if (segment.firstTxn !== this.#segment || txn <= this.#txn) {
      this.#maps = new FileMaps()
      this.#segment = segment.firstTxn
      this.#txn = segment.firstTxn - 1
      this.#from = null
    }
    const path = join(this.#directory, segmentName(segment.firstTxn))
    const scan = await SegmentScan.open(this.#disk, path, { reuse: true, readBytes: scanBytes })
    try {
      const chain = new BlockChain({ txn: segment.firstTxn - 1, chain: segment.chain })
      if (this.#from === null) {
        scan.enter(chain)
      } else {
        chain.resumeSegment(segment, this.#from.position, this.#from.offset)
        scan.resume(chain)
      }
      for (;;) {
        const from = { position: chain.position, offset: chain.offset }
        if (this.#txn >= txn - 1 || !(await scan.next())) break
        this.#note(scan, txn)
        // The run may hold more than was noted: it is read again then.
        if (this.#txn < chain.txn) this.#from = from
        else this.#from = { position: chain.position, offset: chain.offset }
      }
      scan.checkReached(txn - 1)
    } finally {
      await scan.close()
    }
    return this.#maps
  }

  #note(scan: SegmentScan, txn: number): void {
    const cursor = new TransactionCursor()
    const record = new RecordCursor()
    cursor.reset(scan)
    while (cursor.next() && cursor.txn < txn) {
      if (cursor.txn <= this.#txn) continue
      record.reset(scan.bytes, cursor.start, cursor.end)
      while (record.next()) this.#maps.note(record)
      this.#txn = cursor.txn
    }
  }
}
