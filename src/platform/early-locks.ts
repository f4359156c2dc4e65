// Loads proper-lockfile before a program says what signals do to it. signal-exit, which that loads, ends the process at
// a signal when no other handler is left, and one that was set earlier by process.once is gone by then.
import { lock } from 'proper-lockfile'

/** So that there is something to import: a declaration file keeps no import without names. */
export const lockingIsLoaded: boolean = typeof lock === 'function'
