// From an item-id to its group. The hash is MurmurHash3_x86_32 (Austin Appleby, public domain) with seed 0,
// fixed for ever: it decides where every item lies in every data file.
//
// A group takes a range of hashes, not a remainder: group = floor(hash × modulo / 2^32). So the order of the
// groups is the order of the hashes for every modulo, a resize is one sequential pass over both generations,
// and a scan can go on from its hash after one.
//
// Test vectors: '' → 0, 'hello' → 0x248bfa47, 'The quick brown fox jumps over the lazy dog' → 0x2e4ff723.
import assert from 'node:assert/strict'
import { moduloMax } from '../limits.ts'

/** Hashes are from 0 to this, excluded. */
export const hashEnd = 2 ** 32

/** Up to here hash × modulo is exact in a double. */
const exactModuloMax = 2 ** 21
assert(hashEnd * exactModuloMax === 2 ** 53)
// The two steps of groupOf are exact as long as 2^16 × modulo is.
assert(moduloMax * 2 ** 16 < 2 ** 53)

/** The hash of the id that lies in `bytes` from `start` to `end`; unsigned. */
export function hashId(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0
  const tail = start + ((end - start) & ~3)
  for (let at = start; at < tail; at += 4) {
    let word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    word = Math.imul(word, 0xcc9e2d51)
    word = Math.imul((word << 15) | (word >>> 17), 0x1b873593)
    hash ^= word
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0
  }
  if (tail < end) {
    let word = bytes[tail]!
    if (tail + 1 < end) word |= bytes[tail + 1]! << 8
    if (tail + 2 < end) word |= bytes[tail + 2]! << 16
    word = Math.imul(word, 0xcc9e2d51)
    hash ^= Math.imul((word << 15) | (word >>> 17), 0x1b873593)
  }
  hash ^= end - start
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** floor(hash × modulo / 2^32), exactly. */
export function groupOf(hash: number, modulo: number): number {
  if (modulo <= exactModuloMax) return ((hash * modulo) / hashEnd) >>> 0
  const low = Math.floor(((hash & 0xffff) * modulo) / 65536)
  return Math.floor(((hash >>> 16) * modulo + low) / 65536)
}

/** The first hash that falls into `group` or a later one; `hashEnd` for group = modulo. */
export function groupStart(group: number, modulo: number): number {
  // The quotient is rounded by less than the distance of two hashes, so one step up at most is missing.
  let hash = Math.floor((group * hashEnd) / modulo)
  while (hash < hashEnd && groupOf(hash, modulo) < group) hash++
  return hash
}

/** What a slot directory keeps of the hash: the end that the group does not use. */
export function tagOf(hash: number): number {
  return hash & 0xffff
}
