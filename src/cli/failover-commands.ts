// hb promote, rejoin, switch and forget.
import { Argument, type Command } from 'commander'
import { type PromoteReport } from '../failover/failover-operations.ts'
import type { Address } from '../platform/network.ts'
import { parseAddress, parseListenAddress } from '../config/address.ts'
import type { RejoinOutcome } from '../failover/rejoin-command.ts'
import { count, counted } from '../text/numbers.ts'
import {
  seconds,
  serverCommand,
  usageError,
  type Context,
  type ServerOptions,
} from './command-line.ts'

export function addFailoverCommands(program: Command, context: Context): void {
  program.addCommand(promoteCommand(context))
  program.addCommand(rejoinCommand(context))
  program.addCommand(switchCommand(context))
  program.addCommand(forgetCommand(context))
}

interface PromoteArguments extends ServerOptions {
  readonly dryRun?: boolean
  readonly json?: boolean
}

function promoteCommand(context: Context): Command {
  return serverCommand(
    'promote',
    'Turn a slave whose master is lost into the master. It applies everything it has, begins a new timeline, and takes updates.',
    `hb promote -d /srv/south --dry-run
hb promote -d /srv/south`,
  )
    .option('--dry-run', 'report what would be done, and change nothing')
    .option('--json', 'as JSON')
    .action(async ({ dir, dryRun = false, json = false }: PromoteArguments) => {
      const { describePromotion, promoteServer } = await import('../failover/promote.ts')
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
      `The old master had reported transaction ${count(masterTxn)}: ${missing} did not arrive.`,
    )
  }
  if (connected !== null) {
    lines.push(`The old master, ${connected}, was still connected: stop it if it still runs.`)
  }
  if (report.lostAndFound > 0) {
    lines.push(`lost-found holds ${counted(report.lostAndFound, 'transaction')}.`)
  }
  for (const { account, file, modulo, firstGroup, lastGroup } of report.damaged) {
    const groups = firstGroup === lastGroup ? firstGroup : `${firstGroup} to ${lastGroup}`
    lines.push(
      `DAMAGED: group ${groups} of ${count(modulo)} of ${account} ${file} cannot be used until a slave of the new master provides it.`,
    )
  }
  if (!dryRun) {
    const next = report.shipping ? 'Its shipper runs.' : 'Start its shipper with "hb start".'
    lines.push(`Applications may write there. ${next}`)
  }
  return lines
}

interface RejoinArguments extends ServerOptions {
  readonly from?: string
  readonly newCopy?: boolean
  readonly listen?: string
  readonly json?: boolean
}

function rejoinCommand(context: Context): Command {
  return serverCommand(
    'rejoin',
    'Make an old master a slave of the server that was promoted in its place, without a full copy. What the new master never got is saved first.',
    `hb rejoin -d /srv/north --from 192.0.2.7:2000
hb rejoin -d north --from 127.0.0.1:2001 --listen 127.0.0.1:2002
hb rejoin -d north    (completes a rejoin that has begun)`,
  )
    .option('--from <host:port>', 'where the new master listens; not needed to complete a rejoin')
    .option(
      '--listen <host:port>',
      'where this server will listen (default: as in hb.toml; otherwise the loopback address, if the master is on this machine)',
    )
    .option('--new-copy', 'if there is no other way, discard log and database for a copy')
    .option('--json', 'as JSON')
    .action(async ({ dir, from, listen, newCopy = false, json = false }: RejoinArguments) => {
      const { rejoinServer } = await import('../failover/rejoin-command.ts')
      const work = rejoinServer(context.platform, dir, {
        from: from === undefined ? null : addressOption('--from', from),
        listen: listen === undefined ? null : addressOption('--listen', listen, parseListenAddress),
        newCopy,
      })
      const outcome = await context.untilSignal(work)
      const lines = json ? [JSON.stringify(outcome, null, 2)] : rejoinLines(outcome)
      for (const line of lines) await context.out.line(line)
    })
}

interface SwitchArguments extends ServerOptions {
  readonly to: string
  readonly listen?: string
  readonly timeout: number
  readonly json?: boolean
}

