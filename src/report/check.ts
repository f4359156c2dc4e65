// Judges for a monitor what "hb status" shows of a server: OK, a warning, critical, or unknown. Pure.
import type { ErrorCode } from '../errors.ts'
import { levelOf, type StatusWord } from '../wire/status-words.ts'
import { durationText, sizeText } from '../config/sizes-and-times.ts'
import { harmlessLine } from '../text/harmless-text.ts'
import { count, counted } from '../text/numbers.ts'
import { listens } from '../control/owner.ts'
import type { SlaveRow } from './slave-rows.ts'
import type { ServerStatus } from './status.ts'

export type CheckLevel = 'ok' | 'warning' | 'critical' | 'unknown'

/** The exit statuses of monitoring plugins. */
export const checkExitCodes: Readonly<Record<CheckLevel, number>> = {
  ok: 0,
  warning: 1,
  critical: 2,
  unknown: 3,
}

/** From these values on; null for never. */
export interface Threshold {
  readonly warning: number | null
  readonly critical: number | null
}

export interface Thresholds {
  /** What a slave has not applied; of one that applies later by order, the transactions that it has not stored. */
  readonly lagTxns: Threshold
  readonly lagSeconds: Threshold
  readonly lagBytes: Threshold
  /** Bytes that at least one slave has not stored. */
  readonly queue: Threshold
  /** Free bytes: from these values down. */
  readonly disk: Threshold
  /** Seconds since the last whole verification. */
  readonly verified: Threshold
}

export interface Finding {
  readonly level: CheckLevel
  readonly message: string
}

export interface CheckResult {
  readonly level: CheckLevel
  /** One line. */
  readonly message: string
  /** What is not OK, the worst first. */
  readonly findings: readonly Finding[]
}

/** A server with thousands of damages says so in a line that can be read. */
const findingsMax = 20
const messageMax = 300

export function cutResult({ level, message, findings }: CheckResult): CheckResult {
  const cut = (text: string, length: number) =>
    text.length <= length ? text : `${text.slice(0, length)} …`
  const shown = findings.slice(0, findingsMax)
  return {
    level,
    message: cut(message, 4 * messageMax),
    findings: shown.map(finding => ({ ...finding, message: cut(finding.message, messageMax) })),
  }
}

export function unknownResult(message: string): CheckResult {
  return result('', [{ level: 'unknown', message }], '')
}

/** `now`: wall-clock milliseconds. */
export function checkStatus(
  status: ServerStatus,
  thresholds: Thresholds,
  now: number,
): CheckResult {
  const findings = [
    ...stateFindings(status),
    ...ownerFindings(status),
    ...status.slaves.flatMap(row => slaveFindings(row, status.log.durableTxn, thresholds)),
    ...(status.type === 'slave' ? ownLagFindings(status, thresholds) : []),
    ...masterFindings(status, thresholds),
    ...damageFindings(status),
    ...verifiedFindings(status, thresholds.verified, now),
    ...over(status.disk.freeBytes, thresholds.disk, value => `${sizeText(value)} free`, true),
  ]
  return result(`${status.name} (${status.type ?? 'role unknown'})`, findings, okText(status))
}

/** These do not pass by themselves, and the server does not work until then. */
const lasting: ReadonlySet<ErrorCode> = new Set([
  'ERR_LOG_CORRUPT',
  'ERR_DATABASE_CORRUPT',
  'ERR_DAMAGED',
  'ERR_ROLE',
])

/** What it means that a server cannot be looked at. */
export function checkFailure(error: {
  readonly code: ErrorCode
  readonly message: string
}): CheckResult {
  const level = lasting.has(error.code) ? 'critical' : 'unknown'
  return result('', [{ level, message: `${error.code}: ${error.message}` }], '')
}

const order: readonly CheckLevel[] = ['critical', 'warning', 'unknown', 'ok']

function result(what: string, findings: readonly Finding[], well: string): CheckResult {
  const sorted = [...findings].sort((a, b) => order.indexOf(a.level) - order.indexOf(b.level))
  const level = sorted[0]?.level ?? 'ok'
  const texts = sorted.length === 0 ? [well] : sorted.map(({ message }) => message)
  const words = [level.toUpperCase(), ...(what === '' ? [] : [what]), texts.join('; ')]
  return { level, message: harmlessLine(words.join(': ')), findings: sorted }
}

function stateFindings({ state, nextStep, failure, type, running }: ServerStatus): Finding[] {
  const level = levelOf(state)
  const found: Finding[] = []
  // The states of links are judged with the slaves.
  const own = type === 'slave' || !running || statesOfMasters.has(state)
  if (own && level !== 'ok') found.push({ level, message: withStep(state, nextStep) })
  // A master that hands its role over has a failure as long as that takes.
  const passing = running && state === 'Handing over'
  if (failure !== null) found.push({ level: passing ? level : 'critical', message: failure })
  return found
}

/** A master can be in these without regard to its links. */
const statesOfMasters: ReadonlySet<StatusWord> = new Set([
  'Role unknown',
  'Fenced',
  'Handing over',
  'Not answering',
  'Not shipping',
  'No slaves',
])

/** An application that computes for seconds does not answer meanwhile; of a slave's server it is a state. */
function ownerFindings({ type, owner }: ServerStatus): Finding[] {
  if (type === 'slave' || owner === null || owner.answers || !listens(owner.purpose)) return []
  const message = `process ${owner.pid} (${owner.purpose}) has the database open and does not answer`
  return [{ level: 'warning', message }]
}

function withStep(text: string, step: string | null): string {
  return step === null ? text : `${text}: ${step}`
}

