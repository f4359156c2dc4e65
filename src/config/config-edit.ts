// Changes single values in the text of hb.toml, for "hb setup". Comments, line ends and everything else stay as they
// are. Pure.

/** The text with the slave in it, at that address. */
export function withSlave(text: string, name: string, address: string): string {
  const lines = text.split('\n')
  for (const [start, end] of tables(lines, '[[slaves]]')) {
    const own = keyLine(lines, start, end, 'name')
    if (own === null || valueOf(lines[own]) !== name) continue
    const at = keyLine(lines, start, end, 'address')
    if (at !== null) lines[at] = setValue(lines[at] ?? '', `"${address}"`)
    return lines.join('\n')
  }
  const gap = text === '' || text.endsWith('\n') ? [] : ['']
  const added = [...gap, '', '[[slaves]]', `name = "${name}"`, `address = "${address}"`, '']
  return text + added.join(lineEnd(text))
}

/** The text without the slaves of that name, or at that address. What is written about them in comments stays. */
export function withoutSlave(text: string, name: string, address: string): string {
  const lines: (string | null)[] = text.split('\n')
  for (const [start, end] of tables(text.split('\n'), '[[slaves]]')) {
    const keys = ['name', 'address'].map(key => keyLine(text.split('\n'), start, end, key))
    const [own, at] = keys.map(line => (line === null ? null : valueOf(lines[line] ?? '')))
    if (own !== name && at !== address) continue
    for (const line of [start - 1, ...keys]) if (line !== null) lines[line] = null
  }
  return lines.filter(line => line !== null).join('\n')
}

/** The text with that value, as TOML, of a key in a table, or above all tables. */
export function withValue(text: string, table: string | null, key: string, value: string): string {
  const lines = text.split('\n')
  const range = table === null ? topLevel(lines) : tables(lines, `[${table}]`)[0]
  const end = lineEnd(text)
  if (range === undefined) return text + ['', `[${table}]`, `${key} = ${value}`, ''].join(end)
  const [first, behind] = range
  const own = keyLine(lines, first, behind, key)
  if (own !== null) {
    lines[own] = setValue(lines[own] ?? '', value)
    return lines.join('\n')
  }
  // In the place of the line that shows the default, or first in its table.
  const shown = lines.findIndex(
    (line, index) =>
      index >= first && index < behind && new RegExp(`^\\s*#\\s*${key}\\s*=`).test(line),
  )
  const at = shown < 0 ? first : shown
  const last = at >= lines.length - (shown < 0 ? 0 : 1)
  lines.splice(at, shown < 0 ? 0 : 1, `${key} = ${value}${last ? '' : end.slice(0, -1)}`)
  return lines.join('\n')
}

/** The text without the key, as far as it stands on a line of its own. */
export function withoutKey(text: string, table: string, key: string): string {
  const lines = text.split('\n')
  const range = tables(lines, `[${table}]`)[0]
  const at = range === undefined ? null : keyLine(lines, range[0], range[1], key)
  if (at !== null) lines[at] = `# ${lines[at] ?? ''}`
  return lines.join('\n')
}

/** Lines are split at the line feed, so those of Windows keep their carriage return. New lines end like the first. */
function lineEnd(text: string): string {
  return /^[^\n]*\r\n/.test(text) ? '\r\n' : '\n'
}

/** Line numbers: the first behind the head, and the one behind the last. */
type Range = readonly [number, number]

function topLevel(lines: readonly string[]): Range {
  const head = lines.findIndex(line => /^\s*\[/.test(line))
  return [0, head < 0 ? lines.length : head]
}

function tables(lines: readonly string[], head: string): Range[] {
  const found: Range[] = []
  for (const [index, line] of lines.entries()) {
    if (withoutComment(line).replaceAll(/\s/g, '') !== head) continue
    const next = lines.findIndex((other, at) => at > index && /^\s*\[/.test(other))
    found.push([index + 1, next < 0 ? lines.length : next])
  }
  return found
}

function keyLine(lines: readonly string[], start: number, end: number, key: string): number | null {
  const pattern = new RegExp(`^\\s*["']?${key}["']?\\s*=`)
  for (let at = start; at < end; at++) if (pattern.test(lines[at] ?? '')) return at
  return null
}

const assignment = /^(\s*[^=]*=\s*)("(?:[^"\\]|\\.)*"|'[^']*'|\[[^\]]*\]|[^#\s]*)(.*)$/s

function valueOf(line = ''): string {
  return (assignment.exec(line)?.[2] ?? '').replaceAll(/^["']|["']$/g, '')
}

/** Keeps what stands before the value and behind it. */
function setValue(line: string, value: string): string {
  return line.replace(assignment, (_, before: string, _old: string, behind: string) => {
    return `${before}${value}${behind}`
  })
}

function withoutComment(line: string): string {
  return line.replace(/#.*$/s, '')
}