function switchCommand(context: Context): Command {
  return serverCommand(
    'switch',
    'Exchange the roles of a master and one of its slaves, with nothing lost. Run it on the master.',
    `hb switch -d /srv/north --to south
hb switch -d north --to south --listen 127.0.0.1:2002 --timeout 60`,
  )
    .requiredOption('--to <name>', 'the slave that becomes the master')
    .option(
      '--listen <host:port>',
      'where this server will listen (default: as in hb.toml; otherwise the loopback address, if the master is on this machine)',
    )
    .option('--timeout <seconds>', 'how long the slave may take to catch up', seconds, 30)
    .option('--json', 'as JSON')
    .action(async ({ dir, to, listen, timeout, json = false }: SwitchArguments) => {
      const { switchServers } = await import('../failover/switch.ts')
      const outcome = await switchServers(context.platform, dir, {
        to,
        listen: listen === undefined ? null : addressOption('--listen', listen, parseListenAddress),
        timeoutMs: timeout * 1000,
      })
      const lines = json ? [JSON.stringify(outcome, null, 2)] : switchLines(outcome)
      for (const line of lines) await context.out.line(line)
    })
}

function switchLines(outcome: RejoinOutcome): string[] {
  const { name, master, forkTxn, missing, listen, pid } = outcome
  // It was no switch: that server had been promoted before, without these.
  if (missing !== null) return rejoinLines(outcome)
  return [
    `${master} is the master now, with everything up to transaction ${count(forkTxn)}.`,
    `${name} is its slave; it listens at ${listen}.`,
    pid === null ? 'Start it with "hb start".' : `Its server runs (pid ${pid}).`,
  ]
}

function forgetCommand(context: Context): Command {
  return serverCommand(
    'forget',
    'Forget a slave that joined this server with "hb rejoin" and will not come back. To remove a slave in hb.toml, edit that file.',
    'hb forget -d /srv/south north',
  )
    .addArgument(new Argument('<slave>', 'its name'))
    .action(async (slave: string, { dir }: ServerOptions) => {
      const { forgetSlave } = await import('../failover/forget.ts')
      await context.untilSignal(forgetSlave(context.platform, dir, slave))
      await context.out.line(`${slave} is no longer a slave of this server.`)
    })
}

function addressOption(flag: string, text: string, parse = parseAddress): Address {
  const address = parse(text)
  if (address !== null) return address
  throw usageError(
    `${flag} needs HOST:PORT or [IPv6]:PORT with a port from 1024 to 65535, got "${text}"`,
  )
}

const filesShown = 20

function rejoinLines(outcome: RejoinOutcome): string[] {
  const { name, master, forkTxn, missing, newCopy, listen, pid } = outcome
  const lines = [
    `${name} is a slave of ${master} now; it listens at ${listen}.`,
    `Both have everything up to transaction ${count(forkTxn)}.`,
  ]
  if (missing === null) {
    lines.push(`${master} has everything that ${name} had.`)
  } else {
    const { firstTxn, lastTxn, items, files } = missing
    const what = counted(lastTxn - firstTxn + 1, 'transaction')
    lines.push(
      `${what} of ${name} had not reached ${master}: ${count(firstTxn)} to ${count(lastTxn)}, ${counted(items, 'update')} of items:`,
    )
    for (const { account, file, items: updates } of files.slice(0, filesShown)) {
      lines.push(`  ${account} ${file}: ${counted(updates, 'update')}`)
    }
    if (files.length > filesShown)
      lines.push(`  and ${count(files.length - filesShown)} more files`)
    lines.push(
      `They are saved in ${missing.path}`,
      `and listed in ${missing.list}`,
      `"hb-replay --missing" applies them on ${master}, except to items that have changed there since.`,
    )
  }
  lines.push(pid === null ? 'Start it with "hb start".' : `Its server runs (pid ${pid}).`)
  if (newCopy) {
    lines.push(
      `It is empty, and needs a copy: "hb seed --slave ${name}" on ${master}, or auto_seed in its hb.toml.`,
    )
  }
  return lines
}