function slaveFindings(row: SlaveRow, durableHere: number, thresholds: Thresholds): Finding[] {
  const { name, state, nextStep, dropped, applying } = row
  const found: Finding[] = []
  const say = (level: CheckLevel, message: string) =>
    found.push({ level, message: `${name}: ${message}` })
  const level = levelOf(state)
  if (level !== 'ok') say(level, withStep(state, nextStep))
  if (dropped) say('critical', 'dropped from the queue: run "hb seed" on the master')
  if (applying === 'failed') say('critical', 'it cannot apply updates; see "hb status" there')
  if (row.receivedTxn === null || row.durableTxn === null || row.appliedTxn === null) {
    // By its last word it may hold everything, and that may not be so any more.
    if (level === 'ok') say('warning', 'it has not confirmed its position yet')
    return found
  }
  // The delay is by order, so only what it has not stored counts.
  const lags =
    applying === 'off' || applying === 'later'
      ? over(
          durableHere - row.durableTxn,
          thresholds.lagTxns,
          value => `${counted(value, 'transaction')} not stored`,
        )
      : appliedLags(row, thresholds)
  for (const lag of lags) say(lag.level, lag.message)
  return found
}

function appliedLags(row: SlaveRow, thresholds: Thresholds): Finding[] {
  const { lagTxns, lagSeconds, lagBytes } = row
  const found = [
    ...over(lagTxns, thresholds.lagTxns, value => `${counted(value, 'transaction')} behind`),
    ...over(lagBytes, thresholds.lagBytes, value => `${sizeText(value)} behind`),
  ]
  if (lagSeconds !== null) {
    found.push(...over(lagSeconds, thresholds.lagSeconds, value => `${secondsText(value)} behind`))
  } else if (isSet(thresholds.lagSeconds)) {
    found.push({ level: 'unknown', message: 'it is not known how long it has been behind' })
  }
  return found
}

function isSet({ warning, critical }: Threshold): boolean {
  return warning !== null || critical !== null
}

function ownLagFindings({ apply }: ServerStatus, thresholds: Thresholds): Finding[] {
  if (!apply.on) return [{ level: 'warning', message: 'apply updates is off' }]
  if (apply.delaySeconds > 0) return []
  const { transactions, seconds, bytes } = apply.backlog
  return [
    ...over(
      transactions,
      thresholds.lagTxns,
      value => `${counted(value, 'transaction')} not applied`,
    ),
    ...over(seconds, thresholds.lagSeconds, value => `${secondsText(value)} not applied`),
    ...over(bytes, thresholds.lagBytes, value => `${sizeText(value)} not applied`),
  ]
}

function masterFindings(
  { queue, commit, slaves }: ServerStatus,
  thresholds: Thresholds,
): Finding[] {
  const found: Finding[] = []
  if (slaves.length > 0) {
    found.push(...over(queue.bytes, thresholds.queue, value => `${sizeText(value)} in the queue`))
  }
  const full = queue.limitBytes > 0 && queue.bytes >= queue.limitBytes
  if (queue.state !== 'open' || full) {
    found.push({ level: 'critical', message: 'the queue is full' })
  }
  if (commit?.state === 'waiting') {
    found.push({ level: 'critical', message: 'updates wait for the slaves' })
  } else if (commit?.state === 'alone') {
    found.push({ level: 'critical', message: 'updates go on without the slaves' })
  }
  return found
}

function damageFindings(status: ServerStatus): Finding[] {
  const { damaged, lostAndFound, helpers, differences } = status
  const found: Finding[] = damaged.map(({ message }) => ({ level: 'critical', message }))
  const different = (differences?.known ?? 0) + (differences?.more ?? 0)
  if (different > 0) {
    const message = `${counted(different, 'difference')} from the master: see "hb verify"`
    found.push({ level: 'critical', message })
  }
  if (lostAndFound > 0) {
    const message = `${counted(lostAndFound, 'transaction')} in lost-found: see "hb lost"`
    found.push({ level: 'warning', message })
  }
  for (const { account, file, failures, alarm } of helpers) {
    if (!alarm) continue
    const message = `the helper for ${account} ${file} has failed ${count(failures)} times`
    found.push({ level: 'warning', message })
  }
  return found
}

function verifiedFindings(
  { lastVerified }: ServerStatus,
  threshold: Threshold,
  now: number,
): Finding[] {
  if (lastVerified !== null) {
    const seconds = Math.max(0, now - lastVerified) / 1000
    return over(seconds, threshold, value => `last verified ${secondsText(value)} ago`)
  }
  if (!isSet(threshold)) return []
  const level = threshold.critical === null ? 'warning' : 'critical'
  return [{ level, message: 'never verified' }]
}

/** `least`: the thresholds are lower limits. */
function over(
  value: number,
  { warning, critical }: Threshold,
  text: (value: number) => string,
  least = false,
): Finding[] {
  const meets = (limit: number | null) =>
    limit !== null && (least ? value <= limit : value >= limit)
  const level = meets(critical) ? 'critical' : meets(warning) ? 'warning' : null
  return level === null ? [] : [{ level, message: text(value) }]
}

function okText({ type, state, slaves, log, apply, queue }: ServerStatus): string {
  if (type === 'slave')
    return `${state}, transaction ${count(apply.appliedTxn)} of ${count(log.lastTxn)} applied`
  const lags = slaves.map(
    ({ name, lagTxns }) => `${name} ${counted(lagTxns, 'transaction')} behind`,
  )
  return [
    `transaction ${count(log.lastTxn)}`,
    ...lags,
    `${sizeText(queue.bytes)} in the queue`,
  ].join(', ')
}

function secondsText(seconds: number): string {
  return durationText(seconds * 1000)
}
