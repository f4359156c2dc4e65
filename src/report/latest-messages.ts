// The end of messages.log as "hb status" shows it: the latest messages, each once, however often it was repeated.
import { isHotBackupError } from '../errors.ts'
import { KiB } from '../limits.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { readMessage } from '../config/message-text.ts'

const shown = 5
/** However large the file is, no more of it is read. Retries of a day are more than that, and tell nothing new. */
const tailBytes = 256 * KiB
/** A longer one is cut. */
const textMax = 1000

/** Newest first. Never fails: a file that cannot be read is the message. */
export async function latestMessages(disk: Disk, path: string): Promise<string[]> {
  try {
    return collapsed(await lastLines(disk, path))
  } catch (error) {
    if (isNotFound(error)) return []
    if (isHotBackupError(error)) return [error.message]
    throw error
  }
}

async function lastLines(disk: Disk, path: string): Promise<string[]> {
  const file = await disk.open(path, 'read')
  try {
    const size = file.size()
    const bytes = Buffer.alloc(Math.min(size, tailBytes))
    const count = await file.read(bytes, 0, bytes.length, size - bytes.length)
    const lines = bytes.toString('utf8', 0, count).split('\n')
    // The first one is cut when the file is longer.
    return size > bytes.length ? lines.slice(1) : lines
  } finally {
    await file.close()
  }
}

interface Repeated {
  readonly text: string
  /** Of the first and of the last time; null for lines that do not say. */
  readonly first: string | null
  last: string | null
  times: number
}

/** Messages that say the same are one, in the place of its last time. */
function collapsed(lines: readonly string[]): string[] {
  const found = new Map<string, Repeated>()
  for (const line of lines) {
    // A file that was cut while it was written may hold NUL bytes.
    const clean = line.replaceAll('\0', '').trim()
    if (clean === '') continue
    const { time, text } = readMessage(clean, false)
    const before = found.get(text)
    found.delete(text)
    const first = before?.first ?? time
    found.set(text, { text, first, last: time, times: (before?.times ?? 0) + 1 })
  }
  return [...found.values()].slice(-shown).reverse().map(repeatedText)
}

function repeatedText({ text, first, last, times }: Repeated): string {
  const cut = text.length > textMax ? `${text.slice(0, textMax)} …` : text
  const once = first === null ? cut : `${first} ${cut}`
  if (times === 1) return once
  return `${once} (repeated ${times} times${last === null ? '' : `, last at ${last}`})`
}
