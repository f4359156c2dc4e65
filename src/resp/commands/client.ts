// CLIENT: what is known of connections, and what can be done with them.
import type { Call } from '../call.ts'
import { command, container, type Command, type CommandRow } from '../command.ts'
import type { Context } from '../context.ts'
import { integerArgument, numberArgument } from '../numbers.ts'
import { ReplyError, syntaxError } from '../reply-error.ts'
import type { Request } from '../request.ts'
import type { Session } from '../session.ts'
import { clientName } from './client-name.ts'

/** One line about a client, with the fields that Redis has; what has no meaning here is 0. */
export function clientLine(context: Context, session: Session): string {
  const now = context.clock.monotonic()
  const seconds = (since: number) => Math.floor((now - since) / 1000)
  const { link, queue } = session
  const fields: [string, string | number][] = [
    ['id', session.id],
    ['addr', link.remoteAddress === 'local' ? `${link.localAddress}:0` : link.remoteAddress],
    ['laddr', link.remoteAddress === 'local' ? `${link.localAddress}:0` : link.localAddress],
    ['fd', 0],
    ['name', session.name],
    ['age', seconds(session.since)],
    ['idle', seconds(session.lastActive)],
    ['flags', flagsOf(session)],
    ['db', session.database],
    ['sub', 0],
    ['psub', 0],
    ['ssub', 0],
    ['multi', queue === null ? -1 : queue.requests.length],
    ['qbuf', link.inputBytes],
    ['qbuf-free', 0],
    ['argv-mem', 0],
    ['multi-mem', queue?.bytes ?? 0],
    ['rbs', 0],
    ['rbp', 0],
    ['obl', link.outputBytes],
    ['oll', 0],
    ['omem', link.outputBytes],
    ['tot-mem', link.inputBytes + link.outputBytes + (queue?.bytes ?? 0)],
    ['events', 'r'],
    ['cmd', session.lastCommand],
    ['user', session.user.name],
    ['redir', -1],
    ['resp', session.protocol],
    ['lib-name', session.library],
    ['lib-ver', session.libraryVersion],
  ]
  return fields.map(([key, value]) => `${key}=${value}`).join(' ')
}

function flagsOf(session: Session): string {
  let flags = ''
  if (session.queue !== null) flags += 'x'
  if (session.blocked !== null) flags += 'b'
  if (session.watch?.changed === true) flags += 'd'
  if (session.noEvict) flags += 'e'
  if (session.link.remoteAddress === 'local') flags += 'U'
  return flags === '' ? 'N' : flags
}

/** TYPE and ID as options: which sessions are meant. */
function list({ context, request, reply }: Call): void {
  let sessions = [...context.sessions.values()]
  if (request.count > 2) {
    if (request.is(2, 'type') && request.count === 4) {
      if (clientType(request, 3) !== 'normal') sessions = []
    } else if (request.is(2, 'id') && request.count > 3) {
      const wanted = new Set<number>()
      for (let at = 3; at < request.count; at++) {
        wanted.add(Number(integerArgument(request, at, 'ERR Invalid client ID')))
      }
      sessions = sessions.filter(({ id }) => wanted.has(id))
    } else throw new ReplyError(syntaxError)
  }
  reply.verbatim(sessions.map(session => `${clientLine(context, session)}\n`).join(''))
}

function clientType(request: Request, index: number): string {
  for (const type of ['normal', 'master', 'replica', 'slave', 'pubsub']) {
    if (request.is(index, type)) return type
  }
  throw new ReplyError(`ERR Unknown client type '${request.text(index)}'`)
}

function info({ context, reply, session }: Call): void {
  reply.verbatim(`${clientLine(context, session)}\n`)
}

function id({ reply, session }: Call): void {
  reply.integer(session.id)
}

function getName({ reply, session }: Call): void {
  if (session.name === '') reply.nil()
  else reply.bulkText(session.name)
}

