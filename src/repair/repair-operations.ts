// The operations by which servers are verified and damage is repaired (see control/operation.ts).
import * as v from 'valibot'
import { base64, bytes, operation, text, whole, type Input } from '../control/operation.ts'
import { differencesStatus } from '../control/status-operation.ts'
import { HotBackupError } from '../errors.ts'
import { differenceKinds, type DifferencesPage } from '../wire/messages/differences.ts'

const file = { account: text, file: text }

const masters = {
  data: true,
  refusal: () => new HotBackupError('ERR_READ_ONLY', 'this server is a slave'),
}

/** On a master, for "hb verify"; each answers with the last transaction that it has written. */
export const verifyOperations = {
  /** Marks of everything, at full speed. Parts tell the items that have been looked at. */
  verifyPass: operation('verify-pass', {
    ...masters,
    request: v.object({ account: v.nullable(text), file: v.nullable(text) }),
    part: v.object({ itemsDone: whole, itemsTotal: whole }),
    answer: v.object({ firstTxn: whole, lastTxn: whole, files: whole, items: whole }),
  }),
  /** Marks of the items with these hashes, one by one; 0 for none. */
  verifyItems: operation('verify-items', {
    ...masters,
    request: v.object({ ...file, ranges: v.array(v.tuple([whole, whole])) }),
    answer: v.object({ lastTxn: whole }),
  }),
  /** Writes items again as they are here, or deletes them. The body has their ids, packed, without values. */
  verifyRepair: operation('verify-repair', {
    ...masters,
    request: v.object({ ...file, body: bytes }),
  }),
}

/** Writes a group into the log again, for a slave whose own is damaged. Answers with the last transaction. */
const repairGroup = operation('repair-group', {
  ...masters,
  request: v.object({ fileNumber: whole, from: whole, to: whole }),
  answer: v.object({ txn: whole }),
})

/**
 * Has frames repaired that are damaged on the disk: file number, generation and frame; or none, to ask again. Answers
 * with what is still damaged; null when nothing is, and then all of it lies in a checkpoint.
 */
const repairFrames = operation('repair-frames', {
  data: true,
  refusal: () => new HotBackupError('ERR_NOT_RUNNING', 'the server does not run'),
  request: v.object({ frames: v.array(v.tuple([whole, whole, whole])) }),
  answer: v.object({ left: v.nullable(text) }),
})

/** Repairs what is damaged in the log, beside the server's work, and tells what that was. */
const repair = operation('repair', {
  answer: v.object({
    repaired: v.array(v.object({ path: text, kept: v.nullable(text) })),
  }),
})

/** Where a slave that this server ships to knows itself to be different, from some row on. */
const differences = operation('differences', {
  request: v.object({ slave: text, start: whole }),
  answer: v.object({
    status: differencesStatus,
    start: whole,
    rows: v.array(
      v.object({
        kind: v.picklist(differenceKinds),
        ...file,
        modulo: whole,
        from: whole,
        to: whole,
        txn: whole,
        id: base64,
        text,
      }),
    ),
  }),
})

export const repairOperations = { repairGroup, repairFrames, repair, differences }

/** As it travels. */
export function pageOf(page: DifferencesPage): Input<typeof differences.answer> {
  return { ...page, rows: page.rows.map(row => ({ ...row, id: row.id.toString('base64') })) }
}
