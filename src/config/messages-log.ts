// What a server has to say: JSON lines in DIR/messages.log for one in the background, lines for people on
// standard error for one in the foreground. Nothing secret ever gets here.
import { pino, type Logger as Pino } from 'pino'
import { MiB } from '../limits.ts'
import type { LineFile, OpenLineFile } from '../platform/line-file.ts'
import { harmlessText } from '../text/harmless-text.ts'
import { messageText } from './message-text.ts'

export type MessageLevel = 'debug' | 'info' | 'warn' | 'error'
export type MessageFields = Readonly<Record<string, unknown>> & {
  /** Whether the operator's command gets it (alarm.ts), whatever the level is; without this the level decides. */
  readonly alarm?: boolean
}

/** How the parts of a server speak. */
export type Log = (level: MessageLevel, message: string, fields?: MessageFields) => void

/** The file is renamed to messages.log.1 when it has grown to this, over the last one of that name. */
const fileBytesMax = 4 * MiB

export class MessagesLog {
  readonly #pino: Pino
  readonly #output: Output
  readonly log: Log = (level, message, fields = {}) => {
    this.#pino[level](fields, message)
  }

  private constructor(output: Output) {
    this.#output = output
    this.#pino = pino(
      {
        // Steps of a link's handshake and the like are for those who debug a test.
        level: 'info',
        base: null,
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: level => ({ level }) },
      },
      output,
    )
  }

  /** For a server in the background. */
  static toFile(openFile: OpenLineFile, path: string): MessagesLog {
    const file = new RotatedFile(openFile, path)
    // A reader of the file itself is not to be harmed either; to a program the escaped line means the same.
    return new MessagesLog({
      write: line => file.write(harmlessText(line)),
      release: () => file.release(),
    })
  }

  /** For a server in the foreground: `write` gets lines for people. */
  static toPeople(write: (line: string) => void): MessagesLog {
    return new MessagesLog({
      write: line => write(`${messageText(line)}\n`),
      release: () => {},
    })
  }

  /** Closes the file; the next message opens it anew, by its name. */
  release(): void {
    this.#output.release()
  }
}

interface Output {
  write(line: string): void
  release(): void
}

/**
 * Appends lines. Others may move, remove or empty the file at any time, as logrotate(8) does: lines go where the path
 * leads. What cannot be written is lost, since a full disk must not stop the server by its messages.
 */
class RotatedFile implements Output {
  readonly #openFile: OpenLineFile
  readonly #path: string
  #file: LineFile | null
  /** The last line lacks its end: a write failed half-way, or the process before this one died in it. */
  #torn = false

  constructor(openFile: OpenLineFile, path: string) {
    this.#openFile = openFile
    this.#path = path
    this.#file = this.#open()
  }

  write(line: string): void {
    try {
      const file = this.#current()
      const whole = this.#torn ? `\n${line}` : line
      this.#torn = true
      file.append(whole)
      this.#torn = false
      // The next line finds it out of its place. If it cannot be moved it goes on growing: better than no messages.
      if (file.size() >= fileBytesMax) file.moveTo(`${this.#path}.1`)
    } catch {
      return
    }
  }

  release(): void {
    const before = this.#file
    this.#file = null
    before?.close()
  }

  #current(): LineFile {
    if (this.#file?.isInPlace() === false) this.release()
    this.#file ??= this.#open()
    return this.#file
  }

  #open(): LineFile {
    const file = this.#openFile(this.#path)
    this.#torn = !file.isWhole()
    return file
  }
}
