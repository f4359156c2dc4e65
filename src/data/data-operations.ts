// The operations on accounts, files and items (see control/operation.ts). data-handlers.ts carries them out.
import * as v from 'valibot'
import { commitLevels } from '../config/policies.ts'
import { failure } from '../control/failure.ts'
import { ackLevels } from '../ship/ack-file.ts'
import { bytes, flag, operation, text, whole } from '../control/operation.ts'
import { HotBackupError } from '../errors.ts'

const account = { account: text }
const file = { account: text, file: text }
const anyFile = { account: v.nullable(text), file: v.nullable(text) }
const flags = v.array(v.picklist(['local', 'excluded', 'filling']))
/** What an update has removed. */
const removed = v.object({ files: whole, items: whole, bytes: whole })

const update = {
  data: true,
  refusal: () => new HotBackupError('ERR_READ_ONLY', 'this server is a slave'),
}

/** They answer when the update is durable. */
export const updateOperations = {
  createAccount: operation('create-account', { ...update, request: v.object(account) }),
  deleteAccount: operation('delete-account', {
    ...update,
    request: v.object(account),
    answer: removed,
  }),
  /** `local`: it stays on the master alone. */
  createFile: operation('create-file', {
    ...update,
    request: v.object({ ...file, modulo: v.number(), local: flag }),
  }),
  /** Answers when a file that becomes replicated has been written into the log as a whole. */
  setFile: operation('set-file', { ...update, request: v.object({ ...file, local: flag }) }),
  deleteFile: operation('delete-file', { ...update, request: v.object(file), answer: removed }),
  clearFile: operation('clear-file', { ...update, request: v.object(file), answer: removed }),
  resizeFile: operation('resize-file', {
    ...update,
    request: v.object({ ...file, modulo: v.number() }),
  }),
  /** The body has items, packed (packed-items.ts), about 1 MiB at once. */
  writeItems: operation('write-items', { ...update, request: v.object({ ...file, body: bytes }) }),
  /** The body is the item-id. ERR_NO_ITEM when there is none. */
  deleteItem: operation('delete-item', { ...update, request: v.object({ ...file, body: bytes }) }),
  /**
   * Transactions of a program, packed in the body (packed-commits.ts), with the files that they name: account and name.
   * Answers, when all are done as far as `level` says, with their outcomes (see commit-operation.ts) and the last
   * transaction of the log behind them.
   */
  commit: operation('commit', {
    ...update,
    request: v.object({
      files: v.array(v.tuple([text, text])),
      /** Without one, that of hb.toml. */
      level: v.exactOptional(v.picklist(commitLevels)),
      body: bytes,
    }),
    answer: v.object({
      outcomes: v.array(v.union([whole, v.literal('conflict'), failure])),
      txn: whole,
    }),
  }),
  /** Answers when enough slaves have got there; see Master.wait. */
  waitSlaves: operation('wait-slaves', {
    ...update,
    request: v.object({ txn: whole, level: v.picklist(ackLevels), timeoutMs: v.number() }),
  }),
}

const read = { data: true }

/** Lists come in parts of any number. Nothing is told before it is durable. */
export const readOperations = {
  /** The body is the item-id, and the value. ERR_NO_ITEM when there is none. */
  readItem: operation('read-item', {
    ...read,
    request: v.object({ ...file, body: bytes }),
    answer: v.object({ body: bytes }),
  }),
  listAccounts: operation('list-accounts', {
    ...read,
    part: v.object({ rows: v.array(v.object({ account: text, files: whole })) }),
  }),
  listFiles: operation('list-files', {
    ...read,
    request: v.object(account),
    part: v.object({
      rows: v.array(
        v.object({
          file: text,
          modulo: whole,
          items: whole,
          /** Why it is not replicated, or not as a whole; not there when it is. */
          flags: v.exactOptional(flags),
        }),
      ),
    }),
  }),
  fileExists: operation('file-exists', {
    ...read,
    request: v.object(file),
    answer: v.object({ exists: flag }),
  }),
  /** Whether the file is replicated. `absent`: it is not here because it is not. */
  fileFlags: operation('file-flags', {
    ...read,
    request: v.object(file),
    answer: v.object({ flags, absent: flag }),
  }),
  /** Packed, in no order that means anything: the item-ids alone, or the items. */
  listItems: operation('list-items', {
    ...read,
    request: v.object(file),
    part: v.object({ body: bytes }),
  }),
  scanItems: operation('scan-items', {
    ...read,
    request: v.object(file),
    part: v.object({ body: bytes }),
  }),
  /**
   * SHA-256 of the content, in hexadecimal: of a file, an account (null `file`) or everything (null `account`). Parts
   * count the slices that have been looked at. ERR_DATABASE_CHANGED when it is changed all the while.
   */
  digest: operation('digest', {
    ...read,
    request: v.object(anyFile),
    part: v.object({ slices: whole }),
    answer: v.object({ digest: text }),
  }),
}
