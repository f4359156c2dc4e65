// What a file holds in a range of hashes, for two servers to compare: a sum of the items' hashes. It needs no order,
// so it is the same however the items lie, whatever a helper does meanwhile, and costs no memory.
import type { HashRange } from '../log/verify-record.ts'
import { groupOf, groupStart, hashEnd, hashId } from './hash.ts'
import { type HashedFile } from './hashed-file.ts'
import { ItemHasher } from './item-hash.ts'

/** A slice is read in one turn of the event loop: less than a millisecond, unless the file is badly sized. */
const sliceItems = 1000
const sliceBytes = 256 * 1024
const sliceGroupsMax = 16_384
const sliceTagsMax = 128

/** A slice of a file, as large as can be read in one turn. */
export interface Slice extends HashRange {
  /** Groups for one tag. */
  readonly span: number
}

export interface RangeSum {
  readonly items: number
  /** Of item-ids and items. */
  readonly bytes: number
  /** Sums of the words of the items' hashes, modulo 2^32 each. */
  readonly digest: Uint32Array
  /** For every `span` groups from the group of the first hash on: the sum of the first words. */
  readonly tags: Uint32Array
}

type SizedFile = Pick<HashedFile, 'modulo' | 'itemCount' | 'bytes'>

/** The slice that begins with the hash `from`. */
export function sliceAt({ modulo, itemCount, bytes }: SizedFile, from: number): Slice {
  const first = groupOf(from, modulo)
  const left = modulo - first
  if (itemCount === 0) return { modulo, from, to: hashEnd, span: left }
  const fitting = Math.min((sliceItems * modulo) / itemCount, (sliceBytes * modulo) / bytes)
  const groups = Math.min(left, sliceGroupsMax, Math.max(1, Math.floor(fitting)))
  const to = groupStart(first + groups, modulo)
  return { modulo, from, to, span: Math.ceil(groups / sliceTagsMax) }
}

/** How many slices the file has. */
export function sliceCount(file: SizedFile): number {
  if (file.itemCount === 0) return 1
  const { to, modulo } = sliceAt(file, 0)
  return Math.ceil(modulo / (groupOf(to - 1, modulo) + 1))
}

const hasher = new ItemHasher()

/** Throws ERR_DATABASE_CORRUPT, ERR_DISK. */
export function sumRange(file: HashedFile, { modulo, from, to, span }: Slice): RangeSum {
  const first = groupOf(from, modulo)
  const tags = new Uint32Array(Math.floor((groupOf(to - 1, modulo) - first) / span) + 1)
  const digest = new Uint32Array(4)
  let items = 0
  let itemBytes = 0
  if (file.itemCount === 0) return { items, bytes: itemBytes, digest, tags }
  file.scanRange(from, to, (bytes, idStart, idEnd, valueBytes, valueStart, valueEnd) => {
    const words = hasher.item(bytes, idStart, idEnd, valueBytes, valueStart, valueEnd)
    for (let word = 0; word < 4; word++) digest[word]! += words[word]!
    const group = groupOf(hashId(bytes, idStart, idEnd), modulo)
    tags[Math.floor((group - first) / span)]! += words[0]!
    items++
    itemBytes += idEnd - idStart + valueEnd - valueStart
  })
  return { items, bytes: itemBytes, digest, tags }
}

export interface ItemHash {
  readonly id: Buffer
  readonly hash: Buffer
}

/** Ids and hashes, one by one, by the bytes of the id as latin1. Throws likewise. */
export function hashItems(file: HashedFile, { from, to }: HashRange): Map<string, ItemHash> {
  const found = new Map<string, ItemHash>()
  if (file.itemCount === 0) return found
  file.scanRange(from, to, (bytes, idStart, idEnd, valueBytes, valueStart, valueEnd) => {
    const words = hasher.item(bytes, idStart, idEnd, valueBytes, valueStart, valueEnd)
    const id = Buffer.from(bytes.subarray(idStart, idEnd))
    found.set(id.toString('latin1'), { id, hash: bytesOf(words) })
  })
  return found
}

function bytesOf(words: Uint32Array): Buffer {
  const bytes = Buffer.allocUnsafe(16)
  words.forEach((word, index) => bytes.writeUInt32LE(word, 4 * index))
  return bytes
}

/**
 * The parts of the range whose tags differ; all of it when none does, or there is another number of them. In order.
 */
export function differingParts(
  { modulo, from, to, span }: Slice,
  ours: Uint32Array,
  theirs: Uint32Array,
): { readonly from: number; readonly to: number }[] {
  const first = groupOf(from, modulo)
  const parts: { from: number; to: number }[] = []
  for (let tag = 0; tag < ours.length && ours.length === theirs.length; tag++) {
    if (ours[tag] === theirs[tag]) continue
    const start = tag === 0 ? from : groupStart(first + tag * span, modulo)
    const end = Math.min(to, groupStart(Math.min(modulo, first + (tag + 1) * span), modulo))
    const last = parts.at(-1)
    if (last?.to === start) last.to = end
    else parts.push({ from: start, to: end })
  }
  return parts.length > 0 ? parts : [{ from, to }]
}