function setName({ request, reply, session }: Call): void {
  session.name = clientName(request, 2)
  reply.ok()
}

function setInfo({ request, reply, session }: Call): void {
  const attribute = request.text(2)
  const refused = `ERR ${attribute} cannot contain spaces, newlines or special characters.`
  if (request.is(2, 'lib-name')) session.library = clientName(request, 3, refused)
  else if (request.is(2, 'lib-ver')) session.libraryVersion = clientName(request, 3, refused)
  else throw new ReplyError(`ERR Unrecognized option '${attribute}'`)
  reply.ok()
}

function replyMode({ request, reply, session }: Call): void {
  if (request.is(2, 'on')) {
    session.replies = 'on'
    reply.ok()
  } else if (request.is(2, 'off')) session.replies = 'off'
  else if (request.is(2, 'skip')) {
    if (session.replies === 'on') session.replies = 'skip next'
  } else throw new ReplyError(syntaxError)
}

function kill({ context, request, reply, session }: Call): void {
  const { sessions } = context
  if (request.count === 3) {
    const address = request.text(2)
    const found = [...sessions.values()].find(({ link }) => addressOf(link) === address)
    if (found === undefined) throw new ReplyError('ERR No such client')
    end(found, session)
    reply.ok()
    return
  }
  if (request.count % 2 !== 0) throw new ReplyError(syntaxError)
  const tests: ((other: Session) => boolean)[] = []
  let skipMe = true
  for (let at = 2; at < request.count; at += 2) {
    const value = request.text(at + 1)
    if (request.is(at, 'id')) {
      const wanted = integerArgument(request, at + 1, 'ERR client-id should be greater than 0')
      if (wanted < 1) throw new ReplyError('ERR client-id should be greater than 0')
      tests.push(other => other.id === wanted)
    } else if (request.is(at, 'type')) {
      const type = clientType(request, at + 1)
      tests.push(() => type === 'normal')
    } else if (request.is(at, 'addr')) tests.push(({ link }) => addressOf(link) === value)
    else if (request.is(at, 'laddr')) tests.push(({ link }) => link.localAddress === value)
    else if (request.is(at, 'user')) tests.push(({ user }) => user.name === value)
    else if (request.is(at, 'skipme') && request.is(at + 1, 'yes')) skipMe = true
    else if (request.is(at, 'skipme') && request.is(at + 1, 'no')) skipMe = false
    else throw new ReplyError(syntaxError)
  }
  const meant = [...sessions.values()].filter(
    other => !(skipMe && other === session) && tests.every(test => test(other)),
  )
  reply.integer(meant.length)
  for (const other of meant) end(other, session)
}

/** The own reply still leaves. */
function end(other: Session, own: Session): void {
  other.link.close(other === own)
}

function addressOf({ remoteAddress, localAddress }: Session['link']): string {
  return remoteAddress === 'local' ? `${localAddress}:0` : remoteAddress
}

function unblock({ context, request, reply }: Call): void {
  const wanted = integerArgument(request, 2)
  let withError = false
  if (request.count === 4 && request.is(3, 'error')) withError = true
  else if (request.count > 4 || (request.count === 4 && !request.is(3, 'timeout'))) {
    throw new ReplyError('ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR')
  }
  const blocked = context.sessions.get(Number(wanted))?.blocked ?? null
  if (blocked === null) return reply.integer(0)
  blocked.unblock(withError ? 'UNBLOCKED client unblocked via CLIENT UNBLOCK' : null)
  reply.integer(1)
}

function onOff(set: (session: Session, on: boolean) => void) {
  return ({ request, reply, session }: Call): void => {
    if (request.is(2, 'on')) set(session, true)
    else if (request.is(2, 'off')) set(session, false)
    else throw new ReplyError(syntaxError)
    reply.ok()
  }
}

