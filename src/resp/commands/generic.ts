// Commands about keys, whatever they hold.
import { fraction } from '../../platform/random.ts'
import type { Call } from '../call.ts'
import { command, container, type Command, type CommandRow } from '../command.ts'
import { giveWay, liveHashes, typeOf, type KeyType } from '../keys.ts'
import type { Space } from '../keyspace.ts'
import { integerArgument, parseInteger } from '../numbers.ts'
import type { Place } from '../place.ts'
import { randomItem } from '../random-items.ts'
import { ReplyError, syntaxError } from '../reply-error.ts'
import { keys, scan } from './scan.ts'

const logStays = 'ERR hb:log is the log of this server: it cannot be changed'

/** A key as it lies in a request, in some database. */
interface Key {
  readonly space: Space
  readonly bytes: Buffer
  readonly start: number
  readonly end: number
}

function keyAt({ request, space }: Call, index: number, of: Space = space): Key {
  return { space: of, bytes: request.bytes, start: request.start(index), end: request.end(index) }
}

/** Deletes what the key holds. False when that is nothing. */
function deleteKey(call: Call, index: number): boolean {
  const { request, space, access } = call
  switch (typeOf(call, index)) {
    case 'none':
      return false
    case 'stream':
      throw new ReplyError(logStays)
    case 'string':
      return access.remove(space.strings, request.bytes, request.start(index), request.end(index))
    case 'hash':
      access.clear(hashOf(keyAt(call, index))!)
      return true
  }
}

function hashOf({ space, bytes, start, end }: Key): Place | null {
  return space.hash(bytes, start, end)
}

function del(call: Call): void {
  const { count } = call.request
  if (count === 2) return call.reply.integer(deleteKey(call, 1) ? 1 : 0)
  call.reply.integer(
    call.atomically(() => {
      let deleted = 0
      for (let index = 1; index < count; index++) if (deleteKey(call, index)) deleted++
      return deleted
    }),
  )
}

function exists(call: Call): void {
  let found = 0
  for (let index = 1; index < call.request.count; index++) {
    if (typeOf(call, index) !== 'none') found++
  }
  call.reply.integer(found)
}

function type(call: Call): void {
  call.reply.simple(typeOf(call, 1))
}

/** What the key holds in another database, or there by another name. */
function typeIn(call: Call, key: Key): KeyType {
  const { access } = call
  if (access.lengthOf(key.space.strings, key.bytes, key.start, key.end) >= 0) return 'string'
  const place = hashOf(key)
  return place !== null && access.count(place) > 0 ? 'hash' : 'none'
}

/** Makes a copy of what `from` holds; what `to` holds gives way. */
function copyKey(call: Call, from: Key, to: Key, fromType: 'string' | 'hash'): void {
  const { access } = call
  const target = typeIn(call, to)
  if (target === 'hash' && fromType === 'string') giveWay(call, hashOf(to))
  if (target === 'string' && fromType === 'hash') removeKey(call, to, 'string')
  if (fromType === 'string') {
    const value = access.read(from.space.strings, from.bytes, from.start, from.end)!
    access.write(to.space.strings, to.bytes, to.start, to.end, value, 0, value.length)
    return
  }
  const [source, copy] = [hashOf(from)!, hashOf(to)]
  if (copy === null) throw new ReplyError('ERR no file can have that name')
  const items: { readonly id: Buffer; readonly value: Buffer }[] = []
  let cursor: number | null = 0
  while (cursor !== null) {
    cursor = access.scan(
      source,
      cursor,
      10_000,
      (bytes, idStart, idEnd, value, start, end) => {
        const id = Buffer.from(bytes.subarray(idStart, idEnd))
        items.push({ id, value: Buffer.from(value.subarray(start, end)) })
      },
      true,
    )
  }
  access.clear(copy)
  for (const { id, value } of items) access.write(copy, id, 0, id.length, value, 0, value.length)
}

function removeKey(call: Call, key: Key, held: 'string' | 'hash'): void {
  const { access } = call
  if (held === 'hash') access.clear(hashOf(key)!)
  else access.remove(key.space.strings, key.bytes, key.start, key.end)
}

