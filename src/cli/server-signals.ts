// What signals do to a server in the foreground or background; hb-shipper(8) and hb-slave(8) say so.

const ends = ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const
export type EndSignal = (typeof ends)[number]

export interface ServerSignals {
  /** Resolves with the first of them. Another SIGINT ends the process at once, as a crash would. */
  readonly end: Promise<EndSignal>
  /** Calls back at each SIGHUP. */
  onHangUp(callback: () => void): void
  /** Calls back at each SIGUSR2, by which commands wake a server's supervisor. */
  onWake(callback: () => void): void
}

export function watchSignals(): ServerSignals {
  let resolve: (signal: EndSignal) => void = () => {}
  const end = new Promise<EndSignal>(resolver => {
    resolve = resolver
  })
  let ending = false
  for (const signal of ends) {
    process.on(signal, () => {
      // Ctrl-C, again: somebody does not want to wait. "hb stop", again, does.
      if (ending && signal === 'SIGINT') process.exit(130)
      ending = true
      resolve(signal)
    })
  }
  return {
    end,
    onHangUp: callback => void process.on('SIGHUP', callback),
    onWake: callback => void process.on('SIGUSR2', callback),
  }
}
