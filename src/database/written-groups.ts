// Which groups of a generation have ever been written to its data file. A file may have far more groups than items:
// what was never written takes no room on the disk, but reading it frame by frame, to find nothing, took 8 minutes for
// 10,000,000 groups. So the first look at some groups reads many at once, and what it finds is remembered, a bit each.
import { frameBytes } from './frame.ts'

/** Groups of one look: 1 MiB. */
const lookGroups = 256
const zeros = Buffer.alloc(frameBytes)

let lookBuffer: Buffer | null = null

interface Look {
  /** A bit for each of its groups. */
  readonly bits: Uint8Array
  /** The data file has been read. */
  done: boolean
}

export class WrittenGroups {
  readonly #modulo: number
  readonly #empty: boolean
  readonly #looks = new Map<number, Look>()

  /** `empty`: nothing has been written so far. */
  constructor(modulo: number, empty: boolean) {
    this.#modulo = modulo
    this.#empty = empty
  }

  /** Must come before the frame is written: a look meanwhile may still find zeros. */
  note(frame: number): void {
    if (frame < this.#modulo) setBit(this.#lookOf(frame), frame)
  }

  /** `read` fills the buffer with frames from the first one on and returns how many bytes there were. */
  has(group: number, read: (buffer: Buffer, first: number) => number): boolean {
    if (this.#empty && !this.#looks.has(Math.floor(group / lookGroups))) return false
    const look = this.#lookOf(group)
    if (!look.done) this.#read(look, group - (group % lookGroups), read)
    const place = group % lookGroups
    return (look.bits[place >> 3]! & (1 << (place & 7))) !== 0
  }

  #lookOf(group: number): Look {
    const key = Math.floor(group / lookGroups)
    let look = this.#looks.get(key)
    if (look === undefined) {
      look = { bits: new Uint8Array(lookGroups / 8), done: this.#empty }
      this.#looks.set(key, look)
    }
    return look
  }

  #read(look: Look, first: number, read: (buffer: Buffer, first: number) => number): void {
    lookBuffer ??= Buffer.alloc(lookGroups * frameBytes)
    const end = read(lookBuffer, first)
    for (let at = 0; at < end; at += frameBytes) {
      // Most of those that were written say so in their first byte, which is the CRC's.
      const blank =
        lookBuffer[at] === 0 && lookBuffer.compare(zeros, 0, frameBytes, at, at + frameBytes) === 0
      if (!blank) setBit(look, first + at / frameBytes)
    }
    look.done = true
  }
}

function setBit({ bits }: Look, group: number): void {
  const place = group % lookGroups
  bits[place >> 3]! |= 1 << (place & 7)
}
