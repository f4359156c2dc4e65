// The hash by which servers compare items: MurmurHash3_x86_128 (Austin Appleby, public domain) of item-id and value,
// one behind the other, with the length of the item-id as seed. 128 bits, in four words. It finds what faults do; it
// is no defence against somebody who makes two items of the same hash on purpose: "hb digest" is, with SHA-256.

/** A hash or a sum of hashes: four words, each modulo 2^32. */
export type HashWords = Uint32Array

const c1 = 0x239b961b
const c2 = 0xab0e9789
const c3 = 0x38b34ae5
const c4 = 0xa1e38b93

/** Values that do not lie behind their item-id are put there. Large ones get a buffer of their own. */
const joinedBytesMax = 64 * 1024
let joined = new Uint8Array(4096)

export class ItemHasher {
  /** Of the item that was hashed last. */
  readonly words: HashWords = new Uint32Array(4)
  #bytes: Uint8Array = joined
  /** The same in words; null when they are not aligned. */
  #aligned: Uint32Array | null = null

  /** What an EntryVisitor gets. */
  item(
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    valueBytes: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): HashWords {
    const idLength = idEnd - idStart
    if (valueBytes === bytes && valueStart === idEnd) {
      return this.hash(bytes, idStart, valueEnd, idLength)
    }
    const length = idLength + valueEnd - valueStart
    if (length > joined.length && length <= joinedBytesMax) joined = new Uint8Array(joinedBytesMax)
    const both = length <= joined.length ? joined : new Uint8Array(length)
    both.set(bytes.subarray(idStart, idEnd))
    both.set(valueBytes.subarray(valueStart, valueEnd), idLength)
    return this.hash(both, 0, length, idLength)
  }

  hash(bytes: Uint8Array, start: number, end: number, seed: number): HashWords {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes
      this.#aligned =
        bytes.byteOffset % 4 === 0
          ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
          : null
    }
    let h1 = seed
    let h2 = seed
    let h3 = seed
    let h4 = seed
    const length = end - start
    const tail = start + (length & ~15)
    const source = start % 4 === 0 ? this.#aligned : null
    for (let at = start; at < tail; at += 16) {
      let k1, k2, k3, k4
      if (source === null) {
        k1 = wordAt(bytes, at)
        k2 = wordAt(bytes, at + 4)
        k3 = wordAt(bytes, at + 8)
        k4 = wordAt(bytes, at + 12)
      } else {
        const word = at >>> 2
        k1 = source[word]!
        k2 = source[word + 1]!
        k3 = source[word + 2]!
        k4 = source[word + 3]!
      }
      h1 ^= mixed(k1, c1, 15, c2)
      h1 = (Math.imul((rotated(h1, 19) + h2) | 0, 5) + 0x561ccd1b) | 0
      h2 ^= mixed(k2, c2, 16, c3)
      h2 = (Math.imul((rotated(h2, 17) + h3) | 0, 5) + 0x0bcaa747) | 0
      h3 ^= mixed(k3, c3, 17, c4)
      h3 = (Math.imul((rotated(h3, 15) + h4) | 0, 5) + 0x96cd1c35) | 0
      h4 ^= mixed(k4, c4, 18, c1)
      h4 = (Math.imul((rotated(h4, 13) + h1) | 0, 5) + 0x32ac3b17) | 0
    }
    const left = end - tail
    if (left > 12) h4 ^= mixed(restAt(bytes, tail + 12, end), c4, 18, c1)
    if (left > 8) h3 ^= mixed(restAt(bytes, tail + 8, end), c3, 17, c4)
    if (left > 4) h2 ^= mixed(restAt(bytes, tail + 4, end), c2, 16, c3)
    if (left > 0) h1 ^= mixed(restAt(bytes, tail, end), c1, 15, c2)
    h1 ^= length
    h2 ^= length
    h3 ^= length
    h4 ^= length
    h1 = (h1 + h2 + h3 + h4) | 0
    h2 = (h2 + h1) | 0
    h3 = (h3 + h1) | 0
    h4 = (h4 + h1) | 0
    h1 = avalanche(h1)
    h2 = avalanche(h2)
    h3 = avalanche(h3)
    h4 = avalanche(h4)
    h1 = (h1 + h2 + h3 + h4) | 0
    const { words } = this
    words[0] = h1
    words[1] = h2 + h1
    words[2] = h3 + h1
    words[3] = h4 + h1
    return words
  }
}

function rotated(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

function mixed(word: number, first: number, bits: number, second: number): number {
  return Math.imul(rotated(Math.imul(word, first), bits), second)
}

function avalanche(word: number): number {
  let h = word
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}

/** A word that may reach beyond the end. */
function restAt(bytes: Uint8Array, at: number, end: number): number {
  let word = bytes[at]!
  if (at + 1 < end) word |= bytes[at + 1]! << 8
  if (at + 2 < end) word |= bytes[at + 2]! << 16
  if (at + 3 < end) word |= bytes[at + 3]! << 24
  return word
}
