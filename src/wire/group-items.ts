// The items of a group as they go over a link: see messages/group.ts.
import { hash } from 'node:crypto'
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, itemIdBytesMax, transactionBytesMax } from '../limits.ts'

export interface GroupItem {
  readonly id: Buffer
  readonly value: Buffer
}

const headerBytes = 6

/** Sorts them. Throws ERR_TRANSACTION_SIZE when they are too many for one repair. */
export function packGroup(items: GroupItem[]): Buffer {
  items.sort((a, b) => a.id.compare(b.id))
  const bytes = items.reduce(
    (sum, { id, value }) => sum + headerBytes + id.length + value.length,
    0,
  )
  if (bytes > transactionBytesMax) {
    const text = `the group holds ${bytes} bytes, too many to be sent in one piece`
    throw new HotBackupError('ERR_TRANSACTION_SIZE', text)
  }
  const packed = Buffer.allocUnsafe(bytes)
  let at = 0
  for (const { id, value } of items) {
    packed.writeUInt16LE(id.length, at)
    packed.writeUInt32LE(value.length, at + 2)
    at += headerBytes
    at += id.copy(packed, at)
    at += value.copy(packed, at)
  }
  return packed
}

/** The items share the bytes. Throws ERR_WIRE. */
export function unpackGroup(packed: Buffer): GroupItem[] {
  const items: GroupItem[] = []
  let before: Buffer | null = null
  for (let at = 0; at < packed.length;) {
    if (packed.length - at < headerBytes) throw wrong('an item is cut')
    const idLength = packed.readUInt16LE(at)
    const valueLength = packed.readUInt32LE(at + 2)
    const idStart = at + headerBytes
    at = idStart + idLength + valueLength
    if (idLength < 1 || idLength > itemIdBytesMax || valueLength > itemBytesMax) {
      throw wrong('an item of an impossible length')
    }
    if (at > packed.length) throw wrong('an item is cut')
    const id = packed.subarray(idStart, idStart + idLength)
    if (before !== null && before.compare(id) >= 0) throw wrong('items are not in order')
    items.push({ id, value: packed.subarray(idStart + idLength, at) })
    before = id
  }
  return items
}

export function groupDigest(packed: Uint8Array): Buffer {
  return hash('sha256', packed, 'buffer')
}

function wrong(what: string): HotBackupError {
  return new HotBackupError('ERR_WIRE', `${what} in the group that the peer has sent`)
}
