// Numbers that a seed decides. Small and fast (sfc32); each part of a world has a stream of its own, so that what one
// part asks for does not change what another one gets.

export class SeededRandom {
  #a: number
  #b: number
  #c: number
  #count = 1

  constructor(seed: number, stream = '') {
    let hash = 0x811c9dc5 ^ seed
    for (const character of `${seed}/${stream}`) {
      hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193)
    }
    this.#a = hash
    this.#b = seed | 0
    this.#c = Math.imul(hash, 0x9e3779b1)
    for (let i = 0; i < 12; i++) this.next()
  }

  /** 32 bits. */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#count) | 0
    this.#count = (this.#count + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** From 0 (included) to 1 (excluded). */
  fraction(): number {
    return this.next() / 2 ** 32
  }

  /** True so often. */
  chance(part: number): boolean {
    return this.fraction() < part
  }

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.fraction() * (max - min + 1))
  }

  between(min: number, max: number): number {
    return min + this.fraction() * (max - min)
  }

  pick<T>(choices: readonly T[]): T {
    if (choices.length === 0) throw new TypeError('there is nothing to choose from')
    return choices[this.int(0, choices.length - 1)]!
  }

  /** One of the keys, as often as their weights say. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const entries = Object.entries(weights) as [K, number][]
    let left = this.fraction() * entries.reduce((sum, [, weight]) => sum + weight, 0)
    for (const [key, weight] of entries) {
      left -= weight
      if (left < 0) return key
    }
    return entries.at(-1)![0]
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let i = 0; i < length; i++) bytes[i] = this.next() & 0xff
    return bytes
  }
}
