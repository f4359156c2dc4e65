// What a failed system call on a file becomes.
import { HotBackupError } from '../errors.ts'

/** Programmer's mistakes (a TypeError of ours or Node's, without a system call) pass as they are. */
export function diskError(error: unknown, operation: string, path: string): unknown {
  if (!(error instanceof Error) || !('syscall' in error)) return error
  const { code, message } = error as NodeJS.ErrnoException
  const full = (code === 'ENOSPC' || code === 'EDQUOT') && operation !== 'sync'
  const text = `cannot ${operation} ${path}: ${message}`
  return new HotBackupError(full ? 'ERR_DISK_FULL' : 'ERR_DISK', text, { path }, error)
}
