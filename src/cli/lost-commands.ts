// hb lost list, show and discard.
import { Command } from 'commander'
import type { LostEntry } from '../slave/lost-found.ts'
import { count, counted } from '../text/numbers.ts'
import { formOf, withForms, type FormOptions } from './byte-arguments.ts'
import { serverCommand, withCommands, type Context, type ServerOptions } from './command-line.ts'
import { table } from './output.ts'

export function addLostCommands(program: Command, context: Context): void {
  const lost = withCommands(new Command('lost')).description(
    'Look at what a slave could not apply (lost-found).',
  )
  lost.addCommand(listCommand(context))
  lost.addCommand(showCommand(context))
  lost.addCommand(discardCommand(context))
  program.addCommand(lost)
}

interface JsonOptions extends ServerOptions {
  readonly json?: boolean
}

function listCommand(context: Context): Command {
  return serverCommand(
    'list',
    'List the transactions that could not be applied, oldest first.',
    'hb lost list -d /srv/south',
  )
    .option('--json', 'as JSON')
    .action(async ({ dir, json = false }: JsonOptions) => {
      const { lostTransactions } = await import('../replay/lost.ts')
      const entries = await lostTransactions(context.platform, dir)
      if (json) return context.out.json(entries)
      if (entries.length === 0) return context.out.line('lost-found is empty')
      const lines = table([
        ['Id', 'Time', 'Kind', 'Reason'],
        ...entries.map(({ id, time, kind, reason }) => [id, time, kind, reason]),
      ])
      for (const line of lines) await context.out.line(line)
    })
}

function showCommand(context: Context): Command {
  return withForms(
    serverCommand(
      'show',
      'Show a transaction that could not be applied: why, and its records.',
      `hb lost show -d /srv/south 4711
hb lost show -d /srv/south 4711 --json | jq .records`,
    ),
    'item-ids and values',
  )
    .argument('<id>', 'its id, or the number of the transaction')
    .option('--json', 'as JSON, with whole values')
    .action(async (id: string, { dir, json = false, ...forms }: JsonOptions & FormOptions) => {
      const { lostTransaction } = await import('../replay/lost.ts')
      const { transactionLines } = await import('../report/log-dump.ts')
      const { entry, records } = await lostTransaction(context.platform, dir, id)
      const how = { json, form: formOf(forms) }
      const lines = transactionLines(records, entry.txn, Date.parse(entry.written), how)
      if (json) {
        const parsed: unknown[] = lines
          .toString()
          .split('\n')
          .filter(line => line !== '')
          .map(line => JSON.parse(line))
        return context.out.json({ ...entry, records: parsed })
      }
      for (const line of [...table(headerRows(entry)), '']) await context.out.line(line)
      await context.out.write(lines)
    })
}

function headerRows(entry: LostEntry): [string, string][] {
  return [
    ['Id', entry.id],
    ['Reason', `${entry.reason} (${entry.code})`],
    ['Kind', entry.kind],
    ['Server', entry.server],
    ['Time', entry.time],
    ['Transaction', `${count(entry.txn)}, timeline ${entry.timeline}, written ${entry.written}`],
    ['Acknowledged', `up to transaction ${count(entry.lastAcknowledged)} at that time`],
  ]
}

function discardCommand(context: Context): Command {
  return serverCommand(
    'discard',
    'Remove transactions from lost-found for good.',
    'hb lost discard -d /srv/south 4711 4712',
  )
    .argument('<ids...>', 'their ids, or the numbers of the transactions')
    .option('--json', 'as JSON')
    .action(async (ids: readonly string[], { dir, json = false }: JsonOptions) => {
      const { discardLost } = await import('../replay/lost.ts')
      const discarded = await discardLost(context.platform, dir, ids)
      if (json) return context.out.json({ discarded })
      await context.out.line(`${counted(discarded.length, 'transaction')} discarded`)
    })
}
