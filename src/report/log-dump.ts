// Shows the records of a log, one line each, for people or as JSON. Written for large logs: nothing is allocated
// for a record, and the lines leave in large pieces.
import { join } from 'node:path'
import { HotBackupError, isHotBackupError } from '../errors.ts'
import { BlockView } from '../log/block.ts'
import { BlockChain } from '../log/chain.ts'
import { durableName, readDurableState } from '../log/durable.ts'
import { flagWords } from '../log/file-flags.ts'
import { namesFile, RecordCursor, RecordType, recordTypeNames } from '../log/record.ts'
import { SegmentScan } from '../log/scan.ts'
import { segmentFiles, type SegmentFile } from '../log/segments.ts'
import { writtenEnd } from '../log/tail.ts'
import { decodeVerify } from '../log/verify-record.ts'
import type { Disk } from '../platform/disk.ts'
import type { ByteForm } from '../text/byte-forms.ts'
import { LineBuffer, type Sink } from '../text/line-buffer.ts'
import { count } from '../text/numbers.ts'

export interface DumpOptions {
  /** First and last transaction to show. */
  readonly from: number
  readonly to: number
  /** Null: all of them. */
  readonly account: string | null
  readonly file: string | null
  readonly json: boolean
  /** How item-ids and values are written; null: as they are. */
  readonly form: ByteForm | null
}

/** A segment, and where in it to stop. */
interface Source extends SegmentFile {
  /** Offset in the file. */
  readonly limit: number
  /** The last transaction that it must hold; null for a file by itself, which does not say. */
  readonly until: number | null
}

/** Dumps the log in `directory` as far as it is durable. Throws ERR_LOG_CORRUPT with the place. */
export async function dumpLog(
  disk: Disk,
  directory: string,
  options: DumpOptions,
  sink: Sink,
): Promise<void> {
  const { mark, damaged } = await readDurableState(disk, directory)
  const files = await segmentFiles(disk, directory)
  const sources = files.flatMap(({ path, firstTxn }, index): Source[] => {
    const next = files[index + 1]?.firstTxn ?? Infinity
    if (firstTxn > (mark?.txn ?? Infinity) || firstTxn > options.to || next <= options.from)
      return []
    if (mark !== null && firstTxn === mark.segmentFirstTxn) {
      return [{ path, firstTxn, limit: mark.offset, until: mark.txn }]
    }
    // Without a mark, as far as there are blocks.
    const until = next === Infinity ? (mark?.txn ?? 0) : next - 1
    return [{ path, firstTxn, limit: Infinity, until }]
  })
  await dump(disk, sources, options, sink, directory)
  if (!damaged) return
  const path = join(directory, durableName)
  const message = `${path} is not valid: what has been shown may not have been durable; the next start repairs it`
  throw new HotBackupError('ERR_LOG_CORRUPT', message, { path, offset: 0 })
}

/** Dumps segment files, each by itself. Throws ERR_LOG_CORRUPT or ERR_LOG_TORN with the place of what is no block. */
export async function dumpFiles(
  disk: Disk,
  paths: readonly string[],
  options: DumpOptions,
  sink: Sink,
): Promise<void> {
  const sources = paths.map(path => ({ path, firstTxn: 0, limit: Infinity, until: null }))
  await dump(disk, sources, options, sink, null)
}

/** The records of one transaction, which lie anywhere. Throws ERR_LOG_CORRUPT for what is no record. */
export function transactionLines(
  records: Buffer,
  txn: number,
  time: number,
  how: Pick<DumpOptions, 'json' | 'form'>,
): Buffer {
  const printer = new RecordPrinter({ from: txn, to: txn, account: null, file: null, ...how })
  printer.records(records, 0, records.length, txn, time)
  return printer.take()
}

async function dump(
  disk: Disk,
  sources: readonly Source[],
  options: DumpOptions,
  sink: Sink,
  /** That of a log, in which one segment leads to the next; null for files by themselves. */
  directory: string | null,
): Promise<void> {
  const printer = new RecordPrinter(options)
  let chain: BlockChain | null = null
  for (const source of sources) {
    const { limit, until } = source
    const scan = await openSource(disk, source, directory)
    if (scan === null) continue
    try {
      const { header } = scan
      if (chain === null || directory === null) {
        chain = new BlockChain({ txn: header.firstTxn - 1, chain: header.chain })
      }
      scan.enter(chain)
      printer.enterSegment()
      while (chain.txn < options.to && (await scan.next(limit))) {
        printer.run(scan.bytes, scan.start, scan.end)
        if (printer.full) await sink(printer.take())
      }
      if (until !== null) scan.checkReached(Math.min(until, options.to))
      else if (chain.txn < options.to) await checkEnd(scan)
    } finally {
      // What was read before an error is shown.
      await sink(printer.take())
      await scan.close()
    }
  }
}

