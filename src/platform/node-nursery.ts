// Starts processes on behalf of this one. A system starts a process by a copy of the one that asks, which shares its
// memory page by page until one of them writes: with a cache of 1 GiB that took 65 ms, and the writes behind it were
// slow for 4 s more, one page after the other. So somebody small asks: a shell, which is started while there is
// little to share, and waits. It ends with this process, and so do its children: their standard input ends then.
import { spawn, type ChildProcess as NodeChild } from 'node:child_process'
import { Socket } from 'node:net'
import { constants } from 'node:os'
import { hearLines } from './node-lines.ts'
import { type ChildProcess } from './processes.ts'

/**
 * Takes lines of a number and a command, quoted. Says of each, behind its number: "started PID", the lines that it
 * says itself, "ended STATUS". Signals for all of a terminal or a service are not for the shell: it ends when its
 * input does.
 */
const script = `trap '' HUP INT QUIT USR1 USR2 TERM
while read -r line; do
  eval "set -- $line"
  number=$1
  shift
  {
    "$@" <&3 2>&4 3<&- 4>&- &
    printf 'started %s\\n' $!
    wait $!
    printf 'ended %s\\n' $?
  } | while read -r said; do printf '%s %s\\n' "$number" "$said"; done &
done`

interface Child {
  pid: number | null
  /** What it is to be sent as soon as it has a pid. */
  signal: 'SIGTERM' | 'SIGKILL' | 'SIGHUP' | null
  readonly heard: (line: string) => void
  readonly ended: (how: { code: number | null; signal: string | null }) => void
}

export class Nursery {
  readonly #shell: NodeChild
  readonly #sockets: readonly Socket[]
  readonly #children = new Map<string, Child>()
  #last = 0
  #closed = false

  private constructor(shell: NodeChild) {
    this.#shell = shell
    this.#sockets = shell.stdio.filter(stream => stream instanceof Socket)
    for (const socket of this.#sockets) socket.on('error', () => {})
    if (shell.stdout !== null) hearLines(shell.stdout, line => this.#hear(line))
    // Not 'close': parts of it live as long as its children.
    shell.once('exit', () => this.#gone())
    this.#setRef()
  }

  /** Null where there is no such shell. */
  static open(): Nursery | null {
    const shell = spawn('/bin/sh', ['-c', script], {
      stdio: ['pipe', 'pipe', 'ignore', 'pipe', 'inherit'],
    })
    shell.once('error', () => {})
    return shell.pid === undefined ? null : new Nursery(shell)
  }

  /** Whoever killed the shell has ended its children, too. */
  get closed(): boolean {
    return this.#closed
  }

  start(command: readonly string[], heard: (line: string) => void): ChildProcess {
    const number = String(++this.#last)
    let child: Child | undefined
    const exited: ChildProcess['exited'] = new Promise(resolve => {
      child = { pid: null, signal: null, heard, ended: resolve }
      this.#children.set(number, child)
    })
    this.#setRef()
    this.#shell.stdin?.write(`${number} ${command.map(quoted).join(' ')}\n`)
    return {
      get pid() {
        return child?.pid ?? null
      },
      exited,
      kill: signal => {
        if (child !== undefined && this.#children.get(number) === child) kill(child, signal)
      },
    }
  }

  /** Ends the shell, and whatever it has started. */
  close(): void {
    this.#closed = true
    for (const socket of this.#sockets) socket.destroy()
  }

  #hear(line: string): void {
    const space = line.indexOf(' ')
    const number = line.slice(0, space)
    const child = this.#children.get(number)
    if (child === undefined) return
    const said = line.slice(space + 1)
    const [, event, value] = /^(started|ended) (\d+)$/.exec(said) ?? []
    if (event === undefined) child.heard(said)
    else if (event === 'started') {
      child.pid = Number(value)
      if (child.signal !== null) kill(child, child.signal)
    } else {
      this.#children.delete(number)
      child.ended(outcome(Number(value)))
      this.#setRef()
    }
  }

  /** The shell is no more: its children end, for their input has. */
  #gone(): void {
    this.close()
    for (const child of this.#children.values()) {
      kill(child, 'SIGKILL')
      child.ended({ code: null, signal: 'SIGKILL' })
    }
    this.#children.clear()
  }

  /** The shell alone keeps no process alive. */
  #setRef(): void {
    const change = this.#children.size > 0 ? 'ref' : 'unref'
    this.#shell[change]()
    for (const socket of this.#sockets) socket[change]()
  }
}

function kill(child: Child, signal: 'SIGTERM' | 'SIGKILL' | 'SIGHUP'): void {
  child.signal = signal
  if (child.pid === null) return
  try {
    process.kill(child.pid, signal)
  } catch {
    // It has ended by itself.
  }
}

/** As a shell tells it. */
function outcome(status: number): { code: number | null; signal: string | null } {
  const signal = Object.entries(constants.signals).find(([, number]) => number === status - 128)
  return signal === undefined ? { code: status, signal: null } : { code: null, signal: signal[0] }
}

function quoted(text: string): string {
  if (/[\n\0]/.test(text)) throw new TypeError('a line is one argument at most')
  return `'${text.replaceAll("'", `'\\''`)}'`
}
