// Hashes: files, whose fields are item-ids.
import type { Answer, Call } from '../call.ts'
import { collect, type Describe } from '../collect.ts'
import { command, type Command, type CommandRow } from '../command.ts'
import { hashAt, hashToWrite } from '../keys.ts'
import { parseLongDouble } from '../long-double.ts'
import { integerArgument } from '../numbers.ts'
import type { Place } from '../place.ts'
import { randomItem, randomItems, type RandomItem } from '../random-items.ts'
import type { Reply } from '../reply.ts'
import { ReplyError, syntaxError } from '../reply-error.ts'
import { incremented, incrementedByFloat, notAFloat } from './counters.ts'
import { scanItems } from './scan.ts'

/** The field at that argument; null when there is none. */
function readField(call: Call, place: Place | null, index: number): Buffer | null {
  if (place === null) return null
  const { request } = call
  return call.access.read(place, request.bytes, request.start(index), request.end(index))
}

function fieldLength(call: Call, place: Place | null, index: number): number {
  if (place === null) return -1
  const { request } = call
  return call.access.lengthOf(place, request.bytes, request.start(index), request.end(index))
}

function writeField(call: Call, place: Place, index: number): void {
  const { request } = call
  const { bytes } = request
  const [start, end] = [request.start(index), request.end(index)]
  const [from, to] = [request.start(index + 1), request.end(index + 1)]
  call.access.write(place, bytes, start, end, bytes, from, to)
}

function writeFieldValue(call: Call, place: Place, index: number, value: Buffer): void {
  const { request } = call
  const [start, end] = [request.start(index), request.end(index)]
  call.access.write(place, request.bytes, start, end, value, 0, value.length)
}

function hget(call: Call): void {
  call.reply.bulkOrNil(readField(call, hashAt(call, 1), 2))
}

/** Sets all pairs; returns how many of the fields are new. */
function setPairs(call: Call): number {
  const { count } = call.request
  if (count % 2 !== 0) {
    const name = call.session.lastCommand
    throw new ReplyError(`ERR wrong number of arguments for '${name}' command`)
  }
  const place = hashToWrite(call, 1)
  if (count === 4) {
    const added = fieldLength(call, place, 2) < 0 ? 1 : 0
    writeField(call, place, 2)
    return added
  }
  return call.atomically(() => {
    let added = 0
    for (let index = 2; index < count; index += 2) {
      if (fieldLength(call, place, index) < 0) added++
      writeField(call, place, index)
    }
    return added
  })
}

function hset(call: Call): void {
  call.reply.integer(setPairs(call))
}

function hmset(call: Call): void {
  setPairs(call)
  call.reply.ok()
}

function hsetnx(call: Call): void {
  const place = hashToWrite(call, 1)
  const there = fieldLength(call, place, 2) >= 0
  if (!there) writeField(call, place, 2)
  call.reply.integer(there ? 0 : 1)
}

function hmget(call: Call): void {
  const { request, reply } = call
  const place = hashAt(call, 1)
  reply.array(request.count - 2)
  for (let index = 2; index < request.count; index++) {
    reply.bulkOrNil(readField(call, place, index))
  }
}

function hdel(call: Call): void {
  const { request, reply } = call
  const place = hashAt(call, 1)
  if (place === null) return reply.integer(0)
  const remove = (index: number) =>
    call.access.remove(place, request.bytes, request.start(index), request.end(index)) ? 1 : 0
  if (request.count === 3) return reply.integer(remove(2))
  reply.integer(
    call.atomically(() => {
      let removed = 0
      for (let index = 2; index < request.count; index++) removed += remove(index)
      return removed
    }),
  )
}

function hexists(call: Call): void {
  call.reply.integer(fieldLength(call, hashAt(call, 1), 2) >= 0 ? 1 : 0)
}

function hlen(call: Call): void {
  const place = hashAt(call, 1)
  call.reply.integer(place === null ? 0 : call.access.count(place))
}

function hstrlen(call: Call): void {
  call.reply.integer(Math.max(0, fieldLength(call, hashAt(call, 1), 2)))
}

function all(
  withValues: boolean,
  describe: Describe,
  head: (reply: Reply, values: number) => void,
): (call: Call) => void | Promise<Answer> {
  return call => {
    const place = hashAt(call, 1)
    if (place === null) return head(call.reply, 0)
    return collect(call, place, withValues, describe, head)
  }
}

const hgetall = all(
  true,
  (reply, bytes, idStart, idEnd, value, start, end) => {
    reply.bulkOf(bytes, idStart, idEnd)
    reply.bulkOf(value, start, end)
    return 1
  },
  (reply, pairs) => reply.map(pairs),
)

const hkeys = all(
  false,
  (reply, bytes, idStart, idEnd) => {
    reply.bulkOf(bytes, idStart, idEnd)
    return 1
  },
  (reply, fields) => reply.array(fields),
)

const hvals = all(
  true,
  (reply, _bytes, _idStart, _idEnd, value, start, end) => {
    reply.bulkOf(value, start, end)
    return 1
  },
  (reply, values) => reply.array(values),
)

function hincrby(call: Call): void {
  const by = integerArgument(call.request, 3)
  const place = hashToWrite(call, 1)
  const sum = incremented(readField(call, place, 2), by, 'ERR hash value is not an integer')
  writeFieldValue(call, place, 2, Buffer.from(String(sum), 'latin1'))
  call.reply.integer(sum)
}

function hincrbyfloat(call: Call): void {
  const by = call.request.latin1(3)
  // The increment is looked at first.
  const added = parseLongDouble(by)
  if (added === null) throw new ReplyError(notAFloat)
  if (added === 'infinite') throw new ReplyError('ERR value is NaN or Infinity')
  const place = hashToWrite(call, 1)
  const text = incrementedByFloat(readField(call, place, 2), by, 'ERR hash value is not a float')
  writeFieldValue(call, place, 2, Buffer.from(text, 'latin1'))
  call.reply.bulkText(text)
}

