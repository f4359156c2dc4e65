// Copies of files as a whole: in pieces, with holes kept, durable when they are done. Whoever copies much gives a
// tempo: it hears of every piece and may make it wait, or end it.
import { createHash } from 'node:crypto'
import { isNotFound, type Disk, type DiskFile } from './disk.ts'

export interface CopyTempo {
  /** Called after this many bytes: resolves when it is time to go on, rejects to give up. */
  took(bytes: number): Promise<void>
}

const pieceBytes = 1024 * 1024
/** A hole is kept when so much together is zero. */
const holeBytes = 64 * 1024
const zeros = Buffer.alloc(holeBytes)

/**
 * Copies the first `length` bytes (all of them by default) of `from` into a new file, durably but for its name.
 * What was at `to` is replaced. Returns the bytes' SHA-256 in hexadecimal. Throws ERR_DISK, ERR_DISK_FULL.
 */
export async function copyFile(
  disk: Disk,
  from: string,
  to: string,
  tempo: CopyTempo,
  length = Infinity,
): Promise<string> {
  const source = await disk.open(from, 'read')
  try {
    await disk.remove(to)
    const target = await disk.open(to, 'create')
    try {
      const size = Math.min(source.size(), length)
      const hash = createHash('sha256')
      const piece = Buffer.allocUnsafe(pieceBytes)
      for (let offset = 0; offset < size;) {
        const count = await source.read(piece, 0, Math.min(pieceBytes, size - offset), offset)
        if (count === 0) break
        hash.update(piece.subarray(0, count))
        await writeUnlessZero(target, piece, count, offset)
        offset += count
        await tempo.took(count)
      }
      // What ends in a hole has its length all the same.
      if (target.size() < size) await target.truncate(size)
      await target.sync()
      return hash.digest('hex')
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

async function writeUnlessZero(
  target: DiskFile,
  piece: Buffer,
  count: number,
  offset: number,
): Promise<void> {
  const zeroAt = (at: number) => {
    const part = piece.subarray(at, Math.min(at + holeBytes, count))
    return part.equals(zeros.subarray(0, part.length))
  }
  for (let start = 0; start < count;) {
    if (zeroAt(start)) {
      start += holeBytes
      continue
    }
    let end = start + holeBytes
    while (end < count && !zeroAt(end)) end += holeBytes
    end = Math.min(end, count)
    await target.write(piece, start, end - start, offset + start)
    start = end
  }
}

/** SHA-256, in hexadecimal, and length of a file; null when there is none. */
export async function hashFile(
  disk: Disk,
  path: string,
  tempo: CopyTempo,
): Promise<{ readonly bytes: number; readonly sha256: string } | null> {
  let file
  try {
    file = await disk.open(path, 'read')
  } catch (error) {
    if (isNotFound(error)) return null
    throw error
  }
  try {
    const hash = createHash('sha256')
    const piece = Buffer.allocUnsafe(pieceBytes)
    let bytes = 0
    for (;;) {
      const count = await file.read(piece, 0, pieceBytes, bytes)
      if (count === 0) return { bytes, sha256: hash.digest('hex') }
      hash.update(piece.subarray(0, count))
      bytes += count
      await tempo.took(count)
    }
  } finally {
    await file.close()
  }
}
