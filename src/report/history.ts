// What the log says about one item, oldest first: each write and delete, and what took the item away with others. It
// reads the log only, as far as it is durable, so it works whoever has the server open, and one line at a time.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'
import { hashId } from '../database/hash.ts'
import { namesFile, RecordCursor, RecordType, recordTypeNames } from '../log/record.ts'
import type { LogDamage } from '../log/scrub.ts'
import { soundBlocks } from '../log/sound-blocks.ts'
import { TransactionCursor, type Blocks } from '../log/transactions.ts'
import type { Disk } from '../platform/disk.ts'
import type { ByteForm } from '../text/byte-forms.ts'
import { LineBuffer, type Sink } from '../text/line-buffer.ts'
import { count } from '../text/numbers.ts'

export interface HistoryOptions {
  readonly account: string
  readonly file: string
  readonly id: Uint8Array
  readonly json: boolean
  /** How values are written; null: as they are. */
  readonly form: ByteForm | null
}

export interface HistoryReport {
  /** Operations that were shown. */
  readonly operations: number
  /** The first damage, with the number of places; null when all of the log could be read. */
  readonly damage: HotBackupError | null
}

/** Of a value, in a line for people. */
const valueBytesShown = 4 * KiB

/** `progress` hears how many bytes have been read. Throws ERR_DISK. */
export async function itemHistory(
  disk: Disk,
  directory: string,
  options: HistoryOptions,
  sink: Sink,
  progress: (bytes: number) => void = () => {},
): Promise<HistoryReport> {
  const history = new ItemHistory(options)
  let bytes = 0
  for await (const { start, blocks, damage } of soundBlocks(disk, directory)) {
    if (start !== undefined) history.start(start.firstTxn)
    if (damage !== undefined) history.damaged(damage)
    if (blocks !== undefined) {
      history.blocks(blocks)
      progress((bytes += blocks.end - blocks.start))
    }
    if (history.full) await sink(history.take())
  }
  await sink(history.take())
  return history.report
}

class ItemHistory {
  readonly #options: HistoryOptions
  readonly #hash: number
  readonly #lines = new LineBuffer()
  readonly #transaction = new TransactionCursor()
  readonly #record = new RecordCursor()
  /** By number: it is the file in question. */
  readonly #files = new Map<number, boolean>()
  #operations = 0
  #started = false
  #firstDamage: LogDamage | null = null
  #damages = 0

  constructor(options: HistoryOptions) {
    this.#options = options
    this.#hash = hashId(options.id, 0, options.id.length)
  }

  get full(): boolean {
    return this.#lines.full
  }

  take(): Buffer {
    return this.#lines.take()
  }

  get report(): HistoryReport {
    const first = this.#firstDamage
    if (first === null) return { operations: this.#operations, damage: null }
    const { path, offset, txn } = first
    const many = this.#damages === 1 ? '' : ` (the first of ${count(this.#damages)} places)`
    const at = path.endsWith('.log') ? `, byte ${offset}` : ''
    const message = `${path}${at}: ${withoutPlace(first)}${many}; the history may lack what was written there`
    const place = { path, offset, ...(txn !== null && { txn }) }
    return {
      operations: this.#operations,
      damage: new HotBackupError('ERR_LOG_CORRUPT', message, place),
    }
  }

  start(firstTxn: number): void {
    const lines = this.#lines
    if (this.#options.json) {
      lines.ascii(`{"txn":${firstTxn},"type":"log-start"}\n`)
    } else if (firstTxn > 1) {
      const when = this.#started ? ' any more' : ''
      lines.ascii(`History before transaction ${count(firstTxn)} is not kept${when}.\n`)
    }
    this.#started = true
  }

  damaged(damage: LogDamage): void {
    this.#firstDamage ??= damage
    this.#damages++
    const { txn, path } = damage
    const text = `${path}: ${withoutPlace(damage)}`
    if (this.#options.json) {
      const at = txn === null ? '' : `"txn":${txn},`
      this.#lines.ascii(`{${at}"type":"damage","message":${JSON.stringify(text)}}\n`)
      return
    }
    const at = txn === null ? '' : `from transaction ${count(txn)} on, `
    this.#lines.ascii(`Damaged ${at}up to the next line: ${text}\n`)
  }

  blocks(blocks: Blocks): void {
    const transaction = this.#transaction
    try {
      transaction.reset(blocks)
      while (transaction.next()) this.#transactionIn(blocks, transaction)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_LOG_CORRUPT')) throw error
      // The blocks are as they were written; whoever wrote them had a defect.
      const { txn } = transaction
      this.damaged({ path: 'the log', offset: 0, txn, message: error.message })
    }
  }

  #transactionIn({ bytes }: Blocks, { txn, start, end, blockTime }: TransactionCursor): void {
    const record = this.#record
    record.reset(bytes, start, end)
    while (record.next()) {
      if (!this.#concerns(record)) continue
      this.#operations++
      const time = new Date(blockTime).toISOString()
      if (this.#options.json) this.#jsonLine(record, txn, time)
      else this.#textLine(record, txn, time)
    }
  }

  #concerns(record: RecordCursor): boolean {
    const { account, file } = this.#options
    const { type, fileNumber } = record
    if (namesFile(type)) {
      const named = record.attributes()
      this.#files.set(fileNumber, named.account === account && named.file === file)
      return false
    }
    if (type === RecordType.deleteAccount) return record.idText() === account
    if (this.#files.get(fileNumber) !== true) return false
    switch (type) {
      case RecordType.writeItem:
      case RecordType.deleteItem:
        return this.#isItem(record)
      case RecordType.clearFile:
      case RecordType.deleteFile:
        return true
      case RecordType.clearGroup: {
        const { from, to } = record.hashes()
        return this.#hash >= from && this.#hash < to
      }
      default:
        return false
    }
  }

  #isItem({ bytes, idStart, idEnd }: RecordCursor): boolean {
    const { id } = this.#options
    if (idEnd - idStart !== id.length) return false
    for (let i = 0; i < id.length; i++) if (bytes[idStart + i] !== id[i]) return false
    return true
  }

  #textLine({ type, bytes, valueStart, valueEnd }: RecordCursor, txn: number, time: string): void {
    const lines = this.#lines
    lines.ascii(count(txn).padStart(10))
    const name = recordTypeNames[type]
    if (type === RecordType.writeItem) {
      const length = valueEnd - valueStart
      const shown = Math.min(length, valueBytesShown)
      lines.ascii(`  ${time}  ${name.padEnd(14)}  ${count(length)} B  `)
      lines.quoted(bytes, valueStart, valueStart + shown, this.#options.form)
      if (shown < length) lines.ascii('…')
    } else lines.ascii(`  ${time}  ${name}`)
    lines.newLine()
  }

  #jsonLine({ type, bytes, valueStart, valueEnd }: RecordCursor, txn: number, time: string): void {
    const lines = this.#lines
    lines.ascii(`{"txn":${txn},"time":"${time}","type":"${recordTypeNames[type]}"`)
    if (type === RecordType.writeItem) {
      lines.ascii(',')
      lines.json('value', 'base64', bytes, valueStart, valueEnd, this.#options.form)
    }
    lines.ascii('}\n')
  }
}

/** Some messages begin with the place. */
function withoutPlace({ path, message }: LogDamage): string {
  return message.startsWith(path) ? message.slice(path.length).replace(/^[ :]+/, '') : message
}
