// The slave's side of verification: when the replayer comes to a verify record, the database holds exactly what the
// master's held when it wrote it, so what the record says is compared on the spot. What is in flight cannot be taken
// for a difference. Nothing is compared of a file that is not replicated, is just being filled, or of which later
// transactions were applied ahead of their turn.
import { type Database } from '../database/database.ts'
import { groupOf } from '../database/hash.ts'
import { type HashedFile } from '../database/hashed-file.ts'
import { differingParts, hashItems, sumRange } from '../database/range-digest.ts'
import { flagWords, isReplicated } from '../log/file-flags.ts'
import type { RecordCursor } from '../log/record.ts'
import {
  decodeVerify,
  type FilesRecord,
  type HashRange,
  type ItemsRecord,
  type RangeRecord,
  type VerifyRecord,
} from '../log/verify-record.ts'
import type { Clock } from '../platform/clock.ts'
import type { Differences, ItemDifference, StructureDifference } from './differences.ts'

/** A difference that was not known, for people and for machines. */
export interface DifferenceAlarm {
  readonly account: string
  readonly file: string
  readonly txn: number
  /** First and last group, and modulo; null for a difference of accounts and files. */
  readonly groups: { readonly first: number; readonly last: number; readonly modulo: number } | null
  readonly message: string
}

interface Found extends HashRange {
  readonly account: string
  readonly file: string
  readonly items: readonly ItemDifference[] | null
  readonly unreadable: string | null
}

type Place = Pick<Found, 'account' | 'file' | 'modulo'>

/** Up to this many differences in this time are reported one by one, and further ones by their number. */
const tellMs = 10_000
const toldMax = 10

/** From now on. `alarm` hears of differences that were not known. */
export function compareWithMaster(
  database: Database,
  differences: Differences,
  clock: Clock,
  alarm: (alarm: DifferenceAlarm) => void,
): void {
  const comparison = new Comparison(database, differences, clock, alarm)
  database.onVerify((record, txn) => comparison.compare(record, txn))
}

class Comparison {
  readonly #differences: Differences
  readonly #database: Database
  readonly #clock: Clock
  readonly #alarm: (alarm: DifferenceAlarm) => void
  #knownStructure = new Set<string>()
  #toldSince = -Infinity
  #told = 0
  #untold = 0

  constructor(
    database: Database,
    differences: Differences,
    clock: Clock,
    alarm: (alarm: DifferenceAlarm) => void,
  ) {
    this.#database = database
    this.#differences = differences
    this.#clock = clock
    this.#alarm = alarm
    for (const { kind, text } of differences.rows()) {
      if (kind === 'structure') this.#knownStructure.add(text)
    }
  }

