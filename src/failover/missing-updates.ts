// Missing updates: what an old master logged and the new one never got. Saved as a segment of its own, with a list for
// people: which transaction changed which item. Nothing else is kept of them, so they are saved before anything goes.
//
//   missing-updates/FIRST-LAST-CHAIN.log     a segment (hb-segment(5))
//   missing-updates/FIRST-LAST-CHAIN.jsonl   one line for each record: txn, type, account, file, id
import path from 'node:path'
import { hex, type LogPosition } from '../log/chain.ts'
import { extractBehind } from '../log/extract.ts'
import { RecordType, recordTypeNames, type RecordCursor } from '../log/record.ts'
import type { FileMaps } from '../log/transactions.ts'
import type { Disk } from '../platform/disk.ts'
import type { Layout } from '../config/layout.ts'

export interface MissingUpdates {
  /** The segment. */
  readonly path: string
  /** The list. */
  readonly list: string
  readonly firstTxn: number
  readonly lastTxn: number
  /** Items written or deleted, each time counted. */
  readonly items: number
  /** By file, in the order of their first record. */
  readonly files: readonly MissingFile[]
}

export interface MissingFile {
  readonly account: string
  readonly file: string
  readonly items: number
}

/** Saves what lies behind `fork`; durable when it resolves. What was saved before, for the same fork, is replaced. */
export async function saveMissing(
  disk: Disk,
  layout: Layout,
  fork: LogPosition,
): Promise<MissingUpdates> {
  await disk.makeDirectory(layout.missingUpdates)
  await disk.syncDirectory(layout.directory)
  const at = (name: string) => path.join(layout.missingUpdates, name)
  const unnamed = at('segment')
  const list = await List.create(disk, at('list'))
  let lastTxn: number
  try {
    lastTxn = await extractBehind(disk, layout.log, fork, unnamed, list.add)
    await list.close()
  } catch (error) {
    await list.drop()
    throw error
  }
  const name = `${fork.txn + 1}-${lastTxn}-${hex(fork.chain)}`
  const named = { path: at(`${name}.log`), list: at(`${name}.jsonl`) }
  await disk.rename(unnamed, named.path)
  await disk.rename(at('list'), named.list)
  await disk.syncDirectory(layout.missingUpdates)
  const files = [...list.files.values()]
  return { ...named, firstTxn: fork.txn + 1, lastTxn, items: list.items, files }
}

const flushBytes = 256 * 1024

class List {
  items = 0
  readonly files = new Map<number, { account: string; file: string; items: number }>()
  readonly #file
  #lines = ''
  #written = 0

  private constructor(file: Awaited<ReturnType<Disk['open']>>) {
    this.#file = file
  }

  static async create(disk: Disk, path: string): Promise<List> {
    await disk.remove(path)
    return new List(await disk.open(path, 'create'))
  }

  readonly add = (record: RecordCursor, txn: number, maps: FileMaps): void => {
    const { type, fileNumber } = record
    if (type === RecordType.mapFile || type === RecordType.verify) return
    const known = maps.get(fileNumber)
    const line: Record<string, string | number | boolean> = { txn, type: recordTypeNames[type] }
    if (known !== undefined) Object.assign(line, { account: known.account, file: known.file })
    if (type === RecordType.writeItem || type === RecordType.deleteItem) {
      this.#item(record, line)
      const counted = this.files.get(fileNumber) ?? {
        account: known?.account ?? '',
        file: known?.file ?? '',
        items: 0,
      }
      counted.items++
      this.files.set(fileNumber, counted)
    } else if (fileNumber === 0) {
      line['id'] = record.idText()
    }
    this.#lines += `${JSON.stringify(line)}\n`
    if (this.#lines.length > flushBytes) this.#flush()
  }

  #item({ bytes, idStart, idEnd }: RecordCursor, line: Record<string, unknown>): void {
    this.items++
    const id = Buffer.from(bytes.subarray(idStart, idEnd))
    const text = id.toString()
    if (Buffer.from(text).equals(id)) line['id'] = text
    else Object.assign(line, { id: id.toString('base64'), idBase64: true })
  }

  #flush(): void {
    const bytes = Buffer.from(this.#lines)
    this.#lines = ''
    this.#file.writeSync(bytes, 0, bytes.length, this.#written)
    this.#written += bytes.length
  }

  async close(): Promise<void> {
    this.#flush()
    await this.#file.sync()
    await this.#file.close()
  }

  async drop(): Promise<void> {
    await this.#file.close().catch(() => {})
  }
}
