// Reads a transaction log as hb-segment(5) describes it, from the bytes alone and without a line of the program: what
// the checker knows of a log, it knows from here.
import { crc32 } from 'node:zlib'
import type { ModelRecord, ModelTransaction } from './model.ts'
import type { SimDisk, SimFile } from './world/disk.ts'

/** Where a block ends. */
export interface BlockEnd {
  readonly txn: number
  readonly crc: number
  readonly offset: number
  /** What the block says of those before it: durable up to there. */
  readonly promise: number
}

export interface DecodedSegment {
  readonly path: string
  readonly firstTxn: number
  readonly timeline: number
  readonly lineage: string
  readonly database: string
  readonly chain: number
  readonly transactions: readonly ModelTransaction[]
  readonly blocks: readonly BlockEnd[]
  /** Where the valid blocks end. */
  readonly end: number
}

export interface DecodedLog {
  readonly segments: readonly DecodedSegment[]
  /** 0 for a log without a segment. */
  readonly firstTxn: number
  readonly lastTxn: number
  /** Of the last segment; empty for a log without one. */
  readonly lineage: string
}

interface Decoding {
  readonly version: number
  readonly segment: DecodedSegment | null
  /** Names of files by their numbers, as far as the segment is decoded. */
  readonly files: Map<number, string>
}

const decoded = new WeakMap<SimFile, Decoding>()

/** The valid blocks of the log in `directory`, as far as they follow each other. */
export function decodeLog(disk: SimDisk, directory: string): DecodedLog {
  const segments: DecodedSegment[] = []
  let next: number | null = null
  let chain = 0
  for (const { name } of disk.list(directory)) {
    if (!/^\d{16}\.log$/.test(name)) continue
    const segment = decodeSegment(disk.file(`${directory}/${name}`), `${directory}/${name}`)
    if (segment === null) break
    if (next !== null && (segment.firstTxn !== next || segment.chain !== chain)) break
    segments.push(segment)
    next = segment.firstTxn + segment.transactions.length
    chain = segment.blocks.at(-1)?.crc ?? segment.chain
  }
  const firstTxn = segments[0]?.firstTxn ?? 0
  return {
    segments,
    firstTxn,
    lastTxn: next === null ? 0 : next - 1,
    lineage: segments.at(-1)?.lineage ?? '',
  }
}

/** The transaction and its number, of all that the log holds. */
export function* transactionsOf(
  log: DecodedLog,
): Generator<{ txn: number; lineage: string; transaction: ModelTransaction }> {
  for (const { firstTxn, lineage, transactions } of log.segments) {
    for (const [index, transaction] of transactions.entries()) {
      yield { txn: firstTxn + index, lineage, transaction }
    }
  }
}

/** Null when it has no valid header. What was decoded before is not decoded again when bytes were only added. */
export function decodeSegment(file: SimFile | null, path: string): DecodedSegment | null {
  if (file === null) return null
  const known = decoded.get(file)
  if (known?.version === file.version) return known.segment
  const before = known?.segment ?? null
  const added = before !== null && file.lowestChange >= before.end
  file.lowestChange = Infinity
  const files = added ? known!.files : new Map<number, string>()
  const bytes = file.bytes.subarray(0, file.size)
  const start = added ? before : readHeader(bytes, path)
  const segment = start === null ? null : readBlocks(bytes, start, files)
  decoded.set(file, { version: file.version, segment, files })
  return segment
}

const segmentBytes = 96
const blockBytes = 72

/** A segment without blocks. */
function readHeader(bytes: Buffer, path: string): DecodedSegment | null {
  if (bytes.length < segmentBytes || bytes.readUInt32LE(0) !== 0x47534248) return null
  if (bytes.readUInt32LE(4) !== crc32(bytes.subarray(8, segmentBytes))) return null
  return {
    path,
    firstTxn: number64(bytes, 48),
    timeline: bytes.readUInt32LE(12),
    lineage: bytes.toString('hex', 32, 48),
    database: bytes.toString('hex', 16, 32),
    chain: bytes.readUInt32LE(56),
    transactions: [],
    blocks: [],
    end: segmentBytes,
  }
}

