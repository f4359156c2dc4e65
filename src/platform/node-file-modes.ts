// Permissions by node:fs.
import { statSync } from 'node:fs'
import { HotBackupError } from '../errors.ts'
import { type FileModes } from './file-modes.ts'

export const nodeFileModes: FileModes = {
  openToOthers(path) {
    try {
      // Windows has no such bits; Node makes them up there.
      return process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0
    } catch (error) {
      throw new HotBackupError('ERR_DISK', `cannot look at ${path}`, { path }, error)
    }
  },
}
