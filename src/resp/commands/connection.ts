// Commands about the connection itself.
import type { Answer, Call } from '../call.ts'
import { command, type Command } from '../command.ts'
import type { Context } from '../context.ts'
import { integerArgument } from '../numbers.ts'
import type { Protocol, Reply } from '../reply.ts'
import { ReplyError, syntaxError } from '../reply-error.ts'
import type { Session } from '../session.ts'
import { clientCommand } from './client.ts'
import { clientName } from './client-name.ts'
import { redisVersion } from './redis-version.ts'

function ping({ request, reply }: Call): void {
  if (request.count > 2) throw new ReplyError("ERR wrong number of arguments for 'ping' command")
  if (request.count === 1) reply.simple('PONG')
  else reply.bulkOf(request.bytes, request.start(1), request.end(1))
}

function echo({ request, reply }: Call): void {
  reply.bulkOf(request.bytes, request.start(1), request.end(1))
}

function select({ context, request, reply, session }: Call): void {
  const index = integerArgument(request, 1)
  if (index < -(2 ** 31) || index >= 2 ** 31) {
    throw new ReplyError('ERR value is out of range, value must between -2147483648 and 2147483647')
  }
  if (index < 0 || index >= context.settings.databases) {
    throw new ReplyError('ERR DB index is out of range')
  }
  session.database = Number(index)
  reply.ok()
}

function quit({ reply, session }: Call): void {
  reply.ok()
  session.link.close(true)
}

function reset({ context, reply, session }: Call): void {
  session.queue = null
  session.watch?.end()
  session.watch = null
  session.database = 0
  session.name = ''
  session.replies = 'on'
  session.protocol = 2
  session.stranger = context.users !== null && session.link.remoteAddress !== 'local'
  reply.protocol = 2
  reply.simple('RESET')
}

const wrongPassword = 'WRONGPASS invalid username-password pair or user is disabled.'

/** Makes the session that user's, then answers. Throws or rejects with WRONGPASS. */
function logIn(call: Call, name: string, password: Buffer, then: Answer): void | Promise<Answer> {
  const { context, session } = call
  if (context.users === null) {
    if (name !== 'default') throw new ReplyError(wrongPassword)
    return then(call.reply)
  }
  if (call.inTransaction) throw new ReplyError('ERR a transaction has one user: AUTH before MULTI')
  return context.users.authenticate(name, password).then(user => {
    if (user === null) throw new ReplyError(wrongPassword)
    session.user = user
    session.stranger = false
    return then
  })
}

function auth(call: Call): void | Promise<Answer> {
  const { context, request } = call
  if (request.count > 3) throw new ReplyError(syntaxError)
  if (request.count === 2 && context.users === null) {
    throw new ReplyError(
      'ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?',
    )
  }
  const name = request.count === 2 ? 'default' : request.text(1)
  const password = Buffer.from(request.arg(request.count - 1))
  return logIn(call, name, password, reply => reply.ok())
}

function hello(call: Call): void | Promise<Answer> {
  const { context, request, reply, session } = call
  let protocol: Protocol = session.protocol
  if (request.count > 1) {
    const wrong = 'ERR Protocol version is not an integer or out of range'
    const wanted = integerArgument(request, 1, wrong)
    if (wanted !== 2 && wanted !== 3) throw new ReplyError('NOPROTO unsupported protocol version')
    protocol = wanted
  }
  let name: string | null = null
  let credentials: { readonly user: string; readonly password: Buffer } | null = null
  for (let at = 2; at < request.count; at++) {
    const left = request.count - at - 1
    if (request.is(at, 'auth') && left >= 2) {
      credentials = { user: request.text(at + 1), password: Buffer.from(request.arg(at + 2)) }
      at += 2
    } else if (request.is(at, 'setname') && left >= 1) {
      name = clientName(request, ++at)
    } else throw new ReplyError(`ERR Syntax error in HELLO option '${request.text(at)}'`)
  }
  const greet = (reply: Reply) => {
    if (name !== null) session.name = name
    session.protocol = protocol
    reply.protocol = protocol
    writeHello(context, session, reply)
  }
  if (credentials !== null) {
    return logIn(call, credentials.user, credentials.password, greet)
  }
  if (session.stranger) {
    throw new ReplyError(
      'NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time',
    )
  }
  greet(reply)
}

function writeHello(context: Context, session: Session, reply: Reply): void {
  const text = (key: string, value: string) => {
    reply.bulkText(key)
    reply.bulkText(value)
  }
  const number = (key: string, value: number) => {
    reply.bulkText(key)
    reply.integer(value)
  }
  reply.map(7)
  text('server', 'redis')
  text('version', redisVersion)
  number('proto', session.protocol)
  number('id', session.id)
  text('mode', 'standalone')
  text('role', context.opened?.store.writes === null ? 'replica' : 'master')
  reply.bulkText('modules')
  reply.array(0)
}

export const connectionCommands: readonly Command[] = [
  command('connection', 'auth', {
    arity: -2,
    flags: 'noscript loading stale fast no_auth allow_busy',
    since: '1.0.0',
    syntax: '[username] password',
    summary: 'Logs in.',
    run: auth,
  }),
  clientCommand,
  command('connection', 'echo', {
    arity: 2,
    flags: 'loading stale fast',
    since: '1.0.0',
    syntax: 'message',
    summary: 'Returns the message.',
    run: echo,
  }),
  command('connection', 'hello', {
    arity: -1,
    flags: 'noscript loading stale fast no_auth allow_busy',
    since: '6.0.0',
    syntax: '[protover [AUTH username password] [SETNAME name]]',
    summary: 'Chooses RESP2 or RESP3, and tells about the server.',
    run: hello,
  }),
  command('connection', 'ping', {
    arity: -1,
    flags: 'fast',
    since: '1.0.0',
    syntax: '[message]',
    summary: 'Returns PONG, or the message.',
    run: ping,
  }),
  command('connection', 'quit', {
    arity: -1,
    flags: 'noscript loading stale fast no_auth allow_busy',
    since: '1.0.0',
    summary: 'Closes the connection when all replies have been sent.',
    run: quit,
  }),
  command('connection', 'reset', {
    arity: 1,
    flags: 'noscript loading stale fast no_auth allow_busy',
    since: '6.2.0',
    summary: 'Makes the connection what a new one is.',
    run: reset,
  }),
  command('connection', 'select', {
    arity: 2,
    flags: 'loading stale fast',
    since: '1.0.0',
    syntax: 'index',
    summary: 'Selects the database for the commands that follow.',
    run: select,
  }),
]