/** Null for a segment that has been removed meanwhile. */
async function openSource(
  disk: Disk,
  source: Source,
  directory: string | null,
): Promise<SegmentScan | null> {
  if (directory === null) return SegmentScan.open(disk, source.path, { reuse: true })
  try {
    return await SegmentScan.openListed(disk, directory, source, { reuse: true })
  } catch (error) {
    if (isHotBackupError(error, 'ERR_LOG_REMOVED')) return null
    throw error
  }
}

async function checkEnd(scan: SegmentScan): Promise<void> {
  const { fault, file, path, offset } = scan
  if (fault === null || (fault === 'end' && (await writtenEnd(file, offset)) === offset)) return
  // Nothing at all behind the last block: the file ends there.
  if (fault === 'short' && offset >= file.size()) return
  const message = `${path}: no valid block at offset ${offset} (${fault}); "hb log verify" says more`
  const code = fault === 'short' ? 'ERR_LOG_TORN' : 'ERR_LOG_CORRUPT'
  throw new HotBackupError(code, message, { path, offset })
}

const twoBlanks = Buffer.from('  ')
const bytesUnit = Buffer.from(' B  ')
const comma = Buffer.from(',')
const jsonTxn = Buffer.from('{"txn":')
const jsonLast = Buffer.from('"last":true}\n')
const jsonNotLast = Buffer.from('"last":false}\n')

const anyFile = { names: Buffer.alloc(0), wanted: true }

class RecordPrinter {
  readonly #options: DumpOptions
  readonly #lines = new LineBuffer()
  readonly #block = new BlockView()
  readonly #record = new RecordCursor()
  #time = ''
  /** By type of record. */
  readonly #starts: Buffer[] = []
  /** By number: the names as they are shown, and whether the file is asked for. Known anew in each segment. */
  readonly #files = new Map<number, { readonly names: Buffer; readonly wanted: boolean }>()

  constructor(options: DumpOptions) {
    this.#options = options
  }

  get full(): boolean {
    return this.#lines.full
  }

  take(): Buffer {
    return this.#lines.take()
  }

  enterSegment(): void {
    this.#files.clear()
  }

  /** Whole, valid blocks. */
  run(bytes: Buffer, start: number, end: number): void {
    const block = this.#block
    for (let at = start; at < end; at += block.length) {
      block.reset(bytes, at)
      this.records(bytes, block.bodyStart, block.bodyEnd, block.firstTxn, block.time)
    }
  }

  /** Of whole transactions. */
  records(bytes: Buffer, start: number, end: number, firstTxn: number, time: number): void {
    const record = this.#record
    const { from, to } = this.#options
    this.#enterBlock(time)
    let txn = firstTxn
    record.reset(bytes, start, end)
    while (record.next()) {
      const { names, wanted } = this.#fileOf(record)
      if (wanted && txn >= from && txn <= to) {
        if (this.#options.json) this.#jsonLine(txn, names)
        else this.#textLine(txn, names)
      }
      if (record.last) txn++
    }
  }

  #enterBlock(time: number): void {
    this.#time = new Date(time).toISOString()
    this.#starts.length = 0
  }

