// Imports items into a file: gathers them into batches and keeps one batch under way while the next one gathers.
import { MiB } from '../limits.ts'
import type { DataClient } from './data-client.ts'
import { ItemPacker } from './packed-items.ts'
import type { ImportedItem } from './import-items.ts'

const batchBytes = 1 * MiB
const batchItems = 20_000

export interface ImportResult {
  /** Items that are durable. */
  readonly items: number
  /** Why it ended before the end; null when all is imported. */
  readonly error: Error | null
}

/** Never throws: an error comes with the count of the items before it that are durable, which the caller tells. */
export async function importItems(
  data: DataClient,
  account: string,
  file: string,
  items: AsyncIterable<ImportedItem>,
  progressed: (items: number) => void,
): Promise<ImportResult> {
  const packer = new ItemPacker()
  let durable = 0
  let underWay: Promise<void> = Promise.resolve()

  const send = async () => {
    await underWay
    const { count } = packer
    underWay = data.writeItems(account, file, packer.take()).then(() => {
      durable += count
      progressed(durable)
    })
    underWay.catch(() => {}) // Seen at the next `await underWay`.
  }

  let error: Error | null = null
  try {
    for await (const { id, value } of items) {
      // Never more in one message than a batch and one item.
      if (packer.count > 0 && packer.byteLength + value.length > batchBytes) await send()
      packer.add(id, value)
      if (packer.count >= batchItems) await send()
    }
  } catch (caught) {
    error = caught as Error
  }
  try {
    if (packer.count > 0) await send()
    await underWay
  } catch (caught) {
    error = caught as Error
  }
  return { items: durable, error }
}
