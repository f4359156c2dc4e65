// What all commands share: the server's directory, errors as one line, exit codes, and a clean end on a signal.
import path from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { Caller } from '../control/operation.ts'
import { exitCodes, HotBackupError, isHotBackupError } from '../errors.ts'
import { systemErrorOf } from '../platform/disk.ts'
import type { Inputs } from '../platform/inputs.ts'
import { nodeArguments } from '../platform/node-arguments.ts'
import { nodeInputs, nodeStandardInput } from '../platform/node-inputs.ts'
import { nodeOutputs } from '../platform/node-outputs.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { Outputs } from '../platform/outputs.ts'
import type { Platform } from '../platform/platform.ts'
import { workAsUserOf } from '../config/acting-user.ts'
import { harmlessText } from '../text/harmless-text.ts'
import { withData } from '../server/sessions.ts'
import { checkTexts } from './byte-arguments.ts'
import { Output, OutputClosed } from './output.ts'
import { Progress } from './progress.ts'

/** The signals that end a command, and the exit status that says so. */
const interruptions = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const
type Interruption = keyof typeof interruptions

/** One of these signals came. */
export class Interrupted extends Error {
  readonly exitCode: number
  constructor(signal: Interruption) {
    super(signal)
    this.exitCode = interruptions[signal]
  }
}

/** The person at the terminal was asked whether to go on, and said no. */
export class Refused extends Error {}

/** The command has said what there is to say, and ends with this exit status. */
export class ExitStatus extends Error {
  readonly exitCode: number
  constructor(exitCode: number) {
    super(`exit status ${exitCode}`)
    this.exitCode = exitCode
  }
}

const failures = new WeakMap<Command, number>()

/** Whatever goes wrong in the command, its usage too, ends with this exit status. */
export function failsWith(command: Command, exitCode: number): void {
  failures.set(command, exitCode)
}

const choosing = new WeakSet<Command>()

/**
 * The command says itself, by `Context.workIn`, when it begins to work in a server's directory: before that it opens
 * what the person has named, with the person's rights.
 */
export function opensFirst(command: Command): Command {
  choosing.add(command)
  return command
}

/** A terminal with a person at it who can be asked. */
export interface Terminal {
  readonly input: Readable
  readonly output: Writable
}

/** The streams that a command reads and writes. */
export interface Streams {
  /** Null or absent: there is nobody to be asked. */
  readonly terminal?: Terminal | null
  readonly stdin: AsyncIterable<Uint8Array>
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean }
  readonly stderr: { readonly isTTY?: boolean; write(text: string): unknown }
}

/** What a command works with. */
export class Context {
  readonly platform: Platform = nodePlatform
  readonly inputs: Inputs = nodeInputs
  readonly outputs: Outputs = nodeOutputs
  readonly out: Output
  readonly stdin: AsyncIterable<Uint8Array>
  readonly terminal: Terminal | null
  readonly #stderr: Streams['stderr']
  #taken: { readonly user: number; readonly directory: string } | null = null
  #interrupt: (signal: Interruption) => void = () => {}
  /** Rejects when such a signal comes. */
  readonly #interrupted: Promise<never>

  constructor({ stdin, stdout, stderr, terminal = null }: Streams) {
    this.out = new Output(stdout)
    this.stdin = stdin
    this.terminal = terminal
    this.#stderr = stderr
    this.#interrupted = new Promise((_, reject) => {
      this.#interrupt = signal => reject(new Interrupted(signal))
    })
    this.#interrupted.catch(() => {})
  }

  /** Ends the command on a signal: what it holds is closed first. The same signal again ends it at once. */
  endOnSignals(): void {
    for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
      const heard = () => {
        this.#interrupt(signal)
        // Not before all listeners have run: signal-exit, which proper-lockfile loads, ends the process at once when it
        // finds itself the only one.
        setImmediate(() => process.off(signal, heard))
      }
      process.on(signal, heard)
    }
    // Node would open the port of its debugger.
    process.on('SIGUSR1', () => {})
  }

  /**
   * From here on, run by root, this process has the rights of the user who owns the server's directory, and no others.
   * Throws ERR_OTHER_USER.
   */
  async workIn(directory: string): Promise<void> {
    const user = await workAsUserOf(this.platform, directory)
    if (user !== null) this.#taken = { user, directory: path.resolve(directory) }
  }

  /** What to do about an error, where it is the rights of that user that do not suffice. */
  hintFor(error: HotBackupError): string | null {
    const code = systemErrorOf(error)?.code
    if (this.#taken === null || (code !== 'EACCES' && code !== 'EPERM')) return null
    const { user, directory } = this.#taken
    return `Root works in ${directory} with the rights of its owner, user ${user}: that user needs access.`
  }

  /** Runs `work` with the server's data; a signal ends it, and what it holds is closed before the process ends. */
  data<T>(
    directory: string,
    mode: 'read' | 'write',
    work: (data: Caller) => Promise<T>,
  ): Promise<T> {
    return withData(this.platform, directory, mode, data => this.untilSignal(work(data)))
  }

  untilSignal<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#interrupted])
  }

  progress(): Progress {
    return new Progress(this.platform.clock, this.#stderr)
  }

  /** Control characters are escaped, but for line ends and tabs: the text may quote items, peers or files. */
  tell(text: string): void {
    this.#stderr.write(harmlessText(text))
  }
}

/** A command of "hb". Every one has the server's directory as an option and examples in its help. */
export function serverCommand(name: string, description: string, examples: string): Command {
  const text = description.replaceAll('\n', ' ')
  const command = new Command(name).description(text).summary(/^[^.:]*/.exec(text)?.[0] ?? text)
  return withExamples(command, examples).addOption(directoryOption())
}

