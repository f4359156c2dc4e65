// Where commands read bytes from: standard input, or a file by its path.
import path from 'node:path'
import { readBytesTarget } from '../limits.ts'
import type { Disk } from '../platform/disk.ts'

export function standardInput(): AsyncIterable<Uint8Array> {
  return process.stdin as AsyncIterable<Uint8Array>
}

/** "-" is standard input. Throws ERR_DISK. */
export async function* inputBytes(disk: Disk, name: string): AsyncGenerator<Uint8Array> {
  if (name === '-') {
    yield* standardInput()
    return
  }
  const file = await disk.open(path.resolve(name), 'read')
  try {
    for (let offset = 0; ;) {
      const piece = Buffer.allocUnsafeSlow(readBytesTarget)
      const count = await file.read(piece, 0, piece.length, offset)
      if (count === 0) return
      yield piece.subarray(0, count)
      offset += count
    }
  } finally {
    await file.close()
  }
}
