// Where both sides of a link say what happens; the server hands in its own log.

export type LinkLogLevel = 'debug' | 'info' | 'warn' | 'error'
export type LinkLog = (
  level: LinkLogLevel,
  message: string,
  fields: Readonly<Record<string, string | number | boolean | null>>,
) => void
