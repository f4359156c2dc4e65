// MULTI, EXEC and what belongs to them: all commands between the two are one transaction of the log.
import type { Call } from '../call.ts'
import { command, type Command, type CommandRow } from '../command.ts'
import { ReplyError } from '../reply-error.ts'
import type { Session } from '../session.ts'
import { Watch } from '../watches.ts'

function multi({ reply, session }: Call): void {
  if (session.queue !== null) throw new ReplyError('ERR MULTI calls can not be nested')
  session.queue = { requests: [], bytes: 0, refused: false }
  reply.ok()
}

function discard({ reply, session }: Call): void {
  if (session.queue === null) throw new ReplyError('ERR DISCARD without MULTI')
  forget(session)
  reply.ok()
}

function forget(session: Session): void {
  session.queue = null
  session.watch?.end()
  session.watch = null
}

function exec(call: Call): void {
  const { reply, session, runner } = call
  const { queue, watch } = session
  if (queue === null) throw new ReplyError('ERR EXEC without MULTI')
  const changed = watch?.changed === true
  forget(session)
  if (queue.refused) {
    throw new ReplyError('EXECABORT Transaction discarded because of previous errors.')
  }
  if (changed) return reply.nilArray()
  reply.array(queue.requests.length)
  call.atomically(() => {
    for (const request of queue.requests) runner.runQueued(call, request)
  })
}

function watch(call: Call): void {
  const { request, reply, session, space, opened } = call
  if (session.queue !== null) throw new ReplyError('ERR WATCH inside MULTI is not allowed')
  const own = (session.watch ??= new Watch(opened.watches))
  for (let index = 1; index < request.count; index++) {
    own.addItem(space.strings, request.arg(index))
    const place = space.hash(request.bytes, request.start(index), request.end(index))
    if (place !== null) own.addFile(place)
  }
  reply.ok()
}

function unwatch({ reply, session }: Call): void {
  session.watch?.end()
  session.watch = null
  reply.ok()
}

const flags = 'noscript loading stale fast allow_busy'

function row(name: string, rest: CommandRow): Command {
  return command('transactions', name, rest)
}

export const transactionCommands: readonly Command[] = [
  row('discard', {
    arity: 1,
    flags,
    since: '2.0.0',
    summary: 'Forgets the commands since MULTI.',
    run: discard,
  }),
  row('exec', {
    arity: 1,
    flags: 'noscript loading stale skip_slowlog',
    since: '1.2.0',
    summary: 'Executes the commands since MULTI as one transaction of the log.',
    run: exec,
  }),
  row('multi', {
    arity: 1,
    flags,
    since: '1.2.0',
    summary: 'Begins a transaction: the commands that follow wait for EXEC.',
    run: multi,
  }),
  row('unwatch', {
    arity: 1,
    flags,
    since: '2.2.0',
    summary: 'Watches no key any more.',
    run: unwatch,
  }),
  row('watch', {
    arity: -2,
    flags,
    keys: [1, -1, 1],
    since: '2.2.0',
    syntax: 'key [key ...]',
    summary: 'Lets EXEC do nothing when one of the keys changes before it.',
    run: watch,
  }),
]
