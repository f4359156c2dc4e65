// From a request to its reply: finds the command, checks what can be checked without running it, queues it between
// MULTI and EXEC, and runs it. In the order in which Redis does it, so that the same error comes first.
import { isHotBackupError, type ErrorCode } from '../errors.ts'
import { absentSubject } from './absent-commands.ts'
import { Call, type Answer, type Runner } from './call.ts'
import type { Command } from './command.ts'
import { arityFits } from './command-info.ts'
import type { CommandTable } from './command-table.ts'
import type { Context } from './context.ts'
import type { Reply } from './reply.ts'
import { readOnly, ReplyError, tooLong, wrongIdLength } from './reply-error.ts'
import type { Request } from './request.ts'
import type { Session } from './session.ts'

/** The request cannot be executed now, since updates or all commands have to wait. It is to be given again. */
export const crowded = Symbol('crowded')

/** Requests between MULTI and EXEC, in all. */
const queueBytesMax = 128 * 1024 * 1024
/** What a request takes in memory beside its arguments. */
const requestBytes = 256

/** First words of lines of an HTTP request, which are no commands. */
const ofHttp: ReadonlySet<string> = new Set(['post', 'host:'])

export class Executor implements Runner {
  readonly #context: Context
  readonly #table: CommandTable<Command>
  readonly #reply: Reply
  readonly #call: Call
  /** Hears of what no command should throw. */
  readonly #fault: (error: unknown) => void

  constructor(
    context: Context,
    table: CommandTable<Command>,
    reply: Reply,
    fault: (error: unknown) => void,
  ) {
    this.#context = context
    this.#table = table
    this.#reply = reply
    this.#fault = fault
    this.#call = new Call(context, reply, this)
  }

  /** Writes the reply, or returns what will. */
  execute(session: Session, request: Request): void | Promise<Answer> | typeof crowded {
    const start = this.#reply.end
    const outcome = this.#dispatch(session, request)
    if (outcome === crowded) return crowded
    this.#context.stats.commands++
    if (session.replies !== 'on') this.#withhold(session, start)
    return outcome
  }

