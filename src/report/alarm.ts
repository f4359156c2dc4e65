// Sends what is wrong to the operator (D3's notify list): to a command, [alarm] in hb.toml, which gets the messages on
// its standard input. One runs at a time; what is said meanwhile gathers for the next run, and what was sent is not
// sent again soon, so that a flood of messages is few mails and never holds the server up.
import type { AlarmPolicy } from '../config/policies.ts'
import type { Clock } from '../platform/clock.ts'
import type { Processes } from '../platform/processes.ts'
import { harmlessLine } from '../text/harmless-text.ts'
import type { Layout } from '../config/layout.ts'
import type { Log, MessageFields, MessageLevel } from '../config/messages-log.ts'

interface AlarmPlatform {
  readonly clock: Clock
  readonly processes: Pick<Processes, 'runCommand'>
}

/** What is not sent on its own any more is counted. */
const gatheredMax = 100
/** The same message is sent again after this time, with a count. */
const repeatMs = 3_600_000
/** Messages that are remembered for that; beyond it the oldest is forgotten. */
const rememberedMax = 1000

interface Sent {
  /** By the monotonic clock. */
  readonly time: number
  /** Times that it was not sent since then. */
  repeated: number
}

export class Alarm {
  readonly #platform: AlarmPlatform
  readonly #server: { readonly name: string; readonly directory: string }
  readonly #policy: () => AlarmPolicy
  readonly #log: Log
  readonly #sent = new Map<string, Sent>()
  #gathered: string[] = []
  #more = 0
  #running = false

  constructor(
    platform: AlarmPlatform,
    { directory }: Layout,
    name: string,
    policy: () => AlarmPolicy,
    log: Log,
  ) {
    this.#platform = platform
    this.#server = { name, directory }
    this.#policy = policy
    this.#log = log
  }

  /** Writes the message to the log, and sends it to the operator when it is grave and news. */
  readonly say: Log = (level, message, fields = {}) => {
    const { command, level: wanted } = this.#policy()
    const { alarm = level === 'error' || (level === 'warn' && wanted === 'warn'), ...rest } = fields
    this.#log(level, message, rest)
    if (command === null || !alarm) return
    // What raises an alarm by itself knows when it is one again.
    const repeated = fields.alarm === true ? 0 : this.#repeated(`${level} ${message}`)
    if (repeated === null) return
    const again = repeated === 0 ? '' : ` (repeated ${repeated} times)`
    const line = this.#line(level, `${message}${again}`, rest)
    if (this.#gathered.length < gatheredMax) this.#gathered.push(line)
    else this.#more += 1
    if (!this.#running) this.#run(command)
  }

  /** The server ends: what has gathered is sent at once, and nothing waits for it. */
  end(): void {
    const { command } = this.#policy()
    if (command !== null && this.#gathered.length > 0) this.#run(command)
  }

  /** How often the message was left out since it was sent; null when it is to be left out now. */
  #repeated(message: string): number | null {
    const time = this.#platform.clock.monotonic()
    const sent = this.#sent.get(message)
    if (sent !== undefined && time - sent.time < repeatMs) {
      sent.repeated++
      return null
    }
    this.#sent.delete(message)
    this.#sent.set(message, { time, repeated: 0 })
    const oldest = this.#sent.keys().next().value
    if (this.#sent.size > rememberedMax && oldest !== undefined) this.#sent.delete(oldest)
    return sent?.repeated ?? 0
  }

  #line(level: MessageLevel, message: string, fields: MessageFields): string {
    const time = new Date(this.#platform.clock.now()).toISOString()
    const details = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`)
    const text = `${time} ${level} ${this.#server.name}: ${message}${details.join('')}`
    return `${harmlessLine(text)}\n`
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
        timeoutMs: this.#policy().timeoutMs,
      })
      .then(failure => {
        // Not by `say`: an alarm about the alarm would never end.
        if (failure !== null) this.#log('warn', `the alarm command ${failure}`)
        this.#running = false
        this.end()
      })
  }
}
