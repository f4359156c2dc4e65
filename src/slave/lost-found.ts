// DIR/lost-found: transactions that a slave could not apply, whole, one file each, so that nothing that was received
// is ever gone without a trace.
//
// LOST-FOUND/TXN-CHAIN, TXN with 20 digits, CHAIN the CRC of the transaction's block: the same transaction of the same
// history has the same name, whenever it is written, and that of another history another one.
//
//   hotbackup lost-found 1
//   reason: no such file (SALES ORDERS)
//   …                                            further lines "name: value", see LostHeader
//   records: 123                                 bytes
//   crc: 0a1b2c3d                                CRC-32 of all lines before this one and of the records
//                                                an empty line
//   records, as in hb-segment(5): map-file records of the files that the transaction does not name itself, then the
//   transaction as it lies in the log
//
// An entry is durable before the replayer's position goes past its transaction. It is put there by a rename, so
// what has the name is whole. TXN-CHAIN.gone, empty, stands for one that was discarded or replayed, as long as a
// restart could meet the transaction in the log again. LOST-FOUND/tries counts the attempts at the transaction that
// fails now. LOST-FOUND/before-copy holds the entries of a database that has given way to a copy of the master's.
import { join, parse } from 'node:path'
import { HotBackupError } from '../errors.ts'
import { KiB, MiB, transactionBytesMax } from '../limits.ts'
import { crc32 } from '../log/crc.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import { isNotFound, type Disk } from '../platform/disk.ts'

export interface LostHeader {
  /** Why it could not be applied. */
  readonly reason: string
  /** The code of that error; "defect" for one without. */
  readonly code: string
  /** The types of its records, each once. */
  readonly kind: string
  /** Name of this server. */
  readonly server: string
  /** When it was put here; ISO 8601. */
  readonly time: string
  readonly txn: number
  /** CRC of its block, eight hexadecimal digits. */
  readonly chain: string
  /** When its block was written, by the master's clock; ISO 8601. */
  readonly written: string
  /** The last transaction that this server had acknowledged as durable then. */
  readonly lastAcknowledged: number
  readonly timeline: number
}

export interface LostEntry extends LostHeader {
  /** By which commands name it. */
  readonly id: string
}

/** A transaction in the log. */
export interface TransactionName {
  readonly txn: number
  /** CRC of its block. */
  readonly chain: number
}

/** Attempts at a transaction that failed. */
export interface Tries extends TransactionName {
  readonly tries: number
}

const title = 'hotbackup lost-found 1'
const namePattern = /^(\d{20})-([0-9a-f]{8})$/
const triesName = 'tries'
const goneSuffix = '.gone'
const beforeCopyName = 'before-copy'
const headerBytesMax = 16 * KiB
const reasonCharactersMax = 2000
const entryBytesMax = transactionBytesMax + 16 * MiB

/** Whether it is the server's own, by its path from the directory. */
export function isLostFile(name: string): boolean {
  const plain = name.replace(/\.tmp$/, '')
  const { dir, base } = parse(plain)
  if (dir === beforeCopyName) return namePattern.test(base)
  const entry = base.endsWith(goneSuffix) ? base.slice(0, -goneSuffix.length) : base
  return dir === '' && (namePattern.test(entry) || base === triesName)
}

/** The name of its file, and its id. */
export function lostId({ txn, chain }: TransactionName): string {
  return `${String(txn).padStart(20, '0')}-${chain.toString(16).padStart(8, '0')}`
}

/** What the names in a lost-found directory say, also those that are gone: by transaction, CRCs of its blocks. */
type LostNames = ReadonlyMap<number, readonly number[]>

async function lostNames(disk: Disk, directory: string): Promise<LostNames> {
  const names = new Map<number, number[]>()
  const there = await entryNames(disk, directory)
  for (const { txn, chain } of [...there, ...(await entryNames(disk, directory, goneSuffix))]) {
    names.set(txn, [...(names.get(txn) ?? []), chain])
  }
  return names
}

/** What a replay of the log must leave out: see replayLog. */
export async function leftOut(
  disk: Disk,
  directory: string,
): Promise<(txn: number, chain: number) => boolean> {
  const names = await lostNames(disk, directory)
  return (txn, chain) => names.get(txn)?.includes(chain) === true
}

/** How many transactions lie there. */
export async function countLost(disk: Disk, directory: string): Promise<number> {
  return (await entryNames(disk, directory)).length
}

async function entryNames(disk: Disk, directory: string, suffix = ''): Promise<TransactionName[]> {
  return (await disk.list(directory)).flatMap(({ name, directory: isDirectory }) => {
    const whole = !isDirectory && name.endsWith(suffix)
    const match = whole ? namePattern.exec(name.slice(0, name.length - suffix.length)) : null
    return match === null ? [] : [{ txn: Number(match[1]), chain: parseInt(match[2] ?? '', 16) }]
  })
}

