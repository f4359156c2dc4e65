// hb save and restore.
import type { Command } from 'commander'
import type { Manifest } from '../backup/manifest.ts'
import type { SaveProgress } from '../backup/save.ts'
import { count, counted } from '../text/numbers.ts'
import { serverCommand, type Context, type ServerOptions } from './command-line.ts'
import { seedText } from './status-text.ts'

export function addSaveCommands(program: Command, context: Context): void {
  program.addCommand(saveCommand(context))
  program.addCommand(restoreCommand(context))
  program.addCommand(seedCommand(context))
}

interface SaveArguments extends ServerOptions {
  readonly to: string
  readonly json?: boolean
}

function saveCommand(context: Context): Command {
  return serverCommand(
    'save',
    `Make a full save of a server, running or not: database, log, configuration and key, with a manifest of digests. The
server keeps working meanwhile.`,
    `hb save -d /srv/south --to /backup/south-monday
hb save -d /srv/north --to /backup/north --json | jq .digests.digest`,
  )
    .requiredOption('--to <path>', 'directory of the save; it must not exist, or be empty')
    .option('--json', 'the manifest without its files, as JSON')
    .action(async ({ dir, to, json = false }: SaveArguments) => {
      const { saveServer } = await import('../backup/save.ts')
      const progress = context.progress()
      const saving = saveServer(context.platform, dir, to, {
        progress: step => progress.update(seconds => stepText(step, seconds)),
      })
      const manifest = await context.untilSignal(saving).finally(() => progress.end())
      if (json) return context.out.json(summary(manifest))
      await context.out.line(`${contentText(manifest)} saved to ${to}`)
    })
}

interface RestoreArguments extends ServerOptions {
  readonly from: string
  readonly json?: boolean
}

function restoreCommand(context: Context): Command {
  return serverCommand(
    'restore',
    `Restore a server from a save, and check every byte and item. A server that "hb setup" has just made keeps its
configuration and key; a new directory gets those of the save. A restored slave catches up from its master by the log.`,
    `hb restore --from /backup/south-monday -d /srv/south
hb setup -d /srv/west --type slave --name west --key /root/hb.key && hb restore --from /backup/north -d /srv/west`,
  )
    .requiredOption('--from <path>', 'directory of the save')
    .option('--json', 'the manifest without its files, as JSON')
    .action(async ({ dir, from, json = false }: RestoreArguments) => {
      const { restoreServer } = await import('../backup/restore.ts')
      const progress = context.progress()
      const restoring = restoreServer(context.platform, from, dir, {
        progress: step => progress.update(seconds => stepText(step, seconds)),
      })
      const { config, manifest } = await context
        .untilSignal(restoring)
        .finally(() => progress.end())
      if (json) return context.out.json(summary(manifest))
      await context.out.line(
        `${contentText(manifest)} restored: ${config.name} is a ${config.type}`,
      )
    })
}

interface SeedArguments extends ServerOptions {
  readonly slave: string
}

function seedCommand(context: Context): Command {
  return serverCommand(
    'seed',
    `Send a slave a full copy of the database over the link, while both servers keep working. The slave discards what it
has when the copy is complete and checked. After an interruption, the next seed continues where it stopped.`,
    'hb seed -d /srv/north --slave south',
  )
    .requiredOption('--slave <name>', 'the slave, which must be running')
    .action(async ({ dir, slave }: SeedArguments) => {
      const { seedSlave } = await import('../backup/seed-order.ts')
      const progress = context.progress()
      const seeding = seedSlave(context.platform, dir, slave, status =>
        progress.update(() => seedText(status)),
      )
      await context.untilSignal(seeding).finally(() => progress.end())
      await context.out.line(`${slave} has taken a copy of the database`)
    })
}

const stepWords = { copying: 'copied', checking: 'checked', digesting: 'digest of' } as const

function stepText({ step, done, total }: SaveProgress, seconds: number): string {
  if (total === null) return `${stepWords[step]} about ${count(done * 1000)} items`
  const megabytes = (bytes: number) => count(Math.round(bytes / 1e6))
  const rate = megabytes(done / Math.max(seconds, 1))
  return `${stepWords[step]} ${megabytes(done)} of ${megabytes(total)} MB, ${rate} MB a second`
}

function contentText({ digests, files, stampTxn, lastTxn }: Manifest): string {
  const items = digests.accounts
    .flatMap(account => account.files)
    .reduce((sum, file) => sum + file.items, 0)
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  return `transaction ${count(stampTxn)} with ${counted(items, 'item')}, log up to ${count(lastTxn)}, ${counted(bytes, 'byte')}`
}

/** There may be thousands of files, of which nobody wants to hear. */
function summary({ files, ...manifest }: Manifest): object {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
  return { ...manifest, files: files.length, bytes }
}
