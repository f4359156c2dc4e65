// Errors on their way from a server to the program that has asked it.
import * as v from 'valibot'
import { errorCodes, HotBackupError, isHotBackupError, type ErrorPlace } from '../errors.ts'

const place = v.object({
  path: v.exactOptional(v.string()),
  offset: v.exactOptional(v.number()),
  txn: v.exactOptional(v.number()),
  account: v.exactOptional(v.string()),
  file: v.exactOptional(v.string()),
  slave: v.exactOptional(v.string()),
}) satisfies v.GenericSchema<unknown, ErrorPlace>

/** `code`: null for a defect of the server. */
const sent = v.object({
  code: v.nullable(v.picklist(errorCodes)),
  message: v.string(),
  hint: v.exactOptional(v.string()),
  place: v.exactOptional(place),
})

export type Failure = v.InferInput<typeof sent>

export function failureOf(error: unknown): Failure {
  if (isHotBackupError(error)) {
    const { code, message, hint } = error
    return { code, message, hint, place: { ...error.place } }
  }
  // A defect: the client shows it as one.
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return { code: null, message }
}

/** Becomes the error with which a server has answered. */
export const failure = v.pipe(
  sent,
  v.transform(({ code, message, hint, place }): Error => {
    if (code === null) return new Error(`the server failed: ${message}`)
    return new HotBackupError(code, message, place, undefined, hint)
  }),
)
