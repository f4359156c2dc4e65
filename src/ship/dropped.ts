// slaves/NAME.dropped: this slave was taken out of the queue because it had grown to its limit, and needs a new copy of
// the database. The master's owner writes the file; the shipper removes it when the slave follows the log again.
import { join } from 'node:path'
import * as v from 'valibot'
import { readState, removeState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import { removeSeedHold } from './seed-hold.ts'

export interface Dropped {
  /** The last transaction that the slave had stored. */
  readonly durableTxn: number
  /** When, milliseconds since 1970. */
  readonly time: number
}

const fileBytesMax = 4096
const schema = v.object({ durableTxn: v.number(), time: v.number() })

function droppedPath(directory: string, slave: string): string {
  return join(directory, `${slave}.dropped`)
}

/** Null when the slave counts. A file that cannot be read as one still says that it was dropped. Throws ERR_DISK. */
export async function readDropped(
  disk: Disk,
  directory: string,
  slave: string,
): Promise<Dropped | null> {
  const bytes = await readState(disk, droppedPath(directory, slave), fileBytesMax)
  if (bytes === null) return null
  try {
    return v.parse(schema, JSON.parse(bytes.toString()))
  } catch {
    return { durableTxn: 0, time: 0 }
  }
}

/** Durable when it resolves: only then may segments go. Throws ERR_DISK, ERR_DISK_FULL. */
export async function writeDropped(
  disk: Disk,
  directory: string,
  slave: string,
  dropped: Dropped,
): Promise<void> {
  const text = `${JSON.stringify(dropped)}\n`
  await writeFileAtomic(disk, droppedPath(directory, slave), Buffer.from(text))
}

/** The slave follows the log, and counts by its ack again. Throws ERR_DISK. */
export async function countAgain(disk: Disk, directory: string, slave: string): Promise<void> {
  await removeSeedHold(disk, directory, slave)
  const path = droppedPath(directory, slave)
  if (!(await disk.exists(path))) return
  await removeState(disk, path)
  await disk.syncDirectory(directory)
}
