// Strings that are numbers, and the same for the fields of hashes.
import type { Call } from '../call.ts'
import { command, type Command, type CommandRow } from '../command.ts'
import { readString, writeStringValue } from '../keys.ts'
import { addLongDoubles, longDoubleText, parseLongDouble } from '../long-double.ts'
import { add, integerArgument, parseInteger, smallest } from '../numbers.ts'
import { ReplyError } from '../reply-error.ts'

/** The value, a number, with `by` added. Throws ReplyError with `refusal` when it is none. */
export function incremented(
  value: Buffer | null,
  by: number | bigint,
  refusal: string,
): number | bigint {
  const old = value === null ? 0 : parseInteger(value, 0, value.length)
  if (old === null) throw new ReplyError(refusal)
  const sum = add(old, by)
  if (sum === null) throw new ReplyError('ERR increment or decrement would overflow')
  return sum
}

export const notAFloat = 'ERR value is not a valid float'

/** The value, a number, with the argument added. */
export function incrementedByFloat(value: Buffer | null, by: string, refusal: string): string {
  const old = parseLongDouble(value === null ? '0' : value.toString('latin1'))
  if (old === null) throw new ReplyError(refusal)
  const added = parseLongDouble(by)
  if (added === null) throw new ReplyError(notAFloat)
  const sum = old === 'infinite' || added === 'infinite' ? null : addLongDoubles(old, added)
  if (sum === null) throw new ReplyError('ERR increment would produce NaN or Infinity')
  return longDoubleText(sum)
}

function incrementBy(call: Call, by: number | bigint): void {
  const sum = incremented(readString(call, 1), by, 'ERR value is not an integer or out of range')
  writeStringValue(call, 1, Buffer.from(String(sum), 'latin1'))
  call.reply.integer(sum)
}

function decrby(call: Call): void {
  const by = integerArgument(call.request, 2)
  if (by === -(2n ** 63n)) throw new ReplyError('ERR decrement would overflow')
  incrementBy(call, typeof by === 'number' ? -by : smallest(-by))
}

function incrbyfloat(call: Call): void {
  const text = incrementedByFloat(readString(call, 1), call.request.latin1(2), notAFloat)
  writeStringValue(call, 1, Buffer.from(text, 'latin1'))
  call.reply.bulkText(text)
}

function row(
  name: string,
  rest: Pick<CommandRow, 'since' | 'summary' | 'run'>,
  by?: string,
): Command {
  return command('string', name, {
    arity: by === undefined ? 2 : 3,
    flags: 'write denyoom fast',
    keys: [1, 1, 1],
    syntax: by === undefined ? 'key' : `key ${by}`,
    ...rest,
  })
}

export const counterCommands: readonly Command[] = [
  row('decr', {
    since: '1.0.0',
    summary: 'Subtracts one from the number that is the value.',
    run: call => incrementBy(call, -1),
  }),
  row(
    'decrby',
    { since: '1.0.0', summary: 'Subtracts from the number that is the value.', run: decrby },
    'decrement',
  ),
  row('incr', {
    since: '1.0.0',
    summary: 'Adds one to the number that is the value.',
    run: call => incrementBy(call, 1),
  }),
  row(
    'incrby',
    {
      since: '1.0.0',
      summary: 'Adds to the number that is the value.',
      run: call => incrementBy(call, integerArgument(call.request, 2)),
    },
    'increment',
  ),
  row(
    'incrbyfloat',
    {
      since: '2.6.0',
      summary: 'Adds to the number, which may have decimals, that is the value.',
      run: incrbyfloat,
    },
    'increment',
  ),
]
