// Copies the end of a log into one segment of its own, which can be read alone: the same transactions under the same
// numbers and times. A segment maps each file before its first use, so a map-file record is put where one is missing.
import { dirname } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { blockBytesTarget } from '../limits.ts'
import type { Disk, DiskFile } from '../platform/disk.ts'
import { blockAlignment, blockHeaderBytes, BlockSeed, BlockView, sealBlock } from './block.ts'
import { BlockChain, type LogPosition } from './chain.ts'
import { readDurableMark } from './durable.ts'
import { RecordCursor, RecordEncoder, RecordType } from './record.ts'
import { SegmentScan } from './scan.ts'
import { encodeSegmentHeader, segmentHeaderBytes, type SegmentHeader } from './segment.ts'
import { segmentFiles, type SegmentFile } from './segments.ts'
import { FileMaps } from './transactions.ts'

/** A record that was copied, for callers that list them. */
export type CopiedRecord = (record: RecordCursor, txn: number, maps: FileMaps) => void

/**
 * Copies what lies behind `from`, the end of a block, into a new file at `path`, and reads it again: when it resolves
 * the file is whole and durable. Returns the last transaction in it. Throws ERR_LOG_CORRUPT, ERR_LOG_REMOVED, ERR_DISK,
 * ERR_DISK_FULL.
 */
export async function extractBehind(
  disk: Disk,
  directory: string,
  from: LogPosition,
  path: string,
  copied: CopiedRecord = () => {},
): Promise<number> {
  const temporary = `${path}.tmp`
  await disk.remove(temporary)
  const file = await disk.open(temporary, 'create')
  let lastTxn: number
  try {
    const extract = new Extract(file, from, copied)
    for (const source of await sources(disk, directory, from))
      await extract.segment(disk, directory, source)
    lastTxn = extract.lastTxn
    await file.sync()
  } finally {
    await file.close()
  }
  await check(disk, temporary, lastTxn)
  await disk.rename(temporary, path)
  await disk.syncDirectory(dirname(path))
  return lastTxn
}

interface Source extends SegmentFile {
  /** The last transaction that it must hold. */
  readonly until: number
}

/** The segments from the one that holds the position, or begins behind it. */
async function sources(disk: Disk, directory: string, from: LogPosition): Promise<Source[]> {
  const mark = await readDurableMark(disk, directory)
  const files = await segmentFiles(disk, directory)
  const first = Math.max(
    0,
    files.findLastIndex(file => file.firstTxn <= from.txn + 1),
  )
  const begin = files[first]?.firstTxn ?? 0
  if (begin > from.txn + 1) {
    const message = `${directory} starts with transaction ${begin}; ${from.txn + 1} has been removed`
    throw new HotBackupError('ERR_LOG_REMOVED', message, { path: directory, txn: from.txn + 1 })
  }
  return files.slice(first).map((file, index) => {
    const next = files[first + index + 1]
    return { ...file, until: next === undefined ? (mark?.txn ?? 0) : next.firstTxn - 1 }
  })
}

async function check(disk: Disk, path: string, lastTxn: number): Promise<void> {
  const scan = await SegmentScan.open(disk, path, { reuse: true })
  try {
    const { header } = scan
    const chain = new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
    scan.enter(chain)
    while (await scan.next());
    if (chain.txn === lastTxn && chain.offset === scan.file.size()) return
    const message = `${path} cannot be read behind transaction ${chain.txn}, just after it was written`
    throw new HotBackupError('ERR_DISK', message, { path, offset: chain.offset })
  } finally {
    await scan.close()
  }
}

class Extract {
  lastTxn: number
  readonly #file: DiskFile
  readonly #from: LogPosition
  readonly #copied: CopiedRecord
  readonly #encoder = new RecordEncoder(blockBytesTarget, blockHeaderBytes)
  readonly #record = new RecordCursor()
  readonly #block = new BlockView()
  /** What the numbers stand for in the source. */
  readonly #maps = new FileMaps()
  /** The numbers that the new segment has explained. */
  readonly #mapped = new Set<number>()
  #source: BlockChain | null = null
  #seed: BlockSeed | null = null
  #header: SegmentHeader | null = null
  #offset = 0
  #chain: number

