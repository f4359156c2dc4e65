// Reads all of a log and tells every segment that is damaged, where verification (verify.ts) stops at the first fault.
// Only what is durable is looked at, so a server may write meanwhile; what lies above is recovery's to judge.
import { join } from 'node:path'
import { isHotBackupError } from '../errors.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'
import { BlockChain, hex, type LogPosition } from './chain.ts'
import { durableName, readDurableState, type DurableMark } from './durable.ts'
import { SegmentScan } from './scan.ts'
import { checkName, holdsMark, segmentFiles, type SegmentFile } from './segments.ts'
import { describeFault, writtenEnd } from './tail.ts'

export interface LogDamage {
  readonly path: string
  readonly offset: number
  /** Null: no transaction is missing. */
  readonly txn: number | null
  readonly message: string
}

/** Hears of every piece that was read, and may make the reader wait. */
export type ScrubPace = (bytes: number) => Promise<void>

/** Of each segment the first damage. Throws ERR_LOG_VERSION, ERR_DISK. */
export async function scrubLog(
  disk: Disk,
  directory: string,
  pace: ScrubPace,
): Promise<readonly LogDamage[]> {
  // The mark first: a segment that comes later lies behind it.
  const { mark, damaged } = await readDurableState(disk, directory)
  const files = await segmentFiles(disk, directory)
  const found: LogDamage[] = []
  if (damaged) {
    const path = join(directory, durableName)
    found.push({
      path,
      offset: 0,
      txn: null,
      message: 'it is not valid; the next start repairs it',
    })
  }
  let before: LogPosition | null = null
  for (const [index, file] of files.entries()) {
    if (mark !== null && file.firstTxn > mark.segmentFirstTxn) break
    const next = files[index + 1]
    const scrub = new SegmentScrub(disk, file, mark, next === undefined)
    const damage = await scrub.run(before, pace)
    if (damage !== null) found.push(damage)
    before = damage === null ? scrub.end : null
  }
  if (mark !== null && !holdsMark(files, mark)) {
    const txn = mark.segmentFirstTxn
    found.push({ path: directory, offset: 0, txn, message: 'the last segment is missing' })
  }
  return found
}

class SegmentScrub {
  readonly #disk: Disk
  readonly #file: SegmentFile
  readonly #mark: DurableMark | null
  readonly #last: boolean
  /** Where the segment ends; null for one that has been removed meanwhile. */
  end: LogPosition | null = null

  constructor(disk: Disk, file: SegmentFile, mark: DurableMark | null, last: boolean) {
    this.#disk = disk
    this.#file = file
    this.#mark = mark
    this.#last = last
  }

  /** `before`: the end of the segment before, if that is known. */
  async run(before: LogPosition | null, pace: ScrubPace): Promise<LogDamage | null> {
    const { path, firstTxn } = this.#file
    try {
      const scan = await SegmentScan.open(this.#disk, path, { reuse: true })
      try {
        checkName(path, firstTxn, scan.header)
        return this.#order(scan, before) ?? (await this.#blocks(scan, pace))
      } finally {
        await scan.close()
      }
    } catch (error) {
      if (isNotFound(error)) return null
      if (!isHotBackupError(error, 'ERR_LOG_CORRUPT')) throw error
      const { offset = 0, txn = firstTxn } = error.place
      return { path, offset, txn, message: error.message }
    }
  }

  #order({ header, path }: SegmentScan, before: LogPosition | null): LogDamage | null {
    if (before === null || (before.txn === header.firstTxn - 1 && before.chain === header.chain)) {
      return null
    }
    const [txn, chain] = [before.txn + 1, hex(before.chain)]
    const message = `it starts with transaction ${header.firstTxn} and the chain value ${hex(header.chain)}, where ${txn} and ${chain} are expected`
    return { path, offset: 0, txn, message }
  }

  async #blocks(scan: SegmentScan, pace: ScrubPace): Promise<LogDamage | null> {
    const { header, path, file } = scan
    const chain = new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
    scan.enter(chain)
    const mark = this.#mark?.segmentFirstTxn === header.firstTxn ? this.#mark : null
    const limit = mark?.offset ?? Infinity
    while (await scan.next(limit)) await pace(scan.end - scan.start)
    const { offset, txn: lastTxn } = chain
    const place = { path, offset, txn: lastTxn + 1 }
    const what = describeFault(scan.fault ?? 'end', chain.block)
    if (mark !== null) {
      if (lastTxn < mark.txn) return { ...place, message: what }
      if (offset === mark.offset && chain.position.chain === mark.chain) {
        this.end = chain.position
        return null
      }
      return { ...place, message: 'log/durable names another block' }
    }
    // Without a mark the end of the last segment may be torn.
    if (this.#last) return null
    if (scan.fault !== 'end' || (await writtenEnd(file, offset)) > offset) {
      return { ...place, message: what }
    }
    this.end = chain.position
    return null
  }
}