  /** What follows the transaction number: the same for all records of a type in a block. */
  #start(type: RecordType): Buffer {
    const name = recordTypeNames[type]
    return (this.#starts[type] ??= Buffer.from(
      this.#options.json
        ? `,"time":"${this.#time}","type":"${name}",`
        : `  ${this.#time}  ${name.padEnd(14)}  `,
    ))
  }

  #fileOf(record: RecordCursor): { readonly names: Buffer; readonly wanted: boolean } {
    const { account, file, json } = this.#options
    const { type } = record
    if (namesFile(type)) {
      const attributes = record.attributes()
      const found = {
        names: json
          ? Buffer.from(
              `"account":${JSON.stringify(attributes.account)},"file":${JSON.stringify(attributes.file)},"fileNumber":${record.fileNumber},`,
            )
          : Buffer.from(`${attributes.account} ${attributes.file}  `),
        wanted:
          (account === null || account === attributes.account) &&
          (file === null || file === attributes.file),
      }
      this.#files.set(record.fileNumber, found)
      return found
    }
    if (record.fileNumber !== 0) return this.#files.get(record.fileNumber) ?? anyFile
    // About an account: its name is the id.
    const about = file === null && (account === null || account === record.idText())
    return about ? anyFile : { ...anyFile, wanted: false }
  }

  #textLine(txn: number, names: Buffer): void {
    const record = this.#record
    const lines = this.#lines
    lines.ascii(count(txn).padStart(10))
    lines.bytes(this.#start(record.type))
    lines.bytes(names)
    switch (record.type) {
      case RecordType.mapFile:
      case RecordType.createFile:
      case RecordType.setFile: {
        const { modulo, flags } = record.attributes()
        const words = flags === 0 ? '' : `  ${flagWords(flags).join(' ')}`
        lines.ascii(`modulo ${count(modulo)}${words}`)
        break
      }
      case RecordType.resizeFile:
        lines.ascii(`modulo ${count(record.modulo())}`)
        break
      case RecordType.verify:
        lines.ascii(verifyText(record))
        break
      case RecordType.clearGroup: {
        const { from, to } = record.hashes()
        lines.ascii(`hashes ${from} to ${to - 1}`)
        break
      }
      case RecordType.writeItem:
      case RecordType.deleteItem:
        lines.quoted(record.bytes, record.idStart, record.idEnd, this.#options.form)
        break
      default:
        if (record.idEnd > record.idStart) lines.quoted(record.bytes, record.idStart, record.idEnd)
    }
    if (record.type === RecordType.writeItem) this.#valueText(this.#options.form)
    if (record.type === RecordType.mark) this.#valueText(null)
    lines.newLine()
  }

  #valueText(form: ByteForm | null): void {
    const { bytes, valueStart, valueEnd } = this.#record
    const length = valueEnd - valueStart
    this.#lines.bytes(twoBlanks)
    this.#lines.ascii(count(length))
    this.#lines.bytes(bytesUnit)
    const shown = Math.min(length, valueBytesShown)
    this.#lines.quoted(bytes, valueStart, valueStart + shown, form)
    if (shown < length) this.#lines.ascii('…')
  }

  #jsonLine(txn: number, names: Buffer): void {
    const record = this.#record
    const { form } = this.#options
    const lines = this.#lines
    lines.bytes(jsonTxn)
    lines.number(txn)
    lines.bytes(this.#start(record.type))
    lines.bytes(names)
    switch (record.type) {
      case RecordType.mapFile:
      case RecordType.createFile:
      case RecordType.setFile: {
        const { modulo, flags } = record.attributes()
        lines.ascii(`"modulo":${modulo},"flags":${JSON.stringify(flagWords(flags))},`)
        break
      }
      case RecordType.resizeFile:
        lines.ascii(`"modulo":${record.modulo()},`)
        break
      case RecordType.clearGroup: {
        const { from, to } = record.hashes()
        lines.ascii(`"from":${from},"to":${to},`)
        break
      }
      case RecordType.verify:
        lines.ascii(`${JSON.stringify(verifyFields(record)).slice(1, -1)},`)
        break
      case RecordType.createAccount:
      case RecordType.deleteAccount:
        lines.ascii(`"account":${JSON.stringify(record.idText())},`)
        break
      case RecordType.promote:
        lines.ascii(`"server":${JSON.stringify(record.idText())},`)
        break
      case RecordType.mark:
        lines.json('mark', 'markBase64', record.bytes, record.idStart, record.idEnd)
        lines.bytes(comma)
        lines.json('details', 'base64', record.bytes, record.valueStart, record.valueEnd)
        lines.bytes(comma)
        break
      case RecordType.writeItem:
      case RecordType.deleteItem:
        lines.json('id', 'idBase64', record.bytes, record.idStart, record.idEnd, form)
        lines.bytes(comma)
        break
      default:
        break
    }
    if (record.type === RecordType.writeItem) {
      lines.json('value', 'base64', record.bytes, record.valueStart, record.valueEnd, form)
      lines.bytes(comma)
    }
    lines.bytes(record.last ? jsonLast : jsonNotLast)
  }
}

/** What a verify record says, without its digests. */
function verifyFields(record: RecordCursor): Record<string, string | number> {
  const said = decodeVerify(record.bytes, record.valueStart, record.valueEnd)
  const { form } = said
  switch (said.form) {
    case 'range':
    case 'items': {
      const { from, to, modulo } = said
      const items = said.form === 'range' ? said.items : said.items.length
      return { form, fileNumber: record.fileNumber, modulo, from, to, items }
    }
    case 'files':
      return { form, accounts: said.accounts.length, files: said.files.length }
    case 'end':
      return { form, begun: said.txn }
  }
}

function verifyText(record: RecordCursor): string {
  const { form = '', ...fields } = verifyFields(record)
  return [form, ...Object.entries(fields).map(([name, value]) => `${name} ${value}`)].join('  ')
}

/** Of a value, in a line for people. */
const valueBytesShown = 60
