// The change feed: the log of the server as a stream of entries, one for each record that changes the data. An entry's
// id is the number of its transaction and its place among the entries of that; the log is the same on every server of
// the database, so the ids are. Nothing is read that is not durable.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { KiB, MiB } from '../limits.ts'
import type { DurableMark } from '../log/durable.ts'
import { LogReader, type BlockRun } from '../log/reader.ts'
import { RecordCursor, RecordType, recordTypeNames } from '../log/record.ts'
import { SegmentScan } from '../log/scan.ts'
import { segmentFiles } from '../log/segments.ts'
import { FileMaps, TransactionCursor } from '../log/transactions.ts'
import type { Disk } from '../platform/disk.ts'

/** The log, as it lies on the disk. */
export interface LogView {
  readonly disk: Disk
  readonly directory: string
  /** How far it is durable; null while there is nothing. */
  readonly durableMark: DurableMark | null
  /** Calls back after each advance of it. */
  onDurable(callback: () => void): void
}

/** Before the entry with that id. */
export interface FeedPosition {
  readonly txn: number
  readonly index: number
}

export interface FeedEntry {
  readonly txn: number
  readonly index: number
  /** Names and values, in turn. */
  readonly fields: readonly Buffer[]
}

export interface FeedPage {
  readonly entries: readonly FeedEntry[]
  /** Where to go on: behind the last entry, or behind what was looked at. */
  readonly next: FeedPosition
  /** Of all fields. */
  readonly bytes: number
}

/** So much at once, whatever is asked for. */
const pageBytesMax = 8 * MiB
export const pageEntriesMax = 10_000
/** Places at which reading goes on without a search, each with an open file. */
const tailsMax = 8
/** Pages that others may want, too, who follow the log. */
const pagesMax = 8
const keptBytesMax = 256 * KiB

export class Feed {
  readonly #log: LogView
  /** By the place where they stand; the oldest first. */
  readonly #tails = new Map<string, Tail>()
  readonly #pages = new Map<string, FeedPage>()
  /** Those who wait for more. */
  readonly #waiting = new Set<() => void>()
  #closed = false

