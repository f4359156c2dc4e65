// What a failed system call on a file becomes.
import { HotBackupError } from '../errors.ts'

/** Where the disk is well, and the path, the rights or a limit are what to look at. */
const hints: Readonly<Record<string, string>> = {
  ENOENT: 'Check the path.',
  ENOTDIR: 'Check the path: a part of it is a file, not a directory.',
  EISDIR: 'Check the path: it is a directory, not a file.',
  ENAMETOOLONG: 'Use a shorter path.',
  ELOOP: 'Put the file itself there: a symbolic link is followed in the place of a directory only.',
  EACCES: 'Check the owner and the permissions of the path.',
  EPERM: 'Check the owner and the permissions of the path.',
  EROFS: 'The file system is mounted read-only: use another directory, or mount it for writing.',
  EEXIST: 'Choose another path, or move away what is there.',
  ENOTEMPTY: 'Choose another path, or move away what is there.',
  EMFILE: 'Raise the limit of open files of this user ("ulimit -n").',
  ENFILE: 'Raise the limit of open files of this system.',
  ENOMEM: 'Give the process more memory.',
}

/** Programmer's mistakes (a TypeError of ours or Node's, without a system call) pass as they are. */
export function diskError(error: unknown, operation: string, path: string): unknown {
  if (!(error instanceof Error) || !('syscall' in error)) return error
  const { code, message } = error as NodeJS.ErrnoException
  const full = (code === 'ENOSPC' || code === 'EDQUOT') && operation !== 'sync'
  const what = code === 'ELOOP' && operation === 'open' ? 'it is a symbolic link' : message
  const text = `cannot ${operation} ${path}: ${what}`
  const hint = code === undefined ? undefined : hints[code]
  return new HotBackupError(full ? 'ERR_DISK_FULL' : 'ERR_DISK', text, { path }, error, hint)
}
