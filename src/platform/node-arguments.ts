// The arguments of this process. Node decodes them, and what is not UTF-8 is lost then; Linux still has the bytes.
import { readFileSync } from 'node:fs'
import { HotBackupError } from '../errors.ts'
import { rawTextOf } from './raw-text.ts'

const replacement = '\ufffd'

/**
 * As raw text (see raw-text.ts). Throws ERR_USAGE for one that may have lost bytes, on a system that does not show
 * them.
 */
export function nodeArguments(): readonly string[] {
  const decoded = process.argv.slice(2)
  const index = decoded.findIndex(argument => argument.includes(replacement))
  if (index < 0) return decoded
  const raw = commandLine().slice(-decoded.length).map(rawTextOf)
  const same = (text: string, at: number) =>
    text === decoded[at] || decoded[at]?.includes(replacement)
  if (raw.length === decoded.length && raw.every(same)) return raw
  throw new HotBackupError(
    'ERR_USAGE',
    `argument ${index + 1} is not valid UTF-8, and this system does not show its bytes`,
    {},
    undefined,
    'Give item-ids and values with --hex or --base64, or values as standard input.',
  )
}

/** All of it, as the system has it: the options of Node and the script stand before the arguments. */
function commandLine(): Buffer[] {
  let bytes: Buffer
  try {
    bytes = readFileSync('/proc/self/cmdline')
  } catch {
    return []
  }
  const parts: Buffer[] = []
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(0, start)
    if (end < 0) break
    parts.push(bytes.subarray(start, end))
    start = end + 1
  }
  return parts
}