const countsMax = 2n ** 63n / 2n

function hrandfield(call: Call): void {
  const { context, request, reply, access } = call
  if (request.count === 2) {
    const place = hashAt(call, 1)
    const item = place === null ? null : randomItem(context.random, access, place, false)
    return reply.bulkOrNil(item === null ? null : item.id)
  }
  const count = integerArgument(request, 2)
  const withValues = request.count === 4 && request.is(3, 'withvalues')
  if (request.count > 4 || (request.count === 4 && !withValues)) throw new ReplyError(syntaxError)
  const big = BigInt(count)
  if (big === -(2n ** 63n)) {
    throw new ReplyError(
      'ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807',
    )
  }
  if (withValues && (big < -countsMax || big > countsMax)) {
    throw new ReplyError('ERR value is out of range')
  }
  const place = hashAt(call, 1)
  if (place === null || access.count(place) === 0) return reply.array(0)
  const items = drawn(call, place, Number(count), withValues)
  reply.array(withValues && reply.protocol === 2 ? items.length * 2 : items.length)
  for (const { id, value } of items) {
    if (withValues && reply.protocol === 3) reply.array(2)
    reply.bulk(id)
    if (withValues) reply.bulk(value)
  }
}

/** So many different items; when negative, so many draws. */
function drawn(call: Call, place: Place, count: number, withValues: boolean): RandomItem[] {
  const { context, access, reply } = call
  if (count >= 0) return randomItems(context.random, access, place, count, withValues)
  const items: RandomItem[] = []
  let bytes = 0
  for (let left = -count; left > 0; left--) {
    const item = randomItem(context.random, access, place, withValues)
    if (item === null) break
    items.push(item)
    bytes += item.id.length + item.value.length
    if (bytes > reply.bytesMax) throw new ReplyError('ERR the reply is too large')
  }
  return items
}

function hscan(call: Call): void {
  scanItems(call, () => hashAt(call, 1))
}

function read(name: string, rest: Omit<CommandRow, 'keys' | 'flags'>, flags = 'readonly'): Command {
  return command('hash', name, { ...rest, keys: [1, 1, 1], flags })
}

function write(name: string, rest: Omit<CommandRow, 'keys' | 'flags'>): Command {
  return command('hash', name, { ...rest, keys: [1, 1, 1], flags: 'write denyoom fast' })
}

const fast = 'readonly fast'

export const hashCommands: readonly Command[] = [
  command('hash', 'hdel', {
    arity: -3,
    flags: 'write fast',
    keys: [1, 1, 1],
    since: '2.0.0',
    syntax: 'key field [field ...]',
    summary: 'Deletes items.',
    run: hdel,
  }),
  read(
    'hexists',
    { arity: 3, since: '2.0.0', syntax: 'key field', summary: 'Is there an item?', run: hexists },
    fast,
  ),
  read(
    'hget',
    { arity: 3, since: '2.0.0', syntax: 'key field', summary: 'Returns an item.', run: hget },
    fast,
  ),
  read('hgetall', {
    arity: 2,
    since: '2.0.0',
    syntax: 'key',
    summary: 'Returns all items with their ids.',
    run: hgetall,
  }),
  write('hincrby', {
    arity: 4,
    since: '2.0.0',
    syntax: 'key field increment',
    summary: 'Adds to the number that is the item.',
    run: hincrby,
  }),
  write('hincrbyfloat', {
    arity: 4,
    since: '2.6.0',
    syntax: 'key field increment',
    summary: 'Adds to the number, which may have decimals, that is the item.',
    run: hincrbyfloat,
  }),
  read('hkeys', {
    arity: 2,
    since: '2.0.0',
    syntax: 'key',
    summary: 'Returns all item-ids.',
    run: hkeys,
  }),
  read(
    'hlen',
    { arity: 2, since: '2.0.0', syntax: 'key', summary: 'Counts the items.', run: hlen },
    fast,
  ),
  read(
    'hmget',
    {
      arity: -3,
      since: '2.0.0',
      syntax: 'key field [field ...]',
      summary: 'Returns items.',
      run: hmget,
    },
    fast,
  ),
  write('hmset', {
    arity: -4,
    since: '2.0.0',
    syntax: 'key field value [field value ...]',
    summary: 'Is HSET, and returns OK.',
    run: hmset,
  }),
  read('hrandfield', {
    arity: -2,
    since: '6.2.0',
    syntax: 'key [count [WITHVALUES]]',
    summary: 'Returns random items.',
    run: hrandfield,
  }),
  read('hscan', {
    arity: -3,
    since: '2.8.0',
    syntax: 'key cursor [MATCH pattern] [COUNT count]',
    summary: 'Goes over the items, some at a time.',
    run: hscan,
  }),
  write('hset', {
    arity: -4,
    since: '2.0.0',
    syntax: 'key field value [field value ...]',
    summary: 'Writes items, all or none, and counts the new ones.',
    run: hset,
  }),
  write('hsetnx', {
    arity: 4,
    since: '2.0.0',
    syntax: 'key field value',
    summary: 'Writes an item if there is none with that id.',
    run: hsetnx,
  }),
  read(
    'hstrlen',
    {
      arity: 3,
      since: '3.2.0',
      syntax: 'key field',
      summary: 'Returns the length of an item.',
      run: hstrlen,
    },
    fast,
  ),
  read('hvals', {
    arity: 2,
    since: '2.0.0',
    syntax: 'key',
    summary: 'Returns all items without their ids.',
    run: hvals,
  }),
]
