// What the writer holds between commit and durable: blocks, changes of segment, and the logical end of the log.
import { blockBytesTarget, KiB } from '../limits.ts'
import type { DurableMark } from './durable.ts'
import {
  blockAlignment,
  blockHeaderBytes,
  BlockSeed,
  sealBlock,
  type BlockFields,
} from './block.ts'
import { RecordEncoder } from './record.ts'
import { type SegmentHeader } from './segment.ts'
import { Settling } from './settling.ts'

/** The segment in which the next block will lie, and where. The file may be some blocks behind. */
export class LogTip {
  readonly header: SegmentHeader
  offset: number
  readonly seed: BlockSeed

  constructor(header: SegmentHeader, offset: number) {
    this.header = header
    this.offset = offset
    this.seed = new BlockSeed(header.lineageId, header.firstTxn)
  }
}

/** A block from its first transaction until it is written; or a run of the master's blocks, which has no encoder. */
export class Block {
  readonly settling = new Settling()
  /** How many transactions were committed into it. */
  count = 0
  /** What to write, once it is sealed. */
  bytes: Uint8Array
  length: number
  /** Where, in its segment. */
  offset = 0
  /** What log/durable says when it is durable. */
  mark: DurableMark | null = null
  #encoder: RecordEncoder | null

  constructor(encoder: RecordEncoder | null, bytes: Uint8Array) {
    this.#encoder = encoder
    this.bytes = bytes
    this.length = bytes.length
  }

  get encoder(): RecordEncoder {
    if (this.#encoder === null) throw new TypeError('these blocks came whole')
    return this.#encoder
  }

  /** Makes header and CRC, and returns the CRC. */
  seal(tip: LogTip, fields: BlockFields): number {
    const { encoder } = this
    encoder.reserve(blockAlignment)
    this.length = sealBlock(encoder.bytes, encoder.end, fields, tip.seed.at(tip.offset))
    this.bytes = encoder.bytes
    return encoder.bytes.readUInt32LE(4)
  }

  /** Gives up the bytes; the waiters stay. */
  release(): RecordEncoder | null {
    this.bytes = nothing
    return this.#encoder
  }
}

const nothing = new Uint8Array()

export class NewSegment {
  readonly header: SegmentHeader
  readonly bytes: Uint8Array
  readonly settling = new Settling()

  constructor(header: SegmentHeader, bytes: Uint8Array) {
    this.header = header
    this.bytes = bytes
  }
}

const encoderBytes = 64 * KiB
/** One block gathers, one is written, and one or two wait. A buffer that a huge transaction has grown is let go. */
const pooledMax = 4
const pooledBytesMax = 4 * blockBytesTarget

/** Encoders are used again, so that a block costs no buffer. */
export class BlockPool {
  readonly #free: RecordEncoder[] = []

  take(): Block {
    const encoder = this.#free.pop() ?? new RecordEncoder(encoderBytes, blockHeaderBytes)
    encoder.reset()
    return new Block(encoder, nothing)
  }

  foreign(bytes: Uint8Array): Block {
    return new Block(null, bytes)
  }

  release(block: Block): void {
    const encoder = block.release()
    if (encoder === null || this.#free.length >= pooledMax) return
    if (encoder.bytes.length <= pooledBytesMax) this.#free.push(encoder)
  }
}
