// Errors on their way from a server to the command that has asked it.
import { HotBackupError, isHotBackupError, type ErrorCode } from '../errors.ts'
import { textOf, type JsonObject } from './frames.ts'

export function errorToJson(error: unknown): JsonObject {
  if (isHotBackupError(error)) {
    const { code, message, hint } = error
    return { code, message, hint, place: { ...error.place } }
  }
  // A defect: the client shows it as one.
  return {
    code: null,
    message: error instanceof Error ? (error.stack ?? error.message) : String(error),
  }
}

/** The error that a server has answered with. */
export function errorFromJson(value: JsonObject): Error {
  const { code, message, hint, place } = value
  if (typeof code !== 'string') return new Error(`the server failed: ${textOf(message)}`)
  return new HotBackupError(
    code as ErrorCode,
    textOf(message),
    (place ?? {}) as object,
    undefined,
    textOf(hint),
  )
}