export class LostAndFound {
  readonly #disk: Disk
  readonly #directory: string
  readonly #names: Map<number, readonly number[]>

  private constructor(disk: Disk, directory: string, names: LostNames) {
    this.#disk = disk
    this.#directory = directory
    this.#names = new Map(names)
  }

  /** The caller owns the server. Throws ERR_DISK. */
  static async open(disk: Disk, directory: string): Promise<LostAndFound> {
    return new LostAndFound(disk, directory, await lostNames(disk, directory))
  }

  /** The database's files hold everything up to `stampTxn`: those transactions are not met again. */
  async forgetGone(stampTxn: number): Promise<void> {
    const gone = await entryNames(this.#disk, this.#directory, goneSuffix)
    for (const name of gone) {
      const path = join(this.#directory, `${lostId(name)}${goneSuffix}`)
      if (name.txn <= stampTxn) await this.#disk.remove(path)
    }
  }

  /** Nothing lies there. */
  get empty(): boolean {
    return this.#names.size === 0
  }

  /** The transaction lies there, or did since this was opened: it must not be applied. */
  has(txn: number, chain: number): boolean {
    return this.#names.get(txn)?.includes(chain) === true
  }

  /** Durable when it resolves. Throws ERR_DISK, ERR_DISK_FULL. */
  async put(name: TransactionName, header: LostHeader, records: Uint8Array): Promise<void> {
    await this.#makeDirectory()
    const bytes = encodeEntry(header, records)
    await writeFileAtomic(this.#disk, join(this.#directory, lostId(name)), bytes)
    this.#names.set(name.txn, [...(this.#names.get(name.txn) ?? []), name.chain])
  }

  /** How often applying it has failed before, also by processes before this one. */
  async triesOf({ txn, chain }: TransactionName): Promise<number> {
    const text = await readState(this.#disk, join(this.#directory, triesName), 1 * KiB)
    const [, ofTxn, ofChain, tries] = /^(\d+) ([0-9a-f]{8}) (\d+)\n$/.exec(String(text)) ?? []
    return Number(ofTxn) === txn && parseInt(ofChain ?? '', 16) === chain ? Number(tries) : 0
  }

  /** Durable when it resolves. */
  async noteTries({ txn, chain, tries }: Tries): Promise<void> {
    await this.#makeDirectory()
    const text = `${txn} ${chain.toString(16).padStart(8, '0')} ${tries}\n`
    await writeFileAtomic(this.#disk, join(this.#directory, triesName), Buffer.from(text))
  }

  async #makeDirectory(): Promise<void> {
    if (await this.#disk.exists(this.#directory)) return
    await this.#disk.makeDirectory(this.#directory)
    await this.#disk.syncDirectory(join(this.#directory, '..'))
  }
}

/** What lies there, oldest first; headers alone are read. Throws ERR_LOST_CORRUPT, ERR_DISK. */
export async function listLost(disk: Disk, directory: string): Promise<LostEntry[]> {
  const entries: LostEntry[] = []
  for (const name of await entryNames(disk, directory)) {
    const id = lostId(name)
    const path = join(directory, id)
    const bytes = await readStart(disk, path)
    // Discarded meanwhile.
    if (bytes !== null) entries.push({ id, ...decodeHeader(bytes, path).header })
  }
  return entries.sort((a, b) => a.txn - b.txn || (a.id < b.id ? -1 : 1))
}

/**
 * The full id for what an operator has typed: an id, or the number of a transaction. Throws ERR_NO_LOST when there
 * is none, ERR_USAGE when the number could mean two.
 */
export async function findLost(disk: Disk, directory: string, typed: string): Promise<string> {
  const ids = (await entryNames(disk, directory))
    .filter(name => lostId(name) === typed || String(name.txn) === typed)
    .map(lostId)
  const [id, second] = ids
  if (id === undefined) {
    throw new HotBackupError('ERR_NO_LOST', `lost-found has no transaction "${typed}"`)
  }
  if (second === undefined) return id
  const message = `lost-found has two transactions ${typed}, of two histories: ${ids.join(', ')}`
  throw new HotBackupError('ERR_USAGE', message, {}, undefined, 'Give one of these ids.')
}

/** An entry whole and checked. Throws ERR_NO_LOST, ERR_LOST_CORRUPT, ERR_DISK. */
export async function readLost(
  disk: Disk,
  directory: string,
  id: string,
): Promise<{ readonly entry: LostEntry; readonly records: Buffer }> {
  const path = join(directory, id)
  const bytes = await readState(disk, path, entryBytesMax)
  if (bytes === null) throw new HotBackupError('ERR_NO_LOST', `lost-found has no entry ${id}`)
  const { header, length, crc, crcStart, recordsStart } = decodeHeader(bytes, path)
  const records = bytes.subarray(recordsStart)
  if (records.length !== length) {
    throw corrupt(path, `it has ${records.length} bytes of records, and says ${length}`)
  }
  if (crc32(records, 0, records.length, crc32(bytes, 0, crcStart)) !== crc) {
    throw corrupt(path, 'wrong CRC')
  }
  return { entry: { id, ...header }, records }
}

/** For good; durable when it resolves. Whether the server runs does not matter. */
export async function removeLost(disk: Disk, directory: string, id: string): Promise<void> {
  const path = join(directory, id)
  await writeFileAtomic(disk, `${path}${goneSuffix}`, Buffer.alloc(0))
  await disk.remove(path)
  await disk.syncDirectory(directory)
}

/**
 * The database has been replaced by a copy, which holds what these transactions have done on the master, or meets them
 * again in the log: they are kept for the operator, and count no longer. May be done again after a crash.
 */
export async function putAwayLost(disk: Disk, directory: string): Promise<void> {
  const entries = await entryNames(disk, directory)
  const gone = await entryNames(disk, directory, goneSuffix)
  const there = await disk.exists(join(directory, triesName))
  if (entries.length + gone.length === 0 && !there) return
  const away = join(directory, beforeCopyName)
  await disk.makeDirectory(away)
  await disk.syncDirectory(directory)
  for (const name of entries)
    await disk.rename(join(directory, lostId(name)), join(away, lostId(name)))
  await disk.syncDirectory(away)
  for (const name of gone) await disk.remove(join(directory, `${lostId(name)}${goneSuffix}`))
  await disk.remove(join(directory, triesName))
  await disk.syncDirectory(directory)
}

function encodeEntry(header: LostHeader, records: Uint8Array): Buffer {
  const lines = [
    title,
    `reason: ${oneLine(header.reason).slice(0, reasonCharactersMax)}`,
    `code: ${header.code}`,
    `kind: ${header.kind}`,
    `server: ${header.server}`,
    `time: ${header.time}`,
    `txn: ${header.txn}`,
    `chain: ${header.chain}`,
    `written: ${header.written}`,
    `last acknowledged: ${header.lastAcknowledged}`,
    `timeline: ${header.timeline}`,
    `records: ${records.length}`,
  ]
  const head = Buffer.from(`${lines.join('\n')}\n`)
  const crc = crc32(records, 0, records.length, crc32(head, 0, head.length))
  const end = Buffer.from(`crc: ${crc.toString(16).padStart(8, '0')}\n\n`)
  return Buffer.concat([head, end, records])
}

function oneLine(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f]+/g, ' ').trim()
}

interface Decoded {
  readonly header: LostHeader
  /** Of the records, as the header says. */
  readonly length: number
  readonly crc: number
  /** Where the line with the CRC starts. */
  readonly crcStart: number
  readonly recordsStart: number
}

function decodeHeader(bytes: Buffer, path: string): Decoded {
  const end = bytes.subarray(0, headerBytesMax).indexOf('\n\n')
  const text = bytes.toString('utf8', 0, Math.max(end, 0))
  const [first, ...lines] = text.split('\n')
  if (first !== title) throw corrupt(path, `it does not begin with "${title}"`)
  const values = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(': ')
    values.set(line.slice(0, colon), line.slice(colon + 2))
  }
  const value = (name: string): string => {
    const found = values.get(name)
    if (found === undefined) throw corrupt(path, `it has no line "${name}"`)
    return found
  }
  const number = (name: string): number => {
    const found = Number(value(name))
    if (!Number.isSafeInteger(found) || found < 0) throw corrupt(path, `"${name}" is no number`)
    return found
  }
  const header: LostHeader = {
    reason: value('reason'),
    code: value('code'),
    kind: value('kind'),
    server: value('server'),
    time: value('time'),
    txn: number('txn'),
    chain: value('chain'),
    written: value('written'),
    lastAcknowledged: number('last acknowledged'),
    timeline: number('timeline'),
  }
  return {
    header,
    length: number('records'),
    crc: parseInt(value('crc'), 16),
    crcStart: bytes.lastIndexOf('\ncrc: ', end) + 1,
    recordsStart: end + 2,
  }
}

async function readStart(disk: Disk, path: string): Promise<Buffer | null> {
  let file
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (isNotFound(error)) return null
    throw error
  }
  try {
    const bytes = Buffer.alloc(Math.min(file.size(), headerBytesMax))
    const count = await file.read(bytes, 0, bytes.length, 0)
    return bytes.subarray(0, count)
  } finally {
    await file.close()
  }
}

function corrupt(path: string, what: string): HotBackupError {
  return new HotBackupError('ERR_LOST_CORRUPT', `${path} is damaged: ${what}`, { path })
}
