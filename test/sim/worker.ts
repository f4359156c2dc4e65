// A process that plays stories: told which by its parent, one after the other, and answers how each went.
import { pathToFileURL } from 'node:url'
import { play } from './story.ts'

/** What a worker answers. */
export interface Played {
  readonly seed: number
  /** Null when it went well. */
  readonly error: string | null
  readonly counts: Readonly<Record<string, number>>
  readonly checks: number
  readonly transactions: number
  readonly worldMs: number
  readonly cpuMs: number
}

async function answer(seed: number): Promise<void> {
  const started = process.cpuUsage()
  const outcome = await play(seed, { traced: false, hashed: false })
  const { user, system } = process.cpuUsage(started)
  const { error, counts, checks, transactions, worldMs } = outcome
  const played: Played = {
    seed,
    error: error === null ? null : error.message,
    counts: Object.fromEntries(counts),
    checks,
    transactions,
    worldMs,
    cpuMs: (user + system) / 1000,
  }
  process.send?.(played)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  // Stacks are for those who play a single story again.
  Error.stackTraceLimit = 0
  let playing: Promise<void> = Promise.resolve()
  process.on('message', (seed: number) => {
    playing = playing.then(() => answer(seed))
  })
  process.on('disconnect', () => process.exit(0))
}
