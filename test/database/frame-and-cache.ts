// The lowest layer: hashes and groups, the inner life of a frame, and the cache with frames that come, go, are
// captured and copied aside.
import fc from 'fast-check'
import t from 'tap'
import { FrameCache } from '../../src/database/cache.ts'
import {
  addEntry,
  copyBytes,
  countOf,
  entryAt,
  entryBytes,
  entryBytesMax,
  findEntry,
  fits,
  frameBytes,
  frameFault,
  FrameKind,
  idStartOf,
  initFrame,
  removeEntry,
  resizeEntry,
  roomOf,
  Slab,
  valueLengthOf,
  valueStartOf,
} from '../../src/database/frame.ts'
import { type FrameStore } from '../../src/database/frame-store.ts'
import { Generation } from '../../src/database/generation.ts'
import { SortedKeys } from '../../src/database/sorted-keys.ts'
import { groupOf, groupStart, hashEnd, hashId } from '../../src/database/hash.ts'
import { moduloMax } from '../../src/limits.ts'
import { holds } from '../helpers/database-history.ts'

const hashOf = (text: string) => hashId(Buffer.from(text), 0, Buffer.byteLength(text))

t.test(
  'the hash is the one of the test vectors, for every length of tail and wherever it lies',
  async t => {
    t.equal(hashOf(''), 0)
    t.equal(hashOf('hello'), 0x248bfa47)
    t.equal(hashOf('hello, world'), 0x149bbb7f)
    t.equal(hashOf('The quick brown fox jumps over the lazy dog'), 0x2e4ff723)
    const vectors = { a: 0x3c2569b2, ab: 0x9bbfd75f, abc: 0xb3dd93fa, abcd: 0x43ed676a }
    for (const [text, hash] of Object.entries(vectors)) {
      const bytes = Buffer.from(`xyz${text}xyz`)
      t.equal(hashId(bytes, 3, 3 + text.length), hash)
    }
  },
)

const arbitraryHash = fc.oneof(
  fc.integer({ min: 0, max: hashEnd - 1 }),
  fc.constantFrom(0, hashEnd - 1),
)
const arbitraryModulo = fc.oneof(
  fc.integer({ min: 1, max: moduloMax }),
  fc.constantFrom(1, 2 ** 21, 2 ** 21 + 1, moduloMax - 1, moduloMax),
)

t.test(
  'a group is exactly floor(hash × modulo / 2^32), and its start the first hash in it',
  async t => {
    await holds(
      t,
      'groupOf',
      fc.property(arbitraryHash, arbitraryModulo, (hash, modulo) => {
        const exact = Number((BigInt(hash) * BigInt(modulo)) >> 32n)
        return groupOf(hash, modulo) === exact
      }),
      5000,
    )
    await holds(
      t,
      'groupStart',
      fc.property(arbitraryHash, arbitraryModulo, (hash, modulo) => {
        const group = groupOf(hash, modulo)
        const start = groupStart(group, modulo)
        if (groupOf(start, modulo) !== group) return false
        if (start > 0 && groupOf(start - 1, modulo) !== group - 1) return false
        return groupStart(modulo, modulo) === hashEnd
      }),
      5000,
    )
  },
)

t.test('a frame holds what was put into it', async t => {
  const arbitraryChange = fc.record({
    id: fc.nat({ max: 40 }),
    length: fc.oneof(fc.nat({ max: 120 }), fc.integer({ min: 0, max: 1900 })),
    remove: fc.boolean(),
  })
  await holds(
    t,
    'a frame against a Map',
    fc.property(fc.array(arbitraryChange, { maxLength: 150 }), changes => {
      const slab = new Slab(2)
      const base = frameBytes
      initFrame(slab, base, FrameKind.group, 1, 2, 3)
      const model = new Map<string, Buffer>()
      for (const [step, change] of changes.entries()) {
        changeFrame(slab, base, model, change, step)
        if (!holdsModel(slab, base, model)) return false
      }
      // Nothing was written beside the frame.
      return slab.u8.subarray(0, base).every(byte => byte === 0)
    }),
    400,
  )
})

interface Change {
  readonly id: number
  readonly length: number
  readonly remove: boolean
}

