// The status of a server for people.
import type { CommitStatus, QueueStatus } from '../control/server-status.ts'
import type { HelperStatus } from '../helpers/helpers.ts'
import { durationText, sizeText } from '../config/sizes-and-times.ts'
import { harmlessLine } from '../text/harmless-text.ts'
import type { Backlog } from '../report/backlog.ts'
import type { SlaveRow } from '../report/slave-rows.ts'
import type { ServerStatus } from '../report/status.ts'
import type { SeedStatus } from '../ship/status.ts'
import { count, counted } from '../text/numbers.ts'
import { table } from './output.ts'

export function statusLines(status: ServerStatus, now: number): string[] {
  const { log, apply, owner } = status
  const lines = [`${status.name}, ${status.type ?? 'role unknown'}, ${status.directory}`, '']
  const rows: [string, string][] = [
    ['State', stateText(status)],
    ['Log', logText(status)],
    ['Applied', appliedText(status)],
    ...(apply.backlog.transactions === 0
      ? []
      : [['Backlog', backlogText(apply.backlog)] as [string, string]]),
    ['Checkpoint', `transaction ${count(apply.checkpointTxn)}`],
  ]
  if (status.type === 'master' && status.running) {
    rows.splice(1, 0, ['Processes', processesText(status)])
  }
  if (owner !== null && owner.pid !== status.server.pid) {
    rows.push(['Opened by', `process ${owner.pid} (${owner.purpose})`])
  }
  if (status.slaves.length > 0) rows.push(['Queue', queueLine(status.queue)])
  if (status.commit !== null && status.commit.level !== 'local') {
    rows.push(['Commit', commitText(status.commit)])
  }
  if (status.lostAndFound > 0) {
    rows.push([
      'Lost-found',
      `${counted(status.lostAndFound, 'transaction')} could not be applied; see "hb lost"`,
    ])
  }
  const verified = verifiedText(status)
  if (verified !== null) rows.push(['Verified', verified])
  if (status.databaseId !== null) {
    rows.push(['Database', `${status.databaseId}, timeline ${status.timeline}`])
  }
  lines.push(...table(rows))
  if (status.slaves.length > 0) lines.push('', ...slaveLines(status, log.durableTxn))
  lines.push(...workLines(status))
  if (status.messages.length > 0) lines.push('', 'Latest messages, newest first:')
  for (const message of status.messages) lines.push(`  ${message}`)
  lines.push('', new Date(now).toISOString())
  // What a peer says, or a message quotes, begins no line of its own.
  return lines.map(harmlessLine)
}

/** Null on a server that is not verified. */
function verifiedText({ verify, differences }: ServerStatus): string | null {
  const passText = (pass: { firstTxn: number; lastTxn: number }, time: number) =>
    `transactions ${count(pass.firstTxn)} to ${count(pass.lastTxn)}, ${new Date(time).toISOString()}`
  if (verify !== null) {
    const { intervalMs, last, running } = verify
    const parts = [last === null ? 'not yet' : passText(last, last.ended)]
    if (running !== null) parts.push(`at work, ${counted(running.filesLeft, 'file')} left`)
    return intervalMs === null && last === null ? null : parts.join('; ')
  }
  if (differences === null || differences.comparedTxn === 0) return null
  const { pass, known, more } = differences
  const text = pass === null ? `up to transaction ${count(differences.comparedTxn)}` : null
  const where = text ?? passText(pass!, pass!.time)
  if (known + more === 0) return where
  const found = counted(known + more, 'difference')
  return `${where}; ${found} FROM THE MASTER: see "hb verify"`
}

function processesText({ server, shipper, owner }: ServerStatus): string {
  const textOf = (pid: number | null) => (pid === null ? 'not running' : `process ${pid}`)
  // With a program in its place nothing is wrong.
  const own = server.pid === null && owner !== null ? [] : [`server: ${textOf(server.pid)}`]
  return [...own, `shipper: ${textOf(shipper.pid)}`].join('; ')
}

function stateText({ state, nextStep, running, pid, failure }: ServerStatus): string {
  const text = running ? `${state}, process ${pid}` : state
  const next = nextStep === null ? text : `${text}: ${nextStep}`
  return failure === null ? next : `${next}; ${failure}`
}

function logText({ log }: ServerStatus): string {
  const size = `${counted(log.segments, 'segment')}, ${sizeText(log.bytes)}`
  if (log.lastTxn === 0) return 'empty'
  const range =
    log.firstTxn === 0
      ? `up to ${count(log.lastTxn)}`
      : `${count(log.firstTxn)} to ${count(log.lastTxn)}`
  const durable = log.durableTxn === log.lastTxn ? '' : `, durable up to ${count(log.durableTxn)}`
  return `transactions ${range}${durable}; ${size}`
}

function appliedText({ apply, type }: ServerStatus): string {
  const text = `transaction ${count(apply.appliedTxn)}`
  if (type !== 'slave') return text
  const { on, delaySeconds } = apply
  const delay = on && delaySeconds > 0 ? `, ${durationText(delaySeconds * 1000)} later` : ''
  return `${text}; apply updates: ${on ? 'on' : 'off'}${delay}`
}

