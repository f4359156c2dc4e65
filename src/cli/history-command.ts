// hb history: what the log says about one item.
import type { Command } from 'commander'
import { sizeText } from '../config/sizes-and-times.ts'
import { ask } from '../control/operation.ts'
import { readOperations } from '../data/data-operations.ts'
import { formOf, type FormOptions } from './byte-arguments.ts'
import type { Context, ServerOptions } from './command-line.ts'
import { checkedId, itemCommand } from './item-commands.ts'
import { serverLayout } from './log-commands.ts'

interface HistoryArguments extends ServerOptions, FormOptions {
  readonly json?: boolean
}

export function addHistoryCommand(program: Command, context: Context): void {
  program.addCommand(
    itemCommand(
      'history',
      'Show every change of an item, oldest first, as far back as the log goes.',
      `hb history -d /srv/north sales orders 1001
hb history -d /srv/south sales orders 1001 --marks
hb history -d /srv/north sales orders 1001 --json | jq -r .time`,
      'item-id and values',
    )
      .option('--json', 'as JSON lines, with whole values')
      .action(async (account: string, file: string, id: string, args: HistoryArguments) => {
        const { dir, json = false } = args
        const form = formOf(args)
        const idBytes = checkedId(id, form)
        const { log } = await serverLayout(context, dir)
        const { itemHistory } = await import('../report/history.ts')
        const shown = context.progress()
        const { operations, damage } = await context.untilSignal(
          itemHistory(
            context.platform.disk,
            log,
            { account, file, id: idBytes, json, form },
            context.out.write,
            bytes => shown.update(() => `${sizeText(bytes)} of the log read`),
          ),
        )
        shown.end()
        if (damage !== null) throw damage
        if (operations > 0) return
        // It may be older than the log; or there is no such item, account or file, which is an error.
        const request = { account, file, body: idBytes }
        await context.data(dir, 'read', data => ask(data, readOperations.readItem, request))
        if (!json) await context.out.line('The log has nothing about the item.')
      }),
  )
}
