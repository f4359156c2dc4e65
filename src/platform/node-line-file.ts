// Files of lines by node:fs.
import * as fs from 'node:fs'
import { diskError } from './disk-error.ts'
import type { LineFile } from './line-file.ts'

/** The server's user alone may read what its items' names are. */
const fileMode = 0o600
/** Not O_WRONLY: opening a pipe would wait for its reader. A symbolic link is not followed: see disk.ts. */
const flags =
  fs.constants.O_RDWR |
  fs.constants.O_CREAT |
  fs.constants.O_APPEND |
  (fs.constants.O_NOFOLLOW ?? 0)

export function openLineFile(path: string): LineFile {
  const checked = <T>(operation: string, call: () => T): T => {
    try {
      return call()
    } catch (error) {
      throw diskError(error, operation, path)
    }
  }
  const descriptor = checked('open', () => fs.openSync(path, flags, fileMode))
  const size = () => checked('look at', () => fs.fstatSync(descriptor).size)
  return {
    size,
    isInPlace: () =>
      checked('look at', () => {
        const own = fs.fstatSync(descriptor, { bigint: true })
        const named = fs.lstatSync(path, { bigint: true, throwIfNoEntry: false })
        return named !== undefined && named.ino === own.ino && named.dev === own.dev
      }),
    isWhole: () =>
      checked('read', () => {
        const last = Buffer.alloc(1)
        const count = fs.readSync(descriptor, last, 0, 1, Math.max(0, size() - 1))
        return count === 0 || last[0] === 0x0a
      }),
    append: text =>
      checked('write', () => {
        const bytes = Buffer.from(text)
        for (let done = 0; done < bytes.length;) done += fs.writeSync(descriptor, bytes, done)
      }),
    moveTo: to => checked('rename', () => fs.renameSync(path, to)),
    close: () => checked('close', () => fs.closeSync(descriptor)),
  }
}
