// The rule for names of accounts, files and servers: what passes can stand in a message, a status line and
// a configuration file, and can lead nowhere when somebody makes a path of it.
import { HotBackupError } from '../errors.ts'
import { nameBytesMax } from '../limits.ts'

/** C0 and C1 controls and DEL, both slashes. */
// eslint-disable-next-line no-control-regex
const forbidden = /[\u0000-\u001f\u007f-\u009f/\\]/

/** Why the text cannot be a name; null when it can. */
export function nameFault(name: string): string | null {
  const bytes = Buffer.byteLength(name)
  if (bytes === 0) return 'is empty'
  if (bytes > nameBytesMax) return `has ${bytes} bytes; at most ${nameBytesMax} are allowed`
  if (forbidden.test(name)) return 'has a slash, a backslash or a control character'
  if (name.startsWith('.') || name.startsWith('-')) return `starts with ${name[0]}`
  // A lone surrogate has no UTF-8: it would come back as another name.
  if (Buffer.from(name).toString() !== name) return 'is not valid Unicode'
  return null
}

/**
 * Throws ERR_NAME, and TypeError for what is not text; `kind` says in the message what the name is for ("account",
 * "file").
 */
export function checkName(kind: string, name: string): void {
  if (typeof name !== 'string') throw new TypeError(`the ${kind} name is not a string`)
  const fault = nameFault(name)
  if (fault === null) return
  const shown = name.length > nameBytesMax ? `${name.slice(0, nameBytesMax)}…` : name
  throw new HotBackupError('ERR_NAME', `the ${kind} name ${JSON.stringify(shown)} ${fault}`)
}
