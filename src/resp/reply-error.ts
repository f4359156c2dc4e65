// What a command answers instead of a result. The text starts with the prefix by which clients know the error, as in
// Redis, and is Redis's own where the command is.

export class ReplyError extends Error {
  override readonly name = 'ReplyError'
}

export const readOnly = "READONLY You can't write against a read only replica."
export const wrongType = 'WRONGTYPE Operation against a key holding the wrong kind of value'
export const syntaxError = 'ERR syntax error'
/** Of Redis for its own limit of 512 MB; an item has up to 64 MiB. */
export const tooLong = 'ERR string exceeds maximum allowed size (proto-max-bulk-len)'
export const wrongIdLength = 'ERR a key or field has 1 to 1,024 bytes here'