  constructor(log: LogView) {
    this.#log = log
    log.onDurable(() => {
      for (const wake of this.#waiting) wake()
    })
  }

  /** The first transaction that the log holds. */
  async firstTxn(): Promise<number> {
    return (await segmentFiles(this.#log.disk, this.#log.directory))[0]?.firstTxn ?? 1
  }

  /** The transaction up to which there are entries. */
  get lastTxn(): number {
    return this.#log.durableMark?.txn ?? 0
  }

  /**
   * Entries from a place on, at most `count`, up to transaction `lastTxn`. Fewer when they are large; none when there
   * are none. Throws ERR_LOG_REMOVED when the log starts later; ERR_LOG_CORRUPT, ERR_DISK.
   */
  async read(behind: FeedPosition, count: number, lastTxn = Infinity): Promise<FeedPage> {
    // There is no transaction 0: what is behind it begins with the first one.
    const from = behind.txn === 0 ? { txn: 1, index: 0 } : behind
    const limit = this.#log.durableMark
    if (limit === null || from.txn > Math.min(limit.txn, lastTxn)) {
      return { entries: [], next: from, bytes: 0 }
    }
    const key = `${from.txn}-${from.index}`
    const pageKey = `${key} ${count} ${Math.min(limit.txn, lastTxn)}`
    const known = this.#pages.get(pageKey)
    if (known !== undefined) return known
    let tail = this.#takeTail(key)
    let page: FeedPage
    try {
      tail ??= await Tail.open(this.#log, from)
      page = await tail.read(from, count, limit, lastTxn)
    } catch (error) {
      await tail?.close()
      const first = await this.firstTxn()
      // A segment may go between a look at the directory and its opening.
      const gone = isHotBackupError(error, 'ERR_LOG_REMOVED', 'ERR_DISK') && first > from.txn
      throw gone ? removed(first) : error
    }
    const atEnd = page.next.txn > limit.txn
    if (atEnd && page.bytes <= keptBytesMax) this.#pages.set(pageKey, page)
    dropOldest(this.#pages, pagesMax)
    await this.#keepTail(`${page.next.txn}-${page.next.index}`, tail)
    return page
  }

  /** Calls back once, when the log is durable further; returns how to take that back. */
  onMore(callback: () => void): () => void {
    const wake = () => {
      this.#waiting.delete(wake)
      callback()
    }
    this.#waiting.add(wake)
    return () => this.#waiting.delete(wake)
  }

  async close(): Promise<void> {
    this.#closed = true
    const tails = [...this.#tails.values()]
    this.#tails.clear()
    await Promise.all(tails.map(tail => tail.close()))
  }

  #takeTail(key: string): Tail | null {
    const tail = this.#tails.get(key) ?? null
    this.#tails.delete(key)
    return tail
  }

  async #keepTail(key: string, tail: Tail): Promise<void> {
    const other = this.#closed ? tail : this.#tails.get(key)
    if (!this.#closed) {
      this.#tails.delete(key)
      this.#tails.set(key, tail)
    }
    await other?.close()
    for (const oldest of dropOldest(this.#tails, tailsMax)) await oldest.close()
  }
}

function dropOldest<Value>(map: Map<string, Value>, sizeMax: number): Value[] {
  const dropped: Value[] = []
  for (const [key, value] of map) {
    if (map.size <= sizeMax) break
    map.delete(key)
    dropped.push(value)
  }
  return dropped
}

/** Reads on from where it stands. */
class Tail {
  readonly #reader: LogReader
  readonly #transactions = new TransactionCursor()
  readonly #record = new RecordCursor()
  readonly #maps = new FileMaps()
  #run: BlockRun | null = null
  /** The cursor stands on a transaction that is not used up. */
  #standing = false

  private constructor(reader: LogReader) {
    this.#reader = reader
  }

  /** From the start of the segment on, since that says what its file numbers stand for. */
  static async open({ disk, directory }: LogView, { txn }: FeedPosition): Promise<Tail> {
    const files = await segmentFiles(disk, directory)
    const holding = files.findLast(({ firstTxn }) => firstTxn <= txn) ?? null
    if (holding === null) throw removed(files[0]?.firstTxn ?? 1)
    const scan = await SegmentScan.open(disk, holding.path)
    await scan.close()
    const { firstTxn: start, chain } = scan.header
    return new Tail(await LogReader.open(disk, directory, { txn: start - 1, chain }))
  }

  async read(
    from: FeedPosition,
    count: number,
    limit: DurableMark,
    lastTxn: number,
  ): Promise<FeedPage> {
    const entries: FeedEntry[] = []
    let bytes = 0
    let next = from
    for (;;) {
      if (!this.#standing && !(await this.#advance(limit))) break
      const { txn } = this.#transactions
      if (txn > lastTxn) {
        this.#standing = true
        break
      }
      this.#standing = false
      for (const entry of this.#entriesOf(txn, from)) {
        if (entries.length === count || bytes > pageBytesMax) {
          this.#standing = true
          return { entries, next, bytes }
        }
        entries.push(entry)
        next = { txn, index: entry.index + 1 }
        for (const field of entry.fields) bytes += field.length
      }
      next = { txn: txn + 1, index: 0 }
    }
    return { entries, next, bytes }
  }

  /** To the next transaction; false when there is none. */
  async #advance(limit: DurableMark): Promise<boolean> {
    for (;;) {
      if (this.#run !== null && this.#transactions.next()) return true
      this.#run = await this.#reader.next(limit)
      if (this.#run === null) return false
      if (this.#run.segmentHeaderBytes !== null) this.#maps.clear()
      this.#transactions.reset(this.#run)
    }
  }

  /** Those at or behind `from`; what the others say of files is noted all the same. */
  #entriesOf(txn: number, from: FeedPosition): FeedEntry[] {
    const record = this.#record
    const { start, end } = this.#transactions
    const entries: FeedEntry[] = []
    let index = 0
    record.reset(this.#run!.bytes, start, end)
    while (record.next()) {
      this.#maps.note(record)
      if (!shown.has(record.type)) continue
      if (txn > from.txn || (txn === from.txn && index >= from.index)) {
        entries.push({ txn, index, fields: this.#fieldsOf(record) })
      }
      index++
    }
    return entries
  }

  #fieldsOf(record: RecordCursor): Buffer[] {
    const fields: Buffer[] = []
    const text = (name: string, value: string | number) => {
      fields.push(Buffer.from(name), Buffer.from(String(value)))
    }
    const { bytes, type, fileNumber } = record
    text('op', recordTypeNames[type])
    if (fileNumber === 0) {
      text(type === RecordType.promote ? 'server' : 'account', record.idText())
      return fields
    }
    const file = this.#maps.get(fileNumber)
    text('account', file?.account ?? '')
    text('file', file?.file ?? '')
    if (type === RecordType.createFile || type === RecordType.resizeFile) {
      text('modulo', file?.modulo ?? 0)
    }
    if (type !== RecordType.writeItem && type !== RecordType.deleteItem) return fields
    fields.push(idName, Buffer.from(bytes.subarray(record.idStart, record.idEnd)))
    if (type === RecordType.writeItem) {
      fields.push(valueName, Buffer.from(bytes.subarray(record.valueStart, record.valueEnd)))
    }
    return fields
  }

  async close(): Promise<void> {
    await this.#reader.close()
  }
}

const idName = Buffer.from('id')
const valueName = Buffer.from('value')

/** What changes the data; the other records are about the log itself. */
const shown: ReadonlySet<RecordType> = new Set([
  RecordType.writeItem,
  RecordType.deleteItem,
  RecordType.createFile,
  RecordType.clearFile,
  RecordType.resizeFile,
  RecordType.deleteFile,
  RecordType.createAccount,
  RecordType.deleteAccount,
  RecordType.promote,
])

function removed(first: number): HotBackupError {
  const message = `the log starts with transaction ${first}, id ${first}-0: what was before has been removed`
  return new HotBackupError('ERR_LOG_REMOVED', message, { txn: first })
}
