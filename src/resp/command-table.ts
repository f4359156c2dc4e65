// Finds commands by the bytes of their names, in whatever case, without making text of them.
import type { CommandInfo } from './command-info.ts'
import { lower, type Request } from './request.ts'

export class CommandTable<Command extends CommandInfo> {
  readonly commands: readonly Command[]
  readonly #byHash = new Map<number, Command[]>()

  constructor(commands: readonly Command[]) {
    this.commands = commands
    for (const command of commands) {
      const name = Buffer.from(command.word)
      const hash = hashOf(name, 0, name.length)
      this.#byHash.set(hash, [...(this.#byHash.get(hash) ?? []), command])
    }
  }

  /** The command that the argument names; undefined when there is none. */
  find(request: Request, index: number): Command | undefined {
    const hash = hashOf(request.bytes, request.start(index), request.end(index))
    const found = this.#byHash.get(hash)
    if (found === undefined) return undefined
    for (const command of found) if (request.is(index, command.word)) return command
    return undefined
  }

  /** By its name in lower case. */
  named(name: string): Command | undefined {
    return this.commands.find(command => command.name === name)
  }
}

function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = end - start
  for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + lower(bytes[at]!)) | 0
  return hash
}
