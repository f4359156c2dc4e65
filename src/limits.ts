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
export const segmentBytesMin = 64 * KiB
export const segmentBytesMax = 1024 * MiB

/** Bytes that are written but not durable yet, above which a writer waits. */
export const unsyncedBytesMax = 32 * MiB
/** A server that is stopped without a checkpoint has at most so much to replay: a tenth of a second. */
export const quickReplayBytes = 8 * MiB
/** One read of the log by a shipper, a replayer or a check. */
export const readBytesTarget = 1 * MiB

/** Bytes sent to a slave and not acknowledged as received, above which the shipper waits for an ack. */
export const windowBytesDefault = 8 * MiB
/** How often each side of a link asks the other whether it is there. */
export const heartbeatMsDefault = 5_000
/** A peer that is silent, or does not read, for so long is disconnected and called again. */
export const linkTimeoutMsDefault = 30_000
/** A message that was begun must come in at this rate at least, or its sender is taken for dead. */
export const messageBytesPerSecondMin = 16 * KiB
/** A run is handed to the connection in pieces of this size, so that slow progress can be told from none. */
export const writePieceBytes = 256 * KiB
/** What a link reads ahead of the connection: the next run comes from the disk while this one is sent. */
export const sendQueueBytes = 1 * MiB
/** Servers above a master in a cascade. */
export const cascadeServersMax = 16
/** The text of a refusal, in bytes of UTF-8. */
export const refusalBytesMax = 1024
/** Connections that a slave's port holds at once: its master's, the one that replaces it, and strangers. */
export const connectionsMax = 32
/** Groups of a file that is created without a modulo: prime, and enough for some thousand small items. */
export const moduloDefault = 101

assert(itemIdBytesMax + itemBytesMax < transactionBytesMax)
assert(blockBytesMax < 2 ** 31, 'lengths fit a signed 32-bit number')
assert(blockBytesTarget <= windowBytesDefault, 'an ordinary block fits the window')
assert(heartbeatMsDefault * 4 < linkTimeoutMsDefault, 'a lost answer or two is no time-out')
