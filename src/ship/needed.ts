// From where on a slave needs the log: behind what it has stored; behind the copy that it is being given; not at all
// when it was dropped from the queue.
import type { Disk } from '../platform/disk.ts'
import { readAck } from './ack-file.ts'
import { readDropped } from './dropped.ts'
import { readSeedHold } from './seed-hold.ts'

/** The last transaction that the slave does not need; Infinity when it needs none. Throws ERR_DISK. */
export async function neededAfter(disk: Disk, directory: string, slave: string): Promise<number> {
  const seeded = await readSeedHold(disk, directory, slave)
  if (seeded !== null) return seeded
  if ((await readDropped(disk, directory, slave)) !== null) return Infinity
  return (await readAck(disk, directory, slave))?.durableTxn ?? 0
}
