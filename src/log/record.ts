// A record is one step of a transaction, as it lies in a block's body.
//
// RECORD, little-endian, not aligned
//
//    0  type         u8   see RecordType
//    1  flags        u8   bit 0: the last record of its transaction; the others are 0
//    2  id length    u16  at most 1,024
//    4  file number  u32  0 for records about an account
//    8  value length u32  at most 64 MiB
//   12  id           bytes
//    …  value        bytes
//
// What id and value hold:
//
//   write-item      id: item-id             value: the item
//   delete-item     id: item-id             value: none
//   create-file     id: none                value: FILE ATTRIBUTES
//   clear-file      id: none                value: none
//   resize-file     id: none                value: u32 modulo
//   delete-file     id: none                value: none
//   create-account  id: account name        value: none
//   delete-account  id: account name        value: none    (its files were deleted by records before it)
//   map-file        id: none                value: FILE ATTRIBUTES, as they are before this transaction
//   set-file        id: none                value: FILE ATTRIBUTES, with the new flags
//   promote         id: name of the server  value: 16 bytes new lineage, u32 new timeline
//   mark            id: what happened       value: JSON, an object; the database stays as it is
//   verify          id: none                value: see verify-record.ts; the database stays as it is
//   clear-group     id: none                value: u32 first hash, u32 first hash behind them (0 is 2^32): the items
//                                           with these hashes are gone, and those that there are follow
//
// FILE ATTRIBUTES: see file-attributes.ts.
//
// Any change here is a new format version: man/hb-segment.5 and block.ts say so too.
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, itemIdBytesMax } from '../limits.ts'
import {
  checkedModulo,
  corrupt,
  decodeAttributes,
  encodeAttributes,
  type FileAttributes,
} from './file-attributes.ts'
import { identityBytes } from './segment.ts'

export const RecordType = {
  writeItem: 1,
  deleteItem: 2,
  createFile: 3,
  clearFile: 4,
  resizeFile: 5,
  deleteFile: 6,
  createAccount: 7,
  deleteAccount: 8,
  mapFile: 9,
  promote: 10,
  setFile: 11,
  mark: 12,
  verify: 13,
  clearGroup: 14,
} as const
export type RecordType = (typeof RecordType)[keyof typeof RecordType]
export const recordTypeMax = Math.max(...Object.values(RecordType))

/** The types by their names in "hb log dump" and hb-segment(5). */
export const recordTypeNames: Readonly<Record<RecordType, string>> = {
  1: 'write-item',
  2: 'delete-item',
  3: 'create-file',
  4: 'clear-file',
  5: 'resize-file',
  6: 'delete-file',
  7: 'create-account',
  8: 'delete-account',
  9: 'map-file',
  10: 'promote',
  11: 'set-file',
  12: 'mark',
  13: 'verify',
  14: 'clear-group',
}

/** The record's value says what its file number stands for. */
export function namesFile(type: RecordType): boolean {
  return (
    type === RecordType.mapFile || type === RecordType.createFile || type === RecordType.setFile
  )
}

export const recordHeaderBytes = 12
const lastFlag = 1
const promotionBytes = identityBytes + 4

/** Text is taken as UTF-8. */
export type Bytes = string | Uint8Array

/** A timeline as its first record names it. */
export interface Promotion {
  readonly lineageId: Uint8Array
  readonly timeline: number
}

/**
 * Writes records one behind the other into a buffer that grows, after `headerBytes` that are left free for
 * the block's header. Reused from block to block: nothing is allocated for a record.
 */
export class RecordEncoder {
  bytes: Buffer
  /** Offset behind the last record. */
  end: number
  readonly #headerBytes: number
  #view: DataView
  /** Offset of the record that was written last. */
  #last: number

  constructor(capacity: number, headerBytes: number) {
    this.bytes = Buffer.allocUnsafeSlow(capacity)
    this.#view = new DataView(this.bytes.buffer)
    this.#headerBytes = headerBytes
    this.end = headerBytes
    this.#last = headerBytes
  }

  reset(): void {
    this.end = this.#headerBytes
    this.#last = this.#headerBytes
  }

  /** Takes back everything from `offset` on: a transaction that turned out to be refused. */
  cutBack(offset: number): void {
    this.end = offset
  }

  writeItem(fileNumber: number, id: Bytes, value: Bytes): void {
    this.#record(RecordType.writeItem, fileNumber, id, value)
  }

  deleteItem(fileNumber: number, id: Bytes): void {
    this.#record(RecordType.deleteItem, fileNumber, id, '')
  }