/** What the key at the argument holds, which can be copied. */
function movable(call: Call, index: number): 'string' | 'hash' | 'none' {
  const held = typeOf(call, index)
  if (held === 'stream') throw new ReplyError(logStays)
  return held
}

function sameKeys({ request }: Call): boolean {
  return request.arg(1).equals(request.arg(2))
}

function rename(call: Call, onlyNew: boolean): boolean {
  const held = movable(call, 1)
  if (held === 'none') throw new ReplyError('ERR no such key')
  if (sameKeys(call)) return !onlyNew
  if (onlyNew && movable(call, 2) !== 'none') return false
  call.atomically(() => {
    copyKey(call, keyAt(call, 1), keyAt(call, 2), held)
    removeKey(call, keyAt(call, 1), held)
  })
  return true
}

/** The database that the argument names. */
function databaseAt(call: Call, index: number): Space {
  const { context, request, opened } = call
  const number = integerArgument(request, index)
  if (number < 0 || number >= context.settings.databases) {
    throw new ReplyError('ERR DB index is out of range')
  }
  return opened.keyspace.space(Number(number))
}

/** The key ACCOUNT/FILE is the same in every database. */
function refuseSame(from: Key, to: Key): void {
  const same = hashOf(from)
  if (from.space === to.space || (same !== null && same.path === hashOf(to)?.path)) {
    throw new ReplyError('ERR source and destination objects are the same')
  }
}

function copy(call: Call): void {
  const { request, reply } = call
  let space = call.space
  let replace = false
  for (let index = 3; index < request.count; index++) {
    if (request.is(index, 'replace')) replace = true
    else if (request.is(index, 'db') && index + 1 < request.count) space = databaseAt(call, ++index)
    else throw new ReplyError(syntaxError)
  }
  const [from, to] = [keyAt(call, 1), keyAt(call, 2, space)]
  if (sameKeys(call)) refuseSame(from, to)
  const held = movable(call, 1)
  if (held === 'none') return reply.integer(0)
  if (!replace && typeIn(call, to) !== 'none') return reply.integer(0)
  call.atomically(() => copyKey(call, from, to, held))
  reply.integer(1)
}

function move(call: Call): void {
  const space = databaseAt(call, 2)
  const [from, to] = [keyAt(call, 1), keyAt(call, 1, space)]
  refuseSame(from, to)
  const held = movable(call, 1)
  if (held === 'none' || typeIn(call, to) !== 'none') return call.reply.integer(0)
  call.atomically(() => {
    copyKey(call, from, to, held)
    removeKey(call, from, held)
  })
  call.reply.integer(1)
}

/** One of all keys of the database, each as likely as any other, near enough. */
function randomkey(call: Call): void {
  const { context, access, space, reply } = call
  const hashes = liveHashes(call, space)
  const strings = access.count(space.strings)
  const drawn = Math.floor(fraction(context.random) * (strings + hashes.length))
  const hash = hashes[drawn - strings]
  if (hash !== undefined) return reply.bulk(hash.key)
  reply.bulkOrNil(randomItem(context.random, access, space.strings, false)?.id ?? null)
}

const smallHash = 128
const embeddedBytesMax = 44
const numberBytesMax = 20

function encoding(call: Call): void {
  const { request, reply, access, space } = call
  const held = typeOf(call, 2)
  if (held === 'none') return reply.nil()
  if (held === 'stream') return reply.bulkText('stream')
  if (held === 'hash') {
    const place = hashOf(keyAt(call, 2))!
    return reply.bulkText(access.count(place) <= smallHash ? 'listpack' : 'hashtable')
  }
  const value = access.read(space.strings, request.bytes, request.start(2), request.end(2))!
  const { length } = value
  const number = length <= numberBytesMax && parseInteger(value, 0, length) !== null
  reply.bulkText(number ? 'int' : length <= embeddedBytesMax ? 'embstr' : 'raw')
}

function ofKey(write: (call: Call) => void): (call: Call) => void {
  return call => {
    if (typeOf(call, 2) === 'none') return call.reply.nil()
    write(call)
  }
}

