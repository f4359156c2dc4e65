// What a command answers instead of a result. The text starts with the prefix by which clients know the error, as in
// Redis, and is Redis's own where the command is.

export class ReplyError extends Error {
  override readonly name = 'ReplyError'
}
