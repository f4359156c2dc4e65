// Commands about the server as a whole: what operators and dashboards ask.
import type { Call } from '../call.ts'
import { command, container, type Command, type CommandRow } from '../command.ts'
import { liveHashes, typeOf } from '../keys.ts'
import type { Space } from '../keyspace.ts'
import { integerArgument, numberArgument } from '../numbers.ts'
import { ReplyError, syntaxError } from '../reply-error.ts'
import { commandCommand } from './command-command.ts'
import { configCommand } from './config.ts'
import { info } from './info.ts'

function time({ context, reply }: Call): void {
  const now = context.clock.now()
  reply.array(2)
  reply.bulkText(String(Math.floor(now / 1000)))
  reply.bulkText(String(Math.floor((now % 1000) * 1000)))
}

function dbsize(call: Call): void {
  const { access, reply, space } = call
  const keys = access.count(space.strings)
  reply.integer(keys + liveHashes(call, space).length)
}

/** ASYNC and SYNC are the same here: what is cleared is given back in the background. */
function checkFlush({ request }: Call): void {
  const known = request.count === 2 && (request.is(1, 'async') || request.is(1, 'sync'))
  if (request.count > 1 && !known) throw new ReplyError(syntaxError)
}

function flushSpace(call: Call, space: Space): void {
  if (call.access.count(space.strings) > 0) call.access.clear(space.strings)
  for (const { place } of liveHashes(call, space)) call.access.clear(place)
}

function flushdb(call: Call): void {
  checkFlush(call)
  call.atomically(() => flushSpace(call, call.space))
  call.reply.ok()
}

function flushall(call: Call): void {
  const { context, opened, reply } = call
  checkFlush(call)
  if (!context.settings.flushAll) {
    throw new ReplyError('NOPERM FLUSHALL is not allowed: see flushall in [serve] of hb.toml')
  }
  call.atomically(() => {
    for (let index = 0; index < context.settings.databases; index++) {
      flushSpace(call, opened.keyspace.space(index))
    }
  })
  reply.ok()
}

function shutdown({ context, request, session }: Call): void {
  for (let index = 1; index < request.count; index++) {
    const known = ['nosave', 'save', 'now', 'force'].some(word => request.is(index, word))
    if (!known) throw new ReplyError(syntaxError)
  }
  if (context.shutdown === null) throw new ReplyError('ERR this server is not stopped by a client')
  // As in Redis there is no reply: the connection closes.
  session.link.close(true)
  context.shutdown()
}

const slowlogArity =
  "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."

function slowlogGet({ context, request, reply }: Call): void {
  let count = 10
  if (request.count > 3) throw new ReplyError(slowlogArity)
  if (request.count === 3) {
    const wrong = 'ERR count should be greater than or equal to -1'
    count = numberArgument(request, 2, -1, Number.MAX_SAFE_INTEGER, wrong)
  }
  const { entries } = context.slowlog
  const shown = count < 0 ? entries : entries.slice(0, count)
  reply.array(shown.length)
  for (const { id, time, micros, words, address, client } of shown) {
    reply.array(6)
    reply.integer(id)
    reply.integer(time)
    reply.integer(Math.round(micros))
    reply.array(words.length)
    for (const word of words) reply.bulk(word)
    reply.bulkText(address)
    reply.bulkText(client)
  }
}

const slowlogCommand = container(
  'server',
  'slowlog',
  { since: '2.2.12', summary: 'Commands that took long.' },
  [
    sub('slowlog|get', {
      arity: -2,
      since: '2.2.12',
      syntax: '[count]',
      summary: 'Returns the latest of them.',
      run: slowlogGet,
    }),
    sub('slowlog|len', {
      arity: 2,
      since: '2.2.12',
      summary: 'Counts them.',
      run: ({ context, reply }) => reply.integer(context.slowlog.entries.length),
    }),
    sub('slowlog|reset', {
      arity: 2,
      since: '2.2.12',
      summary: 'Forgets them.',
      run: ({ context, reply }) => {
        context.slowlog.reset()
        reply.ok()
      },
    }),
  ],
)

function sub(name: string, row: CommandRow): Command {
  return command('server', name, { flags: 'admin loading stale', ...row })
}

const latencyFlags = 'admin noscript loading stale'