function pause({ context, request, reply }: Call): void {
  const wrong = 'ERR timeout is not an integer or out of range'
  const ms = numberArgument(request, 2, -Number.MAX_SAFE_INTEGER, 2 ** 52, wrong)
  if (ms < 0) throw new ReplyError('ERR timeout is negative')
  const writesOnly = request.count === 4 && request.is(3, 'write')
  if (request.count > 4 || (request.count === 4 && !writesOnly && !request.is(3, 'all'))) {
    throw new ReplyError('ERR CLIENT PAUSE mode must be WRITE or ALL')
  }
  context.pause(ms, writesOnly)
  reply.ok()
}

function unpause({ context, reply }: Call): void {
  context.unpause()
  reply.ok()
}

const common = 'noscript loading stale'
const admin = 'admin noscript loading stale'

function sub(name: string, row: CommandRow): Command {
  return command('connection', `client|${name}`, row)
}

export const clientCommand = container(
  'connection',
  'client',
  { since: '2.4.0', summary: 'Commands about connections.' },
  [
    sub('getname', {
      arity: 2,
      flags: common,
      since: '2.6.9',
      summary: 'Returns the name of the connection.',
      run: getName,
    }),
    sub('getredir', {
      arity: 2,
      flags: common,
      since: '6.0.0',
      summary: 'Returns -1: there is no tracking.',
      run: ({ reply }) => reply.integer(-1),
    }),
    sub('id', {
      arity: 2,
      flags: common,
      since: '5.0.0',
      summary: 'Returns the number of the connection.',
      run: id,
    }),
    sub('info', {
      arity: 2,
      flags: common,
      since: '6.2.0',
      summary: 'Returns what CLIENT LIST says of the connection.',
      run: info,
    }),
    sub('kill', {
      arity: -3,
      flags: admin,
      since: '2.4.0',
      syntax:
        'ip:port | [ID client-id] [TYPE type] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME YES | NO]',
      summary: 'Closes connections.',
      run: kill,
    }),
    sub('list', {
      arity: -2,
      flags: admin,
      since: '2.4.0',
      syntax: '[TYPE type] [ID client-id ...]',
      summary: 'Lists the connections.',
      run: list,
    }),
    sub('no-evict', {
      arity: 3,
      flags: admin,
      since: '7.0.0',
      syntax: 'ON | OFF',
      summary: 'Is accepted, and without effect.',
      run: onOff((session, on) => (session.noEvict = on)),
    }),
    sub('no-touch', {
      arity: 3,
      flags: common,
      since: '7.2.0',
      syntax: 'ON | OFF',
      summary: 'Is accepted, and without effect.',
      run: onOff(() => {}),
    }),
    sub('pause', {
      arity: -3,
      flags: admin,
      since: '2.9.50',
      syntax: 'timeout [WRITE | ALL]',
      summary:
        'Makes all commands, or those that write, wait for the given number of milliseconds.',
      run: pause,
    }),
    sub('reply', {
      arity: 3,
      flags: common,
      since: '3.2.0',
      syntax: 'ON | OFF | SKIP',
      summary: 'Leaves out replies: all of them, or the next one.',
      run: replyMode,
    }),
    sub('setinfo', {
      arity: 4,
      flags: common,
      since: '7.2.0',
      syntax: 'LIB-NAME libname | LIB-VER libver',
      summary: "Names the client's library.",
      run: setInfo,
    }),
    sub('setname', {
      arity: 3,
      flags: common,
      since: '2.6.9',
      syntax: 'connection-name',
      summary: 'Names the connection.',
      run: setName,
    }),
    sub('unblock', {
      arity: -3,
      flags: admin,
      since: '5.0.0',
      syntax: 'client-id [TIMEOUT | ERROR]',
      summary: 'Ends the waiting of another connection.',
      run: unblock,
    }),
    sub('unpause', {
      arity: 2,
      flags: admin,
      since: '6.2.0',
      summary: 'Ends CLIENT PAUSE.',
      run: unpause,
    }),
  ],
)
