// slaves/NAME.seed: this slave is being given a copy of the database, and needs the log from the copy's end on,
// whatever its ack says. The shipper writes the file before the copy is sent, and removes it when the slave follows.
import { join } from 'node:path'
import { readState, removeState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'

function holdPath(directory: string, slave: string): string {
  return join(directory, `${slave}.seed`)
}

/** The last transaction of the copy; null when there is none. Throws ERR_DISK. */
export async function readSeedHold(
  disk: Disk,
  directory: string,
  slave: string,
): Promise<number | null> {
  const text = (await readState(disk, holdPath(directory, slave), 64))?.toString().trim()
  if (text === undefined) return null
  // What cannot be read holds everything.
  return /^\d{1,16}$/.test(text) ? Number(text) : 0
}

/** Durable when it resolves. Throws ERR_DISK, ERR_DISK_FULL. */
export async function writeSeedHold(
  disk: Disk,
  directory: string,
  slave: string,
  txn: number,
): Promise<void> {
  await writeFileAtomic(disk, holdPath(directory, slave), Buffer.from(`${txn}\n`))
}

/** Throws ERR_DISK. */
export async function removeSeedHold(disk: Disk, directory: string, slave: string): Promise<void> {
  const path = holdPath(directory, slave)
  if (!(await disk.exists(path))) return
  await removeState(disk, path)
  await disk.syncDirectory(directory)
}
