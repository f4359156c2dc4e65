// What a failed system call on a file becomes.
import { HotBackupError } from '../errors.ts'

interface Known {
  /** In plain words, in place of the system's own. */
  readonly words: string
  readonly hint: string
}

const owner = 'Check the owner and the permissions of the path.'
const taken = 'Choose another path, or move away what is there.'

/** Where the disk is well, and the path, the rights or a limit are what to look at. */
const known: Readonly<Record<string, Known>> = {
  ENOENT: { words: 'there is no such file or directory', hint: 'Check the path.' },
  ENOTDIR: {
    words: 'a part of the path is a file, not a directory',
    hint: 'Check the path.',
  },
  EISDIR: { words: 'it is a directory, not a file', hint: 'Check the path.' },
  ENAMETOOLONG: { words: 'the path is too long', hint: 'Use a shorter path.' },
  ELOOP: {
    words: 'its symbolic links lead in a circle',
    hint: 'Check the path.',
  },
  EACCES: { words: 'permission denied', hint: owner },
  EPERM: { words: 'it is not permitted', hint: owner },
  EROFS: {
    words: 'the file system is mounted read-only',
    hint: 'Use another directory, or mount it for writing.',
  },
  EEXIST: { words: 'it is there already', hint: taken },
  ENOTEMPTY: { words: 'the directory is not empty', hint: taken },
  EBUSY: { words: 'it is in use', hint: taken },
  ENXIO: {
    words: 'nothing answers behind it',
    hint: 'Check the path: it is a pipe, a socket or a device.',
  },
  EMFILE: {
    words: 'this process has too many open files',
    hint: 'Raise the limit of open files of this user ("ulimit -n").',
  },
  ENFILE: {
    words: 'the system has too many open files',
    hint: 'Raise the limit of open files of this system.',
  },
  ENOMEM: { words: 'there is not enough memory', hint: 'Give the process more memory.' },
  ENOSPC: {
    words: 'no space is left on the disk',
    hint: 'Make room on the disk, or raise the quota of the user.',
  },
  EDQUOT: {
    words: 'the quota of the user is used up',
    hint: 'Make room on the disk, or raise the quota of the user.',
  },
  EFBIG: {
    words: 'the file would become too large',
    hint: 'Raise the limit of the size of files of this user ("ulimit -f"), or use another file system.',
  },
}

/** Files are opened without following a link in their place. */
const link: Known = {
  words: 'it is a symbolic link',
  hint: 'Put the file itself there: a symbolic link is followed in the place of a directory only.',
}

/** Undefined where the disk is what to look at. */
export function systemHint(error: unknown): string | undefined {
  return known[codeOf(error)]?.hint
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

/** Programmer's mistakes (a TypeError of ours or Node's, without a system call) pass as they are. */
export function diskError(error: unknown, operation: string, path: string): unknown {
  if (!(error instanceof Error) || !('syscall' in error)) return error
  const code = codeOf(error)
  const full = (code === 'ENOSPC' || code === 'EDQUOT') && operation !== 'sync'
  const found = code === 'ELOOP' && operation === 'open' ? link : known[code]
  const what = found === undefined ? error.message : `${found.words} (${code})`
  const text = `cannot ${operation} ${path}: ${what}`
  // A sync that found no room counts as a failure of the disk.
  const hint = operation === 'sync' ? undefined : found?.hint
  return new HotBackupError(full ? 'ERR_DISK_FULL' : 'ERR_DISK', text, { path }, error, hint)
}
