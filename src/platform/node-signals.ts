// Signals that would hurt a process of ours before it says what it does about them. To be called first of all, before
// the rest of the program is loaded.

/**
 * SIGUSR1: Node would open its debugger's port, by which everybody on the machine may run code as this user.
 * SIGHUP: it would end the process without a word; a terminal that is closed sends it, and so does what rotates logs.
 */
export function guardSignals(): void {
  for (const signal of ['SIGUSR1', 'SIGHUP'] as const) process.on(signal, () => {})
}

/** So that SIGUSR1 opens no debugger's port, where Node can be asked not to do so before the program says it. */
export const nodeArguments: readonly string[] = process.allowedNodeEnvironmentFlags.has(
  '--disable-sigusr1',
)
  ? ['--disable-sigusr1']
  : []
