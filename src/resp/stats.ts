// Counts for INFO.
import type { CommandInfo } from './command-info.ts'

export class CommandStats {
  calls = 0
  micros = 0
  rejected = 0
  failed = 0
}

export class Stats {
  connections = 0
  rejectedConnections = 0
  commands = 0
  inputBytes = 0
  outputBytes = 0
  hits = 0
  misses = 0
  expired = 0
  errors = 0
  readonly byCommand = new Map<CommandInfo, CommandStats>()
  /** By the first word of the error. */
  readonly byError = new Map<string, number>()

  of(command: CommandInfo): CommandStats {
    let stats = this.byCommand.get(command)
    if (stats === undefined) {
      stats = new CommandStats()
      this.byCommand.set(command, stats)
    }
    return stats
  }

  failed(text: string): void {
    this.errors++
    const space = text.indexOf(' ')
    const prefix = space < 0 ? text : text.slice(0, space)
    this.byError.set(prefix, (this.byError.get(prefix) ?? 0) + 1)
  }

  reset(): void {
    this.connections = 0
    this.rejectedConnections = 0
    this.commands = 0
    this.inputBytes = 0
    this.outputBytes = 0
    this.hits = 0
    this.misses = 0
    this.expired = 0
    this.errors = 0
    this.byCommand.clear()
    this.byError.clear()
  }
}
