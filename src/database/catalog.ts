// The catalog: accounts, files, the state of their generations and the stamp, as one small file that is
// replaced as a whole. The journal holds the same bytes.
//
// CATALOG, little-endian
//
//    0  magic           u32  "HBCT" = 0x54434248
//    4  CRC-32          u32  of bytes 8 to the end
//    8  format version  u16  1; of the catalog, the journal and the frames together
//   10  header length   u16  64
//   12  length          u32  of the whole catalog
//   16  stamp txn       u64  all transactions up to this one are in the files, and no later one
//   24  stamp chain     u32
//   28  accounts        u32
//   32  files           u32
//   36  next file       u32  no file number from here on has been used
//   40  next generation u32  likewise
//   44  selections      u32
//   48  damaged         u32  ranges
//   52  journal         u32  number of the journal that was put in place last; 0: the database is new, or a copy
//   56  journal CRC     u32  its frames CRC; of a copy, CRC of the catalog that was copied. See recover.ts
//   60  reserved        4 bytes  0
//   64  ACCOUNT …, then FILE …, then SELECTION …, then DAMAGED …
//
// ACCOUNT     u8 name length, name
//
// FILE
//    0  number          u32
//    4  generation      u32
//    8  modulo          u32
//   12  frame count     u32
//   16  free head       u32
//   20  disk frames     u32  the data file has at least that many frames
//   24  account         u32  index of the account, from 0
//   28  name length     u8
//   29  role            u8   0: a file's data; 1: likewise, of a file with a hold; 2: what is
//                            held; 3: ids that were deleted. An entry of role 1 is followed by one of 2 and one of 3
//   30  flags           u8   bits 0 to 2: as in the log's FILE ATTRIBUTES; bit 6: item count and item bytes are not
//                            exact; bit 7: absent here
//   31  reserved        1 byte   0
//   32  item count      u64
//   40  item bytes      u64
//   48  last txn        u64
//   56  pages           u32  of checksums
//   60  reserved        4 bytes  0
//   64  name            bytes
//   then HOLD if the role is 1, then PAGE …
//
// PAGE, of checksums, in the order of their numbers (see frame-sums.ts)
//    0  number          u32
//    4  frame           u32  where it lies
//    8  CRC-32          u32
//
// HOLD (see hold.ts)
//    0  modulo          u32  that was ordered
//    4  target          u32  generation that a helper builds, or has built
//    8  flags           u32  bit 0: the target is the file's data, and the hold is being drained into it
//   12  reserved        u32  0
//   16  drained to      u64  hash, up to 2^32
//   24  item count      u64  that readers see
//   32  item bytes      u64  likewise
//   40  updates         u64
//
// SELECTION, of what was applied ahead of its turn (see ahead.ts)
//    0  until           u64  transaction
//    8  files           u32
//   12  accounts        u32
//   16  file number     u32, as many as there are; then ACCOUNT …
//
// DAMAGED, a range of hashes that may not be used (see quarantine.ts)
//    0  file number     u32
//    4  generation      u32  whose group is damaged; 0 is none any more
//    8  from            u64  first hash
//   16  to              u64  first hash behind the range
//
// A catalog is valid if and only if its length is that of the file and its CRC matches.
import { HotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import { type LogPosition } from '../log/chain.ts'
import { crc32 } from '../log/crc.ts'
import { type Selection } from './ahead.ts'
import { pageOf, type SumsPlace } from './frame-sums.ts'
import { type GenerationState } from './generation-state.ts'
import { type HoldState } from './hold.ts'
import { type DamagedRange } from './quarantine.ts'

const catalogMagic = 0x54434248
export const databaseVersion = 1
const headerBytes = 64
const fileHeaderBytes = 64
const pageBytes = 12
const absentFlag = 0x80
const uncountedFlag = 0x40
const damagedBytes = 24
const holdBytes = 48
const selectionHeaderBytes = 16
const holdRole = 1
const drainingFlag = 1
/** No length above this is believed: several million files. */
export const catalogBytesMax = 1024 * MiB

/** What an entry is the data of. A file with a hold has all three, in this order. */
export const catalogRoles = ['file', 'held', 'gone'] as const
export type CatalogRole = (typeof catalogRoles)[number]

export interface CatalogFile extends GenerationState {
  /** Index in `accounts`. */
  readonly account: number
  readonly name: string
  readonly lastTxn: number
  readonly flags: number
  /** A slave's, of a file that is not replicated. */
  readonly absent: boolean
  /** Item count and item bytes are exact. */
  readonly counted: boolean
  readonly role: CatalogRole
  /** Null in the entries of a hold's own data. */
  readonly hold: HoldState | null
  // Only a checkpoint knows these, once it has seen all frames that it will write.
  frameCount: number
  diskFrames: number
  sumsPlaces: readonly SumsPlace[]
}

/** Which journal: no two of a database have the same. */
export interface JournalId {
  /** They are counted. */
  readonly number: number
  readonly crc: number
}

/** No journal goes with the catalog: nothing has been written so far. */
export const noJournal: JournalId = { number: 0, crc: 0 }

export interface Catalog {
  readonly stamp: LogPosition
  /** The one that was put in place last. */
  readonly journal: JournalId
  readonly nextFileNumber: number
  readonly nextGeneration: number
  readonly accounts: readonly string[]
  readonly files: readonly CatalogFile[]
  readonly ahead: readonly Selection[]
  readonly damaged: readonly DamagedRange[]
}

export function encodeCatalog(catalog: Catalog): Buffer {
  const names = [...catalog.accounts, ...catalog.files.map(file => file.name)]
  let length = headerBytes + catalog.accounts.length + catalog.files.length * fileHeaderBytes
  for (const name of names) length += Buffer.byteLength(name)
  for (const { hold, sumsPlaces } of catalog.files) {
    length += (hold === null ? 0 : holdBytes) + sumsPlaces.length * pageBytes
  }
  const selections = catalog.ahead.map(encodeSelection)
  for (const selection of selections) length += selection.length
  length += catalog.damaged.length * damagedBytes
  const bytes = Buffer.alloc(length)
  bytes.writeUInt32LE(catalogMagic, 0)
  bytes.writeUInt16LE(databaseVersion, 8)
  bytes.writeUInt16LE(headerBytes, 10)
  bytes.writeUInt32LE(length, 12)
  bytes.writeBigUInt64LE(BigInt(catalog.stamp.txn), 16)
  bytes.writeUInt32LE(catalog.stamp.chain, 24)
  bytes.writeUInt32LE(catalog.accounts.length, 28)
  bytes.writeUInt32LE(catalog.files.length, 32)
  bytes.writeUInt32LE(catalog.nextFileNumber, 36)
  bytes.writeUInt32LE(catalog.nextGeneration, 40)
  bytes.writeUInt32LE(catalog.ahead.length, 44)
  bytes.writeUInt32LE(catalog.damaged.length, 48)
  bytes.writeUInt32LE(catalog.journal.number, 52)
  bytes.writeUInt32LE(catalog.journal.crc, 56)
  let at = headerBytes
  for (const account of catalog.accounts) {
    const nameLength = bytes.write(account, at + 1)
    bytes.writeUInt8(nameLength, at)
    at += 1 + nameLength
  }
  for (const file of catalog.files) {
    bytes.writeUInt32LE(file.fileNumber, at)
    bytes.writeUInt32LE(file.number, at + 4)
    bytes.writeUInt32LE(file.modulo, at + 8)
    bytes.writeUInt32LE(file.frameCount, at + 12)
    bytes.writeUInt32LE(file.freeHead, at + 16)
    bytes.writeUInt32LE(file.diskFrames, at + 20)
    bytes.writeUInt32LE(file.account, at + 24)
    // What is not exact may be anything.
    bytes.writeBigUInt64LE(BigInt(Math.max(0, file.itemCount)), at + 32)
    bytes.writeBigUInt64LE(BigInt(Math.max(0, file.itemBytes)), at + 40)
    bytes.writeBigUInt64LE(BigInt(file.lastTxn), at + 48)
    const nameLength = bytes.write(file.name, at + fileHeaderBytes)
    bytes.writeUInt8(nameLength, at + 28)
    const state = (file.absent ? absentFlag : 0) | (file.counted ? 0 : uncountedFlag)
    bytes.writeUInt8(file.flags | state, at + 30)
    const { hold, role } = file
    bytes.writeUInt8(hold !== null ? holdRole : roleCodes[role], at + 29)
    bytes.writeUInt32LE(file.sumsPlaces.length, at + 56)
    at += fileHeaderBytes + nameLength
    if (hold !== null) {
      encodeHold(hold, bytes, at)
      at += holdBytes
    }
    for (const { page, frame, crc } of file.sumsPlaces) {
      bytes.writeUInt32LE(page, at)
      bytes.writeUInt32LE(frame, at + 4)
      bytes.writeUInt32LE(crc, at + 8)
      at += pageBytes
    }
  }
  for (const selection of selections) at += selection.copy(bytes, at)
  for (const { fileNumber, generation, from, to } of catalog.damaged) {
    bytes.writeUInt32LE(fileNumber, at)
    bytes.writeUInt32LE(generation, at + 4)
    bytes.writeBigUInt64LE(BigInt(from), at + 8)
    bytes.writeBigUInt64LE(BigInt(to), at + 16)
    at += damagedBytes
  }
  bytes.writeUInt32LE(crc32(bytes, 8, length), 4)
  return bytes
}

/** The bytes of the catalog of a copy: the journals that it makes go with no other one. */
export function encodeCopy(catalog: Catalog): Buffer {
  const bytes = encodeCatalog(catalog)
  return encodeCatalog({ ...catalog, journal: { number: 0, crc: crc32(bytes, 0, bytes.length) } })
}

function encodeSelection({ until, files, accounts }: Selection): Buffer {
  const head = Buffer.alloc(selectionHeaderBytes + 4 * files.size)
  head.writeBigUInt64LE(BigInt(until), 0)
  head.writeUInt32LE(files.size, 8)
  head.writeUInt32LE(accounts.size, 12)
  let at = selectionHeaderBytes
  for (const number of files) at = head.writeUInt32LE(number, at)
  const names = [...accounts].map(account => Buffer.from(account))
  return Buffer.concat([head, ...names.flatMap(name => [Buffer.from([name.length]), name])])
}

const roleCodes: Readonly<Record<CatalogRole, number>> = { file: 0, held: 2, gone: 3 }

function encodeHold(hold: HoldState, bytes: Buffer, at: number): void {
  bytes.writeUInt32LE(hold.modulo, at)
  bytes.writeUInt32LE(hold.target, at + 4)
  bytes.writeUInt32LE(hold.draining ? drainingFlag : 0, at + 8)
  bytes.writeBigUInt64LE(BigInt(hold.drainedTo), at + 16)
  bytes.writeBigUInt64LE(BigInt(Math.max(0, hold.itemCount)), at + 24)
  bytes.writeBigUInt64LE(BigInt(Math.max(0, hold.itemBytes)), at + 32)
  bytes.writeBigUInt64LE(BigInt(hold.updates), at + 40)
}

function decodeHold(bytes: Buffer, at: number): HoldState {
  return {
    modulo: bytes.readUInt32LE(at),
    target: bytes.readUInt32LE(at + 4),
    draining: bytes.readUInt32LE(at + 8) === drainingFlag,
    drainedTo: Number(bytes.readBigUInt64LE(at + 16)),
    itemCount: Number(bytes.readBigUInt64LE(at + 24)),
    itemBytes: Number(bytes.readBigUInt64LE(at + 32)),
    updates: Number(bytes.readBigUInt64LE(at + 40)),
  }
}

/** Throws ERR_DATABASE_CORRUPT, or ERR_LOG_VERSION for a format that this program does not know. */
export function decodeCatalog(bytes: Buffer, path: string): Catalog {
  const fail = (what: string, offset: number) =>
    new HotBackupError('ERR_DATABASE_CORRUPT', `${path}: ${what} in the catalog`, { path, offset })
  if (bytes.length < headerBytes) throw fail(`only ${bytes.length} bytes`, 0)
  if (bytes.readUInt32LE(0) !== catalogMagic) throw fail('wrong magic', 0)
  const version = bytes.readUInt16LE(8)
  if (bytes.readUInt32LE(12) !== bytes.length) throw fail('wrong length', 12)
  if (crc32(bytes, 8, bytes.length) !== bytes.readUInt32LE(4)) throw fail('wrong CRC', 4)
  if (version !== databaseVersion) {
    const message = `${path}: the database has format version ${version}; this program reads ${databaseVersion}`
    throw new HotBackupError('ERR_LOG_VERSION', message, { path, offset: 8 })
  }
  let at = headerBytes
  const take = (length: number): number => {
    const start = at
    at += length
    if (at > bytes.length) throw fail('an entry reaches beyond the end', start)
    return start
  }
  const text = (length: number): string => {
    const start = take(length)
    return bytes.toString('utf8', start, start + length)
  }
  const accounts: string[] = []
  for (let left = bytes.readUInt32LE(28); left > 0; left--) {
    accounts.push(text(bytes.readUInt8(take(1))))
  }
  const files: CatalogFile[] = []
  for (let left = bytes.readUInt32LE(32); left > 0; left--) {
    const start = take(fileHeaderBytes)
    const account = bytes.readUInt32LE(start + 24)
    if (account >= accounts.length) throw fail('a file of an unknown account', start)
    const roleCode = bytes.readUInt8(start + 29)
    const hasHold = roleCode === holdRole
    const role = hasHold ? 'file' : catalogRoles.find(name => roleCodes[name] === roleCode)
    const due = files.length === 0 ? undefined : dueAfter(files.at(-1)!)
    if (role !== (due ?? 'file')) throw fail(`an entry of role ${roleCode}`, start)
    const name = text(bytes.readUInt8(start + 28))
    const hold = hasHold ? decodeHold(bytes, take(holdBytes)) : null
    const diskFrames = bytes.readUInt32LE(start + 20)
    const sumsPlaces: SumsPlace[] = []
    for (let more = bytes.readUInt32LE(start + 56); more > 0; more--) {
      const at = take(pageBytes)
      const [page, frame] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)]
      const before = sumsPlaces.at(-1)?.page ?? -1
      if (page <= before || page > pageOf(diskFrames) || frame >= diskFrames) {
        throw fail(`page ${page} of the checksums in frame ${frame}`, at)
      }
      sumsPlaces.push({ page, frame, crc: bytes.readUInt32LE(at + 8) })
    }
    files.push({
      fileNumber: bytes.readUInt32LE(start),
      number: bytes.readUInt32LE(start + 4),
      modulo: bytes.readUInt32LE(start + 8),
      frameCount: bytes.readUInt32LE(start + 12),
      freeHead: bytes.readUInt32LE(start + 16),
      diskFrames,
      sumsPlaces,
      account,
      itemCount: Number(bytes.readBigUInt64LE(start + 32)),
      itemBytes: Number(bytes.readBigUInt64LE(start + 40)),
      lastTxn: Number(bytes.readBigUInt64LE(start + 48)),
      flags: bytes.readUInt8(start + 30) & ~absentFlag & ~uncountedFlag,
      absent: (bytes.readUInt8(start + 30) & absentFlag) !== 0,
      counted: (bytes.readUInt8(start + 30) & uncountedFlag) === 0,
      name,
      role,
      hold,
    })
  }
  const missing = files.length === 0 ? undefined : dueAfter(files.at(-1)!)
  if (missing !== undefined) throw fail('a hold without its data', at)
  const ahead: Selection[] = []
  for (let left = bytes.readUInt32LE(44); left > 0; left--) {
    const start = take(selectionHeaderBytes)
    const numbers = new Set<number>()
    const names = new Set<string>()
    for (let more = bytes.readUInt32LE(start + 8); more > 0; more--) {
      numbers.add(bytes.readUInt32LE(take(4)))
    }
    for (let more = bytes.readUInt32LE(start + 12); more > 0; more--) {
      names.add(text(bytes.readUInt8(take(1))))
    }
    ahead.push({ until: Number(bytes.readBigUInt64LE(start)), files: numbers, accounts: names })
  }
  const damaged: DamagedRange[] = []
  for (let left = bytes.readUInt32LE(48); left > 0; left--) {
    const start = take(damagedBytes)
    damaged.push({
      fileNumber: bytes.readUInt32LE(start),
      generation: bytes.readUInt32LE(start + 4),
      from: Number(bytes.readBigUInt64LE(start + 8)),
      to: Number(bytes.readBigUInt64LE(start + 16)),
    })
  }
  if (at !== bytes.length) throw fail('more bytes than entries', at)
  return {
    stamp: { txn: Number(bytes.readBigUInt64LE(16)), chain: bytes.readUInt32LE(24) },
    journal: { number: bytes.readUInt32LE(52), crc: bytes.readUInt32LE(56) },
    nextFileNumber: bytes.readUInt32LE(36),
    nextGeneration: bytes.readUInt32LE(40),
    accounts,
    files,
    ahead,
    damaged,
  }
}

/** What must follow an entry; undefined when a file must. */
function dueAfter({ role, hold }: CatalogFile): CatalogRole | undefined {
  if (role === 'held') return 'gone'
  return role === 'file' && hold !== null ? 'held' : undefined
}
