// A server is taken at its word for what a file does not hold, and items elsewhere are deleted for it, only when the
// file holds as many items as were written to it.
import { HotBackupError } from '../errors.ts'
import { type HashedFile } from './hashed-file.ts'

/**
 * Counts all items of the file, unless that has been done, about so many in one turn of the event loop. Throws
 * ERR_DATABASE_CORRUPT when they are not those that were written, ERR_GROUP_DAMAGED while that cannot be told.
 */
export async function vouchFor(file: HashedFile, itemsMax: number): Promise<void> {
  for (let vouched = file.vouched; vouched !== true; vouched = file.vouched) {
    if (file.deleted) return
    if (vouched === false) {
      const { account, name } = file
      const message = `the number of items in ${account} ${name} is unknown as long as groups of it are damaged`
      throw new HotBackupError('ERR_GROUP_DAMAGED', message, { account, file: name })
    }
    file.examine(itemsMax)
    await new Promise(resolve => setImmediate(resolve))
  }
}
