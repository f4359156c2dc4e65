// Transactions in one message of the control socket. Each is a u32 count of its steps, and for each step a u8 kind, a
// u32 index into the files that the message names, a u32 length of the item-id, a u32 length of the value, the item-id
// and the value; all little-endian.
//
//   kind  0  the item must not be there
//         1  it must be there, and its SHA-256 is the value
//         2  it is written
//         3  it is deleted
import { HotBackupError } from '../errors.ts'
import { itemBytesMax, itemIdBytesMax } from '../limits.ts'

export const stepKinds = ['absent', 'same', 'write', 'delete'] as const

export interface Step {
  readonly kind: (typeof stepKinds)[number]
  readonly file: number
  readonly id: Buffer
  /** Empty for "absent" and "delete". */
  readonly value: Buffer
}

/** A step, with its file by name. */
export interface Change extends Omit<Step, 'file'> {
  readonly account: string
  readonly file: string
}

const countBytes = 4
const headBytes = 13

/** Bytes of a transaction in a message. */
export function packedSize(steps: readonly Step[]): number {
  return steps.reduce(
    (sum, { id, value }) => sum + headBytes + id.length + value.length,
    countBytes,
  )
}

export function packCommits(commits: readonly (readonly Step[])[]): Buffer {
  const size = commits.reduce((sum, steps) => sum + packedSize(steps), 0)
  const bytes = Buffer.allocUnsafe(size)
  let at = 0
  for (const steps of commits) {
    at = bytes.writeUInt32LE(steps.length, at)
    for (const { kind, file, id, value } of steps) {
      at = bytes.writeUInt8(stepKinds.indexOf(kind), at)
      at = bytes.writeUInt32LE(file, at)
      at = bytes.writeUInt32LE(id.length, at)
      at = bytes.writeUInt32LE(value.length, at)
      at += id.copy(bytes, at)
      at += value.copy(bytes, at)
    }
  }
  return bytes
}

/** One transaction after the other, as views of `bytes`. Throws ERR_WIRE when the bytes are none. */
export function* unpackCommits(bytes: Buffer): Generator<Step[], void, undefined> {
  for (let at = 0; at < bytes.length;) {
    if (bytes.length - at < countBytes) throw misfit(at)
    const count = bytes.readUInt32LE(at)
    at += countBytes
    const steps: Step[] = []
    for (let i = 0; i < count; i++) {
      if (bytes.length - at < headBytes) throw misfit(at)
      const kind = stepKinds[bytes.readUInt8(at)]
      const [file, idLength, valueLength] = [1, 5, 9].map(offset => bytes.readUInt32LE(at + offset))
      const idStart = at + headBytes
      const valueStart = idStart + (idLength ?? 0)
      const end = valueStart + (valueLength ?? 0)
      const tooLong = (idLength ?? 0) > itemIdBytesMax || (valueLength ?? 0) > itemBytesMax
      if (kind === undefined || tooLong || end > bytes.length) throw misfit(at)
      const [id, value] = [bytes.subarray(idStart, valueStart), bytes.subarray(valueStart, end)]
      steps.push({ kind, file: file ?? 0, id, value })
      at = end
    }
    yield steps
  }
}

function misfit(offset: number): HotBackupError {
  return new HotBackupError('ERR_WIRE', `transactions do not fit their message at byte ${offset}`)
}
