// What a server may be called. Its name becomes the name of a file and an argument of commands, and comes by the link.

/** Not a hyphen first, which would make it an option. */
const pattern = /^[A-Za-z0-9_][A-Za-z0-9_-]{0,31}$/
export const serverNameRule = '1 to 32 letters, digits, - and _, and does not begin with -'

export function isServerName(text: string): boolean {
  return pattern.test(text)
}
