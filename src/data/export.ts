// Exports the items of a file as JSON lines, which "hb import" reads back byte for byte.
import type { DataClient } from './data-client.ts'
import { LineBuffer, type Sink } from '../text/line-buffer.ts'

/** Resolves with the number of items. */
export async function exportItems(
  data: DataClient,
  account: string,
  file: string,
  sink: Sink,
  progressed: (items: number) => void,
): Promise<number> {
  const lines = new LineBuffer()
  let count = 0
  for await (const { id, value } of data.items(account, file)) {
    lines.ascii('{')
    lines.json('id', 'idBase64', id, 0, id.length)
    lines.ascii(',')
    lines.json('value', 'base64', value, 0, value.length)
    lines.ascii('}')
    lines.newLine()
    count++
    if (!lines.full) continue
    await sink(lines.take())
    progressed(count)
  }
  await sink(lines.take())
  return count
}