function changeFrame(
  slab: Slab,
  base: number,
  model: Map<string, Buffer>,
  change: Change,
  step: number,
): void {
  // Ids that share a tag must be told apart by their bytes.
  const text = `${'x'.repeat(change.id % 9)}${change.id}`
  const id = Buffer.from(text)
  const tag = change.id % 3
  const value = Buffer.alloc(change.length, step)
  const index = findEntry(slab, base, tag, id, 0, id.length)
  if (change.remove) {
    if (index >= 0) removeEntry(slab, base, index)
    model.delete(text)
    return
  }
  const need = entryBytes(id.length, value.length)
  if (need > entryBytesMax) return
  const room = roomOf(slab, base)
  let entry
  if (index >= 0) entry = resizeEntry(slab, base, index, value.length, false)
  else
    entry = fits(slab, base, need) ? addEntry(slab, base, tag, id.length, value.length, false) : -1
  if (entry < 0) {
    if (room >= need + 4) throw new Error(`there was room for ${need}: ${room}`)
    return
  }
  copyBytes(slab.u8, idStartOf(entry), id, 0, id.length)
  copyBytes(slab.u8, valueStartOf(slab, entry), value, 0, value.length)
  model.set(text, value)
}

function holdsModel(slab: Slab, base: number, model: ReadonlyMap<string, Buffer>): boolean {
  if (countOf(slab, base) !== model.size || frameFault(slab, base) !== null) return false
  let used = 0
  for (const [text, value] of model) {
    const id = Buffer.from(text)
    const index = findEntry(slab, base, Number(text.replaceAll('x', '')) % 3, id, 0, id.length)
    if (index < 0) return false
    const entry = entryAt(slab, base, index)
    const start = valueStartOf(slab, entry)
    if (!value.equals(slab.u8.subarray(start, start + valueLengthOf(slab, entry)))) return false
    used += entryBytes(id.length, value.length) + 4
  }
  // Every byte is an entry, its slot, or room.
  return roomOf(slab, base) === frameBytes - 32 - used
}

/** Keeps frames in a Map; of each only the first word of the heap counts. */
class MapStore implements FrameStore {
  readonly frames = new Map<string, number>()
  reads = 0
  spills = 0
  failing = false

  readFrame(generation: Generation, frame: number, slab: Slab, base: number): void {
    this.reads++
    if (this.failing) throw new Error('cannot read')
    slab.u8.fill(0, base, base + frameBytes)
    slab.u32[(base >> 2) + 100] = this.frames.get(`${generation.number}.${frame}`) ?? 0
  }

  isBlank(generation: Generation, group: number): boolean {
    return group >= generation.diskFrames
  }

  renewSums(): null {
    return null
  }

  spillFrame(generation: Generation, frame: number, slab: Slab, base: number): void {
    if (this.failing) throw new Error('cannot write')
    this.spills++
    this.frames.set(`${generation.number}.${frame}`, slab.u32[(base >> 2) + 100]!)
  }
}

function valueIn(cache: FrameCache, generation: Generation, frame: number): number {
  const slot = cache.get(generation, frame)
  return cache.slab(slot).u32[(cache.base(slot) >> 2) + 100]!
}

function setValue(cache: FrameCache, generation: Generation, frame: number, value: number): void {
  const slot = cache.get(generation, frame)
  cache.change(slot, generation)
  cache.slab(slot).u32[(cache.base(slot) >> 2) + 100] = value
}

