// What a server has to say: JSON lines in DIR/messages.log for one in the background, lines for people on
// standard error for one in the foreground. Nothing secret ever gets here.
import { pino, type Logger as Pino } from 'pino'
import { MiB } from '../limits.ts'
import { isNotFound, type Disk, type DiskFile } from '../platform/disk.ts'
import { messageText } from './message-text.ts'

export type MessageLevel = 'debug' | 'info' | 'warn' | 'error'
export type MessageFields = Readonly<Record<string, unknown>>

/** How the parts of a server speak. */
export type Log = (level: MessageLevel, message: string, fields?: MessageFields) => void

/** The file is renamed to messages.log.1 when it has grown to this, over the last one of that name. */
const fileBytesMax = 4 * MiB
/** Lines that wait for the file; on a disk that stays full further ones are lost. */
const waitingMax = 1000

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
  static toFile(disk: Disk, path: string): MessagesLog {
    return new MessagesLog(new RotatedFile(disk, path))
  }

  /** For a server in the foreground: `write` gets lines for people. */
  static toPeople(write: (line: string) => void): MessagesLog {
    return new MessagesLog({
      write: line => write(`${messageText(line)}\n`),
      close: () => Promise.resolve(),
    })
  }

  close(): Promise<void> {
    return this.#output.close()
  }
}

interface Output {
  write(line: string): void
  close(): Promise<void>
}

/** Appends lines; what cannot be written is lost, since a full disk must not stop the server by its messages. */
class RotatedFile implements Output {
  readonly #disk: Disk
  readonly #path: string
  #file: DiskFile | null
  #end: number
  /** Lines that wait while the file is exchanged. */
  readonly #waiting: string[] = []
  #exchange: Promise<void> = Promise.resolve()
  #exchanging = false

  constructor(disk: Disk, path: string) {
    this.#disk = disk
    this.#path = path
    this.#file = openOrCreate(disk, path)
    this.#end = this.#file.size()
  }

  write(line: string): void {
    const file = this.#exchanging ? null : (this.#file ?? this.#openAgain())
    if (file === null) {
      if (this.#waiting.length < waitingMax) this.#waiting.push(line)
      return
    }
    const bytes = Buffer.from(line)
    try {
      file.writeSync(bytes, 0, bytes.length, this.#end)
      this.#end += bytes.length
    } catch {
      return
    }
    if (this.#end >= fileBytesMax) this.#exchange = this.#rotate(file)
  }

  async #rotate(file: DiskFile): Promise<void> {
    this.#exchanging = true
    this.#file = null
    try {
      await file.close()
      await this.#disk.rename(this.#path, `${this.#path}.1`)
    } catch {
      // The old file goes on growing; better than no messages.
    }
    this.#exchanging = false
    this.#openAgain()
  }

  /** Writes what waits, too. Null when there is no room for the file. */
  #openAgain(): DiskFile | null {
    try {
      this.#file = openOrCreate(this.#disk, this.#path)
      this.#end = this.#file.size()
    } catch {
      return null
    }
    for (const line of this.#waiting.splice(0)) this.write(line)
    return this.#file
  }

  async close(): Promise<void> {
    await this.#exchange
    await this.#file?.close()
  }
}

function openOrCreate(disk: Disk, path: string): DiskFile {
  try {
    return disk.openSync(path, 'write')
  } catch (error) {
    if (!isNotFound(error)) throw error
    return disk.openSync(path, 'create')
  }
}
