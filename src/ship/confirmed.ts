// Which positions of slaves/NAME.ack count: the one place that decides it.
//
//   as confirmed         the file says so, and the process that wrote it has the links open to this moment. For commit
//                        levels, "hb wait", switch, status and whatever else claims that a slave holds something.
//   as retention floor   always: the slave needs the log behind it until the slave itself reports otherwise
//                        (needed.ts, queue.ts).
//   as evidence          always: what a slave has stored was durable here once, so a log that ends before is damaged.
//
// A shipper that was killed leaves files that say "confirmed", and the slaves may be anything by now. So the file names
// its writer, and the lock of the links says whether that process is alive.
import { createHash } from 'node:crypto'
import { sameIdentity } from '../log/chain.ts'
import { identityBytes } from '../log/segment.ts'
import type { Disk } from '../platform/disk.ts'
import type { Locks } from '../platform/locks.ts'
import type { ProcessIdentity } from '../platform/processes.ts'
import { readAck, type SlaveAck } from './ack-file.ts'

/** Where the acks of a server's slaves lie, and the lock of the process that has the links to them open. */
export interface AckSource {
  readonly directory: string
  readonly lock: string
}

/** The process as the ack file names it. */
export function shipperIdOf({ pid, startTicks, bootId, host }: ProcessIdentity): Uint8Array {
  const text = JSON.stringify([pid, startTicks, bootId, host])
  return new Uint8Array(createHash('sha256').update(text).digest().subarray(0, identityBytes))
}

/** The process that has the links open; null when there is none. Throws ERR_DISK. */
export async function liveShipper(locks: Locks, { lock }: AckSource): Promise<Uint8Array | null> {
  const holder = await locks.holder(lock)
  return holder?.alive === true ? shipperIdOf(holder.identity) : null
}

/** `shipper`: the process that has the links open. */
export function isConfirmed(ack: SlaveAck, shipper: Uint8Array | null): boolean {
  return ack.confirmed && shipper !== null && sameIdentity(ack.shipperId, shipper)
}

/** The positions that the slave has confirmed and that still hold; null when there are none. Throws ERR_DISK. */
export async function confirmedAck(
  { disk, locks }: { readonly disk: Disk; readonly locks: Locks },
  source: AckSource,
  slave: string,
): Promise<SlaveAck | null> {
  const ack = await readAck(disk, source.directory, slave)
  if (ack === null || !ack.confirmed) return null
  return isConfirmed(ack, await liveShipper(locks, source)) ? ack : null
}