/** The segment with the blocks that follow what is decoded of it. */
function readBlocks(
  bytes: Buffer,
  segment: DecodedSegment,
  files: Map<number, string>,
): DecodedSegment {
  const { firstTxn, database } = segment
  const transactions = [...segment.transactions]
  const blocks = [...segment.blocks]
  let chain = blocks.at(-1)?.crc ?? segment.chain
  let offset = segment.end
  const seed = Buffer.alloc(32)
  seed.write(segment.lineage, 'hex')
  bytes.copy(seed, 16, 48, 56)
  for (;;) {
    if (offset + blockBytes > bytes.length || bytes.readUInt32LE(offset) !== 0x4b424248) break
    const length = bytes.readUInt32LE(offset + 8)
    if (length % 8 !== 0 || length < blockBytes || offset + length > bytes.length) break
    seed.writeBigUInt64LE(BigInt(offset), 24)
    const crc = bytes.readUInt32LE(offset + 4)
    if (crc !== crc32(bytes.subarray(offset + 8, offset + length), crc32(seed))) break
    const first = number64(bytes, offset + 24)
    const expected = firstTxn + transactions.length
    if (bytes.readUInt32LE(offset + 16) !== chain || first !== expected) break
    if (bytes.toString('hex', offset + 48, offset + 64) !== database) break
    const body = bytes.readUInt32LE(offset + 68)
    const count = bytes.readUInt32LE(offset + 20)
    const records = bytes.subarray(offset + blockBytes, offset + blockBytes + body)
    const found = readTransactions(records, files)
    if (found.length !== count) break
    const promise = number64(bytes, offset + 40)
    transactions.push(...found)
    offset += length
    chain = crc
    const txn = firstTxn + transactions.length - 1
    blocks.push({ txn, crc, offset, promise })
  }
  return { ...segment, transactions, blocks, end: offset }
}

function readTransactions(bytes: Buffer, files: Map<number, string>): ModelTransaction[] {
  const transactions: ModelTransaction[] = []
  let records: ModelRecord[] = []
  for (let at = 0; at < bytes.length;) {
    const type = bytes.readUInt8(at)
    const last = bytes.readUInt8(at + 1) === 1
    const idEnd = at + 12 + bytes.readUInt16LE(at + 2)
    const end = idEnd + bytes.readUInt32LE(at + 8)
    const id = bytes.toString('latin1', at + 12, idEnd)
    const value = Buffer.from(bytes.subarray(idEnd, end))
    const number = bytes.readUInt32LE(at + 4)
    const record = readRecord(type, number, id, value, files)
    if (record !== null) records.push(record)
    at = end
    if (!last) continue
    transactions.push(records)
    records = []
  }
  // Records without an end are no transaction, and the count tells.
  if (records.length > 0) transactions.push(records, [])
  return transactions
}

function readRecord(
  type: number,
  number: number,
  id: string,
  value: Buffer,
  files: Map<number, string>,
): ModelRecord | null {
  const file = files.get(number) ?? `?${number}`
  switch (type) {
    case 1:
      return { kind: 'write', file, id, value }
    case 2:
      return { kind: 'delete', file, id }
    case 3: {
      const { name, modulo, flags } = attributes(value)
      files.set(number, name)
      return { kind: 'create', file: name, modulo, flags }
    }
    case 4:
      return { kind: 'clear', file }
    case 5:
      return { kind: 'resize', file, modulo: value.readUInt32LE(0) }
    case 6:
      return { kind: 'drop', file }
    case 7:
      return { kind: 'account', account: id }
    case 8:
      return { kind: 'drop-account', account: id }
    case 9:
      files.set(number, attributes(value).name)
      return null
    case 10:
      return { kind: 'promote', lineage: value.toString('hex', 0, 16) }
    case 11: {
      const { name, flags } = attributes(value)
      return { kind: 'set', file: name, flags }
    }
    case 12:
      return { kind: 'mark', what: id }
    case 13:
      return { kind: 'mark', what: 'verify' }
    // Its items follow, as they were.
    case 14:
      return { kind: 'mark', what: 'clear-group' }
    default:
      throw new Error(`record type ${type} is not one of hb-segment(5)`)
  }
}

function attributes(value: Buffer): { name: string; modulo: number; flags: number } {
  const [account, name] = [value.readUInt8(8), value.readUInt8(9)]
  const text = `${value.toString('utf8', 10, 10 + account)}/${value.toString('utf8', 10 + account, 10 + account + name)}`
  return { name: text, modulo: value.readUInt32LE(0), flags: value.readUInt32LE(4) }
}

function number64(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset) + bytes.readUInt32LE(offset + 4) * 2 ** 32
}
