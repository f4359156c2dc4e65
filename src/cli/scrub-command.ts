// hb scrub.
import type { Command } from 'commander'
import { HotBackupError } from '../errors.ts'
import { parseSize, sizeText } from '../config/sizes-and-times.ts'
import type { Damage, ScrubReport } from '../repair/scrub.ts'
import { withData } from '../server/sessions.ts'
import { count, counted } from '../text/numbers.ts'
import { serverCommand, usageError, type Context, type ServerOptions } from './command-line.ts'

interface ScrubArguments extends ServerOptions {
  readonly repair?: boolean
  readonly rate: string
  readonly json?: boolean
}

export function addScrubCommand(program: Command, context: Context): void {
  const command = serverCommand(
    'scrub',
    'Read everything, and report what is damaged.',
    `hb scrub -d /srv/north
hb scrub -d /srv/north --repair
hb scrub -d /srv/north --rate 20MiB`,
  )
    .option('--repair', 'repair log and groups with what the other side has')
    .option('--rate <size>', 'read at most this much a second while a server runs', '50MiB')
    .option('--json', 'as JSON')
    .action(async ({ dir, repair = false, rate, json = false }: ScrubArguments) => {
      const bytesPerSecond = parseSize(rate)
      if (bytesPerSecond === null)
        throw usageError(`--rate is ${rate}; a size like 20MiB is needed`)
      const { scrub } = await import('../repair/scrub.ts')
      const progress = context.progress()
      const scrubbing = scrub(context.platform, dir, {
        access: withData,
        repair,
        rate: bytesPerSecond,
        progress: bytes =>
          progress.update(
            seconds => `${sizeText(bytes)} read, ${sizeText(Math.round(bytes / seconds))} a second`,
          ),
        say: (level, message) => {
          if (level !== 'debug') context.tell(`${message}\n`)
        },
      })
      const report = await context.untilSignal(scrubbing)
      progress.end()
      if (json) await context.out.json(report)
      else for (const line of reportLines(report)) await context.out.line(line)
      if (report.damages.length > 0) throw damageError(report)
    })
  program.addCommand(command)
}

function reportLines({ name, bytes, damages, repaired }: ScrubReport): string[] {
  return [
    ...repaired.map(({ path, kept, what }) => {
      if (what !== undefined) return `repaired: ${path}: ${what}`
      return kept === null
        ? `repaired: ${path}, which was missing`
        : `repaired: ${path}; the damaged file is kept as ${kept}`
    }),
    ...damages.map(damage => `damaged: ${damageText(damage)}. ${damage.hint}`),
    `${name}: ${sizeText(bytes)} read, ${damages.length === 0 ? 'nothing is damaged' : `${counted(damages.length, 'damaged place')}`}`,
  ]
}

function damageText({ part, path, offset, txn, message }: Damage): string {
  const transaction = txn === null ? '' : `, transaction ${count(txn)}`
  return `${part}: ${path}, byte ${offset}${transaction}: ${message}`
}

function damageError({ damages, unrepaired }: ScrubReport): HotBackupError {
  const [first] = damages
  const more = damages.length > 1 ? `; ${count(damages.length - 1)} more` : ''
  const why = unrepaired === null ? '' : `; it could not be repaired: ${unrepaired}`
  return new HotBackupError('ERR_DAMAGED', `${first?.path}: ${first?.message}${more}${why}`)
}
