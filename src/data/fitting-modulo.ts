// The modulo for so many items: a group then has one frame, which is not full, and no more items than are quickly
// looked through. A prime, as for every hashed file.
import { entryBytes, entryBytesMax, framePayloadBytes, referenceBytes } from '../database/frame.ts'
import { moduloDefault, moduloMax } from '../limits.ts'

const groupItems = 20
const groupBytes = (framePayloadBytes * 3) / 4

/** What lies in a file, as far as its modulo is concerned. */
export class Load {
  items = 0
  /** In the frames of groups: values that have frames of their own count as the reference to them. */
  bytes = 0

  add(idLength: number, valueLength: number): void {
    const bytes = entryBytes(idLength, valueLength)
    this.items++
    this.bytes += bytes > entryBytesMax ? entryBytes(idLength, referenceBytes) : bytes
  }

  /** For `factor` times the items. */
  modulo(factor: number): number {
    const wanted = Math.max(this.items / groupItems, this.bytes / groupBytes) * factor
    return Math.min(primeFrom(Math.max(moduloDefault, Math.ceil(wanted))), moduloMax)
  }
}

function primeFrom(start: number): number {
  let number = Math.min(start, moduloMax)
  while (!isPrime(number)) number++
  return number
}

function isPrime(number: number): boolean {
  for (let divisor = 2; divisor * divisor <= number; divisor++) {
    if (number % divisor === 0) return false
  }
  return number > 1
}
