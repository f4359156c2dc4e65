// The records that an import skips, as JSON lines: {"line": 3, "reason": "…", "text": "…"}, with "base64": true where
// the text is not UTF-8.
import { itemBytesMax } from '../limits.ts'
import { LineBuffer } from '../text/line-buffer.ts'
import type { BadRecord } from './import-record.ts'

export function badRecordLine({ line, reason, text }: BadRecord): Buffer {
  const buffer = new LineBuffer()
  buffer.ascii(`{"line":${line},"reason":${JSON.stringify(reason)},`)
  // Escaped, it could be longer than a text can be.
  const form = text.length > itemBytesMax ? 'base64' : null
  buffer.json('text', 'base64', text, 0, text.length, form)
  buffer.ascii('}\n')
  return buffer.take()
}
