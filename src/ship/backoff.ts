// How long to wait before the next call. A link that broke is tried again soon; one that was refused needs an
// operator, so it is tried slowly. Jitter keeps the slaves of one master, or the masters of one machine, apart.
import { fraction, type Random } from '../platform/random.ts'
import type { Trouble } from './session.ts'

interface Pace {
  readonly firstMs: number
  readonly lastMs: number
}

const paces: Readonly<Record<Trouble['kind'], Pace>> = {
  failed: { firstMs: 100, lastMs: 10_000 },
  refused: { firstMs: 1_000, lastMs: 60_000 },
}

/** Milliseconds: doubles with each time in a row up to the last pace; from half of it to all of it by chance. */
export function backoffMs(trouble: Trouble, random: Random): number {
  const { firstMs, lastMs } = paces[trouble.kind]
  const wholeMs = Math.min(lastMs, firstMs * 2 ** (trouble.times - 1))
  return wholeMs * (0.5 + fraction(random) / 2)
}
