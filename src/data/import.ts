// Imports items into a file: gathers them into batches and keeps one batch under way while the next one gathers.
import { ask, type Caller } from '../control/operation.ts'
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { updateOperations } from './data-operations.ts'
import { ItemPacker } from './packed-items.ts'
import { isBad, type BadRecord, type ImportRecord } from './import-record.ts'
import type { NewFile } from './new-file.ts'

const batchBytes = 1 * MiB
const batchItems = 20_000

export interface ImportTarget {
  readonly account: string
  readonly file: string
  /** Makes account and file before the first item; null where they are there. */
  readonly create: NewFile | null
}

export interface ImportResult {
  /** Items that are durable. */
  readonly items: number
  /** Bad records that were skipped. */
  readonly skipped: number
  /** Why it ended before the end; null when all is imported. */
  readonly error: Error | null
}

/**
 * `skip` is told each bad record; when it is null, the first one ends the import with ERR_IMPORT. Never throws: an
 * error comes with the count of the items before it that are durable, which the caller reports.
 */
export async function importItems(
  data: Caller,
  { account, file, create }: ImportTarget,
  records: AsyncIterable<readonly ImportRecord[]>,
  skip: ((record: BadRecord) => Promise<void>) | null,
  progressed: (items: number) => void,
): Promise<ImportResult> {
  const packer = new ItemPacker()
  let durable = 0
  let skipped = 0
  let underWay: Promise<void> = Promise.resolve()

  const send = async () => {
    await underWay
    await create?.make()
    const { count } = packer
    underWay = ask(data, updateOperations.writeItems, { account, file, body: packer.take() }).then(
      () => {
        durable += count
        progressed(durable)
      },
    )
    underWay.catch(() => {}) // Seen at the next `await underWay`.
    await create?.grow()
  }

  const take = async (record: ImportRecord) => {
    if (isBad(record)) {
      if (skip === null) throw badRecord(record)
      await skip(record)
      skipped++
      return
    }
    const { id, value } = record
    // Never more in one message than a batch and one item.
    if (packer.count > 0 && packer.byteLength + value.length > batchBytes) await send()
    packer.add(id, value)
    create?.load.add(id.length, value.length)
    if (packer.count >= batchItems) await send()
  }

  let error: Error | null = null
  try {
    for await (const some of records) {
      create?.taken(some)
      for (const record of some) await take(record)
    }
    create?.ended()
  } catch (caught) {
    error = caught as Error
  }
  try {
    // An input without any record is a file without items.
    if (packer.count > 0) await send()
    else if (error === null && skipped === 0) await create?.make()
    await underWay
    if (error === null) await create?.fit()
  } catch (caught) {
    error = caught as Error
  }
  return { items: durable, skipped, error }
}

function badRecord({ line, reason }: BadRecord): HotBackupError {
  return new HotBackupError('ERR_IMPORT', `line ${line}: ${reason}`)
}
