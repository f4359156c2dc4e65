// Randomness by the system's generator.
import { randomBytes } from 'node:crypto'
import { type Random } from './random.ts'

export const nodeRandom: Random = {
  bytes: length => randomBytes(length),
}
