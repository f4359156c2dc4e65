// What recovery does where the valid blocks end. Torn or corrupt is decided here, not guessed: a torn block is
// one that no program was ever told is durable; anything else that is not valid is corruption, never cut or skipped.
//
// Where the blocks end, E is the transaction that is expected next. Five things are known:
//
//   fault      what follows         nothing: the end of the file, or only zeros up to it
//                                   torn:    bytes that are no valid block, as a crash may leave them
//                                   foreign: a valid block (its CRC is that of this place) that does not continue
//                                            the history; no crash leaves that
//                                   newer:   a valid block or header of a format version above this program's
//   last       no later segment exists (a segment is durable, whole, before the next one is made)
//   promised   a later block of this segment says that E was durable when it was written
//   published  log/durable says that E was durable
//   known      somebody else knows that E was durable: the database's stamp, a slave's acknowledgement
//
//   row  fault    last  promised  published  known   decision
//   A    newer    *     *         *          *       newer    refuse: a later program wrote it
//   B    foreign  *     *         *          *       corrupt  it is of another history
//   C    nothing  no    *         *          *       next     the next segment must continue here
//   D    torn     no    *         *          *       corrupt  it was durable before the next segment was made
//   E    *        yes   yes       *          *       corrupt  a later block says that it was durable
//   F    *        yes   no        yes        *       corrupt  log/durable says so
//   G    *        yes   no        no         yes     corrupt  database or slave hold it
//   H    nothing  yes   no        no         no      clean    go on writing here
//   I    torn     yes   no        no         no      cut      no program was told of it: cut off, keep a copy
//
// In rows E to G, * stands for nothing or torn. A test tries every combination and finds exactly one row.

export type TailFault = 'nothing' | 'torn' | 'foreign' | 'newer'

export interface Tail {
  readonly fault: TailFault
  readonly last: boolean
  readonly promised: boolean
  readonly published: boolean
  readonly known: boolean
}

export type Decision = 'clean' | 'cut' | 'next' | 'corrupt' | 'newer'

export interface RecoveryRow {
  readonly label: string
  readonly faults: readonly TailFault[]
  /** Null where it does not matter. */
  readonly last: boolean | null
  readonly promised: boolean | null
  readonly published: boolean | null
  readonly known: boolean | null
  readonly decision: Decision
  /** Why, for people. */
  readonly reason: string
}

const row = (
  label: string,
  faults: readonly TailFault[],
  [last, promised, published, known]: readonly (boolean | null)[],
  decision: Decision,
  reason: string,
): RecoveryRow => ({
  label,
  faults,
  last: last ?? null,
  promised: promised ?? null,
  published: published ?? null,
  known: known ?? null,
  decision,
  reason,
})

const any = null
const written: readonly TailFault[] = ['nothing', 'torn']

// prettier-ignore
export const recoveryRows: readonly RecoveryRow[] = [
  row('A', ['newer'],   [any, any, any, any],         'newer',   'a newer program wrote it'),
  row('B', ['foreign'], [any, any, any, any],         'corrupt', 'it does not continue this history'),
  row('C', ['nothing'], [false, any, any, any],       'next',    'the segment ends'),
  row('D', ['torn'],    [false, any, any, any],       'corrupt', 'a later segment exists, so it was durable'),
  row('E', written,     [true, true, any, any],       'corrupt', 'a later block says that it was durable'),
  row('F', written,     [true, false, true, any],     'corrupt', 'log/durable says that it was durable'),
  row('G', written,     [true, false, false, true],   'corrupt', 'the database or a slave holds it'),
  row('H', ['nothing'], [true, false, false, false],  'clean',   'the log ends'),
  row('I', ['torn'],    [true, false, false, false],  'cut',     'no program was told that it is durable'),
]

export function rowMatches(candidate: RecoveryRow, tail: Tail): boolean {
  const fits = (wanted: boolean | null, is: boolean) => wanted === null || wanted === is
  return (
    candidate.faults.includes(tail.fault) &&
    fits(candidate.last, tail.last) &&
    fits(candidate.promised, tail.promised) &&
    fits(candidate.published, tail.published) &&
    fits(candidate.known, tail.known)
  )
}

export function decide(tail: Tail): RecoveryRow {
  for (const candidate of recoveryRows) if (rowMatches(candidate, tail)) return candidate
  throw new TypeError(`no row of the recovery table matches ${JSON.stringify(tail)}`)
}
