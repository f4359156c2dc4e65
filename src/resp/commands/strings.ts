// Strings: the items of the database's file.
import { itemBytesMax } from '../../limits.ts'
import type { Call } from '../call.ts'
import { command, type Command, type CommandRow } from '../command.ts'
import {
  keyExists,
  overwriteString,
  readString,
  removeString,
  stringLength,
  writeString,
  writeStringValue,
} from '../keys.ts'
import { clampedArgument } from '../numbers.ts'
import { ReplyError, syntaxError, tooLong } from '../reply-error.ts'

function get(call: Call): void {
  call.reply.bulkOrNil(readString(call, 1))
}

function set(call: Call): void {
  const { request, reply } = call
  if (request.count === 3) {
    overwriteString(call, 1, 2)
    return reply.ok()
  }
  let condition: 'nx' | 'xx' | null = null
  let wantsOld = false
  for (let at = 3; at < request.count; at++) {
    if (request.is(at, 'nx') && condition !== 'xx') condition = 'nx'
    else if (request.is(at, 'xx') && condition !== 'nx') condition = 'xx'
    else if (request.is(at, 'get')) wantsOld = true
    else if (!request.is(at, 'keepttl')) throw new ReplyError(syntaxError)
  }
  const old = wantsOld ? readString(call, 1) : null
  if (condition !== null) {
    const exists = wantsOld ? old !== null : keyExists(call, 1)
    if (exists !== (condition === 'xx')) return reply.bulkOrNil(old)
  }
  overwriteString(call, 1, 2)
  if (wantsOld) reply.bulkOrNil(old)
  else reply.ok()
}

function setnx(call: Call): void {
  if (keyExists(call, 1)) return call.reply.integer(0)
  writeString(call, 1, 2)
  call.reply.integer(1)
}

function getset(call: Call): void {
  const old = readString(call, 1)
  writeString(call, 1, 2)
  call.reply.bulkOrNil(old)
}

function getdel(call: Call): void {
  const old = readString(call, 1)
  if (old !== null) removeString(call, 1)
  call.reply.bulkOrNil(old)
}

function append(call: Call): void {
  const added = call.request.arg(2)
  const old = readString(call, 1)
  const length = (old?.length ?? 0) + added.length
  if (length > itemBytesMax) throw new ReplyError(tooLong)
  if (old === null) writeString(call, 1, 2)
  else if (added.length > 0) writeStringValue(call, 1, Buffer.concat([old, added], length))
  call.reply.integer(length)
}

function strlen(call: Call): void {
  call.reply.integer(Math.max(0, stringLength(call, 1)))
}

function getrange(call: Call): void {
  const { request, reply } = call
  let start = clampedArgument(request, 2)
  let end = clampedArgument(request, 3)
  const value = readString(call, 1)
  if (value === null) return reply.bulkText('')
  if (start < 0 && end < 0 && start > end) return reply.bulkText('')
  const { length } = value
  if (start < 0) start = Math.max(0, start + length)
  if (end < 0) end = Math.max(0, end + length)
  end = Math.min(end, length - 1)
  if (start > end || length === 0) return reply.bulkText('')
  reply.bulkOf(value, start, end + 1)
}

function setrange(call: Call): void {
  const { request, reply } = call
  const offset = clampedArgument(request, 2)
  if (offset < 0) throw new ReplyError('ERR offset is out of range')
  const old = readString(call, 1)
  const added = request.arg(3)
  if (added.length === 0) return reply.integer(old?.length ?? 0)
  const end = offset + added.length
  if (end > itemBytesMax) throw new ReplyError(tooLong)
  const value = Buffer.alloc(Math.max(old?.length ?? 0, end))
  old?.copy(value)
  added.copy(value, offset)
  writeStringValue(call, 1, value)
  reply.integer(value.length)
}

function mget(call: Call): void {
  const { request, reply, access, space } = call
  reply.array(request.count - 1)
  for (let index = 1; index < request.count; index++) {
    const start = request.start(index)
    reply.bulkOrNil(access.read(space.strings, request.bytes, start, request.end(index)))
  }
}

