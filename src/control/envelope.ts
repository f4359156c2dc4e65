// What the frames of a control socket say.
//
//   request  { operation, request }
//   answer   { part } any number of times, then { answer } or { error: { code, message, hint, place } }
//   notice   { ready: true }, first of all: a request that was sent to a connection without it was never taken
//   notice   { closing: true }: the server closes; requests that have no answer yet have not been carried out
//
// request, part and answer are objects (operation.ts). Their field `body`, when they have it, is the frame's body.
import * as v from 'valibot'
import { HotBackupError } from '../errors.ts'
import { failure, failureOf } from './failure.ts'
import { encodeFrame, type Frame } from './frames.ts'

const fields = v.record(v.string(), v.unknown())
const requestSchema = v.object({ operation: v.string(), request: fields })
const replySchema = v.union([
  v.object({ part: fields }),
  v.object({ answer: fields }),
  v.object({ error: failure }),
  v.object({ ready: v.literal(true) }),
  v.object({ closing: v.literal(true) }),
])

export type Reply =
  | { readonly kind: 'part'; readonly message: object }
  | { readonly kind: 'answer'; readonly message: object }
  | { readonly kind: 'error'; readonly error: Error }
  | { readonly kind: 'ready' }
  | { readonly kind: 'closing' }

export function encodeRequest(operation: string, message: object): Uint8Array[] {
  const { fields: request, body } = apart(message)
  return encodeFrame({ operation, request }, body)
}

export function encodeMessage(kind: 'part' | 'answer', message: object): Uint8Array[] {
  const { fields, body } = apart(message)
  return encodeFrame({ [kind]: fields }, body)
}

export function encodeNotice(kind: 'ready' | 'closing'): Uint8Array[] {
  return encodeFrame({ [kind]: true }, noBytes)
}

export function encodeError(error: unknown): Uint8Array[] {
  return encodeFrame({ error: failureOf(error) }, noBytes)
}

/** Throws ERR_WIRE. */
export function decodeRequest({ header, body }: Frame): {
  readonly operation: string
  readonly message: object
} {
  const { success, output } = v.safeParse(requestSchema, header)
  if (!success) throw new HotBackupError('ERR_WIRE', 'a control frame that is no request')
  return { operation: output.operation, message: { ...output.request, body } }
}

/** Throws ERR_WIRE. */
export function decodeReply({ header, body }: Frame): Reply {
  const { success, output } = v.safeParse(replySchema, header)
  if (!success) throw new HotBackupError('ERR_WIRE', 'a control frame that is no answer')
  if ('part' in output) return { kind: 'part', message: { ...output.part, body } }
  if ('answer' in output) return { kind: 'answer', message: { ...output.answer, body } }
  if ('error' in output) return { kind: 'error', error: output.error }
  return { kind: 'ready' in output ? 'ready' : 'closing' }
}

function apart(message: object): { readonly fields: object; readonly body: Uint8Array } {
  if (!('body' in message)) return { fields: message, body: noBytes }
  const { body, ...fields } = message
  if (!(body instanceof Uint8Array)) throw new TypeError('the body of a message is bytes')
  return { fields, body }
}

const noBytes = new Uint8Array()
