// What "hb log list" shows of a log.
import path from 'node:path'
import { listSegments } from '../log/segments.ts'
import type { Disk } from '../platform/disk.ts'

export interface LogRow {
  readonly name: string
  readonly firstTxn: number
  /** Null when only a look at all of it could tell. */
  readonly lastTxn: number | null
  readonly bytes: number
  /** When the segment was begun, ISO 8601. */
  readonly time: string
  readonly timeline: number
  /** `sealed`: complete, nothing is added any more. */
  readonly state: 'sealed' | 'open'
}

/** Oldest first, also while the server runs. Throws ERR_LOG_CORRUPT for a header that is not valid, ERR_DISK. */
export async function listLog(disk: Disk, directory: string): Promise<LogRow[]> {
  const segments = await listSegments(disk, directory)
  return segments.map(segment => ({
    name: path.basename(segment.path),
    firstTxn: segment.firstTxn,
    lastTxn:
      segment.lastTxn !== null && segment.lastTxn < segment.firstTxn ? null : segment.lastTxn,
    bytes: segment.bytes,
    time: new Date(segment.created).toISOString(),
    timeline: segment.timeline,
    state: segment.sealed ? 'sealed' : 'open',
  }))
}
