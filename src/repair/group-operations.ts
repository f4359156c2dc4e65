// The operations on a server's data by which damaged groups are mended: one is written into the log again for a slave,
// or what "hb scrub" has found is looked at by the server that has the database open, and mended.
import type { HashedFile } from '../database/hashed-file.ts'
import { HotBackupError } from '../errors.ts'
import type { Operation } from '../data/operations.ts'
import { damagedGroups } from '../database/damaged-groups.ts'

/** Examined in one go. */
const sliceItems = 1000

export const groupOperations: Readonly<Record<string, Operation>> = {
  'mend-group': async function* ({ mends }, args) {
    if (mends === null) throw new HotBackupError('ERR_READ_ONLY', 'this server is a slave')
    const range = {
      fileNumber: args.number('fileNumber'),
      from: args.number('from'),
      to: args.number('to'),
    }
    yield { header: { txn: await mends.writeAgain(range) } }
  },

  // Frames that are damaged on the disk, or none: asks again. Answers with what is still damaged; null when nothing is,
  // and then all of it lies in a checkpoint.
  'mend-frames': async function* ({ database, checkpoint }, args) {
    if (checkpoint === null) throw new HotBackupError('ERR_NOT_RUNNING', 'the server does not run')
    const frames = args.triples('frames')
    for (const fileNumber of new Set(frames.map(([number]) => number))) {
      const file = database.fileByNumber(fileNumber)
      if (file !== undefined) await examine(file)
    }
    for (const [fileNumber, generation, frame] of frames) {
      const file = database.fileByNumber(fileNumber)
      if (file !== undefined) database.work.renew(file, generation, frame)
    }
    const [left] = damagedGroups(database)
    if (left === undefined) await checkpoint()
    yield { header: { left: left?.message ?? null } }
  },
}

async function examine(file: HashedFile): Promise<void> {
  while (!file.deleted && !file.examine(sliceItems)) {
    await new Promise(resolve => setImmediate(resolve))
  }
}
