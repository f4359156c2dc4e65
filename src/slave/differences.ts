// What a slave knows of its differences from the master: where verify records in the log say something else than its
// database. A difference stays until a later record says the same about all of that range. Bounded: what finds no room
// is counted, and found again when there is some. Kept in DIR/differences, which is replaced as a whole when it
// changes: what a crash takes away the next pass finds.
import * as v from 'valibot'
import { isHotBackupError } from '../errors.ts'
import { MiB } from '../limits.ts'
import type { HashRange } from '../log/verify-record.ts'
import { readState, writeFileAtomic } from '../platform/atomic-file.ts'
import type { Disk } from '../platform/disk.ts'
import {
  differencesRowsMax,
  type ComparedPass,
  type Difference,
  type DifferencesPage,
  type DifferencesStatus,
} from '../wire/messages/differences.ts'

/** Ranges, items and files that are kept. */
export const differencesMax = 1000
const fileBytesMax = 16 * MiB

export interface ItemDifference {
  readonly kind: 'changed' | 'missing' | 'extra'
  readonly id: Buffer
}

/** A range of hashes in which a file differs. */
interface DifferentRange extends HashRange {
  readonly fileNumber: number
  readonly account: string
  readonly file: string
  readonly txn: number
  /** Null: not known yet. */
  readonly items: readonly ItemDifference[] | null
  /** Null when it could be read. */
  readonly unreadable: string | null
}

/** Something else than items. */
export interface StructureDifference {
  readonly account: string
  readonly file: string
  readonly text: string
}

const text = v.string()
const whole = v.pipe(v.number(), v.integer(), v.minValue(0))
const item = v.object({ kind: v.picklist(['changed', 'missing', 'extra']), id: text })
const kept = v.object({
  comparedTxn: whole,
  pass: v.nullable(v.object({ firstTxn: whole, lastTxn: whole, time: v.number() })),
  more: whole,
  structure: v.object({
    txn: whole,
    list: v.array(v.object({ account: text, file: text, text })),
  }),
  ranges: v.array(
    v.object({
      fileNumber: whole,
      account: text,
      file: text,
      modulo: whole,
      from: whole,
      to: whole,
      txn: whole,
      items: v.nullable(v.array(item)),
      unreadable: v.nullable(text),
    }),
  ),
})

export class Differences {
  readonly #disk: Disk
  readonly #path: string
  readonly #failed: (error: unknown) => void
  #ranges: DifferentRange[] = []
  #structure: { txn: number; list: readonly StructureDifference[] } = { txn: 0, list: [] }
  #comparedTxn = 0
  #pass: ComparedPass | null = null
  #more = 0
  #writing: Promise<void> | null = null
  #changed = false

  private constructor(disk: Disk, path: string, failed: (error: unknown) => void) {
    this.#disk = disk
    this.#path = path
    this.#failed = failed
  }

  /** A file that cannot be read as one is as good as none. `failed` hears when it cannot be written. */
  static async open(
    disk: Disk,
    path: string,
    failed: (error: unknown) => void,
  ): Promise<Differences> {
    const differences = new Differences(disk, path, failed)
    const bytes = await readState(disk, path, fileBytesMax)
    if (bytes !== null) differences.#load(bytes)
    return differences
  }

  get status(): DifferencesStatus {
    const { length } = this.rows()
    return { comparedTxn: this.#comparedTxn, pass: this.#pass, known: length, more: this.#more }
  }

  /** In no order that means anything, but the same as long as nothing changes. */
  rows(): Difference[] {
    const { txn, list } = this.#structure
    const everywhere = { modulo: 1, from: 0, to: 2 ** 32 }
    const rows = list.map((found): Difference => {
      return { kind: 'structure', ...found, ...everywhere, txn, id: noBytes }
    })
    for (const { items, unreadable, fileNumber: _, ...place } of this.#ranges) {
      const line = { ...place, id: noBytes, text: unreadable ?? '' }
      if (items === null) {
        rows.push({ kind: unreadable === null ? 'groups' : 'unreadable', ...line })
      } else for (const found of items) rows.push({ ...line, ...found })
    }
    return rows
  }

  /** Some of the lines, from the given one on. */
  page(start: number): DifferencesPage {
    const rows = this.rows().slice(start, start + differencesRowsMax)
    return { status: this.status, start, rows }
  }

  /** Something was known to be different in the range. */
  touches(fileNumber: number, from: number, to: number): boolean {
    return this.#ranges.some(
      range => range.fileNumber === fileNumber && range.from < to && range.to > from,
    )
  }

