// The files of numbered databases and of hashes without a slash are nobody's to size, so their modulo follows what they
// hold. A file ACCOUNT/FILE is its owner's: see HB.RESIZEFILE.
import type { HashedFile } from '../database/hashed-file.ts'
import { moduloMax } from '../limits.ts'

/** Bytes of a group, on average, above which a file gets more groups, and what they hold then: a frame has 4,064. */
const groupBytesMax = 6000
const groupBytesAfter = 1500
/** What an item takes in a frame beside its id and value. */
const itemBytes = 10

/** The modulo that the file should get now; null while the one that it has is good. */
export function grownModulo(file: HashedFile): number | null {
  const bytes = file.bytes + file.itemCount * itemBytes
  if (bytes <= file.modulo * groupBytesMax || file.hold !== null) return null
  const modulo = primeFrom(Math.ceil(bytes / groupBytesAfter))
  return modulo > file.modulo && modulo <= moduloMax ? modulo : null
}

/** The first prime that is not less. */
function primeFrom(number: number): number {
  let candidate = Math.max(number, 3) | 1
  while (!isPrime(candidate)) candidate += 2
  return candidate
}

/** Of an odd number. */
function isPrime(number: number): boolean {
  for (let factor = 3; factor * factor <= number; factor += 2) {
    if (number % factor === 0) return false
  }
  return true
}
