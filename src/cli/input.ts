// Where commands read bytes from: standard input, or a file by its path.
import path from 'node:path'
import { readBytesTarget } from '../limits.ts'
import type { Context } from './command-line.ts'

/** "-" is standard input. Throws ERR_DISK. */
export async function* inputBytes(
  { stdin, platform }: Context,
  name: string,
): AsyncGenerator<Uint8Array> {
  if (name === '-') {
    yield* stdin
    return
  }
  const file = await platform.disk.open(path.resolve(name), 'read')
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
