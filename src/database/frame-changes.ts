// Which frames of the data files checkpoints have written since somebody began to copy them. A copy that is made
import { dataFileName } from './data-file-name.ts'
// while checkpoints go on is brought up to date by copying these again: written first, noted then, so a frame that
// was read while it was being written is always among them.

/** Frames `first` to `first + count - 1` of a data file. */
export interface FrameRange {
  readonly name: string
  readonly first: number
  readonly count: number
}

export class FrameChanges {
  /** A bit for each frame, by the data file's name. */
  #bits = new Map<string, Uint32Array>()

  note(name: string, first: number, count: number): void {
    const words = ((first + count - 1) >>> 5) + 1
    let bits = this.#bits.get(name)
    if (bits === undefined || bits.length < words) {
      const grown = new Uint32Array(Math.max(words, 2 * (bits?.length ?? 16)))
      if (bits !== undefined) grown.set(bits)
      bits = grown
      this.#bits.set(name, bits)
    }
    for (let frame = first; frame < first + count; frame++) {
      bits[frame >>> 5] = bits[frame >>> 5]! | (1 << (frame & 31))
    }
  }

  /** What was noted since the last call, and forgets it. */
  take(): FrameRange[] {
    const noted = this.#bits
    this.#bits = new Map()
    const ranges: FrameRange[] = []
    for (const [name, bits] of noted) {
      let first = -1
      for (let frame = 0; frame <= bits.length * 32; frame++) {
        const word = frame >>> 5
        // A stretch without any is left out at once.
        if (first < 0 && (frame & 31) === 0 && bits[word] === 0) {
          frame += 31
          continue
        }
        const set = word < bits.length && ((bits[word]! >>> (frame & 31)) & 1) === 1
        if (set && first < 0) first = frame
        else if (!set && first >= 0) {
          ranges.push({ name, first, count: frame - first })
          first = -1
        }
      }
    }
    return ranges
  }
}

const packedBytes = 16

/** Ranges as bytes for the control socket: file number, generation, first, count, each u32 little-endian. */
export function packRanges(ranges: readonly FrameRange[]): Buffer {
  const bytes = Buffer.alloc(ranges.length * packedBytes)
  ranges.forEach(({ name, first, count }, index) => {
    const at = index * packedBytes
    bytes.writeUInt32LE(Number.parseInt(name.slice(0, 8), 16), at)
    bytes.writeUInt32LE(Number.parseInt(name.slice(9), 16), at + 4)
    bytes.writeUInt32LE(first, at + 8)
    bytes.writeUInt32LE(count, at + 12)
  })
  return bytes
}

export function unpackRanges(bytes: Buffer): FrameRange[] {
  const ranges: FrameRange[] = []
  for (let at = 0; at + packedBytes <= bytes.length; at += packedBytes) {
    ranges.push({
      name: dataFileName(bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)),
      first: bytes.readUInt32LE(at + 8),
      count: bytes.readUInt32LE(at + 12),
    })
  }
  return ranges
}
