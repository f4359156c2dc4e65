// A segment is one file of the log: a header, then blocks. This file knows its name and its header.
//
// SEGMENT HEADER, 96 bytes, little-endian
//
//    0  magic           u32       "HBSG" = 0x47534248
//    4  CRC-32          u32       of bytes 8 to 95
//    8  format version  u16       1
//   10  header length   u16       96
//   12  timeline        u32
//   16  database id     16 bytes
//   32  lineage id      16 bytes  of this timeline
//   48  first txn       u64       number of the first transaction in the segment
//   56  chain           u32       CRC-32 of the block before the segment; 0 at the start of the database
//   60  reserved        u32       0
//   64  created         u64       milliseconds since 1970
//   72  reserved        24 bytes  0
//
// The name is the first transaction, 16 digits, and ".log". The log is whole if and only if each segment but
// the first starts with the transaction, and the chain, with which the one before it ends.
import { HotBackupError } from '../errors.ts'
import { crc32 } from './crc.ts'

export const segmentMagic = 0x47534248
export const formatVersion = 1
export const segmentHeaderBytes = 96
export const identityBytes = 16

export interface SegmentHeader {
  readonly databaseId: Uint8Array
  readonly lineageId: Uint8Array
  readonly timeline: number
  readonly firstTxn: number
  /** CRC-32 of the block before the segment. */
  readonly chain: number
  /** Wall-clock milliseconds. */
  readonly created: number
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(segmentHeaderBytes)
  bytes.writeUInt32LE(segmentMagic, 0)
  bytes.writeUInt16LE(formatVersion, 8)
  bytes.writeUInt16LE(segmentHeaderBytes, 10)
  bytes.writeUInt32LE(header.timeline, 12)
  bytes.set(header.databaseId, 16)
  bytes.set(header.lineageId, 32)
  bytes.writeBigUInt64LE(BigInt(header.firstTxn), 48)
  bytes.writeUInt32LE(header.chain, 56)
  bytes.writeBigUInt64LE(BigInt(header.created), 64)
  bytes.writeUInt32LE(crc32(bytes, 8, segmentHeaderBytes), 4)
  return bytes
}

/** Throws ERR_LOG_CORRUPT, or ERR_LOG_VERSION for a format that this program does not know. */
export function decodeSegmentHeader(bytes: Uint8Array, path: string): SegmentHeader {
  const fail = (what: string) =>
    new HotBackupError('ERR_LOG_CORRUPT', `${path}: ${what} in the segment header`, {
      path,
      offset: 0,
    })
  if (bytes.length < segmentHeaderBytes) throw fail(`only ${bytes.length} bytes`)
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, segmentHeaderBytes)
  if (buffer.readUInt32LE(0) !== segmentMagic) throw fail('wrong magic')
  // The version is looked at before the CRC: a newer format may compute that differently.
  const version = buffer.readUInt16LE(8)
  if (version > formatVersion) {
    const message = `${path}: the segment has format version ${version}; this program reads ${formatVersion}`
    throw new HotBackupError('ERR_LOG_VERSION', message, { path, offset: 8 })
  }
  if (buffer.readUInt32LE(4) !== crc32(buffer, 8, segmentHeaderBytes)) throw fail('wrong CRC')
  if (version < formatVersion || buffer.readUInt16LE(10) !== segmentHeaderBytes)
    throw fail('wrong length')
  const firstTxn = Number(buffer.readBigUInt64LE(48))
  if (firstTxn < 1 || !Number.isSafeInteger(firstTxn)) throw fail('impossible first transaction')
  return {
    timeline: buffer.readUInt32LE(12),
    databaseId: new Uint8Array(buffer.subarray(16, 32)),
    lineageId: new Uint8Array(buffer.subarray(32, 48)),
    firstTxn,
    chain: buffer.readUInt32LE(56),
    created: Number(buffer.readBigUInt64LE(64)),
  }
}

export function segmentName(firstTxn: number): string {
  return `${String(firstTxn).padStart(16, '0')}.log`
}

/** The first transaction in a segment of that name; null when it is no segment's name. */
export function parseSegmentName(name: string): number | null {
  if (!/^\d{16}\.log$/.test(name)) return null
  const firstTxn = Number(name.slice(0, 16))
  return Number.isSafeInteger(firstTxn) && firstTxn > 0 ? firstTxn : null
}