export function withExamples(command: Command, examples: string): Command {
  const lines = examples.trim().split('\n')
  return command.addHelpText('after', `\nExamples:\n${lines.map(line => `  ${line}`).join('\n')}`)
}

export function directoryOption(): Option {
  return new Option('-d, --dir <dir>', 'directory of the server').env('HB_DIR').default('.')
}

/** For a command with commands below it: the directory may stand before them, too. */
export function withCommands(command: Command): Command {
  return command
    .enablePositionalOptions()
    .addOption(new Option('-d, --dir <dir>', 'directory of the server; also after the command'))
}

/** The first of these arguments that is no directory: the command. */
export function calledCommand(args: readonly string[]): string | undefined {
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? ''
    if (arg === '-d' || arg === '--dir') at++
    else if (!/^(-d.|--dir=)/.test(arg)) return arg
  }
  return undefined
}

/** What stands before the command holds for it, unless it says something else itself. */
function takeDirectory(command: Command): void {
  if (command.getOptionValue('dir') === undefined) return
  for (let at: Command | null = command; at !== null; at = at.parent) {
    if (at.getOptionValueSource('dir') !== 'cli') continue
    command.setOptionValueWithSource('dir', at.getOptionValue('dir'), 'cli')
    return
  }
}

export interface ServerOptions {
  readonly dir: string
}

export function onOff(flags: string, description: string): Option {
  return new Option(flags, description).choices(['on', 'off'])
}

/** A whole number in a range, for an option: 1234567, or 1,234,567 as it is shown. */
export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER) {
  return (text: string): number => {
    const plain = /^\d{1,3}(,\d{3})+$/.test(text) ? text.replaceAll(',', '') : text
    const value = /^\d+$/.test(plain) ? Number(plain) : NaN
    if (value >= min && value <= max) return value
    throw new InvalidArgumentError(`A whole number from ${min} on is needed.`)
  }
}

export function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN
  if (value >= 0) return value
  throw new InvalidArgumentError('Seconds are needed.')
}

export function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text]
}

export function usageError(message: string): HotBackupError {
  return new HotBackupError('ERR_USAGE', message)
}

/** Runs the program with the arguments, by default those of the process. Returns the exit code; never throws. */
export async function execute(
  program: Command,
  context: Context,
  args?: readonly string[],
): Promise<number> {
  try {
    program.exitOverride().configureOutput({
      writeOut: text => void context.out.write(text).catch(() => {}),
      writeErr: text => context.tell(text),
      // The message comes with the exception, and is told like all others.
      outputError: () => {},
    })
    inherit(program)
    program.hook('preAction', async (_, command) => {
      takeDirectory(command)
      checkTexts(command)
      const directory: unknown = command.getOptionValue('dir')
      if (typeof directory === 'string' && !choosing.has(command)) await context.workIn(directory)
    })
    await program.parseAsync([...(args ?? nodeArguments())], { from: 'user' })
    await context.out.flush()
    return exitCodes.done
  } catch (error) {
    // What was written before is shown; its own failure is no news beside this one.
    await context.out.flush().catch(() => {})
    const code = tell(program.name(), error, context)
    if (code === exitCodes.done || isOwnEnd(error)) return code
    const called = program.commands.find(command => command.name() === program.args[0])
    return (called === undefined ? undefined : failures.get(called)) ?? code
  }
}

/** By a signal, or with a status of its own. */
function isOwnEnd(error: unknown): boolean {
  return error instanceof Interrupted || error instanceof ExitStatus
}

/** The streams of this process. */
export function processStreams(): Streams {
  const { stdin, stdout, stderr } = process
  // What cannot be shown is no reason to stop.
  stderr.on('error', () => {})
  const terminal = stdin.isTTY && stdout.isTTY ? { input: stdin, output: stdout } : null
  // A serial line or a bare pseudo terminal does not tell its size.
  if (terminal !== null && stdout.columns === 0) Object.assign(stdout, { columns: 80, rows: 24 })
  return { stdin: nodeStandardInput, stdout, stderr, terminal }
}

/** Subcommands that were made by themselves get the settings of the program. */
function inherit(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command)
    inherit(child)
  }
}

/** Says on standard error what went wrong, in one line, and returns the exit code. */
export function tell(name: string, error: unknown, context: Context): number {
  if (error instanceof OutputClosed) return exitCodes.done
  if (error instanceof Interrupted || error instanceof ExitStatus) return error.exitCode
  if (error instanceof Refused) {
    context.tell(`${name}: ${error.message}\n`)
    return exitCodes.failed
  }
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.done
    // The help was shown, for want of a command.
    if (error.code === 'commander.help') return exitCodes.usage
    const message = error.message.replace(/^error: /, '').replaceAll('\n', ' ')
    context.tell(`${name}: ERR_USAGE: ${message}\n`)
    return exitCodes.usage
  }
  if (isHotBackupError(error)) {
    context.tell(`${name}: ${errorText(error, context.hintFor(error) ?? error.hint)}\n`)
    return error.exitCode
  }
  // A defect, not a mistake of somebody's: the trace is what helps.
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error)
  context.tell(`${name}: internal error: ${trace}\n`)
  return exitCodes.failed
}

/** "ERR_CODE: message. Hint" */
export function errorText(error: HotBackupError, hint = error.hint): string {
  const message = error.message.replaceAll('\n', ' ').replace(/\.$/, '')
  return `${error.code}: ${message}. ${hint}`
}
