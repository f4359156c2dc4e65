// Which of some items a master has changed since two histories parted, read from its own log from the fork on.
import { isUpdate } from '../database/ahead.ts'
import type { LogPosition } from '../log/chain.ts'
import { LogReader } from '../log/reader.ts'
import { RecordCursor, RecordType } from '../log/record.ts'
import { FileMaps, TransactionCursor } from '../log/transactions.ts'
import type { LogWriter } from '../log/writer.ts'
import type { Disk } from '../platform/disk.ts'
import type { Layout } from '../config/layout.ts'

interface ChangedItemsParts {
  readonly disk: Disk
  readonly layout: Layout
  readonly log: LogWriter
}

const emptying: readonly RecordType[] = [
  RecordType.createFile,
  RecordType.clearFile,
  RecordType.deleteFile,
]

export class ChangedItems {
  readonly #parts: ChangedItemsParts
  readonly #fork: LogPosition
  readonly #changed = new Set<string>()
  /** Files that were changed at all. */
  readonly #files = new Set<string>()
  /** Files that were made, emptied or deleted: that changes every item. */
  readonly #emptied = new Set<string>()
  /** Transactions of this replay, which change nothing that counts: ranges, in order. */
  readonly #own: { first: number; last: number }[] = []
  readonly #maps = new FileMaps()
  readonly #record = new RecordCursor()
  #wanted: ReadonlySet<string> = new Set()
  #position: LogPosition

  constructor(parts: ChangedItemsParts, fork: LogPosition) {
    this.#parts = parts
    this.#fork = fork
    this.#position = fork
  }

  /** Reads all of the log, for these. */
  async lookFor(items: ReadonlySet<string>): Promise<void> {
    this.#wanted = items
    this.#changed.clear()
    this.#position = this.#fork
    await this.readOn()
  }

  /** Reads what has come since. */
  async readOn(): Promise<void> {
    const { disk, layout, log } = this.#parts
    await log.synced()
    const mark = log.durableMark
    if (mark === null || mark.txn <= this.#position.txn) return
    const reader = await LogReader.open(disk, layout.log, this.#position, { reuse: true })
    const cursor = new TransactionCursor()
    try {
      for (let run = await reader.next(mark); run !== null; run = await reader.next(mark)) {
        cursor.reset(run)
        while (cursor.next()) this.#note(run.bytes, cursor)
      }
      this.#position = reader.position
    } finally {
      await reader.close()
    }
  }

  #note(bytes: Uint8Array, { txn, start, end }: TransactionCursor): void {
    const mine = this.#own.some(({ first, last }) => first <= txn && txn <= last)
    const record = this.#record
    record.reset(bytes, start, end)
    while (record.next()) {
      this.#maps.note(record)
      // A repair, which only writes what was there.
      if (record.type === RecordType.clearGroup) return
      if (mine || txn <= this.#fork.txn || record.fileNumber === 0) continue
      const file = this.#maps.get(record.fileNumber)
      if (file === undefined) continue
      const { account, file: name } = file
      if (isUpdate(record.type)) this.#files.add(nameOf(account, name))
      if (emptying.includes(record.type)) this.#emptied.add(nameOf(account, name))
      const id = Buffer.from(bytes.subarray(record.idStart, record.idEnd))
      const key = keyOf(account, name, id)
      if (this.#wanted.has(key)) this.#changed.add(key)
    }
  }

  hasItem(account: string, file: string, id: Buffer): boolean {
    return this.#emptied.has(nameOf(account, file)) || this.#changed.has(keyOf(account, file, id))
  }

  hasFile(account: string, file: string): boolean {
    return this.#files.has(nameOf(account, file))
  }

  /** A transaction of this replay. */
  applied(txn: number): void {
    const latest = this.#own.at(-1)
    if (latest?.last === txn - 1) latest.last = txn
    else this.#own.push({ first: txn, last: txn })
  }
}

/** For a set of files. */
export function nameOf(account: string, file: string): string {
  return `${account}/${file}`
}

/** For a set of items. */
export function keyOf(account: string, file: string, id: Buffer): string {
  return `${nameOf(account, file)}/${id.toString('latin1')}`
}