function mset(call: Call): void {
  setMany(call)
  call.reply.ok()
}

function msetnx(call: Call): void {
  const { request, reply } = call
  checkPairs(call)
  for (let index = 1; index < request.count; index += 2) {
    if (keyExists(call, index)) return reply.integer(0)
  }
  setMany(call)
  reply.integer(1)
}

function checkPairs({ request, session }: Call): void {
  if (request.count % 2 === 1) return
  throw new ReplyError(`ERR wrong number of arguments for '${session.lastCommand}' command`)
}

function setMany(call: Call): void {
  checkPairs(call)
  const { count } = call.request
  call.atomically(() => {
    for (let index = 1; index < count; index += 2) overwriteString(call, index, index + 1)
  })
}

function row(name: string, rest: CommandRow): Command {
  return command('string', name, rest)
}

const one = [1, 1, 1] as const

export const stringCommands: readonly Command[] = [
  row('append', {
    arity: 3,
    flags: 'write denyoom fast',
    keys: one,
    since: '2.0.0',
    syntax: 'key value',
    summary: 'Appends to the value, and returns its length.',
    run: append,
  }),
  row('get', {
    arity: 2,
    flags: 'readonly fast',
    keys: one,
    since: '1.0.0',
    syntax: 'key',
    summary: 'Returns the value.',
    run: get,
  }),
  row('getdel', {
    arity: 2,
    flags: 'write fast',
    keys: one,
    since: '6.2.0',
    syntax: 'key',
    summary: 'Returns the value, and deletes it.',
    run: getdel,
  }),
  row('getrange', {
    arity: 4,
    flags: 'readonly',
    keys: one,
    since: '2.4.0',
    syntax: 'key start end',
    summary: 'Returns a part of the value; negative places count from its end.',
    run: getrange,
  }),
  row('getset', {
    arity: 3,
    flags: 'write denyoom fast',
    keys: one,
    since: '1.0.0',
    syntax: 'key value',
    summary: 'Sets the value, and returns the one before.',
    run: getset,
  }),
  row('mget', {
    arity: -2,
    flags: 'readonly fast',
    keys: [1, -1, 1],
    since: '1.0.0',
    syntax: 'key [key ...]',
    summary: 'Returns the values.',
    run: mget,
  }),
  row('mset', {
    arity: -3,
    flags: 'write denyoom',
    keys: [1, -1, 2],
    since: '1.0.1',
    syntax: 'key value [key value ...]',
    summary: 'Sets all values, or none.',
    run: mset,
  }),
  row('msetnx', {
    arity: -3,
    flags: 'write denyoom',
    keys: [1, -1, 2],
    since: '1.0.1',
    syntax: 'key value [key value ...]',
    summary: 'Sets all values if none of the keys exists.',
    run: msetnx,
  }),
  row('set', {
    arity: -3,
    flags: 'write denyoom',
    keys: one,
    since: '1.0.0',
    syntax: 'key value [NX | XX] [GET] [KEEPTTL]',
    summary: 'Sets the value.',
    run: set,
  }),
  row('setnx', {
    arity: 3,
    flags: 'write denyoom fast',
    keys: one,
    since: '1.0.0',
    syntax: 'key value',
    summary: 'Sets the value if there is none.',
    run: setnx,
  }),
  row('setrange', {
    arity: 4,
    flags: 'write denyoom',
    keys: one,
    since: '2.2.0',
    syntax: 'key offset value',
    summary: 'Overwrites a part of the value; a gap before it is filled with zeros.',
    run: setrange,
  }),
  row('strlen', {
    arity: 2,
    flags: 'readonly fast',
    keys: one,
    since: '2.2.0',
    syntax: 'key',
    summary: 'Returns the length of the value.',
    run: strlen,
  }),
  row('substr', {
    arity: 4,
    flags: 'readonly',
    keys: one,
    since: '1.0.0',
    syntax: 'key start end',
    summary: 'Is GETRANGE by its old name.',
    run: getrange,
  }),
]
