// Every fixed limit, each with its reason. Relations between them are asserted when the module loads.
import assert from 'node:assert/strict'

export const KiB = 1024
export const MiB = 1024 * KiB

/** An item-id is a name, not data: the same bound as D3's relatives use, and it fits a frame. */
export const itemIdBytesMax = 1024
/** One item. Larger things belong in files of the operating system. */
export const itemBytesMax = 64 * MiB
/** All records of one transaction: what a slave must hold in memory before it can check the block. */
export const transactionBytesMax = 128 * MiB
/** Account and file names become part of messages, never of paths; short keeps them readable. */
export const nameBytesMax = 64
/** 256 GiB of primary frames in one file. */
export const moduloMax = 64 * MiB

/** A block that has reached this size takes no further transaction. One write, one CRC pass, one fsync. */
export const blockBytesTarget = 1 * MiB
/** No length above this is believed: one transaction and its block header, with room for file maps. */
export const blockBytesMax = transactionBytesMax + 1 * MiB
export const segmentBytesDefault = 16 * MiB
export const segmentBytesMin = 1 * MiB
export const segmentBytesMax = 1024 * MiB

/** Bytes that are written but not durable yet, above which a writer waits. */
export const unsyncedBytesMax = 32 * MiB
/** One read of the log by a shipper, a replayer or a check. */
export const readBytesTarget = 1 * MiB

assert(itemIdBytesMax + itemBytesMax < transactionBytesMax)
assert(blockBytesTarget <= segmentBytesMin, 'a segment overshoots its target by one block at most')
assert(blockBytesMax < 2 ** 31, 'lengths fit a signed 32-bit number')
