// The port to processes: the server itself, the background servers that "hb start" makes, and helpers.

/** Enough to tell a process from a later one with the same pid. */
export interface ProcessIdentity {
  readonly pid: number
  /** Start time in clock ticks since boot (Linux), 0 where it cannot be read. */
  readonly startTicks: number
  /** Identifies the boot of this machine: one running kernel, whatever its name. Empty where it cannot be read. */
  readonly bootId: string
  /** Pids mean something within one namespace only (a container has its own). Empty where there are none. */
  readonly pidNamespace: string
  /** Identifies the machine across its boots; empty where it cannot be read, as in most containers. */
  readonly machineId: string
  /** The machine's name, for messages only: it may change while the process runs. */
  readonly host: string
}

/** Whether the pid of one process means anything to the other: the same kernel and the same pid namespace. */
export function sharesPids(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return sharesKernel(a, b) && a.pidNamespace === b.pidNamespace
}

/** Whether both run on one running kernel. Where the system gives no boot id, the machine's name must do. */
export function sharesKernel(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return a.bootId === b.bootId && (a.bootId !== '' || a.host === b.host)
}

export interface ChildProcess {
  /** Null until it is known. */
  readonly pid: number | null
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>
  kill(signal: 'SIGTERM' | 'SIGKILL' | 'SIGHUP'): void
}

export interface StartOptions {
  /** The child goes on when this process ends; its output goes to the file at `outputPath`. */
  readonly detached?: { readonly outputPath: string }
  /** Hears each line of the child's standard output; lines longer than 64 KiB are cut. Not with `detached`. */
  readonly output?: (line: string) => void
  readonly environment?: Readonly<Record<string, string>>
}

export interface CommandOptions {
  /** Its standard input; what it says itself is thrown away. */
  readonly input: string
  readonly environment: Readonly<Record<string, string>>
  /** Then it is killed, with what it has started. */
  readonly timeoutMs: number
}

/** What this process has used since it started. */
export interface Usage {
  readonly rssBytes: number
  readonly heapBytes: number
  readonly userSeconds: number
  readonly systemSeconds: number
}

export interface Processes {
  self(): ProcessIdentity
  /** For people: the operating system, and the path of the program that runs this process. */
  readonly host: { readonly system: string; readonly executable: string }
  usage(): Usage
  /** The number of the user with whose rights this process works; 0 is root. Null where the system has none. */
  user(): number | null
  /**
   * Gives up the rights of root for those of another user, with that user's groups and home, for good and for all
   * processes that this one starts. Throws ERR_PROCESS where the system refuses.
   */
  becomeUser(user: number): void
  /** False only when it is certain: the pid can be looked up from here, and there is no such process. */
  mayBeAlive(identity: ProcessIdentity): boolean
  /** Starts Node with a module of this package. */
  start(modulePath: string, args: readonly string[], options: StartOptions): ChildProcess
  /**
   * To be called before `start` of children whose output is heard, or run commands, while this process is small:
   * starting one costs the more, the more memory this process has. It is over with the function that is returned.
   */
  prepare(): () => void
  /**
   * Runs a command line of the operator's by the system's shell, in a session of its own: it outlives this process,
   * unless the preparation for it ends first.
   * Resolves with what was wrong, for people, or null; never rejects.
   */
  runCommand(command: string, options: CommandOptions): Promise<string | null>
  /** What a program of the system writes to its standard output; null when there is no such program, or it fails. */
  output(program: string, args: readonly string[]): Promise<string | null>
  /** Lowers the priority: for work that no caller waits for. */
  yieldToOthers(): void
  /** Calls back when the process that has started this one, with a pipe as its input, is gone. */
  onParentGone(callback: () => void): void
  /** Sends a signal to a process that is not a child. False when there is none. */
  signal(pid: number, signal: 'SIGTERM' | 'SIGKILL' | 'SIGUSR2'): boolean
}
