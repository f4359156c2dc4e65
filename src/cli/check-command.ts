// hb check, for monitors: one line, and the exit status that monitoring plugins have.
import { InvalidArgumentError, Option, type Command } from 'commander'
import { parseSize, parseTime } from '../config/sizes-and-times.ts'
import { checkServer } from '../report/check-server.ts'
import { checkExitCodes, type Threshold } from '../report/check.ts'
import {
  ExitStatus,
  failsWith,
  seconds,
  serverCommand,
  type Context,
  type ServerOptions,
} from './command-line.ts'

interface CheckArguments extends ServerOptions {
  readonly lagTransactions: Threshold
  readonly lagSeconds: Threshold
  readonly lagBytes: Threshold
  readonly queue: Threshold
  readonly disk: Threshold
  readonly verified: Threshold
  readonly timeout: number
  readonly json?: boolean
}

export function addCheckCommand(program: Command, context: Context): void {
  const command = serverCommand(
    'check',
    'Check a server for a monitor: one line, and exit status 0 OK, 1 warning, 2 critical, 3 unknown. Locks nothing and changes nothing.',
    `hb check -d /srv/north
hb check -d /srv/north --lag-seconds 30,300 --queue 1GiB,10GiB --verified 2d,7d
hb check -d /srv/south --disk 20GiB,5GiB --json`,
  )
    .addOption(threshold('lag-transactions', 'transactions that a slave is behind', wholeNumber))
    .addOption(
      threshold('lag-seconds', 'age of what a slave has not applied', wholeNumber, '60,600'),
    )
    .addOption(threshold('lag-bytes', 'amount of log that a slave is behind', parseSize))
    .addOption(threshold('queue', 'amount of log that slaves have not stored', parseSize))
    .addOption(threshold('disk', 'free space, at or below this', parseSize, '1GiB,256MiB'))
    .addOption(threshold('verified', 'time since the last complete verification', parseTime))
    .option('--timeout <seconds>', 'the result is unknown if the check takes longer', seconds, 10)
    .option('--json', 'as JSON')
    .action(async ({ dir, timeout, json = false, verified, ...given }: CheckArguments) => {
      const { lagTransactions: lagTxns, ...limits } = given
      const thresholds = { lagTxns, ...limits, verified: inSeconds(verified) }
      const checking = checkServer(context.platform, dir, thresholds, timeout * 1000)
      const { level, message, findings } = await context.untilSignal(checking)
      if (json) await context.out.json({ level, message, findings })
      else await context.out.line(message)
      if (level !== 'ok') throw new ExitStatus(checkExitCodes[level])
    })
  // A monitor takes 2, which stands for wrong usage elsewhere, for a server in a critical state.
  failsWith(command, checkExitCodes.unknown)
  program.addCommand(command)
}

function threshold(
  name: string,
  when: string,
  parse: (text: string) => number | null,
  otherwise = 'off',
): Option {
  const read = (text: string): Threshold => {
    if (text === 'off') return { warning: null, critical: null }
    const [warning, critical, ...more] = text.split(',').map(part => parse(part.trim()))
    const wrong = warning === null || critical === null || more.length > 0
    if (wrong || warning === undefined) {
      throw new InvalidArgumentError('WARNING, or WARNING,CRITICAL, or "off" is needed.')
    }
    return { warning, critical: critical ?? null }
  }
  return new Option(`--${name} <warning,critical>`, when)
    .argParser(read)
    .default(read(otherwise), otherwise)
}

function wholeNumber(text: string): number | null {
  return /^\d+$/.test(text) ? Number(text) : null
}

function inSeconds({ warning, critical }: Threshold): Threshold {
  const convert = (ms: number | null) => (ms === null ? null : ms / 1000)
  return { warning: convert(warning), critical: convert(critical) }
}