  /** CLIENT REPLY leaves the reply out. */
  #withhold(session: Session, start: number): void {
    if (session.replies === 'skip next') {
      session.replies = 'skip'
      this.#reply.cutBack(start)
      return
    }
    this.#reply.cutBack(start)
    if (session.replies === 'skip') session.replies = 'on'
  }

  #dispatch(session: Session, request: Request): void | Promise<Answer> | typeof crowded {
    const command = this.#find(request)
    if (typeof command === 'string') {
      // A web page can make a browser send requests to ports of its own machine.
      if (ofHttp.has(request.text(0).toLowerCase())) return session.link.close(false)
      return this.#refuse(session, null, command)
    }
    const { flags } = command
    if (!arityFits(command.arity, request.count)) {
      const text = `ERR wrong number of arguments for '${command.name}' command`
      if (command.name === 'exec') return this.#abort(session, text)
      return this.#refuse(session, command, text)
    }
    if (session.stranger && !flags.has('no_auth')) {
      return this.#refuse(session, command, 'NOAUTH Authentication required.')
    }
    const { queue } = session
    if (queue !== null && flags.has('no_multi')) {
      return this.#refuse(session, command, 'ERR Command not allowed inside a transaction')
    }
    const { opened, paused } = this.#context
    if (opened === null && !flags.has('loading')) {
      return this.#refuse(session, command, this.#context.unavailable)
    }
    if (flags.has('write') && opened !== null) {
      const { writes } = opened.store
      if (writes === null) return this.#refuse(session, command, readOnly)
    }
    if (queue !== null && !immediate.has(command.name)) return this.#enqueue(session, request)
    const mayWrite = flags.has('write') || command.name === 'exec'
    if (paused !== null && (mayWrite || !paused.writesOnly)) return crowded
    if (mayWrite && opened?.store.writes?.crowded === true) return crowded
    return this.#run(session, command, request)
  }

  /** The command, or why there is none. */
  #find(request: Request): Command | string {
    const command = this.#table.find(request, 0)
    if (command === undefined) return unknownCommand(request)
    const { subtable } = command
    if (subtable === null || request.count < 2) return command
    const subcommand = subtable.find(request, 1)
    if (subcommand !== undefined) return subcommand
    const word = request.text(1).slice(0, 128)
    return `ERR unknown subcommand '${word}'. Try ${command.name.toUpperCase()} HELP.`
  }

  #refuse(session: Session, command: Command | null, text: string): void {
    if (session.queue !== null) session.queue.refused = true
    const { stats } = this.#context
    stats.failed(text)
    if (command !== null) stats.of(command).rejected++
    this.#reply.error(text)
  }

  /** EXEC itself is wrong: the transaction is over. */
  #abort(session: Session, text: string): void {
    session.queue = null
    session.watch?.end()
    session.watch = null
    const reason = text.replace(/^ERR /, '')
    this.#refuse(session, null, `EXECABORT Transaction discarded because of: ${reason}`)
  }

  #enqueue(session: Session, request: Request): void {
    const queue = session.queue!
    queue.bytes += request.size + requestBytes
    if (queue.bytes > queueBytesMax) {
      return this.#refuse(session, null, 'ERR the transaction is larger than 128 MiB')
    }
    if (!queue.refused) queue.requests.push(request.copy())
    this.#reply.queued()
  }

  #run(session: Session, command: Command, request: Request): void | Promise<Answer> {
    const { clock, stats } = this.#context
    const call = this.#call
    const { end } = this.#reply
    const started = clock.monotonic()
    call.session = session
    call.request = request
    session.lastCommand = command.name
    const counts = stats.of(command)
    counts.calls++
    let outcome: void | Promise<Answer> = undefined
    try {
      outcome = command.run(call)
    } catch (error) {
      this.#reply.cutBack(end)
      this.#fail(command, error)
    }
    const micros = (clock.monotonic() - started) * 1000
    counts.micros += micros
    if (micros >= this.#context.settings.slowlogMicros && !command.flags.has('skip_slowlog')) {
      const { link, name } = session
      this.#context.slowlog.note(micros, clock.now(), request, link.remoteAddress, name)
    }
    if (outcome === undefined) return undefined
    return outcome.catch((error: unknown) => reply => {
      reply.error(this.#failure(command, error))
    })
  }

  runQueued(call: Call, request: Request): void {
    const command = this.#find(request)
    const { reply } = this
    if (typeof command === 'string') throw new TypeError(command)
    const { end } = reply
    const outer = call.request
    call.request = request
    const counts = this.#context.stats.of(command)
    counts.calls++
    try {
      if (command.run(call) !== undefined) throw new TypeError(`${command.name} waits`)
    } catch (error) {
      reply.cutBack(end)
      this.#fail(command, error)
    } finally {
      call.request = outer
    }
  }

  get reply(): Reply {
    return this.#reply
  }

  #fail(command: Command, error: unknown): void {
    this.#reply.error(this.#failure(command, error))
  }

  /** Its text, after it has been counted. */
  #failure(command: Command, error: unknown): string {
    const text = errorText(error)
    if (!(error instanceof ReplyError) && !isHotBackupError(error)) this.#fault(error)
    const { stats } = this.#context
    stats.failed(text)
    stats.of(command).failed++
    return text
  }
}

/** Executed at once, also between MULTI and EXEC. */
const immediate = new Set(['exec', 'discard', 'multi', 'watch', 'quit', 'reset'])

const shownBytesMax = 128

function unknownCommand(request: Request): string {
  const subject = absentSubject(request.latin1(0))
  if (subject !== null) return `ERR this server does not have ${subject}: see hb-resp(7)`
  let shown = ''
  for (let index = 1; index < request.count && shown.length < shownBytesMax; index++) {
    shown += `'${printable(request, index).slice(0, shownBytesMax - shown.length)}' `
  }
  const name = printable(request, 0).slice(0, shownBytesMax)
  return `ERR unknown command '${name}', with args beginning with: ${shown}`
}

/** As C prints it: up to a zero. */
function printable(request: Request, index: number): string {
  return request.text(index).replace(/\0.*$/s, '')
}

/** Prefixes that clients act on, for errors that are not about the command. */
const prefixes: Readonly<Partial<Record<ErrorCode, string>>> = {
  ERR_READ_ONLY: 'READONLY',
  ERR_FENCED: 'READONLY',
  ERR_LEASE: 'NOREPLICAS',
  ERR_QUEUE_FULL: 'NOREPLICAS',
  ERR_NO_SLAVE: 'NOREPLICAS',
  ERR_DISK_FULL: 'MISCONF',
  ERR_STOPPED: 'MISCONF',
  ERR_DISK: 'MISCONF',
  ERR_CLOSED: 'LOADING',
  ERR_UNCONFIRMED: 'UNCONFIRMED',
}

/** What a client is told. */
export function errorText(error: unknown): string {
  if (error instanceof ReplyError) return error.message
  if (isHotBackupError(error, 'ERR_ITEM_ID')) return wrongIdLength
  if (isHotBackupError(error, 'ERR_ITEM_SIZE')) return tooLong
  if (isHotBackupError(error)) {
    return `${prefixes[error.code] ?? 'ERR'} ${error.message} (${error.code})`
  }
  return `ERR internal error: ${String(error)}`
}
