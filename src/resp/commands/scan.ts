// SCAN, HSCAN and KEYS. The cursor is the hash where to go on: what is there from beginning to end comes exactly once,
// also when the file is resized meanwhile. Behind the strings of a database come its hashes, in the order of the hashes
// of their keys.
import type { EntryVisitor } from '../../database/group-walk.ts'
import { hashEnd, hashId } from '../../database/hash.ts'
import type { Answer, Call } from '../call.ts'
import { collect } from '../collect.ts'
import { globMatches } from '../glob.ts'
import { liveHashes } from '../keys.ts'
import { numberArgument } from '../numbers.ts'
import type { Place } from '../place.ts'
import { ReplyError, syntaxError } from '../reply-error.ts'

interface ScanOptions {
  readonly cursor: number
  readonly count: number
  /** Null: all. */
  readonly pattern: Buffer | null
  readonly type: string | null
}

const cursorsEnd = 2 ** 64

/** In one call at most, whatever is asked for. */
const countMax = 100_000

function scanOptions({ request }: Call, at: number, typed: boolean): ScanOptions {
  const text = request.latin1(at)
  if (!/^[+-]?\d{1,20}$/.test(text)) throw new ReplyError('ERR invalid cursor')
  // As in Redis, one below 0 is one beyond everything.
  const cursor = text.startsWith('-') && text !== '-0' ? cursorsEnd : Number(text)
  if (cursor > cursorsEnd) throw new ReplyError('ERR invalid cursor')
  let count = 10
  let pattern: Buffer | null = null
  let type: string | null = null
  for (let index = at + 1; index < request.count; index += 2) {
    const left = request.count - index
    if (request.is(index, 'count') && left >= 2) {
      count = numberArgument(request, index + 1, -(2 ** 53) + 1, 2 ** 53 - 1)
      if (count < 1) throw new ReplyError(syntaxError)
    } else if (request.is(index, 'match') && left >= 2) {
      pattern = request.arg(index + 1)
      if (pattern.length === 1 && pattern[0] === 0x2a) pattern = null
    } else if (typed && request.is(index, 'type') && left >= 2) {
      type = request.text(index + 1).toLowerCase()
    } else throw new ReplyError(syntaxError)
  }
  return { cursor, count: Math.min(count, countMax), pattern, type }
}

/** Looks for items in one call: empty groups cost little, but a file may have many of them. */
const looksMax = 100

/** Visits about `count` items from `cursor` on. Returns where to go on; null at the end. */
function visitSome(
  { access }: Call,
  place: Place,
  cursor: number,
  count: number,
  visit: EntryVisitor,
  withValues: boolean,
): number | null {
  let left = count
  let next: number | null = cursor
  const counting: EntryVisitor = (...item) => {
    left--
    visit(...item)
  }
  for (let looks = 0; next !== null && left > 0 && looks < looksMax; looks++) {
    next = access.scan(place, next, Math.max(left, 10), counting, withValues)
  }
  return next
}

/** Fields and values of a file. */
export function scanItems(call: Call, placeOf: () => Place | null): void {
  const { cursor, count, pattern } = scanOptions(call, 2, false)
  const place = placeOf()
  const { reply, scratch } = call
  scratch.cutBack(0)
  let values = 0
  const visit: EntryVisitor = (bytes, idStart, idEnd, value, start, end) => {
    if (pattern !== null && !globMatches(pattern, bytes, idStart, idEnd)) return
    scratch.bulkOf(bytes, idStart, idEnd)
    scratch.bulkOf(value, start, end)
    values += 2
  }
  const next =
    place === null || cursor >= hashEnd ? null : visitSome(call, place, cursor, count, visit, true)
  reply.array(2)
  reply.bulkText(String(next ?? 0))
  reply.array(values)
  reply.append(scratch)
}

export function scan(call: Call): void {
  const { cursor, count, pattern, type } = scanOptions(call, 1, true)
  const { reply, scratch, space } = call
  scratch.cutBack(0)
  let keys = 0
  const take = (bytes: Uint8Array, start: number, end: number) => {
    if (pattern !== null && !globMatches(pattern, bytes, start, end)) return
    scratch.bulkOf(bytes, start, end)
    keys++
  }
  let next: number | null = cursor
  if (next < hashEnd) {
    if (type === null || type === 'string') {
      next = visitSome(call, space.strings, next, count, take, false)
      next ??= hashEnd
    } else next = hashEnd
  }
  if (next >= hashEnd) {
    const wanted = type === null || type === 'hash'
    // What is left of the strings was a call of its own: most databases have no hashes, and end here.
    next = wanted ? scanHashes(call, next - hashEnd, count - keys, take) : null
  }
  reply.array(2)
  reply.bulkText(String(next ?? 0))
  reply.array(keys)
  reply.append(scratch)
}

/** Keys of hashes whose own hash is `from` or more. Returns the next cursor; null at the end. */
function scanHashes(
  call: Call,
  from: number,
  count: number,
  take: (bytes: Uint8Array, start: number, end: number) => void,
): number | null {
  const keys: { readonly key: Buffer; readonly hash: number }[] = []
  for (const { key } of liveHashes(call, call.space)) {
    const hash = hashId(key, 0, key.length)
    if (hash >= from) keys.push({ key, hash })
  }
  keys.sort((a, b) => a.hash - b.hash)
  for (const [index, { key, hash }] of keys.entries()) {
    const others = index > 0 && keys[index - 1]!.hash !== hash
    if (index >= count && (index === 0 || others)) return hashEnd + hash
    take(key, 0, key.length)
  }
  return null
}

export function keys(call: Call): void | Promise<Answer> {
  const { request, space } = call
  const pattern = Buffer.from(request.arg(1))
  const hashes = liveHashes(call, space)
    .map(({ key }) => key)
    .filter(key => globMatches(pattern, key, 0, key.length))
  return collect(
    call,
    space.strings,
    false,
    (reply, bytes, start, end) => {
      if (!globMatches(pattern, bytes, start, end)) return 0
      reply.bulkOf(bytes, start, end)
      return 1
    },
    (reply, strings) => {
      reply.array(strings + hashes.length)
      for (const key of hashes) reply.bulk(key)
    },
  )
}