  /** Compared at `txn`, the range is the same but for `found`. */
  compared(
    fileNumber: number,
    from: number,
    to: number,
    txn: number,
    found: readonly Omit<DifferentRange, 'fileNumber' | 'txn'>[],
  ): void {
    this.#comparedTxn = txn
    if (found.length === 0 && !this.touches(fileNumber, from, to)) return
    this.#ranges = this.#ranges.flatMap(range =>
      range.fileNumber === fileNumber ? without(range, from, to) : [range],
    )
    for (const range of found) this.#add({ fileNumber, txn, ...range })
    this.#keep()
  }

  #add(range: DifferentRange): void {
    const last = this.#ranges.at(-1)
    if (last !== undefined && continues(last, range)) {
      this.#ranges[this.#ranges.length - 1] = { ...last, to: range.to, txn: range.txn }
      return
    }
    const room = differencesMax - this.rows().length
    const needed = range.items?.length ?? 1
    // Which items differ is then found out later, when others are repaired.
    const short = needed <= room ? range : { ...range, items: null }
    if (room >= 1) this.#ranges.push(short)
    else this.#more++
  }

  /** Accounts and files were compared at `txn`. `keep`: the files whose items are compared as well. */
  comparedFiles(
    txn: number,
    found: readonly StructureDifference[],
    keep: ReadonlySet<number>,
    wholePass: boolean,
  ): void {
    this.#comparedTxn = txn
    this.#more = wholePass ? 0 : this.#more
    this.#structure = { txn, list: found.slice(0, differencesMax) }
    this.#more += found.length - this.#structure.list.length
    this.#ranges = this.#ranges.filter(range => keep.has(range.fileNumber))
    this.#keep()
  }

  passEnded(pass: ComparedPass): void {
    this.#pass = pass
    this.#comparedTxn = pass.lastTxn
    this.#keep()
  }

  /** Resolves when what is known is on the disk. */
  async close(): Promise<void> {
    await this.#writing
  }

  /** One write after the other, the last with everything. */
  #keep(): void {
    this.#changed = true
    this.#writing ??= this.#write()
  }

  async #write(): Promise<void> {
    try {
      while (this.#changed) {
        this.#changed = false
        try {
          await writeFileAtomic(this.#disk, this.#path, this.#encoded())
        } catch (error) {
          if (!isHotBackupError(error)) throw error
          this.#failed(error)
        }
      }
    } finally {
      // In the same turn as the last look at #changed: a change that comes later needs a writer of its own.
      this.#writing = null
    }
  }

  #encoded(): Buffer {
    const ranges = this.#ranges.map(range => ({
      ...range,
      items: range.items?.map(({ kind, id }) => ({ kind, id: id.toString('base64') })) ?? null,
    }))
    const state = {
      comparedTxn: this.#comparedTxn,
      pass: this.#pass,
      more: this.#more,
      structure: this.#structure,
      ranges,
    }
    return Buffer.from(JSON.stringify(state))
  }

  #load(bytes: Buffer): void {
    let value: unknown
    try {
      value = JSON.parse(bytes.toString())
    } catch {
      return
    }
    const { success, output } = v.safeParse(kept, value)
    if (!success) return
    this.#comparedTxn = output.comparedTxn
    this.#pass = output.pass
    this.#more = output.more
    this.#structure = output.structure
    this.#ranges = output.ranges.map(range => ({
      ...range,
      items: range.items?.map(({ kind, id }) => ({ kind, id: Buffer.from(id, 'base64') })) ?? null,
    }))
  }
}

const noBytes = Buffer.alloc(0)

/** What is left of the range: nothing, or a part on either side. Which items are in a part is not known. */
function without(range: DifferentRange, from: number, to: number): DifferentRange[] {
  if (range.from >= to || range.to <= from) return [range]
  const parts = []
  if (range.from < from) parts.push({ ...range, to: from, items: null })
  if (range.to > to) parts.push({ ...range, from: to, items: null })
  return parts
}

/** They are one range, of which nothing more is known. */
function continues(last: DifferentRange, next: DifferentRange): boolean {
  return (
    last.fileNumber === next.fileNumber &&
    last.modulo === next.modulo &&
    last.to === next.from &&
    last.items === null &&
    next.items === null &&
    last.unreadable === null &&
    next.unreadable === null
  )
}
