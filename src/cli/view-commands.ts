// hb query, hb statistics and hb queue: what the running server does and has done, and what waits in its log, in D3's
// terms. They look at what status collects, or ask: no lock is taken, and nobody is held up.
import type { Command } from 'commander'
import { HotBackupError } from '../errors.ts'
import { durationText, sizeText } from '../config/sizes-and-times.ts'
import type { StatisticsFailure, StatisticsRow } from '../report/statistics.ts'
import type { ServerStatus } from '../report/status.ts'
import { count, counted } from '../text/numbers.ts'
import { serverCommand, type Context, type ServerOptions } from './command-line.ts'
import { table } from './output.ts'

export function addViewCommands(program: Command, context: Context): void {
  program.addCommand(queryCommand(context))
  program.addCommand(statisticsCommand(context))
  program.addCommand(queueCommand(context))
}

interface ViewArguments extends ServerOptions {
  readonly json?: boolean
}

function queryCommand(context: Context): Command {
  return serverCommand(
    'query',
    'Show what the running server is doing: its process, its state, and its transactions.',
    'hb query -d /srv/south',
  )
    .option('--json', 'as JSON')
    .action(async ({ dir, json = false }: ViewArguments) => {
      const { collectStatus } = await import('../report/status.ts')
      const status = await collectStatus(context.platform, dir)
      if (!status.running) {
        throw new HotBackupError('ERR_NOT_RUNNING', `${status.name} is not running`, { path: dir })
      }
      const { name, type, pid, state, nextStep, log, apply } = status
      const lastAcknowledgedTxn = acknowledged(status)
      if (json) {
        const received = log.lastTxn
        const current = type === 'slave' ? apply.appliedTxn : sentTxn(status)
        return context.out.json({
          name,
          type,
          pid,
          state,
          nextStep,
          receivedTxns: received,
          currentTxn: current,
          lastAcknowledgedTxn,
          applyUpdates: apply.on,
        })
      }
      const rows: [string, string][] = [
        ['Server name', name],
        ['Process id', String(pid)],
        ['Type', type ?? 'unknown'],
        ['Status', nextStep === null ? state : `${state}: ${nextStep}`],
        [type === 'slave' ? 'Total received' : 'Total logged', counted(log.lastTxn, 'transaction')],
        ['Current transaction', count(type === 'slave' ? apply.appliedTxn : sentTxn(status))],
        ['Last acknowledged', countOrNone(lastAcknowledgedTxn)],
      ]
      if (type === 'slave') rows.push(['Apply updates', apply.on ? 'on' : 'off'])
      for (const line of table(rows)) await context.out.line(line)
    })
}

/** A master's: what all slaves confirm to have stored; null when one confirms nothing. A slave's: what it has. */
function acknowledged({ type, slaves, log }: ServerStatus): number | null {
  if (type === 'slave') return log.durableTxn
  if (slaves.length === 0) return 0
  let least = Infinity
  for (const { durableTxn } of slaves) {
    if (durableTxn === null) return null
    least = Math.min(least, durableTxn)
  }
  return least
}

function countOrNone(txn: number | null): string {
  return txn === null ? '-' : count(txn)
}

/** The furthest of what a slave was sent, or is being sent. */
function sentTxn({ slaves }: ServerStatus): number {
  return Math.max(0, ...slaves.map(slave => slave.sentTxn))
}

interface StatisticsArguments extends ViewArguments {
  readonly slave?: string
}

