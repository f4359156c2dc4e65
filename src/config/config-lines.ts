// Where a key stands in the text of hb.toml, for people who are to repair it.

/** "log.fsync"; of the second slave "slaves.address". */
export function keyText(keys: readonly string[]): string {
  return keys.filter(key => !/^\d+$/.test(key)).join('.')
}

/**
 * The line of a key, for people: found by how TOML is usually written, a table's head and "key =" at the start of
 * a line. A key that is not written that way, or missing, is looked for under what holds it.
 */
export function lineOf(source: string, keys: readonly string[]): number | null {
  const lines = keyLines(source)
  for (let length = keys.length; length > 0; length--) {
    const line = lines.get(keys.slice(0, length).join('.'))
    if (line !== undefined) return line
  }
  return null
}

/** Lines by full key; the elements of [[slaves]] are numbered: "slaves.0.name". */
function keyLines(source: string): Map<string, number> {
  const lines = new Map<string, number>()
  const counts = new Map<string, number>()
  let table = ''
  source.split('\n').forEach((line, index) => {
    const head = /^\s*(\[\[?)\s*([^\]]+?)\s*\]/.exec(line)
    const key = /^\s*([\w.\-"' ]+?)\s*=/.exec(line)
    if (head !== null) {
      table = plainKey(head[2] ?? '')
      if (head[1] === '[[') {
        const count = counts.get(table) ?? 0
        counts.set(table, count + 1)
        table = `${table}.${count}`
      }
      lines.set(table, index + 1)
    } else if (key !== null) {
      const full = (table === '' ? '' : `${table}.`) + plainKey(key[1] ?? '')
      if (!lines.has(full)) lines.set(full, index + 1)
    }
  })
  return lines
}

function plainKey(key: string): string {
  return key.replaceAll(/["' ]/g, '')
}