  constructor(file: DiskFile, from: LogPosition, copied: CopiedRecord) {
    this.#file = file
    this.#from = from
    this.lastTxn = from.txn
    this.#chain = from.chain
    this.#copied = copied
  }

  async segment(disk: Disk, directory: string, source: Source): Promise<void> {
    const { path, until } = source
    const scan = await SegmentScan.openListed(disk, directory, source, { reuse: true })
    try {
      const { header } = scan
      this.#source ??= new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
      scan.enter(this.#source)
      if (this.#header === null) await this.#begin(header)
      while (await scan.next()) {
        for (let start = scan.start; start < scan.end; start += this.#block.length) {
          await this.#take(scan.bytes, start)
        }
      }
      scan.checkReached(until)
      // A torn end is no part of the log, and recovery has cut it off before.
      if (scan.fault !== 'end' && scan.offset < scan.file.size()) {
        const message = `${path}, byte ${scan.offset}: ${scan.fault ?? 'no block'}`
        throw new HotBackupError('ERR_LOG_CORRUPT', message, { path, offset: scan.offset })
      }
    } finally {
      await scan.close()
    }
  }

  async #begin(header: SegmentHeader): Promise<void> {
    const { txn, chain } = this.#from
    this.#header = { ...header, firstTxn: txn + 1, chain }
    this.#seed = new BlockSeed(header.lineageId, txn + 1)
    await this.#file.write(encodeSegmentHeader(this.#header), 0, segmentHeaderBytes, 0)
    this.#offset = segmentHeaderBytes
  }

  async #take(bytes: Uint8Array, start: number): Promise<void> {
    const block = this.#block.reset(bytes, start)
    const wanted = block.lastTxn > this.#from.txn
    const record = this.#record
    const encoder = this.#encoder
    encoder.reset()
    record.reset(bytes, block.bodyStart, block.bodyEnd)
    let { firstTxn: txn } = block
    while (record.next()) {
      this.#maps.note(record)
      if (!wanted) continue
      this.#mapBefore(record)
      encoder.copy(bytes, record.start, record.valueEnd)
      this.#copied(record, txn, this.#maps)
      if (record.last) txn++
    }
    if (wanted) await this.#write(block)
  }

  #mapBefore({ type, fileNumber }: RecordCursor): void {
    // A verify record changes nothing, and the writer maps no file for it.
    if (fileNumber === 0 || type === RecordType.verify || this.#mapped.has(fileNumber)) return
    this.#mapped.add(fileNumber)
    if (type === RecordType.mapFile || type === RecordType.createFile) return
    const attributes = this.#maps.get(fileNumber)
    if (attributes === undefined) {
      throw new HotBackupError('ERR_LOG_CORRUPT', `no record maps file number ${fileNumber}`)
    }
    this.#encoder.mapFile(fileNumber, attributes)
  }

  async #write(block: BlockView): Promise<void> {
    const header = this.#header
    const seed = this.#seed
    if (header === null || seed === null) throw new TypeError('no segment has begun')
    const encoder = this.#encoder
    encoder.reserve(blockAlignment)
    const { count, firstTxn, time, promise } = block
    const { databaseId, timeline } = header
    const fields = { chain: this.#chain, count, firstTxn, time, promise, databaseId, timeline }
    const length = sealBlock(encoder.bytes, encoder.end, fields, seed.at(this.#offset))
    await this.#file.write(encoder.bytes, 0, length, this.#offset)
    this.#offset += length
    this.#chain = encoder.bytes.readUInt32LE(4)
    this.lastTxn = block.lastTxn
  }
}
