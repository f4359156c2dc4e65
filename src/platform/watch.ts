// The port to change notices of files. A notice is a hint to look: it may come late, twice or never, so
// whoever waits for a change also looks by himself now and then.

export interface Watch {
  close(): Promise<void>
}

export interface Watcher {
  /** Calls back soon after the file at `path` was written, created or replaced. */
  watch(path: string, changed: () => void): Watch
}
