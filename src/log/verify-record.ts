// What a verify record says: what the master's database holds at this transaction, or a part of it. Whoever follows the
// log compares it with what he holds. The file number is that of the file, 0 in "files" and "end".
//
// VERIFY, the value of the record, little-endian
//
//    0  form      u8      1 range, 2 items, 3 files, 4 end
//    1  whole     u8      of files: 1 when a pass over the whole database begins; else 0
//    2  reserved  2 bytes
//
// range: a file's items whose hash is in a range
//
//    4  modulo    u32     of the file
//    8  from      u32     first hash
//   12  to        u32     first hash behind the range; 0 is 2^32
//   16  items     u32
//   20  span      u32     groups for one tag
//   24  bytes     u64     of item-ids and items
//   32  digest    16 bytes  four words: sums of the words of the items' hashes, each modulo 2^32
//   48  tags      u32 each, for `span` groups each, from the group of the first hash on: the sum of the first word
//                 of their items' hashes
//
// items: the same, one by one
//
//    4  modulo    u32
//    8  from      u32
//   12  to        u32
//   16  items     u32
//   20  list      for each item: u16 length of the item-id, 16 bytes hash, item-id
//
// files: all accounts and files
//
//    4  accounts  u32
//    8  files     u32
//   12  list      for each account: u8 length, name; for each file: u32 number, u16 length, FILE ATTRIBUTES
//
// end: the whole pass that began with the files record of this transaction is complete
//
//    4  txn       u64
import { HotBackupError } from '../errors.ts'
import { moduloMax } from '../limits.ts'
import { decodeAttributes, encodeAttributes, type FileAttributes } from './file-attributes.ts'

const forms = ['range', 'items', 'files', 'end'] as const
export type VerifyForm = (typeof forms)[number]

/** Hashes end here. */
const hashEnd = 2 ** 32
export const hashBytes = 16
const rangeHeaderBytes = 48
const itemsHeaderBytes = 20
const filesHeaderBytes = 12
const endBytes = 12
/** Of one range record. */
export const verifyTagsMax = 4096

/** A part of a file: items with hashes from `from` up to `to`, excluded. */
export interface HashRange {
  readonly from: number
  readonly to: number
  /** Of the file, for the numbers of groups. */
  readonly modulo: number
}

export interface RangeRecord extends HashRange {
  readonly form: 'range'
  readonly items: number
  readonly bytes: number
  /** Groups for one tag. */
  readonly span: number
  readonly digest: Uint32Array
  readonly tags: Uint32Array
}

export interface ItemsRecord extends HashRange {
  readonly form: 'items'
  readonly items: readonly { readonly id: Buffer; readonly hash: Buffer }[]
}

export interface FilesRecord {
  readonly form: 'files'
  /** A pass over the whole database begins here. */
  readonly whole: boolean
  readonly accounts: readonly string[]
  readonly files: readonly (Required<FileAttributes> & { readonly number: number })[]
}

export interface EndRecord {
  readonly form: 'end'
  /** Of the files record with which the pass began. */
  readonly txn: number
}

export type VerifyRecord = RangeRecord | ItemsRecord | FilesRecord | EndRecord

export function encodeVerify(record: VerifyRecord): Buffer {
  switch (record.form) {
    case 'range':
      return encodeRange(record)
    case 'items':
      return encodeItems(record)
    case 'files':
      return encodeFiles(record)
    case 'end': {
      const bytes = headed(record.form, endBytes)
      bytes.writeBigUInt64LE(BigInt(record.txn), 4)
      return bytes
    }
  }
}

function headed(form: VerifyForm, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  bytes.writeUInt8(forms.indexOf(form) + 1, 0)
  return bytes
}

function putRange(bytes: Buffer, { modulo, from, to }: HashRange, items: number): void {
  bytes.writeUInt32LE(modulo, 4)
  bytes.writeUInt32LE(from, 8)
  bytes.writeUInt32LE(to % hashEnd, 12)
  bytes.writeUInt32LE(items, 16)
}

function encodeRange(record: RangeRecord): Buffer {
  const bytes = headed('range', rangeHeaderBytes + 4 * record.tags.length)
  putRange(bytes, record, record.items)
  bytes.writeUInt32LE(record.span, 20)
  bytes.writeBigUInt64LE(BigInt(record.bytes), 24)
  record.digest.forEach((word, index) => bytes.writeUInt32LE(word, 32 + 4 * index))
  record.tags.forEach((tag, index) => bytes.writeUInt32LE(tag, rangeHeaderBytes + 4 * index))
  return bytes
}

function encodeItems(record: ItemsRecord): Buffer {
  const { items } = record
  const length = items.reduce((sum, { id }) => sum + 2 + hashBytes + id.length, itemsHeaderBytes)
  const bytes = headed('items', length)
  putRange(bytes, record, items.length)
  let at = itemsHeaderBytes
  for (const { id, hash } of items) {
    at = bytes.writeUInt16LE(id.length, at)
    at += hash.copy(bytes, at)
    at += id.copy(bytes, at)
  }
  return bytes
}

