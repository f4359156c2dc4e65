// Many items in one message of the control socket: for each a u32 length of the item-id, a u32 length of the
// value (both little-endian), the item-id and the value.
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, itemIdBytesMax, KiB } from '../limits.ts'

const headBytes = 8

export interface PackedItem {
  readonly id: Buffer
  readonly value: Buffer
}

/** Gathers items into one buffer, which grows. */
export class ItemPacker {
  #bytes = Buffer.allocUnsafeSlow(64 * KiB)
  #end = 0
  #count = 0

  get byteLength(): number {
    return this.#end
  }
  get count(): number {
    return this.#count
  }

  add(id: Uint8Array, value: Uint8Array): void {
    this.addFrom(id, 0, id.length, value, 0, value.length)
  }

  /** The item-id and the value are parts of larger pieces. */
  addFrom(
    idBytes: Uint8Array,
    idStart: number,
    idEnd: number,
    valueBytes: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void {
    const start = this.#end
    const idLength = idEnd - idStart
    const valueLength = valueEnd - valueStart
    const end = start + headBytes + idLength + valueLength
    if (end > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(end, this.#bytes.length * 2))
      this.#bytes.copy(grown, 0, 0, start)
      this.#bytes = grown
    }
    const bytes = this.#bytes
    bytes.writeUInt32LE(idLength, start)
    bytes.writeUInt32LE(valueLength, start + 4)
    bytes.set(idBytes.subarray(idStart, idEnd), start + headBytes)
    bytes.set(valueBytes.subarray(valueStart, valueEnd), start + headBytes + idLength)
    this.#end = end
    this.#count++
  }

  /** What was gathered, the caller's own; the packer is empty again. */
  take(): Buffer {
    const bytes = Buffer.from(this.#bytes.subarray(0, this.#end))
    this.#end = 0
    this.#count = 0
    return bytes
  }
}

/** The items, as views of `bytes`. Throws ERR_WIRE when the bytes are no packed items. */
export function* unpackItems(bytes: Buffer): Generator<PackedItem, void, undefined> {
  for (let start = 0; start < bytes.length;) {
    if (bytes.length - start < headBytes) throw misfit(start)
    const idLength = bytes.readUInt32LE(start)
    const valueLength = bytes.readUInt32LE(start + 4)
    const idStart = start + headBytes
    const valueStart = idStart + idLength
    const end = valueStart + valueLength
    if (idLength > itemIdBytesMax || valueLength > itemBytesMax || end > bytes.length) {
      throw misfit(start)
    }
    yield { id: bytes.subarray(idStart, valueStart), value: bytes.subarray(valueStart, end) }
    start = end
  }
}

function misfit(offset: number): HotBackupError {
  return new HotBackupError('ERR_WIRE', `packed items do not fit their message at byte ${offset}`)
}