function statisticsCommand(context: Context): Command {
  return serverCommand(
    'statistics',
    'Show what a slave has done since it started, by operation. A master asks its slaves over the link.',
    `hb statistics -d /srv/south
hb statistics -d /srv/north --slave south
hb statistics -d /srv/north --json | jq '.servers[].operations'`,
  )
    .option('--slave <name>', 'ask this slave of the server')
    .option('--json', 'as JSON')
    .action(async ({ dir, slave, json = false }: StatisticsArguments) => {
      const { collectStatistics } = await import('../report/statistics.ts')
      const found = await context.untilSignal(
        collectStatistics(context.platform, dir, slave ?? null),
      )
      const rows = found.filter((row): row is StatisticsRow => !('error' in row))
      const failed = found.filter(row => 'error' in row)
      if (json) await context.out.json({ servers: [...rows, ...failed.map(failureToJson)] })
      else if (rows.length > 0) {
        const lines = statisticsLines(rows, context.platform.clock.now())
        for (const line of lines) await context.out.line(line)
      }
      // The others are shown; what is missing is told as an error.
      if (failed[0] !== undefined) throw failed[0].error
    })
}

function failureToJson({ name, error }: StatisticsFailure) {
  return { name, error: { code: error.code, message: error.message, hint: error.hint } }
}

/** A column for each server. */
function statisticsLines(rows: readonly StatisticsRow[], now: number): string[] {
  const operations = Object.keys(Object.assign({}, ...rows.map(row => row.operations)) as object)
  const line = (title: string, cell: (row: StatisticsRow) => string | number) => [
    title,
    ...rows.map(row => cell(row)),
  ]
  const asked = rows.some(({ roundTripMs }) => roundTripMs !== null)
  return table([
    line('Server', ({ name }) => name),
    line('Since', ({ since }) => new Date(since).toISOString()),
    line('Running for', ({ since }) => durationText(Math.max(0, now - since))),
    ...(asked ? [line('Round trip', ({ roundTripMs }) => millisText(roundTripMs))] : []),
    line('Received', ({ bytesReceived }) => sizeText(bytesReceived)),
    line('Transactions', ({ transactions }) => transactions),
    line('Lost-found', ({ lost }) => lost),
    line('Skipped', ({ leftOut }) => leftOut),
    line('Items written', ({ itemBytes }) => sizeText(itemBytes)),
    ...operations.map(name => line(name, row => row.operations[name] ?? 0)),
  ])
}

function millisText(millis: number | null): string {
  return millis === null ? '-' : `${millis.toFixed(1)} ms`
}

function queueCommand(context: Context): Command {
  return serverCommand(
    'queue',
    'Show the transaction log queue: what slaves have not stored yet. Takes no lock.',
    `hb queue -d /srv/north
hb queue -d /srv/north --json | jq .bytes`,
  )
    .option('--json', 'as JSON')
    .action(async ({ dir, json = false }: ViewArguments) => {
      const { collectStatus } = await import('../report/status.ts')
      const { queue, log, slaves } = await collectStatus(context.platform, dir)
      const backlogs = slaves.map(slave => {
        const { name, state, sentTxn, receivedTxn, dropped, lastKnown } = slave
        const stored = lastKnown?.durableTxn ?? 0
        const backlogTxns = dropped ? 0 : Math.max(0, log.durableTxn - stored)
        const lastAcknowledgedTxn = slave.durableTxn
        return { name, state, backlogTxns, sentTxn, receivedTxn, lastAcknowledgedTxn, dropped }
      })
      if (json) return context.out.json({ ...queue, lastTxn: log.lastTxn, slaves: backlogs })
      const limit = queue.limitBytes === 0 ? 'no limit' : `of ${sizeText(queue.limitBytes)}`
      await context.out.line(`${sizeText(queue.bytes)}, ${limit}; ${queue.state}`)
      const rows = backlogs.map(slave => [
        slave.name,
        slave.state,
        slave.dropped ? 'dropped' : counted(slave.backlogTxns, 'transaction'),
        count(slave.sentTxn),
        countOrNone(slave.receivedTxn),
        countOrNone(slave.lastAcknowledgedTxn),
      ])
      const head = ['Slave', 'State', 'Backlog', 'Sent', 'Received', 'Last acknowledged']
      if (rows.length > 0) {
        for (const line of table([head, ...rows])) await context.out.line(line)
      }
    })
}
