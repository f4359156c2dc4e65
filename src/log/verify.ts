// Checks a log, or segments brought from anywhere: the CRC of every block, the chain, the numbering. Only reads, also
// while a server writes, and stops at the first fault, which it calls torn or corrupt by the table of recovery.
import { dirname } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { isNotFound, isUnreadable, type Disk } from '../platform/disk.ts'
import { BlockChain, sameIdentity, type BlockFault } from './chain.ts'
import { markMismatch, readDurableMark, readDurableState, type DurableMark } from './durable.ts'
import { decide, type TailFault } from './recovery-table.ts'
import { SegmentScan } from './scan.ts'
import { segmentHeaderBytes, type SegmentHeader } from './segment.ts'
import { checkName, segmentFiles, wasRemoved, type SegmentFile } from './segments.ts'
import { describeFault, laterPromise, tailFault, writtenEnd } from './tail.ts'

export interface VerifyFault {
  readonly path: string
  readonly offset: number
  /** The transaction that was expected there. */
  readonly txn: number
  /** `header`: of a segment; `order`: the segment does not continue the one before; `durable`: log/durable. */
  readonly fault: BlockFault | 'header' | 'order' | 'durable'
  /** True: as a crash may leave the end of a log, and no caller was told that it was durable. A server cuts it off. */
  readonly torn: boolean
  readonly message: string
}

/** What was found valid, up to the fault if there is one. */
export interface VerifyReport {
  readonly segments: number
  readonly blocks: number
  readonly transactions: number
  /** Of segment headers and blocks. */
  readonly bytes: number
  /** 0 when there is none. */
  readonly firstTxn: number
  readonly lastTxn: number
  readonly fault: VerifyFault | null
}

export interface VerifyOptions {
  /** False for the log of a slave: the promises in its blocks are its master's. Default true. */
  readonly ownPromises?: boolean
  readonly onProgress?: (bytes: number) => void
}

/**
 * Verifies the log in a directory, or the segments in a list of files, which need not be complete. Throws ERR_DISK, and
 * ERR_LOG_VERSION for segments of a later format; what is wrong with the log is in the report.
 */
export async function verifyLog(
  disk: Disk,
  target: string | readonly string[],
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  if (typeof target !== 'string') return new Verification(disk, options, null).files(target)
  const { mark, damaged } = await readDurableState(disk, target)
  const verification = new Verification(disk, options, target)
  verification.mark = mark
  return verification.directory(target, damaged)
}

class Verification {
  readonly #disk: Disk
  readonly #options: VerifyOptions
  readonly #directory: string | null
  mark: DurableMark | null = null
  #chain: BlockChain | null = null
  readonly #report = { segments: 0, blocks: 0, transactions: 0, bytes: 0, firstTxn: 0, lastTxn: 0 }

  constructor(disk: Disk, options: VerifyOptions, directory: string | null) {
    this.#disk = disk
    this.#options = options
    this.#directory = directory
  }

