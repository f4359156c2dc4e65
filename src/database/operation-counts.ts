// Counts what a database has applied since it was opened, by operation, for "hb statistics". Counting costs an addition
// in place; nothing is allocated.
import { recordTypeMax, RecordType } from '../log/record.ts'

// The places of the counts of record types are their numbers; the others lie before and behind them.
const leftOutAt = 0
const transactionsAt = recordTypeMax + 1
const lostAt = recordTypeMax + 2
const itemBytesAt = recordTypeMax + 3

export class OperationCounts {
  /** Wall-clock milliseconds: when the counting began. */
  readonly since: number
  /** Doubles: whole numbers are exact up to 2^53. */
  readonly #counts = new Float64Array(itemBytesAt + 1)

  constructor(since: number) {
    this.since = since
  }

  record(type: RecordType): void {
    this.#counts[type]!++
  }
  /** A written item: the bytes of its item-id and value. */
  itemBytes(bytes: number): void {
    this.#counts[itemBytesAt]! += bytes
  }
  /** A record about a file that this server leaves out. */
  leftOut(): void {
    this.#counts[leftOutAt]!++
  }
  transaction(): void {
    this.#counts[transactionsAt]!++
  }
  /** A transaction that lies in lost-found. */
  lost(): void {
    this.#counts[lostAt]!++
  }

  /** What has been counted so far. */
  totals(): OperationTotals {
    const counts = this.#counts
    return {
      since: this.since,
      transactions: counts[transactionsAt]!,
      lost: counts[lostAt]!,
      leftOut: counts[leftOutAt]!,
      itemBytes: counts[itemBytesAt]!,
      records: [...counts.subarray(1, recordTypeMax + 1)],
    }
  }
}

export interface OperationTotals {
  /** Wall-clock milliseconds. */
  readonly since: number
  /** Transactions that have been applied. */
  readonly transactions: number
  /** Transactions that went to lost-found, or were passed over since they lie there. */
  readonly lost: number
  /** Records about files that the server leaves out, since they are not replicated. */
  readonly leftOut: number
  /** Bytes of the items that were written: item-ids and values. */
  readonly itemBytes: number
  /** Applied records by their type; that of type 1 comes first. */
  readonly records: readonly number[]
}
