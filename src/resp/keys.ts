// What keys hold: strings, hashes or the log; and the same refusal for those that hold something else.
import type { Call } from './call.ts'
import { isFeed, type KeyPlace, type Space } from './keyspace.ts'
import type { Place } from './place.ts'
import { ReplyError, wrongType } from './reply-error.ts'

export type KeyType = 'none' | 'string' | 'hash' | 'stream'

/** What the key at that argument holds. */
export function typeOf(call: Call, index: number): KeyType {
  const { bytes } = call.request
  const start = call.request.start(index)
  const end = call.request.end(index)
  if (call.access.lengthOf(call.space.strings, bytes, start, end) >= 0) return 'string'
  return otherType(call, bytes, start, end)
}

/** What a key holds that is no string. */
function otherType(call: Call, bytes: Buffer, start: number, end: number): KeyType {
  if (isFeed(bytes, start, end)) return 'stream'
  const { space } = call
  if (!call.inTransaction && !space.mayBeHash(bytes, start, end)) return 'none'
  const place = space.hash(bytes, start, end)
  return place !== null && call.access.count(place) > 0 ? 'hash' : 'none'
}

/** The string at the key; null when there is none. Throws WRONGTYPE. */
export function readString(call: Call, index: number): Buffer | null {
  const { bytes } = call.request
  const start = call.request.start(index)
  const end = call.request.end(index)
  const value = call.access.read(call.space.strings, bytes, start, end)
  const { stats } = call.context
  if (value !== null) {
    stats.hits++
    return value
  }
  stats.misses++
  if (otherType(call, bytes, start, end) !== 'none') throw new ReplyError(wrongType)
  return null
}

/** Bytes of the string at the key; -1 when there is none. Throws WRONGTYPE. */
export function stringLength(call: Call, index: number): number {
  const { bytes } = call.request
  const start = call.request.start(index)
  const end = call.request.end(index)
  const length = call.access.lengthOf(call.space.strings, bytes, start, end)
  if (length < 0 && otherType(call, bytes, start, end) !== 'none') throw new ReplyError(wrongType)
  return length
}

/** There is something at the key, whatever it is. */
export function keyExists(call: Call, index: number): boolean {
  return typeOf(call, index) !== 'none'
}

/**
 * The value, the argument `valueIndex`, takes the place of whatever the key holds: but a file ACCOUNT/FILE is not lost
 * by a mistake in a name (WRONGTYPE).
 */
export function overwriteString(call: Call, index: number, valueIndex: number): void {
  const { request, space } = call
  const [start, end] = [request.start(index), request.end(index)]
  const held = otherType(call, request.bytes, start, end)
  if (held === 'none') return writeString(call, index, valueIndex)
  call.atomically(() => {
    giveWay(call, held === 'hash' ? space.hash(request.bytes, start, end) : null)
    writeString(call, index, valueIndex)
  })
}

/** Removes a hash for something else to take its key. Throws WRONGTYPE. */
export function giveWay(call: Call, place: Place | null): void {
  if (place === null || !place.fleeting) throw new ReplyError(wrongType)
  call.access.clear(place)
}

/** The hashes with keys without a slash that a database has. */
export function liveHashes({ access }: Call, space: Space): KeyPlace[] {
  const hashes = [...space.hashes()]
  for (const place of access.created()) {
    const key = space.keyOf(place)
    if (key !== null) hashes.push({ key, place })
  }
  return hashes.filter(({ place }) => access.count(place) > 0)
}

/** The value is the argument `valueIndex`. */
export function writeString(call: Call, index: number, valueIndex: number): void {
  const { request } = call
  const { bytes } = request
  const from = request.start(valueIndex)
  const to = request.end(valueIndex)
  const { strings } = call.space
  call.access.write(strings, bytes, request.start(index), request.end(index), bytes, from, to)
}

export function writeStringValue(call: Call, index: number, value: Buffer): void {
  const { request } = call
  const { strings } = call.space
  const [start, end] = [request.start(index), request.end(index)]
  call.access.write(strings, request.bytes, start, end, value, 0, value.length)
}

/** False when there was none. */
export function removeString(call: Call, index: number): boolean {
  const { request } = call
  const { strings } = call.space
  return call.access.remove(strings, request.bytes, request.start(index), request.end(index))
}

/** The file that is the hash at the key; null when there is nothing. Throws WRONGTYPE. */
export function hashAt(call: Call, index: number): Place | null {
  const { request, space, access } = call
  const { bytes } = request
  const start = request.start(index)
  const end = request.end(index)
  if (isFeed(bytes, start, end)) throw new ReplyError(wrongType)
  const { strings } = space
  const taken = access.count(strings) > 0 && access.lengthOf(strings, bytes, start, end) >= 0
  if (taken) throw new ReplyError(wrongType)
  return space.hash(bytes, start, end)
}

/** The same to write to. Throws ReplyError when no file can have the name. */
export function hashToWrite(call: Call, index: number): Place {
  const place = hashAt(call, index)
  if (place !== null) return place
  throw new ReplyError(noFileName)
}

const noFileName =
  'ERR a hash is a file here: its key is ACCOUNT/FILE, or a short name, in UTF-8 without control characters'
