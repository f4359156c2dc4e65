// One segment that is being repaired: its own blocks as far as they are valid, the peer's where they are not. What the
// peer sends is held against the chain before it is put into SEGMENT.repair, beside the segment, which stays as it is.
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { copyFile } from '../platform/file-copy.ts'
import type { Disk, DiskFile } from '../platform/disk.ts'
import { BlockView, blockHeaderBytes, blockMagic } from './block.ts'
import { BlockChain, type BlockFault, type LogPosition } from './chain.ts'
import {
  decodeSegmentHeader,
  parseSegmentName,
  segmentHeaderBytes,
  type SegmentHeader,
} from './segment.ts'
import { readSegmentHeader } from './segments.ts'
import { describeFault, writtenEnd } from './tail.ts'

/** A peer's log. */
export interface PieceSource {
  /**
   * Bytes of the segment that starts with `segmentFirstTxn`: at most `length` from `offset` on, none where it ends;
   * null when the peer does not hold it.
   */
  read(segmentFirstTxn: number, offset: number, length: number): Promise<Uint8Array | null>
}

/** What a peer is asked for at once: no more than a message holds. */
export const pieceBytesMax = 64 * 1024

const unfinishedSuffix = '.repair'

/** Whether a file of that name is a segment that is being built, or that a crash left half built. */
export function isUnfinishedSegment(name: string): boolean {
  const segment = name.endsWith(unfinishedSuffix) ? name.slice(0, -unfinishedSuffix.length) : ''
  return parseSegmentName(segment) !== null
}

/** SEGMENT.repair, complete and durable but for its name. */
export interface BuiltSegment {
  readonly path: string
  readonly builtPath: string
  /** There is a damaged one. */
  readonly replaces: boolean
  /** Where the first byte of the peer lies, and the transaction that was expected there. */
  readonly offset: number
  readonly txn: number
  /** The peer's. */
  readonly bytes: number
  /** Behind the last block. */
  readonly end: LogPosition
}

export class SegmentRepair {
  readonly path: string
  /** Null when the segment is missing. */
  readonly file: DiskFile | null
  readonly #disk: Disk
  readonly #firstTxn: number
  readonly #source: PieceSource
  readonly #blocks: LocalBlocks | null
  readonly #view = new BlockView()
  #target: DiskFile | null = null
  #first: { readonly offset: number; readonly txn: number } | null = null
  #bytes = 0
  /** What the peer has sent last: blocks are smaller than pieces, mostly. */
  #piece = { offset: 0, bytes: new Uint8Array() }

  private constructor(
    disk: Disk,
    path: string,
    file: DiskFile | null,
    firstTxn: number,
    source: PieceSource,
  ) {
    this.#disk = disk
    this.path = path
    this.file = file
    this.#firstTxn = firstTxn
    this.#source = source
    this.#blocks = file === null ? null : new LocalBlocks(file)
  }

  static async open(
    disk: Disk,
    path: string,
    there: boolean,
    firstTxn: number,
    source: PieceSource,
  ): Promise<SegmentRepair> {
    const file = there ? await disk.open(path, 'read') : null
    return new SegmentRepair(disk, path, file, firstTxn, source)
  }

  /** Enters the segment with the chain that leads to it; null for the first one. */
  async enter(before: BlockChain | null): Promise<BlockChain> {
    const header = (await this.#ownHeader()) ?? (await this.#peersHeader())
    const chain = before ?? new BlockChain({ txn: this.#firstTxn - 1, chain: header.chain })
    try {
      chain.enterSegment(header, this.path)
    } catch (error) {
      if (!isHotBackupError(error, 'ERR_LOG_GAP', 'ERR_LOG_FOREIGN')) throw error
      throw new HotBackupError('ERR_LOG_CORRUPT', error.message, error.place, error)
    }
    return chain
  }

  async #ownHeader(): Promise<SegmentHeader | null> {
    if (this.file === null) return null
    try {
      const { header } = await readSegmentHeader(this.file)
      return header.firstTxn === this.#firstTxn ? header : null
    } catch (error) {
      // A version that this program does not know may be damage: the peer's header tells.
      if (isHotBackupError(error, 'ERR_LOG_CORRUPT', 'ERR_LOG_VERSION')) return null
      throw error
    }
  }

  async #peersHeader(): Promise<SegmentHeader> {
    const bytes = await this.#peers(0, segmentHeaderBytes)
    if (bytes.length === 0) throw this.#notHeld(0, this.#firstTxn)
    const header = decodeSegmentHeader(bytes, `${this.path}, as the peer has sent it`)
    if (header.firstTxn !== this.#firstTxn) throw this.#misfit(0, this.#firstTxn, 'another segment')
    await this.#put(bytes, 0, this.#firstTxn)
    return header
  }

  /** Accepts the segment's own block at the end of the chain. */
  async accept(chain: BlockChain): Promise<BlockFault | null> {
    return this.#blocks === null ? 'end' : this.#blocks.accept(chain)
  }

  /** Accepts the peer's block there. False when its segment ends there, or it does not hold the segment. */
  async takePeers(chain: BlockChain): Promise<boolean> {
    const { offset, txn } = chain
    const head = await this.#peers(offset, blockHeaderBytes)
    if (head.length === 0) return false
    if (head.length < blockHeaderBytes) throw this.#misfit(offset, txn + 1, 'half a block')
    const view = this.#view.reset(head, 0)
    if (view.magic !== blockMagic || view.impossibleLength) {
      throw this.#misfit(offset, txn + 1, describeFault('magic', view))
    }
    const block = await this.#peers(offset, view.length)
    const fault = chain.accept(block, 0, block.length)
    if (fault !== null) throw this.#misfit(offset, txn + 1, describeFault(fault, chain.block))
    await this.#put(block, offset, txn + 1)
    return true
  }

  /** The peer's bytes from `offset` on: as many, or fewer at the segment's end. */
  async #peers(offset: number, length: number): Promise<Uint8Array> {
    const { offset: base, bytes } = this.#piece
    if (offset >= base && offset + length <= base + bytes.length) {
      return bytes.subarray(offset - base, offset - base + length)
    }
    const found = Buffer.alloc(Math.max(length, pieceBytesMax))
    let count = 0
    while (count < length) {
      const wanted = Math.min(pieceBytesMax, found.length - count)
      const piece = await this.#source.read(this.#firstTxn, offset + count, wanted)
      if (piece === null || piece.length === 0) break
      found.set(piece, count)
      count += piece.length
    }
    this.#piece = { offset, bytes: found.subarray(0, count) }
    return found.subarray(0, Math.min(count, length))
  }

  async #put(bytes: Uint8Array, offset: number, txn: number): Promise<void> {
    const target = await this.#begun(offset, txn)
    await target.write(bytes, 0, bytes.length, offset)
    this.#bytes += bytes.length
  }

