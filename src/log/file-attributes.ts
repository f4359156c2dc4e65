// What a file is, as the records that name one say it.
//
// FILE ATTRIBUTES
//
//    0  modulo          u32
//    4  flags           u32  bit 0 local, bit 1 excluded, bit 2 filling (see file-flags.ts); the others are 0
//    8  account length  u8
//    9  file length     u8
//   10  account name    bytes
//    …  file name       bytes
//
// A change here is a new format version, as one of record.ts is.
import { HotBackupError } from '../errors.ts'
import { moduloMax, nameBytesMax } from '../limits.ts'
import { fileFlagsMax } from './file-flags.ts'

const attributesHeaderBytes = 10

/** What a file number stands for. */
export interface FileAttributes {
  readonly account: string
  readonly file: string
  readonly modulo: number
  /** See `fileFlags`; 0 by default. */
  readonly flags?: number
}

export function encodeAttributes({ account, file, modulo, flags = 0 }: FileAttributes): Uint8Array {
  const accountBytes = Buffer.from(account)
  const fileBytes = Buffer.from(file)
  const bytes = Buffer.alloc(attributesHeaderBytes + accountBytes.length + fileBytes.length)
  bytes.writeUInt32LE(modulo, 0)
  bytes.writeUInt32LE(flags, 4)
  bytes.writeUInt8(accountBytes.length, 8)
  bytes.writeUInt8(fileBytes.length, 9)
  accountBytes.copy(bytes, attributesHeaderBytes)
  fileBytes.copy(bytes, attributesHeaderBytes + accountBytes.length)
  return bytes
}

export function decodeAttributes(
  bytes: Uint8Array,
  start: number,
  end: number,
): Required<FileAttributes> {
  const value = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start)
  if (value.length < attributesHeaderBytes) throw corrupt('file attributes are too short', start)
  const accountEnd = attributesHeaderBytes + value.readUInt8(8)
  const fileEnd = accountEnd + value.readUInt8(9)
  if (fileEnd !== value.length || value.length > attributesHeaderBytes + 2 * nameBytesMax) {
    throw corrupt('file attributes have a wrong length', start)
  }
  const flags = value.readUInt32LE(4)
  if (flags > fileFlagsMax) throw corrupt(`unknown file flags ${flags}`, start)
  return {
    flags,
    account: value.toString('utf8', attributesHeaderBytes, accountEnd),
    file: value.toString('utf8', accountEnd, fileEnd),
    modulo: checkedModulo(value.readUInt32LE(0), start),
  }
}

export function checkedModulo(modulo: number, offset: number): number {
  if (modulo < 1 || modulo > moduloMax) throw corrupt(`a modulo of ${modulo}`, offset)
  return modulo
}

export function corrupt(what: string, offset: number): HotBackupError {
  return new HotBackupError('ERR_LOG_CORRUPT', `${what} (byte ${offset} of its buffer)`, { offset })
}
