// The operations by which updates are applied on a slave that runs (see control/operation.ts).
import * as v from 'valibot'
import {
  flag,
  operation,
  text,
  whole,
  type Answer,
  type Part,
  type Request,
} from '../control/operation.ts'
import { HotBackupError } from '../errors.ts'

/** Switches "apply updates". Off is answered when the database stands still at a checkpoint. */
const applyUpdates = operation('apply-updates', {
  request: v.object({ on: flag }),
  refusal: () => new HotBackupError('ERR_WRONG_TYPE', 'only a slave applies updates'),
})

const name = v.nullable(text)
const outline = v.object({
  txn: whole,
  /** As "hb log dump" shows it. */
  time: text,
  /** The first of them: the fields that apply, by their names in "hb log dump". */
  operations: v.array(
    v.object({
      type: text,
      account: v.exactOptional(text),
      file: v.exactOptional(text),
      id: v.exactOptional(text),
      /** The id is not UTF-8, and in base64. */
      idBase64: v.exactOptional(v.literal(true)),
      modulo: v.exactOptional(v.number()),
      /** Of the value. */
      bytes: v.exactOptional(v.number()),
    }),
  ),
  /** How many there are behind those. */
  more: whole,
})

const lostEntry = v.object({
  id: text,
  reason: text,
  code: text,
  kind: text,
  server: text,
  time: text,
  txn: whole,
  chain: text,
  written: text,
  lastAcknowledged: whole,
  timeline: whole,
  /** Files of the entry with later updates: what those have written, the entry may have taken back. */
  later: v.array(v.object({ account: text, file: text, txn: whole })),
})

/** Both sides of the place where a replay would end. */
const ends = v.object({
  /** The last transaction that would be applied, or is already; null when the log does not hold it. */
  last: v.nullable(outline),
  /** The first one that would not be applied; null when nothing is stored behind the end. */
  next: v.nullable(outline),
})

/** Applies by hand, see hb-replay(1). */
const replay = operation('replay', {
  request: v.object({
    /** The last transaction to apply; null for no such limit. */
    untilTxn: v.nullable(whole),
    /** Wall-clock milliseconds, by the master's clock: nothing from a later block is applied. */
    untilTime: v.nullable(whole),
    /** Absolute paths: segments, or directories with segments. */
    segments: v.array(text),
    /** Of the backlog and of lost-found, only what is about it; null for all. */
    account: name,
    file: name,
    /** Ids or numbers of transactions; "all" for all that are there. */
    lost: v.array(text),
    /** Only say what would be done. */
    dryRun: flag,
  }),
  part: v.object({
    step: v.picklist(['checking', 'storing', 'applying', 'replaying']),
    /** Transactions. */
    done: whole,
    total: whole,
  }),
  answer: v.object({
    server: text,
    dryRun: flag,
    applyUpdates: flag,
    delaySeconds: v.number(),
    /** Null when none were given. `taken`: transactions. */
    segments: v.nullable(
      v.object({
        firstTxn: whole,
        lastTxn: whole,
        known: whole,
        unproven: whole,
        torn: v.nullable(text),
        taken: whole,
      }),
    ),
    /** Transactions of the backlog. Null when it was not asked for, or only a part of it. */
    backlog: v.nullable(
      v.object({
        /** What was applied before, and is now, or would be. */
        fromTxn: whole,
        appliedTxn: whole,
        /** Of them, those that went to lost-found. */
        lost: whole,
        /** Transactions that are stored and still not applied. */
        remaining: whole,
      }),
    ),
    /** Transactions of the backlog. Null unless an account or a file was named. */
    selected: v.nullable(
      v.object({
        account: name,
        file: name,
        selected: whole,
        /** Of those selected; the slave passes over them when it comes there. */
        applied: whole,
        /** Not selected: still to be applied. */
        others: whole,
      }),
    ),
    /** Null unless only said, of the backlog or of what is selected. */
    ends: v.nullable(ends),
    lost: v.array(lostEntry),
  }),
})

export const replayOperations = { applyUpdates, replay }

export type ReplayRequest = Request<typeof replay>
export type ReplayProgress = Part<typeof replay>
export type ReplayStep = ReplayProgress['step']
export type ReplayReport = Answer<typeof replay>
export type SelectedReport = NonNullable<ReplayReport['selected']>
export type BacklogReport = NonNullable<ReplayReport['backlog']>
export type ReplayedEntry = ReplayReport['lost'][number]
export type ReplayEnds = NonNullable<ReplayReport['ends']>
export type TransactionOutline = NonNullable<ReplayEnds['last']>
export type OperationOutline = TransactionOutline['operations'][number]
