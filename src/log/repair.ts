// Repairs a damaged log with the bytes of a peer, which holds the same ones: every block is checked here, and where one
// fails, that block alone is asked for and must join the blocks before and behind it. What is valid is (chain.ts)
// what is always valid; a peer that is damaged itself, or has another history, changes nothing.
//
//   1. build     SEGMENT.repair beside each damaged segment: its own bytes, with the peer's blocks in their places
//                (segment-repair.ts). A missing segment is built whole.
//   2. check     goes on to the end of the log: the block that log/durable names must be where it says. Then each
//                SEGMENT.repair is read again from front to back.
//   3. replace   the damaged segment is copied to SEGMENT.corrupt and synced; SEGMENT.repair, already synced, takes
//                its name. No part of the log is ever missing: after an interruption the next repair starts over
//                with what is still damaged.
//
// What lies above all that was known to be durable is left as it is: a torn end is recovery's (recovery.ts). But what
// the disk does not give may have been durable, wherever it lies: a peer must have it.
import { dirname, join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import type { Disk } from '../platform/disk.ts'
import { copyFile } from '../platform/file-copy.ts'
import { BlockView, blockHeaderBytes, blockMagic } from './block.ts'
import { Advance } from './advance.ts'
import { BlockChain, type BlockFault } from './chain.ts'
import { markMismatch, readDurableState, type DurableMark } from './durable.ts'
import { freeCopyPath } from './kept-copies.ts'
import {
  SegmentRepair,
  isUnfinishedSegment,
  type BuiltSegment,
  type PieceSource,
} from './segment-repair.ts'
import { readingAround } from './reading-around.ts'
import type { RecoveryBounds } from './recovery.ts'
import { SegmentScan } from './scan.ts'
import { decodeSegmentHeader, identityBytes, segmentHeaderBytes, segmentName } from './segment.ts'
import { checkName, readSegmentHeader, segmentFiles, type SegmentFile } from './segments.ts'
import { describeFault, laterPromise, tailFault } from './tail.ts'

export { pieceBytesMax, type PieceSource } from './segment-repair.ts'

export interface RepairOptions extends RecoveryBounds {
  /** A server writes the last segment: it is left alone, and those before it must lead to it. */
  readonly sealedOnly: boolean
}

export interface RepairedSegment {
  readonly path: string
  /** Where the damaged one lies now; null: it was missing. */
  readonly kept: string | null
  /** Of the first damaged byte, and the transaction that was expected there. */
  readonly offset: number
  readonly txn: number
  /** Sent by the peer. */
  readonly bytes: number
}

/**
 * Repairs what can be repaired, all or nothing, and returns what that was: nothing when the log is in order. The caller
 * ensures that no process writes or removes segments (but for the last one, with `sealedOnly`). Throws
 * ERR_LOG_CORRUPT when the peer does not hold what is missing, or what it sends does not fit here; ERR_LOG_VERSION,
 * ERR_DISK, ERR_DISK_FULL, and what `source` throws.
 */
export async function repairLog(
  disk: Disk,
  directory: string,
  options: RepairOptions,
  source: PieceSource,
): Promise<readonly RepairedSegment[]> {
  await removeUnfinished(disk, directory)
  const { mark } = await readDurableState(disk, directory)
  try {
    const built = await new Repair(disk, directory, options, mark, source).run()
    const repaired: RepairedSegment[] = []
    for (const segment of built) repaired.push(await replace(readingAround(disk), segment))
    return repaired
  } catch (error) {
    await removeUnfinished(disk, directory)
    throw error
  }
}

/** Of the database whose log that is, as far as anything of it can be read: for asking a peer, who knows better. */
export async function databaseIdOf(disk: Disk, directory: string): Promise<Uint8Array | null> {
  const block = Buffer.alloc(segmentHeaderBytes + blockHeaderBytes)
  let found: Uint8Array | null = null
  for (const { path } of await segmentFiles(disk, directory)) {
    const file = await readingAround(disk).open(path, 'read')
    try {
      const count = await file.read(block, 0, block.length, 0)
      return decodeSegmentHeader(block.subarray(0, Math.min(count, segmentHeaderBytes)), path)
        .databaseId
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION')) throw error
      const view = new BlockView().reset(block, segmentHeaderBytes)
      const at = segmentHeaderBytes + 48
      if (view.magic === blockMagic)
        found ??= new Uint8Array(block.subarray(at, at + identityBytes))
    } finally {
      await file.close()
    }
  }
  return found
}

async function removeUnfinished(disk: Disk, directory: string): Promise<void> {
  for (const { name } of await disk.list(directory)) {
    if (isUnfinishedSegment(name)) await disk.remove(join(directory, name))
  }
}

async function replace(disk: Disk, segment: BuiltSegment): Promise<RepairedSegment> {
  const { path, builtPath, replaces, offset, txn, bytes } = segment
  let kept: string | null = null
  if (replaces) {
    kept = await freeCopyPath(disk, path, 'corrupt')
    await copyFile(disk, path, kept, { took: () => Promise.resolve() })
    await disk.syncDirectory(dirname(path))
  }
  await disk.rename(builtPath, path)
  await disk.syncDirectory(dirname(path))
  return { path, kept, offset, txn, bytes }
}

/** Goes through the log from its first segment to its end. */
class Repair {
  readonly #disk: Disk
  readonly #directory: string
  readonly #options: RepairOptions
  readonly #mark: DurableMark | null
  readonly #source: PieceSource
  readonly #built: BuiltSegment[] = []
  #chain: BlockChain | null = null
  /** The block that log/durable names is there. */
  #markFound: boolean
  /** By path: behind the last byte that the disk did not give, as far as has been read. */
  readonly #missedTo = new Map<string, number>()

  constructor(
    disk: Disk,
    directory: string,
    options: RepairOptions,
    mark: DurableMark | null,
    source: PieceSource,
  ) {
    this.#disk = readingAround(disk, (path, to) => {
      this.#missedTo.set(path, Math.max(to, this.#missedTo.get(path) ?? 0))
    })
    this.#directory = directory
    this.#options = options
    this.#mark = mark
    this.#source = source
    this.#markFound = mark === null || options.sealedOnly
  }

  async run(): Promise<readonly BuiltSegment[]> {
    const files = await segmentFiles(this.#disk, this.#directory)
    const { sealedOnly } = this.#options
    for (const [index, file] of files.entries()) {
      await this.#missingUntil(file.firstTxn - 1)
      const next = files[index + 1]
      if (next === undefined && sealedOnly) await this.#leadsTo(file)
      else await this.#segment(file.firstTxn, next === undefined ? null : next.firstTxn - 1, true)
    }
    await this.#toMark()
    for (const built of this.#built) await this.#readAgain(built)
    return this.#built
  }

  /** Builds the segments that are not there, with the transactions up to `txn`. */
  async #missingUntil(txn: number): Promise<void> {
    const chain = this.#chain
    const advance = new Advance(this.#directory, 'transaction')
    while (chain !== null && chain.txn < txn) {
      advance.to(chain.txn)
      await this.#segment(chain.txn + 1, txn, false)
    }
  }

  /** Segments may be missing at the end of the log, of which log/durable knows. */
  async #toMark(): Promise<void> {
    const mark = this.#mark
    if (mark === null || this.#markFound) return
    await this.#missingUntil(mark.txn)
    // The last one was new and empty.
    if (this.#chain?.txn === mark.segmentFirstTxn - 1) {
      await this.#segment(mark.segmentFirstTxn, mark.txn, false)
    }
    if (this.#markFound) return
    const txn = this.#chain?.txn ?? 0
    const message = `${this.#directory} ends with transaction ${txn}; log/durable names ${mark.txn}`
    throw new HotBackupError('ERR_LOG_CORRUPT', message, { path: this.#directory, txn: txn + 1 })
  }

  /** `until`: the transactions up to there were durable; null for the last segment, where each is looked at. */
  async #segment(firstTxn: number, until: number | null, there: boolean): Promise<void> {
    const path = join(this.#directory, segmentName(firstTxn))
    const segment = await SegmentRepair.open(this.#disk, path, there, firstTxn, this.#source)
    try {
      const chain = await segment.enter(this.#chain)
      this.#chain = chain
      this.#checkMark(chain)
      const advance = new Advance(path, 'byte', chain.offset)
      for (;;) {
        const fault = await segment.accept(chain)
        if (fault !== null && !(await this.#repaired(segment, chain, fault, until))) break
        advance.to(chain.offset)
        this.#checkMark(chain)
      }
      const built = await segment.finish(chain, until !== null)
      if (built !== null) this.#built.push(built)
    } finally {
      await segment.close()
    }
  }

  /** Takes the peer's block at the end of the chain. False where nothing more needs to be there. */
  async #repaired(
    segment: SegmentRepair,
    chain: BlockChain,
    fault: BlockFault,
    until: number | null,
  ): Promise<boolean> {
    const { path } = segment
    const { offset, txn: lastTxn } = chain
    const txn = lastTxn + 1
    if (!(until === null ? await this.#wasDurable(segment, chain) : txn <= until)) return false
    const kind = tailFault(fault, false, chain.block)
    if (kind === 'newer' || kind === 'foreign') {
      const code = kind === 'newer' ? 'ERR_LOG_VERSION' : 'ERR_LOG_CORRUPT'
      const what = describeFault(fault, chain.block)
      const message = `${path}, byte ${offset}, transaction ${txn}: ${what}, and is whole: it cannot be repaired`
      throw new HotBackupError(code, message, { path, offset, txn })
    }
    if (await segment.takePeers(chain)) return true
    // The peer's segment ends here as well: it is the next one that is missing.
    const { firstTxn } = chain.segment!
    const last = until === null && (this.#mark?.segmentFirstTxn ?? 0) <= firstTxn
    if (!last && lastTxn >= firstTxn) return false
    throw segment.notHeld(chain)
  }

  /** Was what should follow in the last segment known to be durable? */
  async #wasDurable({ path, file }: SegmentRepair, chain: BlockChain): Promise<boolean> {
    // What the disk does not give may have been; in the repaired segment it would look like a torn end.
    if ((this.#missedTo.get(path) ?? 0) > chain.offset) return true
    const txn = chain.txn + 1
    const { knownDurableTxn, ownPromises } = this.#options
    if (txn <= Math.max(this.#mark?.txn ?? 0, knownDurableTxn)) return true
    if (!ownPromises || file === null || chain.segment === null) return false
    return laterPromise(file, chain.segment, chain.offset, txn)
  }

  /** A server goes on writing the last segment: what lies before it must lead there. */
  async #leadsTo({ path, firstTxn }: SegmentFile): Promise<void> {
    const file = await this.#disk.open(path, 'read')
    try {
      const { header } = await readSegmentHeader(file)
      checkName(path, firstTxn, header)
      this.#chain?.enterSegment(header, path)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_LOG_GAP', 'ERR_LOG_FOREIGN')) throw error
      throw new HotBackupError('ERR_LOG_CORRUPT', error.message, error.place, error)
    } finally {
      await file.close()
    }
  }

  #checkMark(chain: BlockChain): void {
    const mark = this.#mark
    if (mark === null || this.#markFound || chain.txn < mark.txn) return
    if (chain.segment?.firstTxn !== mark.segmentFirstTxn) return
    const problem = markMismatch(mark, chain)
    if (problem !== null) {
      const path = join(this.#directory, segmentName(mark.segmentFirstTxn))
      const place = { path, offset: chain.offset, txn: chain.txn + 1 }
      throw new HotBackupError('ERR_LOG_CORRUPT', `${path}: ${problem}`, place)
    }
    this.#markFound = true
  }

  /** What was built is what was checked, on the disk as well. */
  async #readAgain({ builtPath, end }: BuiltSegment): Promise<void> {
    const scan = await SegmentScan.open(this.#disk, builtPath, { reuse: true })
    try {
      const { firstTxn, chain: before } = scan.header
      const chain = new BlockChain({ txn: firstTxn - 1, chain: before })
      scan.enter(chain)
      while (chain.txn < end.txn && (await scan.next()));
      if (chain.txn >= end.txn) return
      const place = { path: builtPath, offset: chain.offset, txn: chain.txn + 1 }
      throw new HotBackupError('ERR_DISK', `${builtPath} is not what was written to it`, place)
    } finally {
      await scan.close()
    }
  }
}
