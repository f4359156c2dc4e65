// The places at a port for peers that have not proved anything yet. Their number is fixed; when all are taken, the
// network address that holds the most of them loses one. The one that goes is drawn by lot, so a flood never pushes
// a slow peer out for certain, as it would if the oldest went. An address that has proved the key before has places
// that a flood from other addresses cannot take. And places change hands at a limited rate: above it newcomers are
// turned away at once, so that those who are in have time to say who they are.
import { fraction, type Random } from './random.ts'

/** Places of an address that has proved the key before, which it does not lose to other addresses. */
const reservedPlaces = 16
/** So many addresses are remembered as proven. */
const provenMax = 64
/** Each second, as many places may change hands as there are, so many times over. */
const turnoversPerSecond = 4

interface Group<T> {
  readonly name: string
  readonly members: Set<T>
}

export class WaitingRoom<T> {
  readonly #places: number
  readonly #random: Random
  readonly #now: () => number
  readonly #groups = new Map<string, Group<T>>()
  readonly #groupOf = new Map<T, Group<T>>()
  /** Addresses that have proved the key, the latest last. */
  readonly #proven = new Set<string>()
  /** Changes of hands that are allowed now. */
  #allowed: number
  #countedAt: number

  /** `now`: milliseconds of a clock that only goes forward. */
  constructor(places: number, random: Random, now: () => number) {
    this.#places = places
    this.#random = random
    this.#now = now
    this.#allowed = places
    this.#countedAt = now()
  }

  get size(): number {
    return this.#groupOf.size
  }

  has(member: T): boolean {
    return this.#groupOf.has(member)
  }

  members(): IterableIterator<T> {
    return this.#groupOf.keys()
  }

  /**
   * Takes a peer in that calls from `address`. Returns the one that has to go for it: the new one itself when places
   * change hands too fast, null when there is room.
   */
  enter(member: T, address: string): T | null {
    const name = addressGroup(address)
    let leaver: T | null = null
    if (this.size >= this.#places) {
      leaver = this.#mayReplace(name) ? this.#draw() : member
      if (leaver === member) return member
      this.leave(leaver)
    }
    const group = this.#groups.get(name) ?? { name, members: new Set() }
    this.#groups.set(name, group)
    group.members.add(member)
    this.#groupOf.set(member, group)
    return leaver
  }

  leave(member: T): void {
    const group = this.#groupOf.get(member)
    if (group === undefined) return
    this.#groupOf.delete(member)
    group.members.delete(member)
    if (group.members.size === 0) this.#groups.delete(group.name)
  }

  /** A peer at this address has the key. */
  proved(address: string): void {
    const name = addressGroup(address)
    this.#proven.delete(name)
    this.#proven.add(name)
    const [oldest] = this.#proven
    if (this.#proven.size > provenMax && oldest !== undefined) this.#proven.delete(oldest)
  }

  /** Places that this address holds beyond those that are safely its own. */
  #excess({ name, members }: Group<T>): number {
    return members.size - (this.#proven.has(name) ? reservedPlaces : 0)
  }

  #mayReplace(newcomer: string): boolean {
    const now = this.#now()
    const perMs = (this.#places * turnoversPerSecond) / 1000
    this.#allowed = Math.min(this.#places, this.#allowed + (now - this.#countedAt) * perMs)
    this.#countedAt = now
    const group = this.#groups.get(newcomer) ?? { name: newcomer, members: new Set() }
    if (this.#proven.has(newcomer) && this.#excess(group) < 0) return true
    if (this.#allowed < 1) return false
    this.#allowed--
    return true
  }

  /** One of those whose address holds the most. */
  #draw(): T {
    let most = -Infinity
    let candidates: T[] = []
    for (const group of this.#groups.values()) {
      const excess = this.#excess(group)
      if (excess < most) continue
      if (excess > most) candidates = []
      most = excess
      candidates.push(...group.members)
    }
    const drawn = candidates[Math.floor(fraction(this.#random) * candidates.length)]
    if (drawn === undefined) throw new TypeError('nobody is here')
    return drawn
  }
}

/**
 * What counts as one address: an IPv4 address, also when it is written as an IPv6 one, or the 64 bits of an IPv6
 * address by which a network is told from others: one host may use all of the addresses in there.
 */
export function addressGroup(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  const [bare = '', zone] = address.split('%')
  if (!bare.includes(':')) return address
  const [head = '', tail] = bare.split('::')
  const words = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    // An IPv4 address at the end stands for two words.
    const after = tail === '' ? 0 : tail.split(':').length + (tail.includes('.') ? 1 : 0)
    while (words.length + after < 8) words.push('0')
  }
  const network = words.slice(0, 4).map(word => parseInt(word, 16).toString(16))
  return `${network.join(':')}/64${zone === undefined ? '' : `%${zone}`}`
}
