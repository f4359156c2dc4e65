// Where two histories of one database part, from what each side knows of its own log: the timelines in it, and where
// it ends. Pure.
import { sameIdentity, type LogPosition } from './chain.ts'

/** A timeline, by the first segment of it that a log still holds. */
export interface Timeline {
  readonly timeline: number
  readonly lineageId: Uint8Array
  /** The first transaction of it that the log holds. */
  readonly firstTxn: number
  /** Chain value of the transaction before. */
  readonly chain: number
}

export interface History {
  /** Oldest first; the first one may have begun before the log. */
  readonly timelines: readonly Timeline[]
  readonly end: LogPosition
}

/**
 * The last position that both histories have, as far as lineages tell; null when they have nothing in common. The
 * caller compares the chain value there with that of the other log, when that other log reaches beyond it.
 *
 *   ours    A───────────B─────●         B, C, D: lineages that begin
 *   theirs  A───────C──────D──●         the answer: before C, which we have in A
 */
export function findFork(ours: History, theirs: History): LogPosition | null {
  for (const [index, { lineageId }] of [...theirs.timelines.entries()].reverse()) {
    const own = ours.timelines.findIndex(other => sameIdentity(other.lineageId, lineageId))
    if (own < 0) continue
    const [a, b] = [endOf(ours, own), endOf(theirs, index)]
    return a.txn <= b.txn ? a : b
  }
  // Their log begins with a later timeline, which we do not have: it says what it continues. Or ours does.
  const [theirFirst] = theirs.timelines
  const [ourFirst] = ours.timelines
  if (theirFirst === undefined || ourFirst === undefined) return null
  if (theirFirst.timeline === ourFirst.timeline) return null
  const later = theirFirst.timeline > ourFirst.timeline ? theirFirst : ourFirst
  return { txn: later.firstTxn - 1, chain: later.chain }
}

function endOf({ timelines, end }: History, index: number): LogPosition {
  const next = timelines[index + 1]
  return next === undefined ? end : { txn: next.firstTxn - 1, chain: next.chain }
}