  /** An item whose id and value lie in other bytes; without a value, the item is deleted. All of it was checked. */
  item(
    fileNumber: number,
    id: Uint8Array,
    idStart: number,
    idEnd: number,
    value: Uint8Array | null,
    valueStart: number,
    valueEnd: number,
  ): void {
    const start = this.end
    const idLength = idEnd - idStart
    const valueLength = value === null ? 0 : valueEnd - valueStart
    this.reserve(recordHeaderBytes + idLength + valueLength)
    const at = start + recordHeaderBytes
    copyPart(this.bytes, at, id, idStart, idLength)
    if (value !== null) copyPart(this.bytes, at + idLength, value, valueStart, valueLength)
    this.#header(
      value === null ? RecordType.deleteItem : RecordType.writeItem,
      fileNumber,
      idLength,
      valueLength,
    )
  }

  createFile(fileNumber: number, attributes: FileAttributes): void {
    this.#record(RecordType.createFile, fileNumber, '', encodeAttributes(attributes))
  }

  clearFile(fileNumber: number): void {
    this.#record(RecordType.clearFile, fileNumber, '', '')
  }

  resizeFile(fileNumber: number, modulo: number): void {
    const value = new Uint8Array(4)
    new DataView(value.buffer).setUint32(0, modulo, true)
    this.#record(RecordType.resizeFile, fileNumber, '', value)
  }

  deleteFile(fileNumber: number): void {
    this.#record(RecordType.deleteFile, fileNumber, '', '')
  }

  createAccount(account: string): void {
    this.#record(RecordType.createAccount, 0, account, '')
  }

  deleteAccount(account: string): void {
    this.#record(RecordType.deleteAccount, 0, account, '')
  }

  mapFile(fileNumber: number, attributes: FileAttributes): void {
    this.#record(RecordType.mapFile, fileNumber, '', encodeAttributes(attributes))
  }

  setFile(fileNumber: number, attributes: FileAttributes): void {
    this.#record(RecordType.setFile, fileNumber, '', encodeAttributes(attributes))
  }

  /** The first record of a new timeline: who was promoted, and to what. */
  promote(server: string, lineageId: Uint8Array, timeline: number): void {
    const value = new Uint8Array(promotionBytes)
    value.set(lineageId)
    new DataView(value.buffer).setUint32(identityBytes, timeline, true)
    this.#record(RecordType.promote, 0, server, value)
  }

  /** Says in the log what happened to the server; `details` is JSON. */
  mark(what: string, details: string): void {
    this.#record(RecordType.mark, 0, what, details)
  }

  /** What the master's database holds, for a reader of the log to compare; `value`: see verify-record.ts. */
  verify(fileNumber: number, value: Uint8Array): void {
    this.#record(RecordType.verify, fileNumber, '', value)
  }

  /** Empties a group, or a part of it; its items follow. */
  clearGroup(fileNumber: number, from: number, to: number): void {
    const value = new Uint8Array(8)
    const view = new DataView(value.buffer)
    view.setUint32(0, from, true)
    view.setUint32(4, to, true) // 2^32 becomes 0.
    this.#record(RecordType.clearGroup, fileNumber, '', value)
  }

  /** A record, or several, as they lie elsewhere. */
  copy(bytes: Uint8Array, start: number, end: number): void {
    const at = this.end
    this.reserve(end - start)
    this.bytes.set(bytes.subarray(start, end), at)
    this.end = at + end - start
  }

  /** Marks the record that was written last as the end of its transaction. */
  endTransaction(): void {
    this.bytes[this.#last + 1] = lastFlag
  }

  #record(type: RecordType, fileNumber: number, id: Bytes, value: Bytes): void {
    // A UTF-16 unit takes at most three bytes of UTF-8.
    const idRoom = typeof id === 'string' ? id.length * 3 : id.length
    const valueRoom = typeof value === 'string' ? value.length * 3 : value.length
    const start = this.end
    this.reserve(recordHeaderBytes + idRoom + valueRoom)
    const idStart = start + recordHeaderBytes
    const idLength = this.#put(id, idStart)
    if (idLength > itemIdBytesMax) {
      throw new HotBackupError('ERR_ITEM_ID', `the item-id has ${idLength} bytes`)
    }
    const valueLength = this.#put(value, idStart + idLength)
    if (valueLength > itemBytesMax) {
      throw new HotBackupError('ERR_ITEM_SIZE', `the item has ${valueLength} bytes`)
    }
    this.#header(type, fileNumber, idLength, valueLength)
  }

  /** The record at the end gets its header, and belongs to the block. */
  #header(type: RecordType, fileNumber: number, idLength: number, valueLength: number): void {
    const start = this.end
    const view = this.#view
    view.setUint16(start, type, true) // type, and no flags
    view.setUint16(start + 2, idLength, true)
    view.setUint32(start + 4, fileNumber, true)
    view.setUint32(start + 8, valueLength, true)
    this.#last = start
    this.end = start + recordHeaderBytes + idLength + valueLength
  }

  /** Makes room for `length` more bytes. */
  reserve(length: number): void {
    const needed = this.end + length
    if (needed <= this.bytes.length) return
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2))
    this.bytes.copy(grown, 0, 0, this.end)
    this.bytes = grown
    this.#view = new DataView(grown.buffer)
  }

  #put(bytes: Bytes, offset: number): number {
    const target = this.bytes
    if (typeof bytes !== 'string') {
      target.set(bytes, offset)
      return bytes.length
    }
    const length = bytes.length
    // Short ASCII, the usual item-id, is copied faster here than by a call out of JavaScript.
    if (length <= 48) {
      let i = 0
      for (; i < length; i++) {
        const unit = bytes.charCodeAt(i)
        if (unit > 0x7f) break
        target[offset + i] = unit
      }
      if (i === length) return length
    }
    return target.write(bytes, offset, 'utf8')
  }
}