function backlogText({ transactions, bytes, seconds, secondsToDiskFull }: Backlog): string {
  const text = `${counted(transactions, 'transaction')}, ${sizeText(bytes)}, ${durationText(seconds * 1000)}`
  if (secondsToDiskFull === null) return text
  return `${text}; the disk lasts ${durationText(secondsToDiskFull * 1000)} at this rate`
}

function queueLine({ bytes, limitBytes, state, secondsToLimit }: QueueStatus): string {
  if (limitBytes === 0) return `${sizeText(bytes)}, no limit`
  const percent = Math.floor((100 * bytes) / limitBytes)
  const text = `${sizeText(bytes)}, ${percent} % of ${sizeText(limitBytes)}`
  if (state === 'refusing') return `${text}: FULL, updates are refused`
  if (state === 'pacing') return `${text}: FULL, updates wait`
  return secondsToLimit === null ? text : `${text}, full in ${durationText(secondsToLimit * 1000)}`
}

function commitText({ level, state, since }: CommitStatus): string {
  if (since === null) return `${level} on the slaves, in step`
  const what =
    state === 'alone'
      ? 'ALONE: updates go on without the slaves'
      : 'updates WAIT: the slaves do not answer'
  return `${level}; ${what}, since ${new Date(since).toISOString()}`
}

/** What helpers do, what is held meanwhile, and what cannot be used. */
function workLines({ helpers, holds, damaged }: ServerStatus): string[] {
  const lines: string[] = []
  if (helpers.length > 0) {
    const rows = helpers.map(helper => [
      `${helper.account} ${helper.file}`,
      helper.operation,
      helperText(helper),
      `${Math.floor(helper.progress * 100)} %`,
    ])
    lines.push('', ...table([['Helper for', 'Operation', 'Process', 'Done'], ...rows]))
  }
  if (holds.length > 0) {
    const rows = holds.map(({ account, file, txns, bytes, state }) => [
      `${account} ${file}`,
      state,
      txns,
      sizeText(bytes),
    ])
    lines.push('', ...table([['Hold file of', 'State', 'Updates', 'Size'], ...rows]))
  }
  for (const { message } of damaged) lines.push('', `DAMAGED: ${message}`)
  return lines
}

function helperText({ pid, failures, alarm }: HelperStatus): string {
  const doing = pid === null ? 'waits' : String(pid)
  if (failures === 0) return doing
  return `${doing} after ${counted(failures, 'failure')}${alarm ? ': ALARM' : ''}`
}

function slaveLines({ state, slaves }: ServerStatus, durableTxn: number): string[] {
  const head = ['Slave', 'Address', 'State', 'Received', 'Durable', 'Applied', 'Behind']
  const rows = slaves.map(slave => [
    slave.name,
    slave.address,
    slave.state,
    slave.receivedTxn ?? '-',
    slave.durableTxn ?? '-',
    slave.appliedTxn ?? '-',
    behindText(slave, durableTxn),
  ])
  const lines = table([head, ...rows])
  for (const slave of slaves) {
    const { name, nextStep, lastError, dropped, seed } = slave
    // That of the server's own state is shown above.
    if (nextStep !== null && slave.state !== state) lines.push(`${name}: ${nextStep}`)
    const known = lastKnownText(slave)
    if (known !== null) lines.push(`${name}: ${known}`)
    if (dropped) lines.push(`${name}: dropped from the queue; it needs a new copy of the database`)
    if (seed) lines.push(`${name}: ${seedText(seed)}`)
    if (lastError !== null) lines.push(`${name}: ${lastError.code}: ${lastError.message}`)
  }
  return lines
}

function behindText({ lagTxns, lagSeconds, appliedTxn }: SlaveRow, durableTxn: number): string {
  if (durableTxn === 0) return '-'
  if (lagTxns === 0) return appliedTxn === null ? 'not known' : 'nothing'
  const transactions = counted(lagTxns, 'transaction')
  if (lagSeconds === null || lagSeconds === 0) return transactions
  return `${transactions}, ${durationText(lagSeconds * 1000)}`
}

/** Of a slave that confirms nothing at this moment. */
function lastKnownText({ durableTxn, lastKnown }: SlaveRow): string | null {
  if (durableTxn !== null || lastKnown === null) return null
  const { durableTxn: stored, appliedTxn, time } = lastKnown
  const when = new Date(time).toISOString()
  return `last known to have stored transaction ${count(stored)} and applied ${count(appliedTxn)}, ${when}`
}

/** How far the copy is that a slave is given. */
export function seedText({ step, bytes, totalBytes }: SeedStatus): string {
  const megabytes = (number: number) => count(Math.round(number / 1e6))
  if (step === 'asking') return 'a copy of the database is offered'
  if (step === 'checking') return `the slave checks its copy, ${megabytes(totalBytes)} MB`
  const done = step === 'copying' ? 'made' : 'sent'
  return `copy of the database: ${megabytes(bytes)} of ${megabytes(totalBytes)} MB ${done}`
}