  compare(cursor: RecordCursor, txn: number): void {
    let record: VerifyRecord
    try {
      record = decodeVerify(cursor.bytes, cursor.valueStart, cursor.valueEnd)
    } catch {
      return // Of a later version, say: it says nothing of the database that could be wrong.
    }
    if (record.form === 'files') this.#files(record, txn)
    else if (record.form === 'end') this.#end(record.txn, txn)
    else {
      const file = this.#database.fileByNumber(cursor.fileNumber)
      if (file === undefined || file.flags !== 0) return
      if (this.#database.ahead.has(file.number, txn)) return
      if (record.form === 'range') this.#range(file, record, txn)
      else this.#items(file, record, txn)
    }
  }

  #range(file: HashedFile, record: RangeRecord, txn: number): void {
    const { account, name } = file
    const { modulo, from, to, span } = record
    const place: Place = { account, file: name, modulo }
    const found = this.#looked(place, record, () => {
      const ours = sumRange(file, { modulo, from, to, span })
      const same =
        ours.items === record.items &&
        ours.bytes === record.bytes &&
        ours.digest.every((word, index) => word === record.digest[index])
      if (same) return []
      return differingParts(record, ours.tags, record.tags).map(part => {
        return { ...place, ...part, items: null, unreadable: null }
      })
    })
    this.#note(file, record, txn, found)
  }

  #items(file: HashedFile, record: ItemsRecord, txn: number): void {
    const { account, name } = file
    const { modulo, from, to } = record
    const place: Place = { account, file: name, modulo }
    const found = this.#looked(place, record, () => {
      const ours = hashItems(file, record)
      const items: ItemDifference[] = []
      for (const { id, hash } of record.items) {
        const key = id.toString('latin1')
        const own = ours.get(key)
        if (own === undefined) items.push({ kind: 'missing', id })
        else if (!own.hash.equals(hash)) items.push({ kind: 'changed', id })
        ours.delete(key)
      }
      for (const { id } of ours.values()) items.push({ kind: 'extra', id })
      return items.length === 0 ? [] : [{ ...place, from, to, items, unreadable: null }]
    })
    this.#note(file, record, txn, found)
  }

  /** What cannot be read is a difference, too. */
  #looked(place: Place, { from, to }: HashRange, look: () => Found[]): Found[] {
    try {
      return look()
    } catch (error) {
      const unreadable = error instanceof Error ? error.message : String(error)
      return [{ ...place, from, to, items: null, unreadable }]
    }
  }

  #note(file: HashedFile, { from, to }: HashRange, txn: number, found: readonly Found[]): void {
    const news = found.filter(part => !this.#differences.touches(file.number, part.from, part.to))
    this.#differences.compared(file.number, from, to, txn, found)
    for (const part of news) this.#tellRange(part, txn)
  }

  #tellRange({ account, file, modulo, from, to, unreadable }: Found, txn: number): void {
    const [first, last] = [groupOf(from, modulo), groupOf(to - 1, modulo)]
    const which = first === last ? `group ${first}` : `groups ${first} to ${last}`
    const what = unreadable === null ? 'differs from the master' : `cannot be read: ${unreadable}`
    const message = `${account} ${file}: ${which} of ${modulo} ${what}, at transaction ${txn}`
    this.#tell({ account, file, txn, groups: { first, last, modulo }, message })
  }

  #files(record: FilesRecord, txn: number): void {
    if (this.#database.ahead.has(null, txn)) return
    const found = structureDifferences(this.#database, record)
    const compared = record.files.filter(({ flags }) => flags === 0).map(({ number }) => number)
    this.#differences.comparedFiles(txn, found, new Set(compared), record.whole)
    for (const { account, file, text } of found) {
      if (this.#knownStructure.has(text)) continue
      this.#tell({ account, file, txn, groups: null, message: `${text}, at transaction ${txn}` })
    }
    this.#knownStructure = new Set(found.map(({ text }) => text))
  }

  #end(firstTxn: number, txn: number): void {
    this.#differences.passEnded({ firstTxn, lastTxn: txn, time: this.#clock.now() })
  }

  #tell(alarm: DifferenceAlarm): void {
    const now = this.#clock.monotonic()
    if (now - this.#toldSince >= tellMs) {
      this.#toldSince = now
      this.#told = 0
    }
    if (this.#told >= toldMax) {
      this.#untold++
      return
    }
    this.#told++
    const more = this.#untold === 0 ? '' : `; ${this.#untold} more were found before`
    this.#untold = 0
    this.#alarm({ ...alarm, message: `${alarm.message}${more}` })
  }
}

/** Accounts and files that only one of both has, or that are not the same. */
function structureDifferences(database: Database, record: FilesRecord): StructureDifference[] {
  const found: StructureDifference[] = []
  const note = (account: string, file: string, what: string) => {
    const name = file === '' ? `account ${account}` : `file ${account} ${file}`
    found.push({ account, file, text: `${name} ${what}` })
  }
  const accounts = new Set(record.accounts)
  const files = new Map(record.files.map(entry => [entry.number, entry]))
  for (const account of accounts) {
    if (!database.hasAccount(account)) note(account, '', 'is missing')
  }
  for (const account of database.accounts()) {
    if (!accounts.has(account)) note(account, '', 'is not on the master')
    const here = [...database.files(account), ...database.absentFiles(account)]
    for (const file of here) {
      const theirs = files.get(file.number)
      files.delete(file.number)
      if (theirs === undefined) {
        note(account, file.name, 'is not on the master')
      } else if (theirs.account !== account || theirs.file !== file.name) {
        note(account, file.name, `is ${theirs.account} ${theirs.file} on the master`)
      } else if (theirs.flags !== file.flags) {
        const [own, other] = [flagsText(file.flags), flagsText(theirs.flags)]
        note(account, file.name, `${own}, and ${other} on the master`)
      } else if (isReplicated(theirs.flags) && file.absent) {
        note(account, file.name, 'is missing')
      } else if (isReplicated(theirs.flags) && theirs.modulo !== file.modulo) {
        note(account, file.name, `has modulo ${file.modulo}, and ${theirs.modulo} on the master`)
      }
    }
  }
  for (const { account, file, flags } of files.values()) {
    if (isReplicated(flags)) note(account, file, 'is missing')
  }
  return found
}

function flagsText(flags: number): string {
  return flags === 0 ? 'is replicated' : `is ${flagWords(flags).join(' and ')}`
}
