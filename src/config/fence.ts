// DIR/fenced: this master has met a later timeline, so another server is the master now, and it takes no updates.
// Written by the shipper, which has met it; looked at by whoever opens the master.
import * as v from 'valibot'
import { HotBackupError } from '../errors.ts'
import { readState, removeState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import type { Layout } from './layout.ts'

export interface Fenced {
  /** The later one. */
  readonly timeline: number
  /** Hexadecimal. */
  readonly lineage: string
  /** The server that has told of it. */
  readonly by: string
  /** Where that is; HOST:PORT. */
  readonly address: string
  /** Wall-clock milliseconds. */
  readonly time: number
  /** It is handing over to that server, of its own will, and the outcome is not known here ("hb switch"). */
  readonly switching?: boolean | undefined
  /** That server may have been asked already, and have agreed. */
  readonly asked?: boolean | undefined
}

const whole = v.pipe(v.number(), v.integer(), v.minValue(0))
const schema = v.strictObject({
  timeline: whole,
  lineage: v.string(),
  by: v.string(),
  address: v.string(),
  time: whole,
  switching: v.optional(v.boolean()),
  asked: v.optional(v.boolean()),
})
const fileBytesMax = 4096

/** Null when the server is not fenced. A file that cannot be read fences as well: ERR_FENCED. */
export async function readFenced(disk: Disk, layout: Layout): Promise<Fenced | null> {
  const bytes = await readState(disk, layout.fenced, fileBytesMax)
  if (bytes === null) return null
  try {
    return v.parse(schema, JSON.parse(bytes.toString()))
  } catch (error) {
    const message = `${layout.fenced} is there and cannot be read`
    throw new HotBackupError('ERR_FENCED', message, { path: layout.fenced }, error)
  }
}

export async function writeFenced(disk: Disk, layout: Layout, fenced: Fenced): Promise<void> {
  await writeFileAtomic(disk, layout.fenced, Buffer.from(`${JSON.stringify(fenced)}\n`))
}

export async function removeFenced(disk: Disk, layout: Layout): Promise<void> {
  await removeState(disk, layout.fenced)
  await disk.syncDirectory(layout.directory)
}

export function fencedError(name: string, fenced: Fenced): HotBackupError {
  const { timeline, by, address } = fenced
  if (fenced.switching === true) {
    const message = `${name} is handing over to "${by}" at ${address}; "hb switch" goes on with it`
    return new HotBackupError('ERR_FENCED', message)
  }
  const message = `${name} is no longer the master: "${by}" at ${address} reported timeline ${timeline}`
  return new HotBackupError('ERR_FENCED', message)
}

/**
 * An old master whose log is being cut back, or was when its machine failed, is opened by nobody: what was written then
 * would be cut off as well. Throws ERR_REJOINING.
 */
export async function checkNotRejoining(disk: Disk, layout: Layout, name: string): Promise<void> {
  if (!(await disk.exists(layout.rejoin))) return
  const message = `${name} is becoming a slave, and that is not complete`
  throw new HotBackupError('ERR_REJOINING', message, { path: layout.directory })
}
