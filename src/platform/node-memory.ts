// How much memory this machine, or the container that it is, has.
import { totalmem } from 'node:os'

/** Bytes. */
export function machineMemoryBytes(): number {
  const limit = process.constrainedMemory()
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem()
}
