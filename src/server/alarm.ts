// Who is told when something is wrong (D3's notify list): a command of the operator's, [alarm] in hb.toml, which
// gets the messages on its standard input. One runs at a time; what is said meanwhile gathers for the next run, so
// that a flood of messages is few mails and never holds the server up.
import type { Clock } from '../platform/clock.ts'
import type { Processes } from '../platform/processes.ts'
import { harmlessLine } from './harmless-text.ts'
import type { Layout } from './layout.ts'
import type { Log, MessageFields, MessageLevel } from './messages-log.ts'

export interface AlarmPolicy {
  /** For the system's shell; null for none. */
  readonly command: string | null
  /** Messages of this level and graver ones. */
  readonly level: 'error' | 'warn'
  /** The command is killed after this time. */
  readonly timeoutMs: number
}

interface AlarmPlatform {
  readonly clock: Clock
  readonly processes: Pick<Processes, 'runCommand'>
}

/** What is not told on its own any more is counted. */
const gatheredMax = 100

export class Alarm {
  readonly #platform: AlarmPlatform
  readonly #server: { readonly name: string; readonly directory: string }
  readonly #policy: AlarmPolicy
  readonly #log: Log
  #gathered: string[] = []
  #more = 0
  #running = false

  constructor(
    platform: AlarmPlatform,
    { directory }: Layout,
    { name, alarm }: { readonly name: string; readonly alarm: AlarmPolicy },
    log: Log,
  ) {
    this.#platform = platform
    this.#server = { name, directory }
    this.#policy = alarm
    this.#log = log
  }

  /** Writes the message to the log, and tells of it when it is grave. */
  readonly say: Log = (level, message, fields) => {
    this.#log(level, message, fields)
    if (this.#policy.command === null || !this.#isGrave(level)) return
    if (this.#gathered.length < gatheredMax) this.#gathered.push(this.#line(level, message, fields))
    else this.#more += 1
    if (!this.#running) this.#run(this.#policy.command)
  }

  /** The server ends: what has gathered is told at once, and nobody waits. */
  end(): void {
    const { command } = this.#policy
    if (command !== null && this.#gathered.length > 0) this.#run(command)
  }

  #isGrave(level: MessageLevel): boolean {
    return level === 'error' || (level === 'warn' && this.#policy.level === 'warn')
  }

  #line(level: MessageLevel, message: string, fields: MessageFields = {}): string {
    const time = new Date(this.#platform.clock.now()).toISOString()
    const details = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`)
    return `${harmlessLine(`${time} ${level} ${this.#server.name}: ${message}${details.join('')}`)}\n`
  }

  #run(command: string): void {
    const { name, directory } = this.#server
    const more = this.#more === 0 ? '' : `and ${this.#more} more: see "hb status -d ${directory}"\n`
    const input = this.#gathered.join('') + more
    this.#gathered = []
    this.#more = 0
    this.#running = true
    void this.#platform.processes
      .runCommand(command, {
        input,
        environment: { HB_DIR: directory, HB_SERVER: name },
        timeoutMs: this.#policy.timeoutMs,
      })
      .then(failure => {
        // Not by `say`: an alarm about the alarm would never end.
        if (failure !== null) this.#log('warn', `the alarm command ${failure}`)
        this.#running = false
        this.end()
      })
  }
}
