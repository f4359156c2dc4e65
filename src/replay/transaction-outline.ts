// A transaction of the log in few words, for a report: when it was written, and the first of its operations. It is
// bounded, whatever the transaction holds.
import { isUtf8 } from 'node:buffer'
import { BlockChain } from '../log/chain.ts'
import { RecordCursor, RecordType, recordTypeNames } from '../log/record.ts'
import { SegmentScan } from '../log/scan.ts'
import { FileMaps, TransactionCursor } from '../log/transactions.ts'
import type { Disk } from '../platform/disk.ts'
import type { OperationOutline, TransactionOutline } from './replay-operations.ts'

const operationsMax = 10

/**
 * Reads the segment at `path` from its start, since what the file numbers stand for lies there. Throws ERR_LOG_CORRUPT
 * when it does not lead to the transaction, and what SegmentScan throws.
 */
export async function outlineTransaction(
  disk: Disk,
  path: string,
  txn: number,
): Promise<TransactionOutline> {
  const scan = await SegmentScan.open(disk, path, { reuse: true })
  try {
    const { header } = scan
    scan.enter(new BlockChain({ txn: header.firstTxn - 1, chain: header.chain }))
    const maps = new FileMaps()
    const cursor = new TransactionCursor()
    const record = new RecordCursor()
    while (await scan.next()) {
      cursor.reset(scan)
      while (cursor.next()) {
        record.reset(scan.bytes, cursor.start, cursor.end)
        if (cursor.txn === txn) return outline(record, maps, cursor)
        while (record.next()) maps.note(record)
      }
    }
    throw scan.damage()
  } finally {
    await scan.close()
  }
}

function outline(
  record: RecordCursor,
  maps: FileMaps,
  { txn, blockTime }: TransactionCursor,
): TransactionOutline {
  const operations: OperationOutline[] = []
  let more = 0
  while (record.next()) {
    maps.note(record)
    // It says what follows is about, and does nothing.
    if (record.type === RecordType.mapFile) continue
    if (operations.length < operationsMax) operations.push(operationOutline(record, maps))
    else more++
  }
  return { txn, time: new Date(blockTime).toISOString(), operations, more }
}

function operationOutline(record: RecordCursor, maps: FileMaps): OperationOutline {
  const { type, fileNumber } = record
  const { account, file } = maps.get(fileNumber) ?? {}
  const of = {
    type: recordTypeNames[type],
    ...(account !== undefined && { account }),
    ...(file !== undefined && { file }),
  }
  switch (type) {
    case RecordType.writeItem:
      return { ...of, ...idOf(record), bytes: record.valueEnd - record.valueStart }
    case RecordType.deleteItem:
    case RecordType.mark:
      return { ...of, ...idOf(record) }
    case RecordType.createFile:
      return { ...of, modulo: record.attributes().modulo }
    case RecordType.resizeFile:
      return { ...of, modulo: record.modulo() }
    case RecordType.createAccount:
    case RecordType.deleteAccount:
      return { ...of, account: record.idText() }
    default:
      return of
  }
}

function idOf({ bytes, idStart, idEnd }: RecordCursor): Pick<OperationOutline, 'id' | 'idBase64'> {
  const id = Buffer.from(bytes.subarray(idStart, idEnd))
  return isUtf8(id) ? { id: id.toString() } : { id: id.toString('base64'), idBase64: true }
}
