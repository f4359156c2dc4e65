// CONFIG: settings by the names that clients know. What is not in the list is unknown; what has no setter belongs to
// hb.toml.
import type { Call } from '../call.ts'
import { command, container, type Command, type CommandRow } from '../command.ts'
import type { Context } from '../context.ts'
import { globMatches } from '../glob.ts'
import { parseInteger } from '../numbers.ts'
import { ReplyError } from '../reply-error.ts'
import type { Settings } from '../settings.ts'

interface Parameter {
  readonly get: (context: Context) => string
  /** Throws ReplyError; null where it cannot be set. */
  readonly set: ((context: Context, value: Buffer) => void) | null
}

function fixed(value: string | ((context: Context) => string)): Parameter {
  return { get: typeof value === 'string' ? () => value : value, set: null }
}

/** A whole number within bounds. */
function number(
  key: keyof Settings & ('maxClients' | 'slowlogMicros' | 'slowlogLength' | 'outputBytesMax'),
  min: number,
  max: number,
): Parameter {
  return {
    get: ({ settings }) => String(settings[key]),
    set: (context, value) => {
      context.settings[key] = bounded(value, min, max)
      context.slowlog.trim()
    },
  }
}

function bounded(value: Buffer, min: number, max: number): number {
  const parsed = parseInteger(value, 0, value.length)
  if (parsed === null) throw new ReplyError("argument couldn't be parsed into an integer")
  if (typeof parsed === 'bigint' || parsed < min || parsed > max) {
    throw new ReplyError(`argument must be between ${min} and ${max} inclusive`)
  }
  return parsed
}

const intMax = 2 ** 31 - 1

const parameters: ReadonlyMap<string, Parameter> = new Map<string, Parameter>([
  ['appendfsync', fixed('always')],
  ['appendonly', fixed('yes')],
  ['bind', fixed(({ identity }) => (identity.port === 0 ? '' : '127.0.0.1'))],
  ['databases', fixed(({ settings }) => String(settings.databases))],
  ['dir', fixed(({ identity }) => identity.directory)],
  ['maxclients', number('maxClients', 1, 1_000_000)],
  ['maxmemory', fixed('0')],
  ['maxmemory-policy', fixed('noeviction')],
  ['port', fixed(({ identity }) => String(identity.port))],
  ['proto-max-bulk-len', fixed(String(64 * 1024 * 1024))],
  ['replica-read-only', fixed('yes')],
  ['requirepass', fixed('')],
  ['save', fixed('')],
  ['slowlog-log-slower-than', number('slowlogMicros', -1, Number.MAX_SAFE_INTEGER)],
  ['slowlog-max-len', number('slowlogLength', 0, 100_000)],
  ['tcp-keepalive', fixed('0')],
  [
    'timeout',
    {
      get: ({ settings }) => String(Math.floor(settings.idleMs / 1000)),
      set: ({ settings }, value) => {
        settings.idleMs = bounded(value, 0, intMax) * 1000
      },
    },
  ],
  ['unixsocket', fixed(({ identity }) => identity.socketPath ?? '')],
])

function get({ context, request, reply }: Call): void {
  const found: [string, string][] = []
  for (const [name, parameter] of parameters) {
    const bytes = Buffer.from(name)
    for (let index = 2; index < request.count; index++) {
      const pattern = Buffer.from(request.latin1(index).toLowerCase(), 'latin1')
      if (!globMatches(pattern, bytes, 0, bytes.length)) continue
      found.push([name, parameter.get(context)])
      break
    }
  }
  reply.map(found.length)
  for (const [name, value] of found) {
    reply.bulkText(name)
    reply.bulkUtf8(value)
  }
}

/** All of them, or none. */
function set({ context, request, reply }: Call): void {
  if (request.count % 2 !== 0) {
    throw new ReplyError('ERR syntax error')
  }
  const before = { ...context.settings }
  const seen = new Set<string>()
  for (let index = 2; index < request.count; index += 2) {
    const name = request.text(index).toLowerCase()
    const parameter = parameters.get(name)
    if (parameter === undefined) {
      throw new ReplyError(
        `ERR Unknown option or number of arguments for CONFIG SET - '${request.text(index)}'`,
      )
    }
    try {
      if (seen.has(name)) throw new ReplyError('duplicate parameter')
      if (parameter.set === null) throw new ReplyError("can't set immutable config")
      seen.add(name)
      parameter.set(context, request.arg(index + 1))
    } catch (error) {
      Object.assign(context.settings, before)
      if (!(error instanceof ReplyError)) throw error
      throw new ReplyError(
        `ERR CONFIG SET failed (possibly related to argument '${name}') - ${error.message}`,
      )
    }
  }
  reply.ok()
}

function sub(name: string, rest: CommandRow): Command {
  return command('server', `config|${name}`, { ...rest, flags: 'admin noscript loading stale' })
}

export const configCommand = container(
  'server',
  'config',
  { since: '2.0.0', summary: 'Settings.' },
  [
    sub('get', {
      arity: -3,
      since: '2.0.0',
      syntax: 'parameter [parameter ...]',
      summary: 'Returns settings by patterns of their names.',
      run: get,
    }),
    sub('resetstat', {
      arity: 2,
      since: '2.0.0',
      summary: 'Sets the counts of INFO back to 0.',
      run: ({ context, reply }) => {
        context.stats.reset()
        reply.ok()
      },
    }),
    sub('rewrite', {
      arity: 2,
      since: '2.8.0',
      summary: 'Is refused: hb.toml is written by people.',
      run: () => {
        throw new ReplyError('ERR The server is running without a config file')
      },
    }),
    sub('set', {
      arity: -4,
      since: '2.0.0',
      syntax: 'parameter value [parameter value ...]',
      summary: 'Changes settings until the server stops.',
      run: set,
    }),
  ],
)
