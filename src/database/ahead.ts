// What an operator has had applied ahead of its turn: of the transactions up to some number, those about certain files
// and accounts. The ordinary replay passes over them when it comes there. It is kept in the catalog, so that a
// checkpoint holds these effects and the knowledge of them together, or neither.
//
// Whoever applies ahead sees to it that each transaction up to there is about selected files and accounts only, or
// about others only. So its first update tells which.
import { RecordCursor, RecordType } from '../log/record.ts'

export interface Selection {
  /** Transactions up to this one have been applied, if they are selected. */
  readonly until: number
  /** By number. */
  readonly files: ReadonlySet<number>
  /** Of records about accounts themselves. */
  readonly accounts: ReadonlySet<string>
}

export class Ahead {
  #selections: Selection[] = []
  #until = 0
  readonly #record = new RecordCursor()

  constructor(selections: readonly Selection[]) {
    for (const selection of selections) this.#add(selection)
  }

  /** The last transaction that was applied ahead. */
  get until(): number {
    return this.#until
  }

  /** Those that matter behind `txn`. */
  behind(txn: number): Selection[] {
    this.#selections = this.#selections.filter(({ until }) => until > txn)
    return this.#selections
  }

  /** The selection has been applied up to a later transaction, or is new. */
  reached(selection: Omit<Selection, 'until'>, txn: number): void {
    const { files, accounts } = selection
    this.#selections = this.#selections.filter(other => other.files !== files)
    this.#add({ until: txn, files, accounts })
  }

  /** The transaction has been applied already. */
  covers(bytes: Uint8Array, start: number, end: number, txn: number): boolean {
    if (txn > this.#until) return false
    const record = this.#record
    record.reset(bytes, start, end)
    while (record.next()) {
      if (isUpdate(record.type)) {
        return this.#selections.some(
          ({ until, ...which }) => txn <= until && isAbout(record, which),
        )
      }
    }
    return false
  }

  /** Later transactions than `txn` have changed the file already; null: some file or account. */
  has(fileNumber: number | null, txn: number): boolean {
    if (txn > this.#until) return false
    return this.#selections.some(
      ({ until, files }) => txn <= until && (fileNumber === null || files.has(fileNumber)),
    )
  }

  #add(selection: Selection): void {
    this.#selections.push(selection)
    this.#until = Math.max(this.#until, selection.until)
  }
}

/** The record changes a file or an account. */
export function isUpdate(type: RecordType): boolean {
  switch (type) {
    case RecordType.mapFile:
    case RecordType.mark:
    case RecordType.promote:
    case RecordType.verify:
      return false
    default:
      return true
  }
}

export function isAbout(
  record: RecordCursor,
  { files, accounts }: Omit<Selection, 'until'>,
): boolean {
  return record.fileNumber === 0 ? accounts.has(record.idText()) : files.has(record.fileNumber)
}
