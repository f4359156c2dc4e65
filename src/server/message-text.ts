// Lines of messages.log as people read them.

/** A line of messages.log as people read it, with its fields or without; the line itself when it is none. */
export function messageText(line: string, withFields = true): string {
  try {
    const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
    if (typeof msg !== 'string') return line.trimEnd()
    const details = Object.entries(withFields ? fields : {})
      .filter(([, value]) => value !== null)
      .map(([key, value]) => ` ${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
      .join('')
    return `${String(time)} ${String(level).padEnd(5)} ${msg}${details}`
  } catch {
    return line.trimEnd()
  }
}
