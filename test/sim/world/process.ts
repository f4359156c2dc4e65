// A process of a simulated machine: it runs until it is killed, and may stand still meanwhile. What it has asked the
// world for is delivered to it while it lives, and waits while it stands still.

export class SimProcess {
  readonly pid: number
  readonly name: string
  dead = false
  stopped = false
  /** What is to happen when it goes on. */
  deferred: (() => void)[] = []
  /** What its clock shows at least: calls that it waits for take time, though nothing else happens meanwhile. */
  clockMs = 0
  /** How it ended. */
  code: number | null = null
  signal: string | null = null
  /** Told to end by itself. */
  onTerminate: () => void = () => {}
  readonly #endings: (() => void)[] = []

  constructor(pid: number, name: string) {
    this.pid = pid
    this.name = name
  }

  /** Calls back when it is dead: to break its connections, say. */
  onEnd(callback: () => void): void {
    this.#endings.push(callback)
  }

  end(code: number | null, signal: string | null): void {
    if (this.dead) return
    this.dead = true
    this.code = code
    this.signal = signal
    this.deferred = []
    for (const ending of this.#endings.splice(0)) ending()
  }
}

/** Thrown by what a process does in the turn in which it dies: nobody looks at it any more. */
export class Dead extends Error {
  constructor() {
    super('the process is dead')
  }
}

/** True for what a process says that has died in the middle of it. */
export function isOfDead(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof Dead) return true
  }
  return false
}
