// BLOCKS, master to slave: a run of whole blocks, byte for byte as they lie in the master's segment.
//
//    0  segment first txn  u64  names the segment
//    8  offset             u64  of the run in it
//   16  master durable txn u64  so that the slave knows how far behind it is
//   24  run                …    whole blocks, one after the other; each has its own CRC
//
// The frame's CRC covers the first 24 bytes only: the slave checks each block anyway before it keeps it.
import { blockBytesMax } from '../../limits.ts'
import { blockHeaderBytes } from '../../log/block.ts'
import type { FieldReader, FieldWriter } from '../fields.ts'

/** What precedes the run. */
export interface BlocksHead {
  readonly segmentFirstTxn: number
  /** Bytes from the start of the segment's file. */
  readonly offset: number
  readonly durableTxn: number
}

export interface Blocks extends BlocksHead {
  readonly name: 'blocks'
  /** Owned by whoever receives the message. */
  readonly run: Buffer
}

export const blocksHeadBytes = 24
/** Bounds of a BLOCKS payload; a run is longer than a read only when it is a single block. */
export const blocksBytesMin = blocksHeadBytes + blockHeaderBytes
export const blocksBytesMax = blocksHeadBytes + blockBytesMax

export function writeBlocksHead(fields: FieldWriter, head: BlocksHead): void {
  fields.u64(head.segmentFirstTxn)
  fields.u64(head.offset)
  fields.u64(head.durableTxn)
}

export function readBlocksHead(fields: FieldReader): BlocksHead {
  return { segmentFirstTxn: fields.u64(), offset: fields.u64(), durableTxn: fields.u64() }
}
