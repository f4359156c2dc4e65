// An operation of a control socket: a name, and the schemas of its request, of the parts of its answer and of the end
// of the answer. The server's side (`handler`), the client's side (`Caller`, `ask`) and all checks are derived from it.
//
// Each of the three is an object. It travels as JSON, except its field `body`: those bytes go beside the JSON as they
// are. What is checked on one side is what the other side gets: a schema may transform a field.
//
// Each folder has the table of its operations in a file that needs nothing of what carries them out, since commands
// load it. A new command is an entry there and a handler.
import * as v from 'valibot'
import { HotBackupError } from '../errors.ts'
import type { Handler, Peer } from './handler.ts'

type Fields = v.GenericSchema<object, object>

export interface Operation<
  Request extends Fields = Fields,
  Part extends Fields = Fields,
  Answer extends Fields = Fields,
> {
  readonly name: string
  readonly request: Request
  readonly part: Part
  readonly answer: Answer
  readonly early: boolean
  readonly data: boolean
  /** What a process of the other kind answers. */
  readonly refusal: () => HotBackupError
}

/** Not to be changed. */
type Given<T> = T extends Uint8Array
  ? T
  : T extends object
    ? { readonly [Key in keyof T]: Given<T[Key]> }
    : T

/** What is given on one side … */
export type Input<S extends v.GenericSchema> = Given<v.InferInput<S>>
/** … and what comes out on the other. */
export type Output<S extends v.GenericSchema> = Given<v.InferOutput<S>>

/** For the caller. */
export type Request<O extends Operation> = Input<O['request']>
export type Part<O extends Operation> = Output<O['part']>
export type Answer<O extends Operation> = Output<O['answer']>

export const text = v.string()
export const flag = v.boolean()
export const whole = v.pipe(v.number(), v.integer(), v.minValue(0))
/** The field `body` of a message. */
export const bytes = v.pipe(
  v.custom<Uint8Array>(value => value instanceof Uint8Array, 'bytes are expected'),
  v.transform(asBuffer),
)
/** Bytes anywhere else, as base64. */
export const base64 = v.pipe(
  v.string(),
  v.transform(coded => Buffer.from(coded, 'base64')),
)
export const nothing = v.object({})

interface Definition<R extends Fields, P extends Fields, A extends Fields> {
  readonly request?: R
  readonly part?: P
  readonly answer?: A
  readonly early?: boolean
  readonly data?: boolean
  readonly refusal?: () => HotBackupError
}

type Nothing = typeof nothing

export function operation<
  R extends Fields = Nothing,
  P extends Fields = Nothing,
  A extends Fields = Nothing,
>(name: string, definition: Definition<R, P, A>): Operation<R, P, A>
export function operation(name: string, definition: Definition<Fields, Fields, Fields>): Operation {
  const { request = nothing, part = nothing, answer = nothing } = definition
  const { early = false, data = false, refusal = () => unknownOperation(name) } = definition
  return { name, request, part, answer, early, data, refusal }
}

export function unknownOperation(name: string): HotBackupError {
  return new HotBackupError('ERR_WIRE', `this process has no operation "${name}"`)
}

/** How an operation is carried out: gives the parts and returns the end of the answer, or resolves with it. */
type Run<O extends Operation> = (
  request: Output<O['request']>,
  peer: Peer,
) => AsyncGenerator<Input<O['part']>, Input<O['answer']>, undefined> | Promise<Input<O['answer']>>

export function handler<O extends Operation>(operation: O, run: Run<O>): Handler
export function handler(operation: Operation, run: Run<Operation>): Handler {
  const { name, early, data, request: schema } = operation
  return {
    name,
    early,
    data,
    async *run(request, peer) {
      const answer = run(checked(schema, request, `a request "${name}"`), peer)
      if (Symbol.asyncIterator in answer) return yield* answer
      return answer
    },
  }
}

/** Refuses an operation that only a process of the other kind carries out. */
export function refused({ name, early, refusal }: Operation): Handler {
  return {
    name,
    early,
    data: false,
    run() {
      throw refusal()
    },
  }
}

/** Carries operations out, wherever that is. */
export interface Caller {
  /** Gives the parts of the answer and returns its end. Throws the operation's errors, ERR_WIRE, ERR_CLOSED. */
  call<O extends Operation>(
    operation: O,
    request: Request<O>,
  ): AsyncGenerator<Part<O>, Answer<O>, undefined>
}

/** The end of the answer; `heard` gets the parts. Throws as `call` does. */
export async function ask<O extends Operation>(
  caller: Caller,
  operation: O,
  request: Request<O>,
  heard: (part: Part<O>) => void = () => {},
): Promise<Answer<O>> {
  const answer = caller.call(operation, request)
  for (;;) {
    const next = await answer.next()
    if (next.done === true) return next.value
    heard(next.value)
  }
}

/** Has the handlers of this process carry operations out. */
export function localCaller(handlers: readonly Handler[]): Caller {
  return {
    call(operation, request) {
      const found = handlers.find(({ name }) => name === operation.name)
      if (found === undefined) throw operation.refusal()
      return received(operation, found.run(request, { onEnd: () => {} }))
    },
  }
}

/** Checks an answer as it comes. Throws ERR_WIRE. */
export function received<O extends Operation>(
  operation: O,
  answer: AsyncGenerator<object, object, undefined>,
): AsyncGenerator<Part<O>, Answer<O>, undefined>
export async function* received(
  operation: Operation,
  answer: AsyncGenerator<object, object, undefined>,
): AsyncGenerator<object, object, undefined> {
  const what = `an answer to "${operation.name}"`
  try {
    for (;;) {
      const next = await answer.next()
      if (next.done === true) return checked(operation.answer, next.value, what)
      yield checked(operation.part, next.value, what)
    }
  } finally {
    await answer.return({})
  }
}

function checked(schema: Fields, value: object, what: string): object {
  const { success, output, issues } = v.safeParse(schema, value)
  if (success) return output
  const place = v.getDotPath(issues[0])
  const where = place === null ? '' : ` (${place})`
  throw new HotBackupError('ERR_WIRE', `${what} is wrong${where}: ${issues[0].message}`)
}

function asBuffer(body: Uint8Array): Buffer {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength)
}
