// The writer's own list of its segments: what there is, and what may be removed.
import { join } from 'node:path'
import type { Disk } from '../platform/disk.ts'
import { keptCopies } from './kept-copies.ts'
import { segmentName, type SegmentHeader } from './segment.ts'
import type { RecoveredSegment } from './recovery.ts'
import type { SegmentFile, SegmentInfo } from './segments.ts'

interface Listed extends SegmentFile {
  /** Null where it is damaged. */
  readonly header: SegmentHeader | null
  /** Where its blocks end; not kept up to date for the last segment. */
  bytes: number
  /** Its file has its name. */
  entered: boolean
}

export class SegmentList {
  readonly #directory: string
  #segments: Listed[]

  constructor(directory: string, segments: readonly RecoveredSegment[]) {
    this.#directory = directory
    this.#segments = segments.map(segment => ({ ...segment, entered: true }))
  }

  get firstTxn(): number | null {
    return this.#segments[0]?.firstTxn ?? null
  }

  /** A segment follows; the last one ends at `endBefore`, and is replaced when it has no transactions. */
  add(header: SegmentHeader, endBefore: number): void {
    const last = this.#segments.at(-1)
    const { firstTxn } = header
    if (last?.firstTxn === firstTxn) this.#segments.pop()
    else if (last !== undefined) last.bytes = endBefore
    const path = join(this.#directory, segmentName(firstTxn))
    this.#segments.push({ path, firstTxn, header, bytes: 0, entered: false })
  }

  entered(firstTxn: number): void {
    const segment = this.#segments.find(segment => segment.firstTxn === firstTxn)
    if (segment !== undefined) segment.entered = true
  }

  /**
   * Paths of the segments all of whose transactions are before `txn`. Never the last one that has a file: when its
   * successor has one, all before that is durable.
   */
  #removable(txn: number): string[] {
    const paths: string[] = []
    for (const [index, segment] of this.#segments.entries()) {
      const next = this.#segments[index + 1]
      if (next === undefined || !next.entered || next.firstTxn > txn) break
      paths.push(segment.path)
    }
    return paths
  }

  /** See LogWriter.removeBefore. */
  async removeBefore(disk: Disk, txn: number): Promise<number> {
    let count = 0
    for (const path of this.#removable(txn)) {
      for (const copy of await keptCopies(disk, path)) await disk.remove(copy)
      await disk.remove(path)
      await disk.syncDirectory(this.#directory)
      this.#segments = this.#segments.filter(segment => segment.path !== path)
      count++
    }
    return count
  }

  infos(lastTxn: number, end: number): SegmentInfo[] {
    return this.#segments.map(({ path, firstTxn, header, bytes }, index) => {
      const next = this.#segments[index + 1]
      return {
        path,
        firstTxn,
        lastTxn: next === undefined ? lastTxn : next.firstTxn - 1,
        bytes: next === undefined ? end : bytes,
        sealed: next !== undefined,
        created: header?.created ?? 0,
        timeline: header?.timeline ?? 0,
      }
    })
  }
}
