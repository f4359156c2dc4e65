// The operations by which master and slave change their roles (see control/operation.ts).
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
import { damagedGroup } from '../control/status-operation.ts'
import { HotBackupError } from '../errors.ts'

/** To a master: another server may be the master now. Answered when no update is taken any more if it is so. */
const fence = operation('fence', { early: true })

/** To a master that is fenced: it is closed soon, since it becomes a slave. */
const handOver = operation('hand-over', {})

const slaves = {
  refusal: () => new HotBackupError('ERR_WRONG_TYPE', 'only a slave is promoted'),
}

/** Makes a master of a slave, and says how. */
const promote = operation('promote', {
  ...slaves,
  answer: v.object({
    name: text,
    /** Of the new timeline. */
    timeline: whole,
    /** Null before it has been chosen. */
    lineage: v.nullable(text),
    /** The last transaction that is taken over. */
    lastTxn: whole,
    /** Of them, those that were not applied when it began. */
    drained: whole,
    /** Apply updates was on. */
    applyUpdates: flag,
    /** The last transaction that the old master is known to have had; 0 when it has not told this process. */
    masterTxn: whole,
    /** The old master by name, when its link was open at that moment. */
    connected: v.nullable(text),
    lostAndFound: whole,
    /** Damaged groups, which cannot be used; the new master fetches them from its slaves. */
    damaged: v.array(damagedGroup),
    /** The process of the slave's server goes on as the shipper of the master. */
    shipping: flag,
  }),
})

/** Tries what that needs, and changes nothing. */
const tryPromote = operation('try-promote', slaves)

/** To a master: a slave that had joined is one no longer. */
const forget = operation('forget', { request: v.object({ slave: text }) })

const name = v.nullable(text)

/** To a master: takes in updates that an old master had and this one never got, see hb-replay(1). */
const replayMissing = operation('replay-missing', {
  request: v.object({
    /** The segment; absolute. */
    path: text,
    account: name,
    file: name,
    /** Also what this master has changed since. */
    overwrite: flag,
    dryRun: flag,
  }),
  part: v.object({ step: v.literal('bringing'), done: whole, total: whole }),
  answer: v.object({
    server: text,
    dryRun: flag,
    path: text,
    firstTxn: whole,
    lastTxn: whole,
    /** Transactions that were applied, or would be. */
    applied: whole,
    leftOut: whole,
    /** The first of those that were left out, each by the update that it was left out for. */
    kept: v.array(
      v.object({
        txn: whole,
        account: text,
        /** Null for an update of the account itself. */
        file: name,
        /** The item; null for an update of a whole file or account. */
        id: name,
        /** The item-id is not UTF-8, and given in base64. */
        idBase64: v.exactOptional(flag),
        why: v.picklist(['changed since', 'not there']),
      }),
    ),
  }),
})
export const failoverOperations = {
  fence,
  handOver,
  promote,
  tryPromote,
  forget,
  replayMissing,
}

export type PromoteReport = Answer<typeof promote>
export type MissingRequest = Request<typeof replayMissing>
export type MissingProgress = Part<typeof replayMissing>
export type MissingReport = Answer<typeof replayMissing>
export type KeptTransaction = MissingReport['kept'][number]
export type KeptReason = KeptTransaction['why']
