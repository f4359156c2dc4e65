// hb verify.
import type { Command } from 'commander'
import { groupOf } from '../database/hash.ts'
import { HotBackupError } from '../errors.ts'
import type { VerifiedSlave, VerifyOutcome, VerifyStep } from '../repair/verify-command.ts'
import { withData } from '../server/sessions.ts'
import type { ByteForm } from '../text/byte-forms.ts'
import type { Difference } from '../wire/messages/differences.ts'
import { count, counted } from '../text/numbers.ts'
import { formOf, jsonId, shownId, withForms, type FormOptions } from './byte-arguments.ts'
import { seconds, serverCommand, type Context, type ServerOptions } from './command-line.ts'

export function addVerifyCommand(program: Command, context: Context): void {
  program.addCommand(verifyCommand(context))
}

interface VerifyArguments extends ServerOptions, FormOptions {
  readonly slave?: string
  readonly repair?: boolean
  readonly timeout: number
  readonly json?: boolean
}

function verifyCommand(context: Context): Command {
  const command = serverCommand(
    'verify',
    `Compare the slaves of a master with it, down to items, while updates go on. With --repair, copy what differs
again, and list it.`,
    `hb verify -d /srv/north
hb verify -d /srv/north sales orders --slave south --repair
hb verify -d /srv/north --json | jq '.slaves[].left[]'`,
  )
  return withForms(command, 'item-ids')
    .argument('[account]', 'only files of this account')
    .argument('[file]', 'only this file')
    .option('--slave <name>', 'only this slave')
    .option('--repair', 'write the items that differ again, and delete those that only a slave has')
    .option('--timeout <seconds>', 'how long the slaves may take to catch up', seconds, 600)
    .option('--json', 'as JSON')
    .action(
      async (account: string | undefined, file: string | undefined, args: VerifyArguments) => {
        const { dir, slave = null, repair = false, timeout, json = false } = args
        const { verifyServer } = await import('../repair/verify-command.ts')
        const progress = context.progress()
        const verifying = verifyServer(context.platform, dir, {
          account: account ?? null,
          file: file ?? null,
          slave,
          repair,
          timeoutMs: timeout * 1000,
          progress: step => progress.update(time => stepText(step, time)),
          access: withData,
        })
        const outcome = await context.untilSignal(verifying).finally(() => progress.end())
        const form = formOf(args)
        if (json) await context.out.json(outcomeToJson(outcome, form))
        else for (const line of outcomeLines(outcome, repair, form)) await context.out.line(line)
        tellDifferences(outcome)
      },
    )
}

function stepText(step: VerifyStep, time: number): string {
  switch (step.step) {
    case 'looking': {
      const rate = count(Math.round(step.itemsDone / Math.max(time, 1)))
      return `${count(step.itemsDone)} of ${count(step.itemsTotal)} items, ${rate} a second`
    }
    case 'waiting':
      return 'waiting for the slaves'
    case 'comparing':
      return 'asking the slaves'
    case 'repairing':
      return 'writing items again'
  }
}

function outcomeLines(outcome: VerifyOutcome, repair: boolean, form: ByteForm | null): string[] {
  const { files, items, lastTxn, slaves } = outcome
  const what = `${counted(files, 'file')}, ${counted(items, 'item')}`
  return [
    `${what}, compared up to transaction ${count(lastTxn)}`,
    ...slaves.flatMap(slave => slaveLines(slave, repair, form)),
  ]
}

function slaveLines(
  { name, repaired, left, more }: VerifiedSlave,
  repair: boolean,
  form: ByteForm | null,
): string[] {
  const lines = [
    ...(repair ? repaired.map(row => `  repaired: ${differenceText(row, form)}`) : []),
    ...left.map(row => `  ${differenceText(row, form)}`),
  ]
  if (more > 0) lines.push(`  and ${counted(more, 'difference')} more`)
  if (lines.length === 0) return [`${name}: the same`]
  const found = repaired.length + left.length + more
  const done = repair ? `, ${count(repaired.length)} repaired` : ''
  return [`${name}: ${counted(found, 'difference')}${done}`, ...lines]
}

function differenceText(row: Difference, form: ByteForm | null): string {
  const { kind, account, file, id, text, modulo, from, to } = row
  const [first, last] = [groupOf(from, modulo), groupOf(to - 1, modulo)]
  const groups = first === last ? `group ${first}` : `groups ${first} to ${last}`
  const where = `${account} ${file}`
  switch (kind) {
    case 'structure':
      return text
    case 'groups':
      return `${where}: ${groups} of ${modulo}`
    case 'unreadable':
      return `${where}: ${groups} of ${modulo} cannot be read: ${text}`
    default:
      return `${where}: ${shownId(id, form)} is ${kind}`
  }
}

function outcomeToJson({ slaves, ...pass }: VerifyOutcome, form: ByteForm | null): object {
  const rows = (differences: readonly Difference[]) =>
    differences.map(row => differenceToJson(row, form))
  return {
    ...pass,
    slaves: slaves.map(({ name, found, repaired, left, more }) => {
      return { name, found: rows(found), repaired: rows(repaired), left: rows(left), more }
    }),
  }
}

function differenceToJson(
  { kind, account, file, id, text, ...place }: Difference,
  form: ByteForm | null,
): object {
  const { text: said, base64 } = jsonId(id, form)
  const item = base64 ? { id: said, base64 } : { id: said }
  return {
    kind,
    account,
    file,
    ...(id.length === 0 ? {} : item),
    ...(text === '' ? {} : { text }),
    ...place,
  }
}

function tellDifferences({ slaves }: VerifyOutcome): void {
  const different = slaves.filter(({ left, more }) => left.length + more > 0)
  if (different.length === 0) return
  const names = different.map(({ name, left, more }) => {
    return `${name} (${counted(left.length + more, 'difference')})`
  })
  throw new HotBackupError('ERR_DIFFERENT', `not the same as the master: ${names.join(', ')}`)
}
