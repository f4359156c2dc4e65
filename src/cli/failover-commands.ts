// hb promote.
import type { Command } from 'commander'
import { describePromotion, promoteServer, type PromoteReport } from '../server/promote.ts'
import { serverCommand, type Context, type ServerOptions } from './command-line.ts'
import { count, counted } from './output.ts'

export function addFailoverCommands(program: Command, context: Context): void {
  program.addCommand(promoteCommand(context))
}

interface PromoteArguments extends ServerOptions {
  readonly dryRun?: boolean
  readonly json?: boolean
}

function promoteCommand(context: Context): Command {
  return serverCommand(
    'promote',
    'Make a master of a slave whose master is lost. It applies all that it holds, begins a new timeline, and takes updates.',
    `hb promote -d /srv/south --dry-run
hb promote -d /srv/south`,
  )
    .option('--dry-run', 'say what would be done, and change nothing')
    .option('--json', 'as JSON')
    .action(async ({ dir, dryRun = false, json = false }: PromoteArguments) => {
      const work = dryRun
        ? describePromotion(context.platform, dir)
        : promoteServer(context.platform, dir)
      const report = await context.untilSignal(work)
      const lines = json
        ? [JSON.stringify({ ...report, dryRun }, null, 2)]
        : promoteLines(report, dryRun)
      for (const line of lines) await context.out.line(line)
    })
}

function promoteLines(report: PromoteReport, dryRun: boolean): string[] {
  const { name, timeline, lineage, lastTxn, drained, masterTxn, connected } = report
  const lines = [
    dryRun
      ? `${name} would become the master, on timeline ${timeline}; nothing has been changed.`
      : `${name} is the master now, on timeline ${timeline} (lineage ${lineage}).`,
    `The last transaction that it has ${dryRun ? 'received' : 'taken over'} is ${count(lastTxn)}.`,
  ]
  if (drained > 0) {
    const what = counted(drained, 'transaction')
    const off = report.applyUpdates ? '' : ', though apply updates was off'
    lines.push(`${what} ${dryRun ? 'would be' : 'had been received and were'} applied first${off}.`)
  }
  if (masterTxn > lastTxn) {
    const missing = counted(masterTxn - lastTxn, 'transaction')
    lines.push(
      `The old master had told of transaction ${count(masterTxn)}: ${missing} did not come.`,
    )
  }
  if (connected !== null) {
    lines.push(`The old master, ${connected}, was still connected: stop it, unless it was stopped.`)
  }
  if (report.lostAndFound > 0) {
    lines.push(`lost+found holds ${counted(report.lostAndFound, 'transaction')}.`)
  }
  if (!dryRun) {
    const next = report.shipping ? 'Its shipper runs.' : 'Start its shipper with "hb start".'
    lines.push(`Applications may open it. ${next}`)
  }
  return lines
}