  async directory(directory: string, markDamaged: boolean): Promise<VerifyReport> {
    const files = await segmentFiles(this.#disk, directory)
    for (const [index, file] of files.entries()) {
      const fault = await this.#segment(file.path, file, index === files.length - 1)
      if (fault !== null) return { ...this.#report, fault }
    }
    const place = { path: directory, offset: 0, txn: this.#report.lastTxn + 1, torn: false }
    if (markDamaged) {
      const message = `${directory}/durable is not valid`
      return { ...this.#report, fault: { ...place, fault: 'durable', message } }
    }
    if (this.mark !== null && this.mark.txn > (this.#chain?.txn ?? 0)) {
      const message = `${directory} ends with transaction ${this.#chain?.txn ?? 0}; log/durable names ${this.mark.txn}`
      return { ...this.#report, fault: { ...place, fault: 'end', message } }
    }
    return { ...this.#report, fault: null }
  }

  async files(paths: readonly string[]): Promise<VerifyReport> {
    const sorted = await this.#sorted(paths)
    for (const [index, path] of sorted.entries()) {
      const fault = await this.#segment(path, null, index === sorted.length - 1)
      if (fault !== null) return { ...this.#report, fault }
    }
    return { ...this.#report, fault: null }
  }

  /** By first transaction; those whose header is not valid come last, and are reported there. */
  async #sorted(paths: readonly string[]): Promise<string[]> {
    const keyed: { readonly path: string; readonly key: number }[] = []
    for (const path of paths) {
      try {
        const scan = await SegmentScan.open(this.#disk, path)
        keyed.push({ path, key: scan.header.firstTxn })
        await scan.close()
      } catch (error) {
        if (!isHotBackupError(error, 'ERR_LOG_CORRUPT')) throw error
        keyed.push({ path, key: Number.MAX_SAFE_INTEGER })
      }
    }
    return keyed.sort((a, b) => a.key - b.key).map(({ path }) => path)
  }

  async #segment(
    path: string,
    named: SegmentFile | null,
    last: boolean,
  ): Promise<VerifyFault | null> {
    let scan
    try {
      scan = await SegmentScan.open(this.#disk, path, { reuse: true })
      if (named !== null) checkName(path, named.firstTxn, scan.header)
    } catch (error) {
      await scan?.close()
      if (isHotBackupError(error, 'ERR_LOG_CORRUPT') && !isUnreadable(error)) {
        return this.#headerFault(path, named, last, error)
      }
      if (named === null || !isNotFound(error)) throw error
      // Retention may remove the oldest segments while we look.
      if (await wasRemoved(this.#disk, dirname(path), named)) {
        this.#chain = null
        return null
      }
      const message = `${path} is missing`
      return { path, offset: 0, txn: named.firstTxn, torn: false, fault: 'order', message }
    }
    try {
      return this.#enter(scan) ?? (await this.#blocks(scan, last))
    } finally {
      await scan.close()
    }
  }

  #enter(scan: SegmentScan): VerifyFault | null {
    const { header, path } = scan
    const before = this.#chain
    const chain =
      before !== null && (this.#directory !== null || follows(before, header))
        ? before
        : new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
    this.#chain = chain
    try {
      scan.enter(chain)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_LOG_GAP', 'ERR_LOG_FOREIGN')) throw error
      const place = { path, offset: 0, txn: chain.txn + 1, torn: false }
      return { ...place, fault: 'order', message: error.message }
    }
    this.#report.segments++
    this.#report.bytes += segmentHeaderBytes
    return null
  }

  async #blocks(scan: SegmentScan, last: boolean): Promise<VerifyFault | null> {
    const chain = this.#chain
    if (chain === null) throw new TypeError('enter the segment first')
    const misplaced = await this.#toMark(scan, chain)
    if (misplaced !== null) return misplaced
    for (;;) {
      while (await scan.next()) this.#count(scan, chain)
      const fault = await this.#fault(scan, chain, last)
      if (fault === null || !fault.torn || this.#directory === null) return fault
      // A server may be writing just there. What it has finished meanwhile is no fault.
      const mark = await readDurableMark(this.#disk, this.#directory)
      if (mark === null || mark.txn <= chain.txn || mark.txn <= (this.mark?.txn ?? 0)) return fault
      this.mark = mark
      scan.resume(chain)
    }
  }

  /** The block that log/durable names must be where it says. */
  async #toMark(scan: SegmentScan, chain: BlockChain): Promise<VerifyFault | null> {
    const { mark } = this
    if (mark === null || mark.segmentFirstTxn !== scan.header.firstTxn) return null
    while (await scan.next(mark.offset)) this.#count(scan, chain)
    const problem = markMismatch(mark, chain)
    if (problem === null) return null
    const place = { path: scan.path, offset: chain.offset, txn: chain.txn + 1, torn: false }
    return { ...place, fault: 'durable', message: `${scan.path}: ${problem}` }
  }

  #count(scan: SegmentScan, chain: BlockChain): void {
    const report = this.#report
    if (report.firstTxn === 0) report.firstTxn = scan.firstTxn
    report.blocks += scan.blocks
    report.transactions += chain.txn - scan.firstTxn + 1
    report.lastTxn = chain.txn
    report.bytes += scan.end - scan.start
    this.#options.onProgress?.(report.bytes)
  }

  /** Null where a segment may well end. */
  async #fault(scan: SegmentScan, chain: BlockChain, last: boolean): Promise<VerifyFault | null> {
    const { fault, file, header, path } = scan
    if (fault === null) throw new TypeError('a scan ends with a fault')
    const { offset } = chain
    const txn = chain.txn + 1
    const empty = fault === 'end' && (await writtenEnd(file, offset)) === offset
    const kind = tailFault(fault, empty, chain.block)
    const search = kind === 'torn' && last && this.#options.ownPromises !== false
    const promised = search && (await laterPromise(file, header, offset, txn))
    const { decision, reason } = this.#decide(kind, last, promised, txn)
    if (decision === 'clean' || decision === 'next') return null
    const what = empty ? 'the log ends' : describeFault(fault, chain.block)
    const message = `${path}, byte ${offset}, transaction ${txn}: ${what}; ${reason}`
    if (decision === 'newer')
      throw new HotBackupError('ERR_LOG_VERSION', message, { path, offset, txn })
    return { path, offset, txn, fault, torn: decision === 'cut', message }
  }

  /** Without blocks behind it a header may be torn, as recovery.ts says. */
  async #headerFault(
    path: string,
    named: SegmentFile | null,
    last: boolean,
    error: HotBackupError,
  ): Promise<VerifyFault> {
    const file = await this.#disk.open(path, 'read')
    try {
      const txn = named?.firstTxn ?? (this.#chain?.txn ?? 0) + 1
      const blocks = (await writtenEnd(file, segmentHeaderBytes)) > segmentHeaderBytes
      const { decision } = this.#decide('torn', last, blocks, txn)
      const torn = decision === 'cut'
      return { path, offset: 0, txn, fault: 'header', torn, message: error.message }
    } finally {
      await file.close()
    }
  }

  #decide(fault: TailFault, last: boolean, promised: boolean, txn: number) {
    const published = this.mark !== null && txn <= this.mark.txn
    return decide({ fault, last, promised, published, known: false })
  }
}

/** Files need not be complete: only those that lie next to each other are held against each other. */
function follows(chain: BlockChain, header: SegmentHeader): boolean {
  const { segment } = chain
  if (segment === null || header.firstTxn !== chain.txn + 1) return false
  return sameIdentity(header.databaseId, segment.databaseId)
}
