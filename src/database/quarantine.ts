// Groups that nobody may use, because a frame of theirs is damaged: reads are refused, and what the log says of them is
// not applied, until a clear-group record empties the group and the items follow (see apply.ts). It is the log that
// repairs, so whoever replays it from wherever comes to the same state. All of this is part of the database's state at
// its stamp: the catalog has it. So a frame that can be read again after a restart, and has missed updates, is not
// taken for good; and a crash before the checkpoint forgets it together with the updates that were left out.
//
// Quarantined are ranges of the hash, since those stay when a file gets another modulo: at first exactly the group,
// less when a part of it has been repaired.
//
// What a damaged group refers to is never freed: nobody knows whose it is by now. A resize gives it back.
import { HotBackupError } from '../errors.ts'
import { isOnSlaves } from '../log/file-flags.ts'
import { type Generation } from './generation.ts'
import { groupOf, groupStart } from './hash.ts'

/** So many groups of a database at most: a disk that damages more is not to be trusted with the rest. */
export const damagedGroupsMax = 1000

/** A frame that fails its check, or that is not what another frame says of it. */
export class FrameDamage extends HotBackupError {
  readonly generation: Generation
  readonly frame: number
  /** Its bytes on the disk are not those that were written. */
  readonly unreadable: boolean

  constructor(
    generation: Generation,
    frame: number,
    unreadable: boolean,
    message: string,
    place: { readonly path?: string; readonly offset?: number } = {},
  ) {
    super('ERR_DATABASE_CORRUPT', message, place)
    this.generation = generation
    this.frame = frame
    this.unreadable = unreadable
  }
}

/** Items of a file with hashes from `from` up to `to`, excluded. */
export interface DamagedRange {
  readonly fileNumber: number
  /** Number of the generation whose group is damaged; 0 when it has been emptied since, or is of no file any more. */
  readonly generation: number
  readonly from: number
  readonly to: number
  /** How it was found, since the database was opened. */
  readonly cause?: FrameDamage
}

/** Whose range it is, for people. */
interface NamedFile {
  readonly number: number
  readonly account: string
  readonly name: string
  readonly modulo: number
  readonly flags: number
}

/** What helps when no other server has the file. */
const nextOfLocal =
  'no other server holds all of this file, which is not replicated: clear it, or restore a save ("hb restore")'

export class Quarantine {
  #ranges: DamagedRange[] = []
  readonly #listeners: (() => void)[] = []
  /** What becomes of a damaged group, as errors tell it. */
  next = 'it is repaired by the server when that runs and reaches its peer'

  constructor(ranges: readonly DamagedRange[]) {
    this.#ranges = [...ranges]
  }

  /** Looked at before every update: 0 as good as always. */
  get size(): number {
    return this.#ranges.length
  }
  get ranges(): readonly DamagedRange[] {
    return this.#ranges
  }

  /** Calls back when there are more ranges, or less: in the middle of a transaction, too. */
  onChange(changed: () => void): void {
    this.#listeners.push(changed)
  }

  of(fileNumber: number): readonly DamagedRange[] {
    return this.#ranges.filter(range => range.fileNumber === fileNumber)
  }

  /** Some range of the file with hashes from `from` up to `to`, excluded. */
  within(fileNumber: number, from: number, to: number): DamagedRange | undefined {
    return this.#ranges.find(
      range => range.fileNumber === fileNumber && range.from < to && from < range.to,
    )
  }

  /** Some range of the file with that hash. */
  at(fileNumber: number, hash: number): DamagedRange | undefined {
    return this.within(fileNumber, hash, hash + 1)
  }

  /**
   * The group of a file that the damage is in is of no use from now on. Throws the error when that is too much: the
   * database needs to be replaced.
   */
  add({ number: fileNumber }: NamedFile, error: FrameDamage): DamagedRange {
    const { number: generation, modulo, lookedAt } = error.generation
    const [from, to] = [groupStart(lookedAt, modulo), groupStart(lookedAt + 1, modulo)]
    const range = { fileNumber, generation, from, to, cause: error }
    if (this.#has(range)) return range
    if (this.#ranges.length >= damagedGroupsMax) throw error
    this.#put([...this.#ranges, range])
    return range
  }

  /** Also of no use: updates of these hashes have been given up with a damaged group. */
  addRest({ number: fileNumber }: NamedFile, from: number, to: number): void {
    const range = { fileNumber, generation: 0, from, to }
    if (!this.#has(range)) this.#put([...this.#ranges, range])
  }

  /** The group of that range has been emptied, and can be read. */
  emptied(emptied: DamagedRange): void {
    this.#put(
      this.#ranges.map(range => (same(range, emptied) ? { ...range, generation: 0 } : range)),
    )
  }

  /** Complete again. */
  lift(fileNumber: number, from: number, to: number): void {
    if (this.within(fileNumber, from, to) === undefined) return
    const left = this.#ranges.flatMap(range => {
      if (range.fileNumber !== fileNumber || range.from >= to || from >= range.to) return [range]
      const parts: DamagedRange[] = []
      if (range.from < from) parts.push({ ...range, to: from })
      if (to < range.to) parts.push({ ...range, from: to })
      return parts
    })
    this.#put(left)
  }

  /** The file is gone, or was emptied as a whole. */
  forget(fileNumber: number): void {
    const left = this.#ranges.filter(range => range.fileNumber !== fileNumber)
    if (left.length < this.#ranges.length) this.#put(left)
  }

  /** Why these items may not be used. */
  refusal(file: NamedFile, range: DamagedRange): HotBackupError {
    const { account, name } = file
    const { cause } = range
    const why = cause?.message ?? 'a frame of it was damaged'
    const next = isOnSlaves(file.flags) ? this.next : nextOfLocal
    const message = `${groupsText(file, range)} cannot be read: ${why}; ${next}`
    const place = { ...cause?.place, account, file: name }
    return new HotBackupError('ERR_GROUP_DAMAGED', message, place, cause)
  }

  #has(wanted: DamagedRange): boolean {
    return this.#ranges.some(range => same(range, wanted))
  }

  #put(ranges: DamagedRange[]): void {
    this.#ranges = ranges
    for (const changed of this.#listeners) changed()
  }
}

function same(a: DamagedRange, b: DamagedRange): boolean {
  return (
    a.fileNumber === b.fileNumber &&
    a.generation === b.generation &&
    a.from === b.from &&
    a.to === b.to
  )
}

/** For people. */
export function groupsText({ account, name, modulo }: NamedFile, range: DamagedRange): string {
  const first = groupOf(range.from, modulo)
  const last = groupOf(range.to - 1, modulo)
  const which = first === last ? `group ${first}` : `groups ${first} to ${last}`
  return `${account} ${name}: ${which} of ${modulo}`
}
