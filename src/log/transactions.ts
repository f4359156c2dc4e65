// Walks over the transactions in a run of blocks, for replay and dump; and keeps what file numbers stand for.
import { HotBackupError } from '../errors.ts'
import { BlockView } from './block.ts'
import type { FileAttributes } from './file-attributes.ts'
import { namesFile, RecordCursor, RecordType } from './record.ts'

/** Whole, verified blocks: a BlockRun, or a SegmentScan that stands on a run. */
export interface Blocks {
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

/**
 * Moves from transaction to transaction without allocating. Throws ERR_LOG_CORRUPT for a block whose records do not
 * make up the transactions that its header counts.
 */
export class TransactionCursor {
  txn = 0
  /** The records of the transaction, in the bytes of the run. */
  start = 0
  end = 0
  /** Wall-clock time of its block, milliseconds. */
  blockTime = 0
  /** CRC of its block: with `txn`, a position in the history. */
  blockCrc = 0
  readonly #block = new BlockView()
  readonly #records = new RecordCursor()
  #bytes: Uint8Array = new Uint8Array()
  #next = 0
  #runEnd = 0
  #bodyEnd = 0
  #left = 0

  /** The run's bytes must stay as they are until the last `next`. */
  reset(run: Blocks): void {
    this.#bytes = run.bytes
    this.#next = run.start
    this.#runEnd = run.end
    this.#left = 0
    this.end = 0
    this.#bodyEnd = 0
  }

  next(): boolean {
    if (this.#left === 0 && !this.#enterBlock()) return false
    const records = this.#records
    this.start = records.valueEnd
    do {
      if (!records.next()) throw corrupt('a transaction has no last record', this.txn + 1)
    } while (!records.last)
    this.end = records.valueEnd
    this.txn++
    this.#left--
    return true
  }

  #enterBlock(): boolean {
    if (this.end !== this.#bodyEnd) throw corrupt('a block has too many records', this.txn + 1)
    if (this.#next >= this.#runEnd) return false
    const block = this.#block.reset(this.#bytes, this.#next)
    this.#records.reset(this.#bytes, block.bodyStart, block.bodyEnd)
    this.#bodyEnd = block.bodyEnd
    this.#left = block.count
    this.txn = block.firstTxn - 1
    this.blockTime = block.time
    this.blockCrc = block.crc
    this.#next += block.length
    return true
  }
}

/** What the file numbers of one segment stand for, learned from its own records as they go by. */
export class FileMaps {
  readonly #files = new Map<number, FileAttributes>()

  /** The cursor stands on a record. */
  note(record: RecordCursor): void {
    const { fileNumber, type } = record
    if (namesFile(type)) {
      this.#files.set(fileNumber, record.attributes())
    } else if (type === RecordType.resizeFile) {
      const known = this.#files.get(fileNumber)
      if (known !== undefined) this.#files.set(fileNumber, { ...known, modulo: record.modulo() })
    }
  }

  get(fileNumber: number): FileAttributes | undefined {
    return this.#files.get(fileNumber)
  }

  /** A new segment brings its own maps. */
  clear(): void {
    this.#files.clear()
  }
}

function corrupt(what: string, txn: number): HotBackupError {
  return new HotBackupError('ERR_LOG_CORRUPT', `${what}: transaction ${txn}`, { txn })
}