t.test('the cache keeps every change through evictions, captures and copies', async t => {
  const arbitraryAction = fc.oneof(
    { weight: 20, arbitrary: fc.record({ write: fc.nat({ max: 200 }), file: fc.nat({ max: 2 }) }) },
    { weight: 40, arbitrary: fc.record({ read: fc.nat({ max: 200 }), file: fc.nat({ max: 2 }) }) },
    { weight: 1, arbitrary: fc.constant({ capture: true as const }) },
    { weight: 5, arbitrary: fc.record({ take: fc.nat({ max: 30 }) }) },
    { weight: 1, arbitrary: fc.record({ giveBack: fc.boolean() }) },
  )
  await holds(
    t,
    'a cache of 32 frames for 600 against a Map',
    fc.property(fc.array(arbitraryAction, { minLength: 100, maxLength: 1500 }), actions => {
      const store = new MapStore()
      const cache = new FrameCache(1, store)
      const generations = [0, 1, 2].map(file => {
        // The third may be spilled.
        const generation = Generation.empty(file, file, 201, file < 2)
        cache.register(generation)
        return generation
      })
      const model = new Map<string, number>()
      let slots: Int32Array | null = null
      let captured = new Map<string, number>()
      let pending: [Generation, number][] = []
      let journal = new Map<string, number>()
      let changed = new Set<string>()
      let count = 0
      const take = (many: number) => {
        const bytes = new Uint8Array(frameBytes)
        for (const [generation, frame] of pending.splice(0, many)) {
          cache.takeCaptured(generation.key, frame, bytes, 0)
          const value = new DataView(bytes.buffer).getUint32(400, true)
          journal.set(`${generation.number}.${frame}`, value)
        }
      }
      for (const action of actions) {
        if ('read' in action || 'write' in action) {
          const generation = generations[action.file]!
          const frame = 'read' in action ? action.read : action.write
          const key = `${generation.number}.${frame}`
          if (valueIn(cache, generation, frame) !== (model.get(key) ?? 0)) return false
          if ('read' in action) continue
          setValue(cache, generation, frame, ++count)
          model.set(key, count)
          changed.add(key)
        } else if ('capture' in action && slots === null) {
          for (const generation of generations) generation.named = true
          slots = cache.capture()
          captured = new Map(model)
          pending = [...slots].map(slot => [
            generations.find(generation => generation.key === cache.keyOf(slot))!,
            cache.frameOf(slot),
          ])
          journal = new Map()
          changed = new Set()
        } else if ('take' in action && slots !== null) {
          take(action.take)
        } else if ('giveBack' in action && slots !== null) {
          if (action.giveBack) {
            cache.giveBack(slots)
          } else {
            take(pending.length)
            for (const [key, value] of journal) {
              if (captured.get(key) !== value) return false
              store.frames.set(key, value)
            }
            cache.release(slots)
            cache.shrink()
          }
          slots = null
        }
      }
      for (const [key, value] of model) {
        const [file, frame] = key.split('.').map(Number)
        if (valueIn(cache, generations[file!]!, frame!) !== value) return false
      }
      return true
    }),
    150,
  )

  const store = new MapStore()
  const cache = new FrameCache(1, store)
  const named = Generation.empty(1, 1, 1000, true)
  cache.register(named)
  const limit = cache.limitBytes / frameBytes
  for (let frame = 0; frame < limit; frame++) setValue(cache, named, frame, frame)
  t.ok(cache.overfull)
  for (let frame = limit; frame < 3 * limit; frame++) setValue(cache, named, frame, frame)
  t.equal(cache.dirtyBytes, 3 * cache.limitBytes, 'full of changes it grows rather than lose one')
  t.ok(cache.allocatedBytes <= 4 * cache.limitBytes)
  const slots = cache.capture()
  t.equal(cache.dirtyBytes, 0)
  t.equal(cache.heldBytes, 3 * cache.limitBytes)
  for (const slot of slots) {
    cache.takeCaptured(named.key, cache.frameOf(slot), new Uint8Array(frameBytes), 0)
  }
  t.ok(cache.overfull, 'captured frames are not evictable before they are in place')
  cache.release(slots)
  cache.shrink()
  t.equal(cache.heldBytes, 0)
  t.equal(cache.allocatedBytes, cache.limitBytes, 'and gives the memory back')

  const loose = Generation.empty(2, 2, 1000, false)
  cache.register(loose)
  for (let frame = 0; frame < 500; frame++) setValue(cache, loose, frame, frame + 1)
  t.equal(
    cache.allocatedBytes,
    cache.limitBytes,
    'a generation that no catalog names is spilled instead',
  )
  t.ok(store.spills > 400)
  for (let frame = 0; frame < 500; frame++) {
    if (valueIn(cache, loose, frame) !== frame + 1) t.fail(`frame ${frame} was spilled wrongly`)
  }
  store.failing = true
  const before = cache.dirtyBytes
  for (let frame = 0; frame < limit && cache.dirtyBytes < cache.limitBytes; frame++) {
    try {
      setValue(cache, loose, frame, 7)
    } catch {
      // It could not be read: the slot must not be lost.
    }
  }
  store.failing = false
  t.ok(cache.dirtyBytes >= before)
  for (let frame = 0; frame < 500; frame++) valueIn(cache, loose, frame)

  const dropped = Generation.empty(3, 3, 1000, false)
  cache.register(dropped)
  for (let frame = 0; frame < 10; frame++) setValue(cache, dropped, frame, 1)
  cache.forget(dropped)
  for (let frame = 0; frame < 500; frame++) valueIn(cache, named, frame)
  t.notOk(
    [...store.frames.keys()].some(key => key.startsWith('3.')),
    'frames of a generation that was dropped are not written',
  )
  t.equal(cache.allocatedBytes, cache.limitBytes)
})

t.test('keys come out in order, whatever the runs in which they came', async t => {
  await holds(
    t,
    'a merge against a sort',
    fc.property(fc.array(fc.array(fc.nat()), { maxLength: 30 }), runs => {
      const keys = new SortedKeys()
      for (const run of runs) keys.add(Float64Array.from(run))
      keys.rewind()
      for (const key of runs.flat().sort((a, b) => a - b)) if (keys.take() !== key) return false
      return keys.take() === -1
    }),
    300,
  )
})
