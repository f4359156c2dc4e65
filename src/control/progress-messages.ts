// Work that takes its time, over the control socket: both ends of a request whose answer tells its progress first.
import { HotBackupError } from '../errors.ts'
import type { ControlClient } from './control-client.ts'
import type { JsonObject } from './frames.ts'
import type { Message } from '../data/operations.ts'

/** Asks the server that runs, and hears of its progress. */
export async function askWithProgress<P, R>(
  client: ControlClient,
  operation: 'replay' | 'replay-missing',
  request: object,
  progress: (progress: P) => void,
  signal: AbortSignal,
): Promise<R> {
  const end = () => client.close()
  signal.addEventListener('abort', end)
  let report: JsonObject | null = null
  try {
    for await (const { header } of client.request(operation, { request: { ...request } })) {
      if (header['progress'] === undefined) report = header['report'] as JsonObject
      else progress(header['progress'] as unknown as P)
    }
  } finally {
    signal.removeEventListener('abort', end)
    client.close()
  }
  if (report === null) throw new HotBackupError('ERR_WIRE', `${operation} was not answered`)
  return report as unknown as R
}

/**
 * The answer to a request on the control socket: progress as fast as it is taken, then the report. Whoever stops taking
 * ends the work between two transactions.
 */
export async function* progressMessages<P extends object, R extends object>(
  work: (progress: (progress: P) => void, signal: AbortSignal) => Promise<R>,
): AsyncGenerator<Message> {
  const stop = new AbortController()
  let latest: P | null = null
  let wake = () => {}
  let ended = false
  const working = work(progress => {
    latest = progress
    wake()
  }, stop.signal).finally(() => {
    ended = true
    wake()
  })
  working.catch(() => {}) // It is awaited below, unless nobody listens any more.
  const next = (): P | null => {
    const progress = latest
    latest = null
    return progress
  }
  try {
    while (!ended) {
      const progress = next()
      if (progress !== null) yield { header: { progress: { ...progress } as JsonObject } }
      else {
        await new Promise<void>(resolve => {
          wake = resolve
          if (ended) resolve()
        })
      }
    }
    yield { header: { report: (await working) as unknown as JsonObject } }
  } finally {
    stop.abort()
    await working.catch(() => {})
  }
}
