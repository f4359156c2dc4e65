// The names that clients give themselves and their libraries.
import { ReplyError } from '../reply-error.ts'
import type { Request } from '../request.ts'

const refusal = 'ERR Client names cannot contain spaces, newlines or special characters.'

/** The argument as a name: printable ASCII without spaces. Throws ReplyError. */
export function clientName(request: Request, index: number, refused = refusal): string {
  const name = request.latin1(index)
  if (!/^[!-~]*$/.test(name)) throw new ReplyError(refused)
  return name
}