const latencyCommand = container(
  'server',
  'latency',
  { since: '2.8.13', summary: 'What takes long; see SLOWLOG.' },
  [
    sub('latency|doctor', {
      arity: 2,
      flags: latencyFlags,
      since: '2.8.13',
      summary: 'Says where to look.',
      run: ({ reply }) =>
        reply.verbatim('There are no latency events here: see SLOWLOG, and "hb statistics".\n'),
    }),
    sub('latency|histogram', {
      arity: -2,
      flags: latencyFlags,
      since: '7.0.0',
      syntax: '[command ...]',
      summary: 'Is empty: times are counted for INFO commandstats only.',
      run: ({ reply }) => reply.map(0),
    }),
    sub('latency|history', {
      arity: 3,
      flags: latencyFlags,
      since: '2.8.13',
      syntax: 'event',
      summary: 'Is empty.',
      run: ({ reply }) => reply.array(0),
    }),
    sub('latency|latest', {
      arity: 2,
      flags: latencyFlags,
      since: '2.8.13',
      summary: 'Is empty.',
      run: ({ reply }) => reply.array(0),
    }),
    sub('latency|reset', {
      arity: -2,
      flags: latencyFlags,
      since: '2.8.13',
      syntax: '[event ...]',
      summary: 'Returns 0.',
      run: ({ reply }) => reply.integer(0),
    }),
  ],
)

/** What an item takes beside its id and value. */
const itemBytes = 16

function memoryUsage(call: Call): void {
  const { request, reply, access, space } = call
  if (request.count > 3) {
    const samples = request.count === 5 && request.is(3, 'samples')
    if (!samples) throw new ReplyError(syntaxError)
    if (integerArgument(request, 4) < 0) throw new ReplyError(syntaxError)
  }
  const [start, end] = [request.start(2), request.end(2)]
  switch (typeOf(call, 2)) {
    case 'none':
      return reply.nil()
    case 'stream':
      return reply.integer(0)
    case 'string': {
      const length = access.lengthOf(space.strings, request.bytes, start, end)
      return reply.integer(length + end - start + itemBytes)
    }
    case 'hash': {
      const file = space.hash(request.bytes, start, end)?.file
      return reply.integer((file?.bytes ?? 0) + (file?.itemCount ?? 0) * itemBytes)
    }
  }
}

const memoryCommand = container(
  'server',
  'memory',
  { since: '4.0.0', summary: 'Commands about memory.' },
  [
    command('server', 'memory|doctor', {
      arity: 2,
      since: '4.0.0',
      summary: 'Says where to look.',
      run: ({ reply }) =>
        reply.verbatim('Memory is bounded by cache_size in hb.toml; see INFO memory.\n'),
    }),
    command('server', 'memory|purge', {
      arity: 2,
      since: '4.0.0',
      summary: 'Is accepted, and without effect.',
      run: ({ reply }) => reply.ok(),
    }),
    command('server', 'memory|stats', {
      arity: 2,
      since: '4.0.0',
      summary: 'Returns some sizes.',
      run: ({ context, opened, reply }) => {
        const { rssBytes } = context.identity.usage()
        reply.map(2)
        reply.bulkText('total.allocated')
        reply.integer(rssBytes)
        reply.bulkText('frames')
        reply.integer(opened.store.database.frameBytes)
      },
    }),
    command('server', 'memory|usage', {
      arity: -3,
      flags: 'readonly',
      keys: [2, 2, 1],
      since: '4.0.0',
      syntax: 'key [SAMPLES count]',
      summary: 'Returns about how many bytes the key takes on the disk.',
      run: memoryUsage,
    }),
  ],
)

function row(name: string, rest: CommandRow): Command {
  return command('server', name, rest)
}

export const serverCommands: readonly Command[] = [
  commandCommand,
  configCommand,
  row('dbsize', {
    arity: 1,
    flags: 'readonly fast',
    since: '1.0.0',
    summary: 'Counts the keys of the database.',
    run: dbsize,
  }),
  row('flushall', {
    arity: -1,
    flags: 'write',
    since: '1.0.0',
    syntax: '[ASYNC | SYNC]',
    summary: 'Deletes all keys of all databases, where hb.toml allows it.',
    run: flushall,
  }),
  row('flushdb', {
    arity: -1,
    flags: 'write',
    since: '1.0.0',
    syntax: '[ASYNC | SYNC]',
    summary: 'Deletes all keys of the database.',
    run: flushdb,
  }),
  row('info', {
    arity: -1,
    flags: 'loading stale',
    since: '1.0.0',
    syntax: '[section [section ...]]',
    summary: 'Tells about the server.',
    run: info,
  }),
  latencyCommand,
  memoryCommand,
  row('shutdown', {
    arity: -1,
    flags: 'admin noscript loading stale no_multi allow_busy',
    since: '1.0.0',
    syntax: '[NOSAVE | SAVE] [NOW] [FORCE]',
    summary: 'Stops the server.',
    run: shutdown,
  }),
  slowlogCommand,
  row('time', {
    arity: 1,
    flags: 'loading stale fast',
    since: '2.6.0',
    summary: 'Returns the time: seconds since 1970, and microseconds.',
    run: time,
  }),
]
