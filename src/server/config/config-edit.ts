// Changes single values in the text of hb.toml, for the commands that change what a server is (setup, promote, rejoin,
// switch). Comments and everything else stay as they are. Pure, but for `rewriteConfig`.
import { HotBackupError } from '../../errors.ts'
import { writeFileAtomic } from '../../platform/atomic-file.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Layout } from '../layout.ts'
import { parseConfig, readConfigText, type Config, type ServerType } from './config.ts'

/**
 * Replaces hb.toml, durably and as a whole, when `edit` changes it. The new text must be read as `wanted` says, or
 * nothing is written: ERR_CONFIG. A file that was written in an unusual way is edited by hand.
 */
export async function rewriteConfig(
  { disk }: Pick<Platform, 'disk'>,
  layout: Layout,
  edit: (text: string) => string,
  wanted: (config: Config) => boolean,
): Promise<Config> {
  const before = await readConfigText(disk, layout)
  const { text, config } = changedConfig(before, layout, edit, wanted)
  if (text !== before) await writeFileAtomic(disk, layout.config, Buffer.from(text))
  return config
}

/** What `rewriteConfig` would write. Throws ERR_CONFIG. */
export function changedConfig(
  before: string,
  layout: Layout,
  edit: (text: string) => string,
  wanted: (config: Config) => boolean,
): { readonly text: string; readonly config: Config } {
  const text = edit(before)
  const config = parseConfig(text, layout)
  if (wanted(config)) return { text, config }
  const message = `${layout.config} is written in a way that this command cannot change`
  throw new HotBackupError('ERR_CONFIG', message, { path: layout.config })
}

/** The text with another type of server. */
export function withType(text: string, type: ServerType): string {
  return withValue(text, null, 'type', `"${type}"`)
}

/** The text with `listen` in [link]. */
export function withListen(text: string, address: string): string {
  return withValue(text, 'link', 'listen', `"${address}"`)
}

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
  const gap = text === '' || text.endsWith('\n') ? '' : '\n'
  return `${text}${gap}\n[[slaves]]\nname = "${name}"\naddress = "${address}"\n`
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
  if (range === undefined) return `${text}\n[${table}]\n${key} = ${value}\n`
  const [start, end] = range
  const at = keyLine(lines, start, end, key)
  if (at !== null) {
    lines[at] = setValue(lines[at] ?? '', value)
    return lines.join('\n')
  }
  // In the place of the line that shows the default, or first in its table.
  const shown = lines.findIndex(
    (line, index) =>
      index >= start && index < end && new RegExp(`^\\s*#\\s*${key}\\s*=`).test(line),
  )
  if (shown >= 0) lines.splice(shown, 1, `${key} = ${value}`)
  else lines.splice(start, 0, `${key} = ${value}`)
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

const assignment = /^(\s*[^=]*=\s*)("(?:[^"\\]|\\.)*"|'[^']*'|\[[^\]]*\]|[^#\s]*)(.*)$/

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
  return line.replace(/#.*$/, '')
}