function encodeFiles({ whole, accounts, files }: FilesRecord): Buffer {
  const head = headed('files', filesHeaderBytes)
  head.writeUInt8(Number(whole), 1)
  head.writeUInt32LE(accounts.length, 4)
  head.writeUInt32LE(files.length, 8)
  const parts = [head]
  for (const account of accounts) {
    const name = Buffer.from(account)
    parts.push(Buffer.from([name.length]), name)
  }
  for (const { number, ...attributes } of files) {
    const encoded = encodeAttributes(attributes)
    const start = Buffer.alloc(6)
    start.writeUInt32LE(number, 0)
    start.writeUInt16LE(encoded.length, 4)
    parts.push(start, Buffer.from(encoded))
  }
  return Buffer.concat(parts)
}

/** What the value of a verify record, from `start` to `end`, says. Throws ERR_LOG_CORRUPT. */
export function decodeVerify(bytes: Uint8Array, start: number, end: number): VerifyRecord {
  const fields = new Fields(bytes, start, end)
  const form = forms[fields.u8() - 1]
  const whole = fields.u8()
  fields.skip(2)
  if (whole > (form === 'files' ? 1 : 0)) throw fields.fault('an unknown flag')
  const record = decodeForm(form, whole === 1, fields)
  fields.finish()
  return record
}

function decodeForm(form: VerifyForm | undefined, whole: boolean, fields: Fields): VerifyRecord {
  switch (form) {
    case 'range':
      return decodeRange(fields)
    case 'items':
      return decodeItems(fields)
    case 'files':
      return decodeFiles(whole, fields)
    case 'end':
      return { form, txn: fields.u64() }
    default:
      throw fields.fault('an unknown form')
  }
}

function decodeBounds(fields: Fields): HashRange {
  const modulo = fields.u32()
  const from = fields.u32()
  const behind = fields.u32()
  const to = behind === 0 ? hashEnd : behind
  if (modulo < 1 || modulo > moduloMax) throw fields.fault(`a modulo of ${modulo}`)
  if (to <= from) throw fields.fault('an empty range')
  return { modulo, from, to }
}

function decodeRange(fields: Fields): RangeRecord {
  const bounds = decodeBounds(fields)
  const items = fields.u32()
  const span = fields.u32()
  const bytes = fields.u64()
  if (span < 1) throw fields.fault('tags for no groups')
  const digest = fields.words(4)
  if (fields.left % 4 !== 0 || fields.left > 4 * verifyTagsMax) {
    throw fields.fault('a wrong number of tags')
  }
  const tags = fields.words(fields.left / 4)
  return { form: 'range', ...bounds, items, bytes, span, digest, tags }
}

function decodeItems(fields: Fields): ItemsRecord {
  const bounds = decodeBounds(fields)
  const count = fields.count(2 + hashBytes)
  const items = Array.from({ length: count }, () => {
    const length = fields.u16()
    return { hash: fields.bytes(hashBytes), id: fields.bytes(length) }
  })
  return { form: 'items', ...bounds, items }
}

function decodeFiles(whole: boolean, fields: Fields): FilesRecord {
  const accountCount = fields.u32()
  const fileCount = fields.u32()
  fields.check(accountCount, 1)
  fields.check(fileCount, 6)
  const accounts = Array.from({ length: accountCount }, () => fields.bytes(fields.u8()).toString())
  const files = Array.from({ length: fileCount }, () => {
    const number = fields.u32()
    const attributes = fields.bytes(fields.u16())
    return { number, ...decodeAttributes(attributes, 0, attributes.length) }
  })
  return { form: 'files', whole, accounts, files }
}

/** One field behind the other, never beyond the end. */
class Fields {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }
  u8(): number {
    return this.#bytes.readUInt8(this.#take(1))
  }
  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2))
  }
  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }
  u64(): number {
    return this.u32() + this.u32() * 2 ** 32
  }
  words(count: number): Uint32Array {
    return Uint32Array.from({ length: count }, () => this.u32())
  }
  /** A copy. */
  bytes(length: number): Buffer {
    const start = this.#take(length)
    return Buffer.from(this.#bytes.subarray(start, start + length))
  }
  /** A u32 that counts the things that follow, each of at least this many bytes. */
  count(bytesMin: number): number {
    const count = this.u32()
    this.check(count, bytesMin)
    return count
  }
  check(count: number, bytesMin: number): void {
    if (count * bytesMin > this.left) throw this.fault(`${count} entries`)
  }
  skip(length: number): void {
    this.#take(length)
  }
  finish(): void {
    if (this.left > 0) throw this.fault(`${this.left} bytes too many`)
  }
  fault(what: string): HotBackupError {
    return new HotBackupError('ERR_LOG_CORRUPT', `${what} in a verify record`)
  }

  #take(length: number): number {
    const start = this.#at
    if (length > this.left)
      throw this.fault(`a field of ${length} bytes where ${this.left} are left`)
    this.#at += length
    return start
  }
}
