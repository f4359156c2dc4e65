// Work that takes its time, over the control socket: both ends of an operation whose answer tells its progress first.
import type { ControlClient } from './control-client.ts'
import { ask, type Answer, type Operation, type Part, type Request } from './operation.ts'

/** Asks the server that runs, and hears of its progress. Closes the client. */
export async function askUntil<O extends Operation>(
  client: ControlClient,
  operation: O,
  request: Request<O>,
  progress: (progress: Part<O>) => void,
  signal: AbortSignal,
): Promise<Answer<O>> {
  const end = () => client.close()
  signal.addEventListener('abort', end)
  try {
    return await ask(client, operation, request, progress)
  } finally {
    signal.removeEventListener('abort', end)
    client.close()
  }
}

/**
 * The answer of a handler: progress as fast as it is taken, then the result. A caller that stops taking it ends the
 * work, between two transactions.
 */
export async function* answerWithProgress<P extends object, R extends object>(
  work: (progress: (progress: P) => void, signal: AbortSignal) => Promise<R>,
): AsyncGenerator<P, R, undefined> {
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
      if (progress !== null) yield progress
      else {
        await new Promise<void>(resolve => {
          wake = resolve
          if (ended) resolve()
        })
      }
    }
    return await working
  } finally {
    stop.abort()
    await working.catch(() => {})
  }
}
