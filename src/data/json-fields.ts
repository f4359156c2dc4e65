// The fields of a JSON object, each with its text as it stands: what becomes of a number or of a nested object is what
// the input says, not what JavaScript makes of it; and a name that comes twice is seen.

export interface JsonField {
  readonly name: string
  /** As it stands, without white space around it. */
  readonly text: string
}

/** `text` is known to be JSON, and an object. */
export function jsonFields(text: string): JsonField[] {
  const fields: JsonField[] = []
  let depth = 0
  let name: string | null = null
  let start = 0
  for (let at = 0; at < text.length; at++) {
    const unit = text[at]
    if (unit === '"') {
      const end = stringEnd(text, at)
      if (depth === 1 && name === null) name = JSON.parse(text.slice(at, end)) as string
      at = end - 1
    } else if (unit === '{' || unit === '[') depth++
    else if (unit === ':' && depth === 1) start = at + 1
    else if (unit === '}' || unit === ']' || (unit === ',' && depth === 1)) {
      if (unit !== ',') depth--
      if (name === null || depth > (unit === ',' ? 1 : 0)) continue
      fields.push({ name, text: text.slice(start, at).trim() })
      name = null
    }
  }
  return fields
}

/** Behind the quote that closes the string that begins at `at`. */
function stringEnd(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text[end - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return end + 1
  }
}