/** Above this a call out of JavaScript costs less than a loop over bytes. */
const loopBytesMax = 48

function copyPart(
  target: Uint8Array,
  at: number,
  bytes: Uint8Array,
  start: number,
  length: number,
): void {
  if (length > loopBytesMax) target.set(bytes.subarray(start, start + length), at)
  else for (let i = 0; i < length; i++) target[at + i] = bytes[start + i]!
}

/**
 * Walks over the records of a block's body without allocating: `next` moves to the next record and sets the
 * fields. Every length is checked against the body before it is believed (ERR_LOG_CORRUPT).
 */
export class RecordCursor {
  bytes: Uint8Array = new Uint8Array()
  /** Offset of the record. */
  start = 0
  type: RecordType = RecordType.writeItem
  /** The last record of its transaction. */
  last = false
  fileNumber = 0
  idStart = 0
  idEnd = 0
  valueStart = 0
  /** Also where the next record starts. */
  valueEnd = 0
  #end = 0
  #view: DataView = new DataView(new ArrayBuffer(0))

  reset(bytes: Uint8Array, start: number, end: number): void {
    if (this.bytes !== bytes) {
      this.bytes = bytes
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    }
    this.valueEnd = start
    this.#end = end
  }

  next(): boolean {
    const start = this.valueEnd
    if (start === this.#end) return false
    const idStart = start + recordHeaderBytes
    if (idStart > this.#end) throw corrupt('a record header does not fit the block', start)
    const view = this.#view
    const type = view.getUint8(start)
    const flags = view.getUint8(start + 1)
    const idLength = view.getUint16(start + 2, true)
    const valueLength = view.getUint32(start + 8, true)
    if (recordTypeNames[type as RecordType] === undefined) {
      throw corrupt(`unknown record type ${type}`, start)
    }
    if (flags > lastFlag) throw corrupt(`unknown record flags ${flags}`, start)
    if (idLength > itemIdBytesMax) throw corrupt(`an id of ${idLength} bytes`, start)
    if (valueLength > itemBytesMax) throw corrupt(`a value of ${valueLength} bytes`, start)
    const valueStart = idStart + idLength
    const valueEnd = valueStart + valueLength
    if (valueEnd > this.#end) throw corrupt('a record reaches beyond its block', start)
    this.start = start
    this.type = type as RecordType
    this.last = flags === lastFlag
    this.fileNumber = view.getUint32(start + 4, true)
    this.idStart = idStart
    this.idEnd = valueStart
    this.valueStart = valueStart
    this.valueEnd = valueEnd
    return true
  }

  /** The id as text (account names; item-ids for people). */
  idText(): string {
    return Buffer.from(
      this.bytes.buffer,
      this.bytes.byteOffset + this.idStart,
      this.idEnd - this.idStart,
    ).toString()
  }

  /** The attributes in a create-file, map-file or set-file record. */
  attributes(): Required<FileAttributes> {
    return decodeAttributes(this.bytes, this.valueStart, this.valueEnd)
  }

  /** What a promote record says; its id is the server's name. */
  promotion(): Promotion {
    const { bytes, valueStart, valueEnd } = this
    if (valueEnd - valueStart !== promotionBytes)
      throw corrupt('a promote record of a wrong length', this.start)
    return {
      lineageId: new Uint8Array(bytes.subarray(valueStart, valueStart + identityBytes)),
      timeline: this.#view.getUint32(valueStart + identityBytes, true),
    }
  }

  /** The hashes in a clear-group record: from one up to another, excluded. */
  hashes(): { readonly from: number; readonly to: number } {
    const { valueStart, valueEnd } = this
    if (valueEnd - valueStart !== 8)
      throw corrupt('a clear-group record without hashes', this.start)
    const from = this.#view.getUint32(valueStart, true)
    const to = this.#view.getUint32(valueStart + 4, true) || 2 ** 32
    if (from >= to) throw corrupt(`hashes from ${from} to ${to}`, this.start)
    return { from, to }
  }

  /** The modulo in a resize-file record. */
  modulo(): number {
    if (this.valueEnd - this.valueStart !== 4)
      throw corrupt('a resize-file record without modulo', this.start)
    return checkedModulo(this.#view.getUint32(this.valueStart, true), this.start)
  }
}
