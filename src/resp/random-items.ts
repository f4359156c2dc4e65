// Items by chance. Where items lie is decided by a hash, so a random place in its range is a random item, near enough.
import { hashEnd } from '../database/hash.ts'
import { fraction, type Random } from '../platform/random.ts'
import type { Access } from './access.ts'
import type { Place } from './place.ts'

export interface RandomItem {
  readonly id: Buffer
  readonly value: Buffer
}

/** Of larger files, single items are drawn; smaller ones are read as a whole. */
const wholeItems = 1000
/** Draws in a row that bring nothing new, before all of the file is read. */
const vainDraws = 100

/** Null when the file is empty. */
export function randomItem(
  random: Random,
  access: Access,
  place: Place,
  withValues: boolean,
): RandomItem | null {
  if (access.count(place) === 0) return null
  const start = Math.floor(fraction(random) * hashEnd)
  const found: RandomItem[] = []
  const visit = keepIn(found)
  for (const from of [start, 0]) {
    let cursor: number | null = from
    while (cursor !== null && found.length === 0) {
      cursor = access.scan(place, cursor, 1, visit, withValues)
    }
  }
  return found[Math.floor(fraction(random) * found.length)] ?? null
}

/** Different items, as many as there are, up to `count`. */
export function randomItems(
  random: Random,
  access: Access,
  place: Place,
  count: number,
  withValues: boolean,
): RandomItem[] {
  const size = access.count(place)
  if (size > wholeItems && count < size / 2) {
    const drawn = new Map<string, RandomItem>()
    for (let vain = 0; drawn.size < count && vain < vainDraws;) {
      const item = randomItem(random, access, place, withValues)
      const { size: before } = drawn
      if (item !== null) drawn.set(item.id.toString('latin1'), item)
      vain = drawn.size > before ? 0 : vain + 1
    }
    if (drawn.size === count) return [...drawn.values()]
  }
  const all: RandomItem[] = []
  let cursor: number | null = 0
  while (cursor !== null) cursor = access.scan(place, cursor, wholeItems, keepIn(all), withValues)
  if (count >= all.length) return all
  for (let index = 0; index < count; index++) {
    const other = index + Math.floor(fraction(random) * (all.length - index))
    const item = all[other]!
    all[other] = all[index]!
    all[index] = item
  }
  return all.slice(0, count)
}

function keepIn(items: RandomItem[]) {
  return (
    bytes: Uint8Array,
    idStart: number,
    idEnd: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
  ): void => {
    items.push({
      id: Buffer.from(bytes.subarray(idStart, idEnd)),
      value: Buffer.from(value.subarray(valueStart, valueEnd)),
    })
  }
}
