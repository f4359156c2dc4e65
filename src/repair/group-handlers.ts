// Carries out the operations on a server's data by which damaged groups are repaired: one is written into the log again
// for a slave, or what "hb scrub" has found is looked at by the server that has the database open, and repaired.
import type { Handler } from '../control/handler.ts'
import { handler } from '../control/operation.ts'
import { damagedGroups } from '../database/damaged-groups.ts'
import type { Database } from '../database/database.ts'
import type { HashedFile } from '../database/hashed-file.ts'
import { turn, type Clock } from '../platform/clock.ts'
import type { GroupRepairs } from './group-repairs.ts'
import { repairOperations } from './repair-operations.ts'

/** Examined in one go. */
const sliceItems = 1000

export interface FrameSource {
  readonly database: Database
  readonly clock: Pick<Clock, 'nextTurn'>
  /** Makes one of everything. */
  readonly checkpoint: () => Promise<void>
}

export function groupHandler(repairs: GroupRepairs): Handler {
  return handler(repairOperations.repairGroup, async range => ({
    txn: await repairs.writeAgain(range),
  }))
}

export function frameHandler({ database, clock, checkpoint }: FrameSource): Handler {
  return handler(repairOperations.repairFrames, async ({ frames }) => {
    for (const fileNumber of new Set(frames.map(([number]) => number))) {
      const file = database.fileByNumber(fileNumber)
      if (file !== undefined) await examine(file, clock)
    }
    for (const [fileNumber, generation, frame] of frames) {
      const file = database.fileByNumber(fileNumber)
      if (file !== undefined) database.work.renew(file, generation, frame)
    }
    const [left] = damagedGroups(database)
    if (left === undefined) await checkpoint()
    return { left: left?.message ?? null }
  })
}

async function examine(file: HashedFile, clock: Pick<Clock, 'nextTurn'>): Promise<void> {
  while (!file.deleted && !file.examine(sliceItems)) await turn(clock)
}
