// The commands that took long, newest first.
import type { Request } from './request.ts'
import type { Settings } from './settings.ts'

export interface SlowEntry {
  readonly id: number
  /** Seconds since 1970. */
  readonly time: number
  readonly micros: number
  readonly words: readonly Buffer[]
  readonly address: string
  readonly client: string
}

/** What is kept of a command, as in Redis. */
const wordsMax = 32
const wordBytesMax = 128

export class Slowlog {
  readonly #settings: Settings
  #entries: SlowEntry[] = []
  #next = 0

  constructor(settings: Settings) {
    this.#settings = settings
  }

  get entries(): readonly SlowEntry[] {
    return this.#entries
  }

  note(micros: number, now: number, request: Request, address: string, client: string): void {
    const limit = this.#settings.slowlogMicros
    if (limit < 0 || micros < limit) return
    const words = Array.from({ length: Math.min(request.count, wordsMax) }, (_, index) => {
      const left = request.count - wordsMax + 1
      if (index === wordsMax - 1 && left > 1) return Buffer.from(`... (${left} more arguments)`)
      return shortened(request.arg(index))
    })
    const time = Math.floor(now / 1000)
    this.#entries.unshift({ id: this.#next++, time, micros, words, address, client })
    this.trim()
  }

  trim(): void {
    const { slowlogLength } = this.#settings
    if (this.#entries.length > slowlogLength) this.#entries.length = slowlogLength
  }

  reset(): void {
    this.#entries = []
  }
}

function shortened(word: Buffer): Buffer {
  if (word.length <= wordBytesMax) return Buffer.from(word)
  const more = `... (${word.length - wordBytesMax} more bytes)`
  return Buffer.concat([word.subarray(0, wordBytesMax), Buffer.from(more)])
}
