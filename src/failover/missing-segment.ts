// Reads a segment of missing updates (see missing-updates.ts): transactions in order, with the names of their files,
// for whoever brings them to the server that never got them.
import { basename } from 'node:path'
import { isUpdate } from '../database/ahead.ts'
import { HotBackupError } from '../errors.ts'
import { BlockChain, hex } from '../log/chain.ts'
import type { FileAttributes } from '../log/file-attributes.ts'
import { RecordCursor, RecordType } from '../log/record.ts'
import { SegmentScan } from '../log/scan.ts'
import type { SegmentHeader } from '../log/segment.ts'
import { describeFault } from '../log/tail.ts'
import { FileMaps, TransactionCursor } from '../log/transactions.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'

/** One update of a missing transaction. Ids and values are the caller's own. */
export interface MissingUpdate {
  readonly type: RecordType
  /** Of the file, or the account itself for updates of accounts. */
  readonly account: string
  /** Null for updates of accounts. */
  readonly file: FileAttributes | null
  readonly id: Buffer
  readonly value: Buffer
  /** Of a resize. */
  readonly modulo: number
}

export interface MissingTransaction {
  readonly txn: number
  readonly updates: readonly MissingUpdate[]
  /** Its records as they lie in the segment. */
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

export interface MissingSummary {
  readonly header: SegmentHeader
  readonly lastTxn: number
}

/**
 * Checks all of the file, so that nothing is begun that cannot be completed. Throws ERR_LOG_CORRUPT, ERR_USAGE,
 * ERR_DISK.
 */
export async function checkMissing(disk: Disk, path: string): Promise<MissingSummary> {
  const scan = await open(disk, path)
  try {
    const chain = enter(scan)
    while (await scan.next());
    if (chain.offset < scan.file.size()) {
      const why = describeFault(scan.fault ?? 'end', chain.block)
      const message = `${path}, byte ${chain.offset}, transaction ${chain.txn + 1}: ${why}`
      throw new HotBackupError('ERR_LOG_CORRUPT', message, { path, offset: chain.offset })
    }
    const named = lastTxnOf(path)
    if (named !== null) scan.checkReached(named)
    return { header: scan.header, lastTxn: chain.txn }
  } finally {
    await scan.close()
  }
}

/** The transactions that change something, in order; each is good until the next one is asked for. */
export async function* missingTransactions(
  disk: Disk,
  path: string,
): AsyncGenerator<MissingTransaction, void, undefined> {
  const scan = await open(disk, path)
  const maps = new FileMaps()
  const cursor = new TransactionCursor()
  const record = new RecordCursor()
  try {
    enter(scan)
    while (await scan.next()) {
      cursor.reset(scan)
      while (cursor.next()) {
        const { txn, start, end } = cursor
        record.reset(scan.bytes, start, end)
        const updates: MissingUpdate[] = []
        // Only writes what was there.
        let repairs = false
        while (record.next()) {
          maps.note(record)
          repairs ||= record.type === RecordType.clearGroup
          if (isUpdate(record.type)) updates.push(updateOf(record, maps, path))
        }
        if (updates.length > 0 && !repairs) yield { txn, updates, bytes: scan.bytes, start, end }
      }
    }
  } finally {
    await scan.close()
  }
}

/** "hb rejoin" names the file by its first and last transaction; null for one that was renamed. */
function lastTxnOf(path: string): number | null {
  const named = /^\d+-(\d+)-[\da-f]{8}\.log$/.exec(basename(path))
  return named === null ? null : Number(named[1])
}

function updateOf(record: RecordCursor, maps: FileMaps, path: string): MissingUpdate {
  const { bytes, type, fileNumber, idStart, idEnd, valueStart, valueEnd } = record
  const id = Buffer.from(bytes.subarray(idStart, idEnd))
  const value = Buffer.from(bytes.subarray(valueStart, valueEnd))
  const modulo = type === RecordType.resizeFile ? record.modulo() : 0
  if (fileNumber === 0) return { type, account: record.idText(), file: null, id, value, modulo }
  const file = maps.get(fileNumber)
  if (file === undefined) {
    const message = `${path}: no record maps file number ${fileNumber}`
    throw new HotBackupError('ERR_LOG_CORRUPT', message, { path })
  }
  return { type, account: file.account, file, id, value, modulo }
}

async function open(disk: Disk, path: string): Promise<SegmentScan> {
  try {
    return await SegmentScan.open(disk, path, { reuse: true })
  } catch (error) {
    if (!isNotFound(error)) throw error
    throw new HotBackupError('ERR_USAGE', `there is no ${path}`, { path }, error, 'Check the path.')
  }
}

function enter(scan: SegmentScan): BlockChain {
  const { header } = scan
  const chain = new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
  scan.enter(chain)
  return chain
}

/** For messages: the fork behind which the updates are missing. */
export function forkText({ firstTxn, chain }: SegmentHeader): string {
  return `transaction ${firstTxn - 1} (chain ${hex(chain)})`
}