  async #begun(offset: number, txn: number): Promise<DiskFile> {
    if (this.#target !== null) return this.#target
    const { path, file } = this
    const target = `${path}${unfinishedSuffix}`
    if (file !== null) await copyFile(this.#disk, path, target, { took: () => Promise.resolve() })
    this.#first = { offset, txn }
    this.#target = await this.#disk.open(target, file === null ? 'create' : 'write')
    return this.#target
  }

  /** `sealed`: nothing may lie behind the blocks. Null when the segment is in order as it is. */
  async finish(chain: BlockChain, sealed: boolean): Promise<BuiltSegment | null> {
    const { offset, txn, position: end } = chain
    const { path, file } = this
    if (sealed && file !== null && (await writtenEnd(file, offset)) > offset) {
      await this.#begun(offset, txn + 1)
    }
    const target = this.#target
    if (target === null || this.#first === null) return null
    if (sealed && target.size() > offset) await target.truncate(offset)
    await target.sync()
    const replaces = file !== null
    return { path, builtPath: target.path, replaces, ...this.#first, bytes: this.#bytes, end }
  }

  async close(): Promise<void> {
    await this.file?.close()
    await this.#target?.close()
  }

  /** The peer has not what is damaged here. */
  #notHeld(offset: number, txn: number): HotBackupError {
    const { path } = this
    const message = `${path}, byte ${offset}, transaction ${txn}: damaged, and the peer does not hold it`
    return new HotBackupError('ERR_LOG_CORRUPT', message, { path, offset, txn })
  }

  notHeld({ offset, txn }: BlockChain): HotBackupError {
    return this.#notHeld(offset, txn + 1)
  }

  #misfit(offset: number, txn: number, what: string): HotBackupError {
    const { path } = this
    const message = `${path}, byte ${offset}, transaction ${txn}: what the peer has sent does not belong there: ${what}`
    return new HotBackupError('ERR_LOG_CORRUPT', message, { path, offset, txn })
  }
}

/** Reads the blocks of a segment in large pieces, from wherever the chain stands. */
class LocalBlocks {
  readonly #file: DiskFile
  readonly #view = new BlockView()
  #bytes = Buffer.allocUnsafe(MiB)
  #base = 0
  #count = 0

  constructor(file: DiskFile) {
    this.#file = file
  }

  async accept(chain: BlockChain): Promise<BlockFault | null> {
    for (let wanted = blockHeaderBytes; ;) {
      await this.#have(chain.offset, wanted)
      const at = chain.offset - this.#base
      const fault = chain.accept(this.#bytes, at, this.#count)
      if (fault !== 'short') return fault
      const whole = this.#view.reset(this.#bytes, at).length
      if (this.#count - at < wanted || whole <= wanted) return 'short' // The file ends here.
      wanted = whole
    }
  }

  async #have(offset: number, wanted: number): Promise<void> {
    if (offset >= this.#base && offset + wanted <= this.#base + this.#count) return
    const size = Math.min(Math.max(wanted, MiB), Math.max(this.#file.size() - offset, 0))
    if (size > this.#bytes.length) this.#bytes = Buffer.allocUnsafe(size)
    this.#count = await this.#file.read(this.#bytes, 0, size, offset)
    this.#base = offset
  }
}