const objectCommand = container(
  'generic',
  'object',
  { since: '2.2.3', summary: 'Commands about how values are stored.' },
  [
    objectRow('encoding', '2.2.3', 'Returns how Redis would store the value.', encoding),
    objectRow(
      'freq',
      '4.0.0',
      'Is refused: accesses are not counted.',
      ofKey(() => {
        throw new ReplyError(
          'ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.',
        )
      }),
    ),
    objectRow(
      'idletime',
      '2.2.3',
      'Returns 0: accesses are not noted.',
      ofKey(({ reply }) => reply.integer(0)),
    ),
    objectRow(
      'refcount',
      '2.2.3',
      'Returns 1.',
      ofKey(({ reply }) => reply.integer(1)),
    ),
  ],
)

function objectRow(name: string, since: string, summary: string, run: CommandRow['run']): Command {
  const rest = { arity: 3, flags: 'readonly', keys: [2, 2, 1] as const, syntax: 'key' }
  return command('generic', `object|${name}`, { ...rest, since, summary, run })
}

function row(name: string, rest: CommandRow): Command {
  return command('generic', name, rest)
}

const one = [1, 1, 1] as const
const every = [1, -1, 1] as const

export const genericCommands: readonly Command[] = [
  row('copy', {
    arity: -3,
    flags: 'write denyoom',
    keys: [1, 2, 1],
    since: '6.2.0',
    syntax: 'source destination [DB destination-db] [REPLACE]',
    summary: 'Copies a value.',
    run: copy,
  }),
  row('del', {
    arity: -2,
    flags: 'write',
    keys: every,
    since: '1.0.0',
    syntax: 'key [key ...]',
    summary: 'Deletes keys; a file ACCOUNT/FILE is emptied.',
    run: del,
  }),
  row('exists', {
    arity: -2,
    flags: 'readonly fast',
    keys: every,
    since: '1.0.0',
    syntax: 'key [key ...]',
    summary: 'Counts the keys that are there.',
    run: exists,
  }),
  row('keys', {
    arity: 2,
    flags: 'readonly',
    since: '1.0.0',
    syntax: 'pattern',
    summary: 'Returns the keys that match.',
    run: keys,
  }),
  row('move', {
    arity: 3,
    flags: 'write fast',
    keys: one,
    since: '1.0.0',
    syntax: 'key db',
    summary: 'Moves a key to another database.',
    run: move,
  }),
  objectCommand,
  row('randomkey', {
    arity: 1,
    flags: 'readonly',
    since: '1.0.0',
    summary: 'Returns a random key.',
    run: randomkey,
  }),
  row('rename', {
    arity: 3,
    flags: 'write',
    keys: [1, 2, 1],
    since: '1.0.0',
    syntax: 'key newkey',
    summary: 'Gives a key another name.',
    run: call => {
      rename(call, false)
      call.reply.ok()
    },
  }),
  row('renamenx', {
    arity: 3,
    flags: 'write fast',
    keys: [1, 2, 1],
    since: '1.0.0',
    syntax: 'key newkey',
    summary: 'Gives a key another name that is free.',
    run: call => call.reply.integer(rename(call, true) ? 1 : 0),
  }),
  row('scan', {
    arity: -2,
    flags: 'readonly',
    since: '2.8.0',
    syntax: 'cursor [MATCH pattern] [COUNT count] [TYPE type]',
    summary: 'Goes over the keys, some at a time.',
    run: scan,
  }),
  row('touch', {
    arity: -2,
    flags: 'readonly fast',
    keys: every,
    since: '3.2.1',
    syntax: 'key [key ...]',
    summary: 'Is EXISTS: accesses are not noted.',
    run: exists,
  }),
  row('type', {
    arity: 2,
    flags: 'readonly fast',
    keys: one,
    since: '1.0.0',
    syntax: 'key',
    summary: 'Returns what the key holds: none, string, hash or stream.',
    run: type,
  }),
  row('unlink', {
    arity: -2,
    flags: 'write fast',
    keys: every,
    since: '4.0.0',
    syntax: 'key [key ...]',
    summary: 'Is DEL.',
    run: del,
  }),
]
