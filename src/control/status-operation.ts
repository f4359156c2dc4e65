// The operation "status", which every process answers, at any time.
import * as v from 'valibot'
import { commitLevels } from '../config/policies.ts'
import type { DamagedGroup } from '../database/damaged-groups.ts'
import type { HoldSummary } from '../database/long-work.ts'
import type { HelperStatus } from '../helpers/helpers.ts'
import type { ShipStatus } from '../ship/status.ts'
import type { ReceiverStatus } from '../slave/receiver.ts'
import { applyingWords } from '../wire/messages/ack.ts'
import type { DifferencesStatus } from '../wire/messages/differences.ts'
import { statusWords } from '../wire/status-words.ts'
import { flag, operation, text, whole } from './operation.ts'
import type {
  CommitStatus,
  MasterStatus,
  QueueStatus,
  ShipperStatus,
  SlaveStatus,
  VerificationStatus,
} from './server-status.ts'

/** Null when it is not known. */
const measure = v.nullable(v.number())
const state = v.picklist(statusWords.map(({ word }) => word))
const lastError = v.nullable(v.object({ code: text, message: text, hint: text }))
const applying = v.nullable(v.picklist(applyingWords))

export const damagedGroup: v.GenericSchema<DamagedGroup> = v.object({
  account: text,
  file: text,
  modulo: whole,
  firstGroup: whole,
  lastGroup: whole,
  message: text,
})

const helper: v.GenericSchema<HelperStatus> = v.object({
  account: text,
  file: text,
  operation: v.picklist(['resize-file', 'clear-file', 'delete-file']),
  pid: v.nullable(whole),
  progress: v.number(),
  failures: whole,
  alarm: flag,
})

const hold: v.GenericSchema<HoldSummary> = v.object({
  account: text,
  file: text,
  updates: whole,
  bytes: whole,
  state: v.picklist(['waiting', 'building', 'draining']),
})

export const seedStatus = v.object({
  step: v.picklist(['asking', 'copying', 'sending', 'checking']),
  bytes: whole,
  totalBytes: whole,
})

const link: v.GenericSchema<ShipStatus> = v.object({
  name: text,
  address: text,
  state,
  sentTxn: whole,
  receivedTxn: v.nullable(whole),
  durableTxn: v.nullable(whole),
  appliedTxn: v.nullable(whole),
  lastKnown: v.nullable(
    v.object({ receivedTxn: whole, durableTxn: whole, appliedTxn: whole, time: v.number() }),
  ),
  applying,
  lagTxns: whole,
  lagSeconds: measure,
  lastError,
  bytesSent: whole,
  bytesInFlight: whole,
  roundTripMs: measure,
  heardMs: measure,
  seed: v.exactOptional(v.nullable(seedStatus)),
})

const receiver: v.GenericSchema<ReceiverStatus> = v.object({
  state,
  address: text,
  master: v.nullable(v.object({ name: text, address: text })),
  receivedTxn: whole,
  durableTxn: whole,
  appliedTxn: whole,
  masterDurableTxn: whole,
  bytesReceived: whole,
  seeding: flag,
  strangers: whole,
  lastError,
})

export const differencesStatus: v.GenericSchema<DifferencesStatus> = v.object({
  comparedTxn: whole,
  pass: v.nullable(v.object({ firstTxn: whole, lastTxn: whole, time: v.number() })),
  known: whole,
  more: whole,
})

const commit: v.GenericSchema<CommitStatus> = v.object({
  level: v.picklist(commitLevels),
  state: v.picklist(['in step', 'waiting', 'alone']),
  since: measure,
})

const queue: v.GenericSchema<QueueStatus> = v.object({
  bytes: whole,
  limitBytes: whole,
  state: v.picklist(['open', 'pacing', 'refusing']),
  secondsToLimit: measure,
})

const verify: v.GenericSchema<VerificationStatus> = v.object({
  intervalMs: measure,
  last: v.nullable(
    v.object({ begun: v.number(), ended: v.number(), firstTxn: whole, lastTxn: whole }),
  ),
  running: v.nullable(v.object({ begun: v.number(), filesLeft: whole })),
})

const work = { helpers: v.array(helper), holds: v.array(hold), damaged: v.array(damagedGroup) }
const failure = v.nullable(text)

const masterStatus: v.GenericSchema<MasterStatus> = v.object({
  lastTxn: whole,
  durableTxn: whole,
  checkpointTxn: whole,
  failure,
  commit,
  queue,
  verify,
  ...work,
})

const slaveStatus: v.GenericSchema<SlaveStatus> = v.object({
  pid: whole,
  receiver,
  slaves: v.array(link),
  apply: v.object({
    on: flag,
    delaySeconds: v.number(),
    appliedTxn: whole,
    checkpointTxn: whole,
  }),
  differences: differencesStatus,
  failure,
  ...work,
})

const shipperStatus: v.GenericSchema<ShipperStatus> = v.object({
  pid: whole,
  slaves: v.array(link),
})

/** Exactly one of the three is there: what the process is. */
export const status = operation('status', {
  early: true,
  answer: v.object({
    master: v.exactOptional(masterStatus),
    slave: v.exactOptional(slaveStatus),
    shipper: v.exactOptional(shipperStatus),
  }),
})
