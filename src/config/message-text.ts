// Lines of messages.log as people read them.
import { harmlessLine } from '../text/harmless-text.ts'

/** What a line of messages.log says. */
export interface Message {
  /** As in the line; null when the line is none of ours. */
  readonly time: string | null
  readonly text: string
}

/** Reads a line of messages.log. The text is safe for a terminal; a line that is not ours is shown as it is. */
export function readMessage(line: string, withFields = true): Message {
  const found = parsed(line)
  if (found === null) return { time: null, text: harmlessLine(line.trimEnd()) }
  const { time, level, msg, ...fields } = found
  const details = Object.entries(withFields ? fields : {})
    .filter(([, value]) => value !== null)
    .map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('')
  const text = harmlessLine(`${String(level).padEnd(5)} ${String(msg)}${details}`)
  return { time: harmlessLine(String(time)), text }
}

/** A line of messages.log as people read it, with its fields or without. */
export function messageText(line: string, withFields = true): string {
  const { time, text } = readMessage(line, withFields)
  return time === null ? text : `${time} ${text}`
}

function parsed(line: string): Record<string, unknown> | null {
  try {
    const found: unknown = JSON.parse(line)
    if (typeof found !== 'object' || found === null || !('msg' in found)) return null
    return typeof found.msg === 'string' ? { ...found } : null
  } catch {
    return null
  }
}
