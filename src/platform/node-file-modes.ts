// Owners and permissions by node:fs.
import { accessSync, constants, statSync } from 'node:fs'
import { diskError } from './disk-error.ts'
import { type FileModes } from './file-modes.ts'

/** Windows has no such bits and owners; Node makes them up there. */
const has = process.platform !== 'win32'

export const nodeFileModes: FileModes = {
  openToOthers(path) {
    try {
      return has && (statSync(path).mode & 0o077) !== 0
    } catch (error) {
      throw diskError(error, 'look at', path)
    }
  },

  userOf(path) {
    try {
      return has ? statSync(path).uid : null
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT' || code === 'ENOTDIR') return null
      throw diskError(error, 'look at', path)
    }
  },

  mayWorkIn(directory) {
    try {
      accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK)
      return true
    } catch (error) {
      // Any other error is for whoever opens a file there.
      return (error as NodeJS.ErrnoException).code !== 'EACCES'
    }
  },
}
